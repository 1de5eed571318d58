//! Random tables, migrations and writes, held against a model that knows nothing of SQL: what users
//! wrote counts, then what was there before. A wrong way back must be noticed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Case, rows};

/// `$t` is the table, `$v` its column of values; `$keep` stands where a column may be taken away.
const KINDS: [(&str, &str); 10] = [
    ("plain", "CREATE TABLE $t(k INTEGER PRIMARY KEY, $v $keep)"),
    ("without a key", "CREATE TABLE $t(k, $v $keep)"),
    ("with keys that are NULL", "CREATE TABLE $t(k INT, $v $keep, p TEXT, PRIMARY KEY(p))"),
    ("without rowid", "CREATE TABLE $t(k INT, $v $keep, PRIMARY KEY(k)) WITHOUT ROWID"),
    (
        "generated",
        "CREATE TABLE $t(k INTEGER PRIMARY KEY, $v $keep, g AS ($v || '!'), s INT AS (k * 2) STORED)",
    ),
    ("autoincrement", "CREATE TABLE $t(k INTEGER PRIMARY KEY AUTOINCREMENT, $v $keep)"),
    ("strict", "CREATE TABLE $t(k INTEGER PRIMARY KEY, $v TEXT $keep) STRICT"),
    ("unique", "CREATE TABLE $t(k INTEGER PRIMARY KEY, $v TEXT UNIQUE $keep)"),
    ("two columns of a key", "CREATE TABLE $t(k INT, part INT DEFAULT 7, $v $keep, PRIMARY KEY(part, k))"),
    ("full text", "CREATE VIRTUAL TABLE $t USING fts5(k UNINDEXED, $v $keep)"),
];
const FULL_TEXT: usize = KINDS.len() - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Add,
    DropKeep,
    Upper,
    Delete(i64),
    Make,
    Rename,
    Rebuild,
}

#[derive(Debug, Clone, Copy)]
enum Write {
    Insert,
    Update(i64),
    Delete(i64),
}

type Rows = BTreeMap<i64, String>;

fn create(kind: usize, table: &str, value: &str, keep: bool) -> String {
    let column = match (keep, kind) {
        (false, _) => "",
        (true, FULL_TEXT) => ", keep UNINDEXED",
        (true, _) => ", keep TEXT",
    };
    KINDS[kind].1.replace("$t", table).replace("$v", value).replace("$keep", column)
}

/// The migration, and the name that it gives to the column of values.
fn migration(kind: usize, changes: &[Change]) -> (String, &'static str) {
    let (mut parts, mut value, mut keep) = (Vec::new(), "v", true);
    for change in changes {
        let is_alteration = matches!(change, Change::Add | Change::DropKeep | Change::Rename);
        if is_alteration && kind == FULL_TEXT {
            continue;
        }
        let part = match change {
            Change::Nothing => String::new(),
            Change::Add if parts.iter().any(|sql: &String| sql.contains("extra")) => String::new(),
            Change::Add => "ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x';".into(),
            Change::DropKeep if !keep => String::new(),
            Change::DropKeep => {
                keep = false;
                "ALTER TABLE t DROP COLUMN keep;".into()
            }
            Change::Upper => format!("UPDATE t SET {value} = upper({value});"),
            Change::Delete(key) => format!("DELETE FROM t WHERE k = {key};"),
            Change::Make => format!(
                "INSERT INTO t(k, {value}) SELECT 50, 'MADE' WHERE NOT EXISTS (SELECT 1 FROM t WHERE k = 50);"
            ),
            Change::Rename if value != "v" => String::new(),
            Change::Rename => {
                value = "body";
                "ALTER TABLE t RENAME COLUMN v TO body;".into()
            }
            Change::Rebuild => {
                keep = false;
                format!(
                    "{}; INSERT INTO n(k, {value}) SELECT k, {value} FROM t ORDER BY rowid_or_key; DROP TABLE t; {}; INSERT INTO t(k, {value}) SELECT k, {value} FROM n ORDER BY rowid_or_key; DROP TABLE n;",
                    create(kind, "n", value, false),
                    create(kind, "t", value, false)
                )
                .replace("rowid_or_key", if kind == 3 { "k" } else { "rowid" })
            }
        };
        parts.push(part);
    }
    (parts.concat(), value)
}

fn migrated(before: &Rows, changes: &[Change]) -> Rows {
    let mut rows = before.clone();
    for change in changes {
        match change {
            Change::Upper => rows.values_mut().for_each(|value| *value = value.to_uppercase()),
            Change::Delete(key) => drop(rows.remove(key)),
            Change::Make => drop(rows.entry(50).or_insert_with(|| "MADE".into())),
            _ => {}
        }
    }
    rows
}

fn written(migrated: &Rows, writes: &[Write], value: &str) -> (String, Rows) {
    let (mut parts, mut rows) = (Vec::new(), migrated.clone());
    for (at, write) in writes.iter().enumerate() {
        parts.push(match write {
            Write::Insert => {
                let key = 100 + i64::try_from(at).unwrap();
                rows.insert(key, format!("w{at}"));
                format!("INSERT INTO t(k, {value}) VALUES ({key}, 'w{at}');")
            }
            Write::Update(key) => {
                rows.entry(*key).and_modify(|value| *value = format!("w{at}"));
                format!("UPDATE t SET {value} = 'w{at}' WHERE k = {key};")
            }
            Write::Delete(key) => {
                rows.remove(key);
                format!("DELETE FROM t WHERE k = {key};")
            }
        });
    }
    (parts.concat(), rows)
}

