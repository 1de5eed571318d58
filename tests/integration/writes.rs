//! Every acknowledged write is kept through random deployments and rollbacks, over thirteen kinds of
//! tables, with migrations that add, write anew, rename and take away, and commands that are killed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tests::world::World;

const TABLES: [&str; 13] = [
    "plain",
    "keyless",
    "nullkey",
    "norowid",
    "generated",
    "triggered",
    "child",
    "counted",
    "words",
    "uniques",
    "strict",
    "blobs",
    "indexed",
];
const WRITERS: i64 = 4;
const APP: &str = include_str!("../fixtures/keeper/app.py");
const SCHEMA: &str = include_str!("../fixtures/keeper/001_kinds.up.sql");

fn cycles() -> usize {
    if std::env::var_os("SOAK").is_some() { 100 } else { 5 }
}

/// Numbers that nobody chose; the seed is told when a test fails.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        tests::tell(&format!("SEED={seed}"));
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// What a key may hold: the last acknowledged value, and those of writes without an answer since.
#[derive(Debug, Clone, Default)]
struct Held(Vec<Option<String>>);

type Ledger = HashMap<(&'static str, i64), Held>;

/// Writers that never ask twice; each has keys of its own.
struct Writers {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Ledger>>,
}

impl Writers {
    fn start(address: SocketAddr, dice: &mut Dice) -> Self {
        let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (1..=WRITERS)
            .map(|number| {
                let (over, acknowledged, dice) =
                    (Arc::clone(&over), Arc::clone(&acknowledged), Dice(dice.below(u64::MAX >> 1)));
                std::thread::spawn(move || write(address, number, dice, &over, &acknowledged))
            })
            .collect();
        Self { over, acknowledged, threads }
    }

    /// Waits until `more` writes were acknowledged from now on.
    fn wait_for(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        while self.acknowledged.load(Ordering::Relaxed) < wanted {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn write(
    address: SocketAddr,
    writer: i64,
    mut dice: Dice,
    over: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Ledger {
    let mut ledger = Ledger::new();
    let mut sequence = 0;
    while !over.load(Ordering::Relaxed) {
        sequence += 1;
        let table = *dice.one(&TABLES);
        let mine: Vec<i64> = ledger
            .iter()
            .filter(|((it, _), held)| *it == table && held.0.len() == 1 && held.0[0].is_some())
            .map(|((_, key), _)| *key)
            .collect();
        let value = format!("w{writer}-{sequence}");
        let (op, key, becomes) = match dice.below(4) {
            0 if !mine.is_empty() => ("delete", *dice.one(&mine), None),
            1 | 2 if !mine.is_empty() => ("update", *dice.one(&mine), Some(value.clone())),
            _ => ("insert", writer * 1_000_000 + sequence, Some(value.clone())),
        };
        let answer = tests::http::request(address, "POST", &format!("/{op}/{table}/{key}/{value}"));
        let held = ledger.entry((table, key)).or_insert_with(|| Held(vec![None]));
        match answer {
            Ok((200, _)) => {
                held.0 = vec![becomes];
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Refused before anything was done.
            Ok((503, _)) => {}
            _ => held.0.push(becomes),
        }
    }
    ledger
}

/// Which release is made next, and what the schema is like then.
struct Course {
    world: World,
    dice: Dice,
    number: u32,
    /// By table, the column of values where it is not `v`.
    names: BTreeMap<String, String>,
    /// Tables that have lost their column `keep`.
    bare: Vec<&'static str>,
    /// How commands ended, and how often.
    ends: BTreeMap<String, u32>,
}

impl Course {
    fn begin(wal: bool) -> Self {
        let world = World::new();
        world.write("app.py", APP);
        world.write("names.json", "{}");
        std::fs::remove_dir_all(world.checkout().join("migrations")).unwrap();
        let fill = TABLES.map(|table| {
            let keep = if table == "strict" { "7" } else { "'kept'" };
            format!("INSERT INTO {table}(k, v, keep) VALUES (1, 'old-{table}', {keep});\n")
        });
        world.write("migrations/001_kinds.up.sql", &(SCHEMA.to_owned() + &fill.concat()));
        if wal {
            world.write("WAL", "");
        }
        world.release("1");
        world.run("deploy", &["dev"]).ok();
        Self {
            world,
            dice: Dice::new(),
            number: 1,
            names: BTreeMap::new(),
            bare: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    fn database(&self) -> Connection {
        Connection::open(self.world.database("dev")).unwrap()
    }

    fn up_file(&self) -> String {
        format!("migrations/{:03}_change.up.sql", self.number)
    }

    /// Writes the next migration; half of them have no way back of their own.
    fn change(&mut self) {
        self.number += 1;
        let (table, number) = (*self.dice.one(&TABLES), self.number);
        let value = self.names.get(table).cloned().unwrap_or_else(|| "v".into());
        let kind = if table == "words" { 3 } else { self.dice.below(4) };
        let has_keep = !self.bare.contains(&table);
        let (up, down) = match kind {
            0 => (
                format!("ALTER TABLE {table} ADD COLUMN extra_{number} TEXT DEFAULT 'x';"),
                format!("ALTER TABLE {table} DROP COLUMN extra_{number};"),
            ),
            1 if has_keep => {
                self.bare.push(table);
                (
                    format!("-- approve: destructive\nALTER TABLE {table} DROP COLUMN keep;"),
                    format!("ALTER TABLE {table} ADD COLUMN keep;"),
                )
            }
            2 => {
                let name = format!("v_{number}");
                self.names.insert(table.into(), name.clone());
                (
                    format!("ALTER TABLE {table} RENAME COLUMN {value} TO {name};"),
                    format!("ALTER TABLE {table} RENAME COLUMN {name} TO {value};"),
                )
            }
            _ => (
                format!(
                    "CREATE TABLE made_{number}(a); INSERT INTO made_{number} SELECT k FROM plain; UPDATE {table} SET k = k;"
                ),
                format!("DROP TABLE made_{number};"),
            ),
        };
        self.world.write(&self.up_file(), &up);
        // What takes old values away for good has no text that brings them back.
        if kind != 1 && self.dice.below(2) == 0 {
            self.world.write(&self.up_file().replace(".up.", ".down."), &down);
        }
        self.world.write("names.json", &serde_json::to_string(&self.names).unwrap());
        self.world.release(&number.to_string());
    }

    /// Makes the work tree that of the schema which is there.
    fn follow(&mut self, before: (BTreeMap<String, String>, Vec<&'static str>)) {
        let applied: bool = self
            .database()
            .query_row("SELECT EXISTS (SELECT 1 FROM migrations WHERE version = ?1)", [self.number], |row| {
                row.get(0)
            })
            .unwrap();
        if applied {
            return;
        }
        for file in [self.up_file(), self.up_file().replace(".up.", ".down.")] {
            let _ = std::fs::remove_file(self.world.checkout().join(file));
        }
        (self.names, self.bare) = before;
        self.world.write("names.json", &serde_json::to_string(&self.names).unwrap());
    }

    /// One deployment, killed now and then, and mostly a way back; killed now and then, too.
    fn cycle(&mut self, writers: &Writers) {
        let before = (self.names.clone(), self.bare.clone());
        self.change();
        self.command("deploy", &["dev"]);
        writers.wait_for(20);
        if self.dice.below(4) > 0 {
            self.command("rollback", &["dev"]);
        }
        self.follow(before);
        writers.wait_for(20);
    }

    fn command(&mut self, tool: &'static str, args: &[&str]) {
        let mut command = self.world.command(tool, args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        if self.dice.below(3) == 0 {
            std::thread::sleep(Duration::from_millis(self.dice.below(1500)));
            let _ = child.kill();
        }
        let said = child.wait_with_output().unwrap().stdout;
        let report: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        let rung = &report["details"][tool]["rung"]["name"];
        let how = rung.as_str().or(report["outcome"].as_str()).unwrap_or("killed");
        *self.ends.entry(format!("{tool}: {how}")).or_default() += 1;
        // Whatever was cut off, the next command ends it.
        self.world.run("backup", &["dev", "create", "--wait", "120"]).ok();
    }

    /// Keys that do not hold what was acknowledged, and are not listed as having no room.
    fn missing(&self, ledger: &Ledger) -> Vec<String> {
        let db = self.database();
        let listed = self.listed();
        let mut missing = Vec::new();
        for table in TABLES {
            let value = self.names.get(table).map_or("v", String::as_str);
            let sql = format!("SELECT k, CAST({value} AS TEXT) FROM {table}");
            let mut statement = db.prepare(&sql).unwrap();
            let rows: HashMap<i64, String> = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            for ((_, key), held) in ledger.iter().filter(|((it, _), _)| *it == table) {
                let found = rows.get(key).cloned();
                if !held.0.contains(&found) && !listed.contains(&format!("{table} {key}")) {
                    missing.push(format!("{table} {key}: {found:?} instead of {:?}", held.0));
                }
            }
            assert_eq!(rows.get(&1), Some(&format!("old-{table}")), "{table}");
        }
        missing
    }

    fn judge(&self, ledger: &Ledger) {
        let (db, missing) = (self.database(), self.missing(ledger));
        assert!(missing.is_empty(), "{} acknowledged writes are missing: {missing:#?}", missing.len());
        let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let orphans: i64 =
            db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!((whole.as_str(), orphans), ("ok", 0));
        tests::tell(&format!(
            "{} keys, 0 missing, {} listed; {:?}",
            ledger.len(),
            self.listed().len(),
            self.ends
        ));
    }

    fn listed(&self) -> Vec<String> {
        let dir: PathBuf = self.world.state().join("dev/not-kept");
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let lines = files.flat_map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines
            .map(|line| {
                let lost: serde_json::Value = serde_json::from_str(&line).unwrap();
                let key: serde_json::Value = serde_json::from_str(lost["key"].as_str().unwrap()).unwrap();
                format!("{} {}", lost["table"].as_str().unwrap(), key["k"])
            })
            .collect()
    }
}

fn run(wal: bool) {
    let mut course = Course::begin(wal);
    assert_eq!(course.world.get("dev", "/").1, "1");
    let writers = Writers::start(course.world.listen("dev"), &mut course.dice);
    writers.wait_for(50);
    for _ in 0..cycles() {
        course.cycle(&writers);
    }
    let ledger = writers.stop();
    course.judge(&ledger);
}

#[test]
fn no_acknowledged_write_is_lost_with_a_write_ahead_log() {
    run(true);
}

#[test]
fn no_acknowledged_write_is_lost_with_a_rollback_journal() {
    run(false);
}

/// The same judge on a way back that does lose writes, because a person typed it.
#[test]
fn a_way_back_that_loses_writes_is_noticed() {
    let mut course = Course::begin(true);
    let writers = Writers::start(course.world.listen("dev"), &mut course.dice);
    writers.wait_for(20);
    course.number += 1;
    course.world.write(&course.up_file(), "-- approve: destructive\nALTER TABLE plain DROP COLUMN keep;");
    course.world.release("2");
    course.world.run("deploy", &["dev"]).ok();
    writers.wait_for(50);
    let ledger = writers.stop();
    assert_eq!(course.missing(&ledger), Vec::<String>::new());
    let report = course.world.run("rollback", &["dev", "--discard-writes"]).ok().report();
    assert_eq!(report.details["rollback"]["rung"]["number"], 5);
    assert!(course.missing(&ledger).len() > 10);
    assert_eq!(course.world.get("dev", "/").1, "1");
    let listed = course.world.run("backup", &["dev", "list"]).ok().report();
    let backups = listed.details["backup"]["backups"].as_array().unwrap();
    assert!(backups.iter().any(|backup| backup["reason"] == "pre-restore"));
    assert!(backups.iter().all(|backup| backup["verified"] == true), "completed once nobody waits");
}
