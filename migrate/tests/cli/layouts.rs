//! Directories of other tools: the same changes in every layout, up and down, against the sqlite3
//! program; their tracking tables taken over and kept.

use std::fs;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::world::World;

/// One change, its way back, and what stands in its name.
pub(crate) type Step = (String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Own,
    Plain,
    Dbmate,
    Sqlx,
    Diesel,
    GolangMigrate,
    Goose,
    Refinery,
    Flyway,
}

const ALL: [Tool; 9] = [
    Tool::Own,
    Tool::Plain,
    Tool::Dbmate,
    Tool::Sqlx,
    Tool::Diesel,
    Tool::GolangMigrate,
    Tool::Goose,
    Tool::Refinery,
    Tool::Flyway,
];

impl Tool {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Plain => "plain",
            Self::Dbmate => "dbmate",
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::GolangMigrate => "golang-migrate",
            Self::Goose => "goose",
            Self::Refinery => "refinery",
            Self::Flyway => "flyway",
        }
    }

    pub(crate) fn goes_back(self) -> bool {
        !matches!(self, Self::Plain | Self::Refinery)
    }

    /// What the tool says is applied, one value a row.
    pub(crate) fn marks(self) -> Option<&'static str> {
        Some(match self {
            Self::Own | Self::Plain => return None,
            Self::Dbmate => "SELECT CAST(version AS INTEGER) FROM schema_migrations ORDER BY 1",
            Self::GolangMigrate => "SELECT version FROM schema_migrations WHERE NOT dirty",
            Self::Sqlx => {
                "SELECT version FROM _sqlx_migrations WHERE success AND length(checksum) = 48 ORDER BY 1"
            }
            Self::Diesel => "SELECT CAST(version AS INTEGER) FROM __diesel_schema_migrations ORDER BY 1",
            Self::Goose => {
                "SELECT version_id FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY 1"
            }
            Self::Refinery => {
                "SELECT version FROM refinery_schema_history WHERE length(checksum) > 5 ORDER BY 1"
            }
            Self::Flyway => {
                "SELECT CAST(version AS INTEGER) FROM flyway_schema_history WHERE success AND checksum IS NOT NULL ORDER BY 1"
            }
        })
    }

    pub(crate) fn write(self, world: &World, number: usize, (up, down): &Step) {
        match self {
            Self::Own | Self::Sqlx | Self::GolangMigrate => {
                world
                    .write(&format!("{number:03}_n.up.sql"), up)
                    .write(&format!("{number:03}_n.down.sql"), down);
            }
            Self::Plain => {
                world.write(&format!("{number:03}_n.sql"), up);
            }
            Self::Dbmate => {
                world.write(
                    &format!("{number:03}_n.sql"),
                    format!("-- migrate:up\n{up}\n\n-- migrate:down\n{down}\n"),
                );
            }
            Self::Goose => {
                let begin = "-- +goose StatementBegin";
                let end = "-- +goose StatementEnd";
                world.write(
                    &format!("{number:03}_n.sql"),
                    format!("-- +goose Up\n{begin}\n{up}\n{end}\n-- +goose Down\n{down}\n"),
                );
            }
            Self::Diesel => {
                world
                    .write(&format!("{number:03}_n/up.sql"), up)
                    .write(&format!("{number:03}_n/down.sql"), down);
            }
            Self::Refinery => {
                world.write(&format!("V{number}__n.sql"), up);
            }
            Self::Flyway => {
                world.write(&format!("V{number}__n.sql"), up).write(&format!("U{number}__n.sql"), down);
            }
        }
    }

    fn name_it(self, world: &World) {
        fs::write(world.path().join("migrate.toml"), format!("layout = \"{}\"\n", self.word())).unwrap();
    }
}