/// Key, value and what the older column held, in the order of keys.
fn expected(before: &Rows, migrated: &Rows, now: &Rows) -> String {
    let mut all: BTreeMap<i64, String> = BTreeMap::new();
    for (key, value) in now {
        let is_written = migrated.get(key) != Some(value);
        match before.get(key) {
            Some(_) if is_written => drop(all.insert(*key, format!("{value}|keep{key}"))),
            Some(old) => drop(all.insert(*key, format!("{old}|keep{key}"))),
            None if is_written => drop(all.insert(*key, format!("{value}|-"))),
            None => {}
        }
    }
    for (key, old) in before.iter().filter(|(key, _)| !migrated.contains_key(key)) {
        all.insert(*key, format!("{old}|keep{key}"));
    }
    all.iter().map(|(key, row)| format!("{key}|{row}")).collect::<Vec<_>>().join(" ")
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        Just(Change::Nothing),
        Just(Change::Add),
        Just(Change::DropKeep),
        Just(Change::Upper),
        (1..6_i64).prop_map(Change::Delete),
        Just(Change::Make),
        Just(Change::Rename),
        Just(Change::Rebuild),
    ];
    prop::collection::vec(one, 0..4)
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let one = prop_oneof![
        Just(Write::Insert),
        prop_oneof![1..6_i64, Just(50)].prop_map(Write::Update),
        prop_oneof![1..6_i64, Just(50)].prop_map(Write::Delete),
    ];
    prop::collection::vec(one, 0..8)
}

/// The case, and what its table must hold after the way back.
fn make(kind: usize, changes: &[Change], writes: &[Write]) -> (Case, String) {
    let before: Rows = (1..6).map(|key| (key, format!("b{key}"))).collect();
    let fill: Vec<String> = before
        .keys()
        .map(|key| format!("INSERT INTO t(k, v, keep) VALUES ({key}, 'b{key}', 'keep{key}');"))
        .collect();
    let (up, value) = migration(kind, changes);
    let made = migrated(&before, changes);
    let (users, now) = written(&made, writes, value);
    let case = Case::new(&format!("{};{}", create(kind, "t", "v", true), fill.concat()), &up, &users);
    (case, expected(&before, &made, &now))
}

/// Another name, other values, and a column of the same kind gone beside it: nobody can tell which
/// one it was. What users wrote there is listed.
fn is_riddle(kind: usize, changes: &[Change]) -> bool {
    let has = |wanted: &[Change]| changes.iter().any(|change| wanted.contains(change));
    let same_kind = KINDS[kind].1.contains("$v TEXT");
    same_kind && has(&[Change::Rename]) && has(&[Change::Upper]) && has(&[Change::DropKeep, Change::Rebuild])
}

/// A new row that got the number of a deleted one looks like that one, written over: it has what the
/// migration took away from there.
fn may_reuse_numbers(kind: usize, writes: &[Write]) -> bool {
    let first = writes.iter().position(|write| matches!(write, Write::Delete(_)));
    let inserts = |from: usize| writes[from..].iter().any(|write| matches!(write, Write::Insert));
    [1, 2, FULL_TEXT].contains(&kind) && first.is_some_and(inserts)
}

const HELD: &str = "SELECT k, v, keep FROM t ORDER BY k";

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn every_write_is_kept_and_all_else_is_as_before(kind in 0..KINDS.len(), changes in changes(), writes in writes()) {
        let (case, expected) = make(kind, &changes, &writes);
        let lost = case.undo().lost;
        if is_riddle(kind, &changes) {
            let held = case.rows(HELD);
            for row in expected.split(' ').filter(|row| !held.split(' ').any(|it| it == *row)) {
                let key = format!("{{\"k\":{}}}", row.split('|').next().unwrap());
                prop_assert!(lost.iter().any(|lost| lost.key == key), "{row}: {held}: {lost:?}");
            }
        } else if may_reuse_numbers(kind, &writes) {
            let short = |rows: &str| -> Vec<String> {
                rows.split(' ').map(|row| row.rsplit_once('|').map_or(row, |it| it.0).to_owned()).collect()
            };
            prop_assert_eq!(short(&case.rows(HELD)), short(&expected), "{}", KINDS[kind].0);
        } else {
            prop_assert_eq!(case.rows(HELD), expected, "{}", KINDS[kind].0);
        }
        prop_assert_eq!(case.rows("PRAGMA integrity_check"), "ok");
    }
}

/// Two ways that look right and are not: the backup put back, and all that differs from the backup
/// taken for written by users.
#[test]
fn a_wrong_way_back_is_noticed() {
    let changes = [Change::Upper, Change::Make];
    let writes = [Write::Insert, Write::Update(2), Write::Delete(3)];
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let (case, expected) = make(kind, &changes, &writes);
        assert_ne!(rows(&case.path("before.db"), HELD), expected, "{name}");
        std::fs::copy(case.path("before.db"), case.path("migrated.db")).unwrap();
        case.undo();
        assert_ne!(case.rows(HELD), expected, "{name}");
    }
}