/// Changes that mean the same wherever they stand, with all that splitters stumble over.
pub(crate) fn step(kind: u8, number: usize) -> Step {
    match kind % 5 {
        0 => (
            format!(
                "CREATE TABLE t{number}(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'x; y -- z');\nINSERT INTO t{number} VALUES ({number}, 'it''s;');"
            ),
            format!("DROP TABLE t{number};"),
        ),
        1 => (
            format!(
                "CREATE TABLE t{number}(a); CREATE TABLE l{number}(a);\nCREATE TRIGGER r{number} AFTER INSERT ON t{number} BEGIN\n  INSERT INTO l{number} VALUES (';');\n  UPDATE t{number} SET a = CASE WHEN a IS NULL THEN 1 ELSE a END;\nEND;\nINSERT INTO t{number} VALUES (NULL);"
            ),
            format!("DROP TABLE l{number};\nDROP TABLE t{number};"),
        ),
        2 => (
            format!("/* ; */ INSERT INTO base(note) VALUES ('n{number}'), ('; DROP');"),
            format!(
                "DELETE FROM base WHERE id IN (SELECT id FROM base ORDER BY id DESC LIMIT 2); -- n{number};"
            ),
        ),
        3 => (
            format!(
                "ALTER TABLE base ADD COLUMN c{number} TEXT DEFAULT 'd{number}';\nCREATE INDEX i{number} ON base(c{number});"
            ),
            format!("DROP INDEX i{number};\nALTER TABLE base DROP COLUMN c{number};"),
        ),
        _ => (
            format!("CREATE VIEW v{number} AS SELECT id, ';' AS \"END\" FROM base;"),
            format!("DROP VIEW v{number};"),
        ),
    }
}

pub(crate) const BASE: &str =
    "CREATE TABLE base(id INTEGER PRIMARY KEY, note TEXT); INSERT INTO base(note) VALUES ('first');";
/// Everything but the tables that runners keep.
const IMAGE: &str = "SELECT group_concat(name || ': ' || sql, char(10)) FROM (SELECT name, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND tbl_name NOT IN ('migrations', 'schema_migrations', '_sqlx_migrations', '__diesel_schema_migrations',
    'goose_db_version', 'refinery_schema_history', 'flyway_schema_history') AND name NOT LIKE 'sqlite%' ORDER BY name)";

pub(crate) fn sqlite3(database: &std::path::Path, sql: &str) -> String {
    let output = Command::new("sqlite3").arg("-bail").arg(database).arg(sql).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn image(database: &std::path::Path) -> String {
    let tables = sqlite3(
        database,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND (name GLOB 't[0-9]*' OR name GLOB 'l[0-9]*' OR name = 'base') ORDER BY name",
    );
    let rows = tables
        .lines()
        .map(|table| sqlite3(database, &format!("SELECT '{table}', * FROM {table} ORDER BY rowid")));
    format!("{}{}", sqlite3(database, IMAGE), rows.collect::<String>())
}

fn compare(tool: Tool, kinds: &[u8], back: usize) {
    let world = World::new();
    world.script(BASE);
    let expected = world.path().join("expected.db");
    sqlite3(&expected, BASE);
    let steps: Vec<Step> = (1..).zip(kinds).map(|(number, kind)| step(*kind, number)).collect();
    for (number, one) in (1..).zip(&steps) {
        tool.write(&world, number, one);
        sqlite3(&expected, &one.0);
    }
    tool.name_it(&world);
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.details()["applied"].as_array().unwrap().len(), steps.len());
    assert_eq!(image(&world.database()), image(&expected), "{tool:?} {kinds:?}");
    let marked = |count: usize| match tool {
        Tool::GolangMigrate => json!((count > 0).then_some([count]).into_iter().collect::<Vec<_>>()),
        _ => json!((1..=count).map(|number| [number]).collect::<Vec<_>>()),
    };
    let check =
        |count| tool.marks().map_or((), |query| assert_eq!(world.query(query), marked(count), "{tool:?}"));
    check(steps.len());
    if !tool.goes_back() {
        world.run(&["dev", "down"]).refused("migration-irreversible");
        return;
    }
    let back = back.min(steps.len());
    for one in steps.iter().rev().take(back) {
        sqlite3(&expected, &one.1);
    }
    world.run(&["dev", "down", "--steps", &back.to_string()]).good();
    assert_eq!(image(&world.database()), image(&expected), "{tool:?} {kinds:?} back {back}");
    check(steps.len() - back);
    world.run(&["dev", "up"]).good();
    check(steps.len());
}

#[test]
fn every_layout_makes_and_undoes_what_the_sqlite3_program_does() {
    let cases = if std::env::var_os("SOAK").is_some() { 100 } else { 2 };
    for tool in ALL {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let inputs = (prop::collection::vec(any::<u8>(), 1..7), 1..4usize);
        runner
            .run(&inputs, |(kinds, back)| {
                compare(tool, &kinds, back);
                Ok(())
            })
            .unwrap();
    }
}

/// What the tool itself would have left after the first of two migrations.
fn left_by(tool: Tool) -> String {
    let text = step(0, 1).0;
    let hash = |program: &str| {
        let output = Command::new("python3").args(["-c", program, &text]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    match tool {
        Tool::Own | Tool::Plain => String::new(),
        Tool::Dbmate => "CREATE TABLE schema_migrations (version varchar(128) primary key); INSERT INTO schema_migrations VALUES ('001');".into(),
        Tool::GolangMigrate => "CREATE TABLE schema_migrations (version uint64,dirty bool); CREATE UNIQUE INDEX version_unique ON schema_migrations (version); INSERT INTO schema_migrations VALUES (1, 0);".into(),
        Tool::Diesel => "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); INSERT INTO __diesel_schema_migrations(version) VALUES ('001');".into(),
        Tool::Goose => "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now'))); INSERT INTO goose_db_version(version_id, is_applied) VALUES (0, 1), (1, 1);".into(),
        Tool::Sqlx => format!("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL); INSERT INTO _sqlx_migrations VALUES (1, 'n', CURRENT_TIMESTAMP, TRUE, x'{}', 1);", hash("import sys, hashlib; print(hashlib.sha384(sys.argv[1].encode()).hexdigest())")),
        Tool::Refinery => "CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255)); INSERT INTO refinery_schema_history VALUES (1, 'n', '2026-01-01T00:00:00Z', NULL);".into(),
        Tool::Flyway => format!("CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INT, installed_by VARCHAR(100) NOT NULL, installed_on TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')), execution_time INT NOT NULL, success BOOLEAN NOT NULL); INSERT INTO flyway_schema_history VALUES (1, '1', 'n', 'SQL', 'V1__n.sql', {}, 'x', 'now', 1, 1);", hash("import sys, zlib; c = 0\nfor line in sys.argv[1].splitlines(): c = zlib.crc32(line.encode(), c)\nprint(c - 2**32 if c >= 2**31 else c)")),
    }
}

#[test]
fn what_another_tool_has_applied_is_taken_over_and_its_table_kept() {
    for tool in ALL.into_iter().filter(|tool| tool.marks().is_some()) {
        let world = World::new();
        world.script(BASE).script(&step(0, 1).0).script(&left_by(tool));
        tool.write(&world, 1, &step(0, 1));
        tool.write(&world, 2, &step(1, 2));
        // Nothing names the layout: the files and the table say whose it is.
        let status = world.run(&["dev", "status"]).good();
        assert_eq!(status.details()["layout"], tool.word());
        assert_eq!(status.details()["pending"].as_array().unwrap().len(), 1, "{tool:?}");
        world.run(&["dev", "up"]).good();
        let both = if tool == Tool::GolangMigrate { json!([[2]]) } else { json!([[1], [2]]) };
        let query = tool.marks().unwrap().replace("WHERE length(checksum) > 5", "");
        assert_eq!(world.query(&query), both, "{tool:?}");
        assert_eq!(world.number("SELECT count(*) FROM migrations"), 2);
        world.run(&["dev", "up"]).good();
        if tool.goes_back() {
            world.run(&["dev", "down", "--to", "0"]).good();
            assert_eq!(world.number("SELECT count(*) FROM sqlite_master WHERE name IN ('t1', 't2')"), 0);
        }
    }
}

#[test]
fn what_another_tool_undid_meanwhile_is_pending_again() {
    let world = World::new();
    world.script(BASE);
    for number in 1..=3 {
        Tool::Dbmate.write(&world, number, &step(0, number));
    }
    world.run(&["dev", "up"]).good();
    world.script(&format!("{} DELETE FROM schema_migrations WHERE version = '003';", step(0, 3).1));
    let pending = world.run(&["dev", "status"]).good().details()["pending"].clone();
    assert_eq!(pending, json!([{"version": 3, "name": "n"}]));
    world.run(&["dev", "up"]).good();
    assert_eq!(world.number("SELECT count(*) FROM t3"), 1);
}

#[test]
fn an_edit_is_noticed_by_the_other_tools_checksum_and_line_endings_are_none() {
    for tool in [Tool::Sqlx, Tool::Flyway] {
        let world = World::new();
        world.script(BASE).script(&step(0, 1).0).script(&left_by(tool));
        let (up, down) = step(0, 1);
        tool.write(&world, 2, &step(1, 2));
        tool.write(&world, 1, &(up.replace('\n', "\r\n"), down.clone()));
        world.run(&["dev", "up"]).good();

        let world = World::new();
        world.script(BASE).script(&step(0, 1).0).script(&left_by(tool));
        tool.write(&world, 2, &step(1, 2));
        tool.write(&world, 1, &(up.replace("it''s", "it''d"), down));
        world.run(&["dev", "up"]).refused("migration-edited");
        assert_eq!(world.number("SELECT count(*) FROM sqlite_master WHERE name IN ('t2', 'migrations')"), 0);
    }
}

#[test]
fn what_only_another_tool_can_run_is_refused_with_the_reason() {
    let goose = "-- +goose Up\nSELECT 1;\n";
    for (layout, file, text, reason) in [
        ("goose", "002_n.go", "package m", "compiled into the app"),
        ("goose", "002_n.sql", "-- +goose ENVSUB ON\n-- +goose Up\nSELECT '${X}';", "ENVSUB"),
        ("goose", "002_n.sql", "SELECT 1;\n-- +goose Up\n", "a statement stands before"),
        ("goose", "002_n.sql", "-- +goose Up\nSELECT 1;\n-- +goose Up\nSELECT 2;", "a section twice"),
        ("refinery", "V2__n.rs", "pub fn migration() {}", "compiled into the app"),
        ("refinery", "U2.1__n.sql", "SELECT 1;", "not whole"),
        ("flyway", "V2__N.java", "class N {}", "compiled into the app"),
        ("flyway", "V2__n.sql", "CREATE TABLE ${prefix}_t(a);", "placeholder"),
        ("flyway", "afterMigrate.sql", "SELECT 1;", "callback"),
        ("dbmate", "002_n.sql", "CREATE TABLE x(a);", "a statement stands before"),
        ("diesel", "002_n/metadata.toml", "x = 1", "up.sql cannot be read"),
    ] {
        let world = World::new();
        fs::write(world.path().join("migrate.toml"), format!("layout = \"{layout}\"\n")).unwrap();
        match layout {
            "goose" => world.write("001_a.sql", goose),
            "dbmate" => world.write("001_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\n"),
            "diesel" => world.write("001_a/up.sql", "SELECT 1;"),
            _ => world.write("V1__a.sql", "SELECT 1;"),
        };
        world.write(file, text);
        let answer = world.run(&["dev", "up"]).refused("migration-files");
        assert!(answer.text().contains(reason), "{layout} {file}: {}", answer.text());
        assert!(!world.database().exists());
    }
}

#[test]
fn functions_of_the_app_and_dirty_tables_are_refused_and_nothing_changes() {
    let world = World::new();
    world.script(BASE);
    let before = world.dump();
    world.write("001_n.sql", "CREATE TABLE u(a);\nINSERT INTO u SELECT app_slug(note) FROM base;");
    let answer = world.run(&["dev", "up"]).refused("migration-refused");
    assert!(answer.text().contains("a function that only the app defines: app_slug"), "{}", answer.text());
    assert_eq!(world.dump(), before);

    // Not even the first of several runs, though each would have a transaction of its own.
    let world = World::new();
    world.script("CREATE TABLE base(note); CREATE TABLE log(a); CREATE TRIGGER r AFTER INSERT ON base BEGIN INSERT INTO log VALUES (app_now()); END;");
    let before = world.dump();
    world.migration(1, "CREATE TABLE app_now(app_now TEXT);", "DROP TABLE app_now;");
    world.migration(2, "INSERT INTO base VALUES ('x');", "DELETE FROM base WHERE note = 'x';");
    for args in [&["dev", "up", "--each"][..], &["dev", "rehearse"]] {
        let answer = world.run(args).refused("migration-refused");
        assert!(
            answer.text().contains("002_m.up.sql line 1 needs a function that only the app defines: app_now"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(world.dump(), before);
    world.migration(
        2,
        "DROP TRIGGER r; INSERT INTO base VALUES ('x');",
        "DELETE FROM base WHERE note = app_now();",
    );
    assert!(world.run(&["dev", "up"]).refused("migration-refused").text().contains("002_m.down.sql"));
    world.write("002_m.down.sql", "DELETE FROM base WHERE note = 'x';");
    world.run(&["dev", "up"]).good();

    let world = World::new();
    world.script("CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (1, 1);");
    Tool::GolangMigrate.write(&world, 1, &step(0, 1));
    for verb in ["up", "status", "plan", "down"] {
        world.run(&["dev", verb]).refused("tracking-table-dirty");
    }
}

#[test]
fn files_that_two_tools_read_differently_must_be_named() {
    let world = World::new();
    Tool::Refinery.write(&world, 1, &step(0, 1));
    let answer = world.run(&["dev", "up"]).refused("layout-unclear");
    assert!(answer.text().contains("migrate.toml"));
    fs::write(world.path().join("migrate.toml"), "layout = \"refinary\"\n").unwrap();
    assert_eq!(world.run(&["dev", "up"]).code, Some(2));
    fs::write(world.path().join("migrate.toml"), "directory = \"../elsewhere\"\n").unwrap();
    assert_eq!(world.run(&["dev", "up"]).code, Some(2));
}

#[test]
fn versions_of_flyway_are_ordered_part_by_part() {
    let world = World::new();
    fs::write(world.path().join("migrate.toml"), "directory = \"db/migration\"\nlayout = \"flyway\"\n")
        .unwrap();
    let dir = world.path().join("db/migration/sub");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("V1.10__c.sql"), "INSERT INTO t VALUES (3);").unwrap();
    fs::write(dir.join("V1_2__b.sql"), "INSERT INTO t VALUES (2);").unwrap();
    fs::write(dir.parent().unwrap().join("V1__a.sql"), "CREATE TABLE t(a); INSERT INTO t VALUES (1);")
        .unwrap();
    fs::write(dir.join("V20240101120000__d.sql"), "INSERT INTO t VALUES (4);").unwrap();
    world.run(&["dev", "up"]).good();
    assert_eq!(world.query("SELECT group_concat(a) FROM t"), json!([["1,2,3,4"]]));
    let versions = world.query("SELECT version FROM flyway_schema_history ORDER BY installed_rank");
    assert_eq!(versions, json!([["1"], ["1.2"], ["1.10"], ["20240101120000"]]));
}
