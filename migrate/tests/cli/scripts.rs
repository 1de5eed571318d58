//! Migrations in Python: what `db` can do, and that no script breaks the transaction.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use crate::world::World;

fn script(up: &str, down: &str) -> String {
    let body = |text: &str| text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
    format!(
        "\"\"\"\nMigration: m\nDate: 2026-01-17\n\"\"\"\nimport sqlite3\n\n\ndef up(db):\n{}\n\n\ndef down(db):\n{}\n",
        body(up),
        body(down)
    )
}

fn world(up: &str, down: &str) -> World {
    let world = World::new();
    world.script("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x'), (2, 'y');");
    world.write("001_m.py", script(up, down));
    world
}

#[test]
fn up_and_down_run_in_the_order_of_numbers_among_sql() {
    let world = world(
        "db.execute('CREATE TABLE u(a)')\ndb.execute('INSERT INTO u VALUES (?)', (7,))",
        "db.execute('DROP TABLE u')",
    );
    world
        .write("002_n.up.sql", "ALTER TABLE u ADD COLUMN b DEFAULT 5;")
        .write("002_n.down.sql", "ALTER TABLE u DROP COLUMN b;");
    world.write(
        "003_o.py",
        script("db.execute('UPDATE u SET b = b + 1')", "db.execute('UPDATE u SET b = b - 1')"),
    );
    assert_eq!(world.run(&["dev", "rehearse"]).good().details()["rehearsal"]["reversible"], true);
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.details()["applied"].as_array().unwrap().len(), 3);
    assert_eq!(world.query("SELECT a, b FROM u"), json!([[7, 6]]));
    assert_eq!(
        world.query("SELECT kind, length(checksum) FROM migrations"),
        json!([["python", 64], ["sql", 64], ["python", 64]])
    );
    world.remove("003_o.py");
    world.remove("001_m.py");
    world.run(&["dev", "down", "--to", "0"]).good();
    assert_eq!(world.query("SELECT count(*) FROM sqlite_master WHERE name = 'u'"), json!([[0]]));
}

#[test]
fn db_behaves_like_a_sqlite3_connection() {
    let up = r#"
import datetime
cursor = db.execute("SELECT a, b FROM t ORDER BY a")
assert [column[0] for column in cursor.description] == ["a", "b"]
assert cursor.fetchone() == (1, "x") and cursor.fetchall() == [(2, "y")]
for (a,) in db.execute("SELECT a FROM t"):
    db.execute("UPDATE t SET b = ? WHERE a = ?", ("z" * a, a))
assert db.execute("UPDATE t SET b = b").rowcount == 2
assert db.execute("SELECT 1").rowcount == -1
db.executemany("INSERT INTO t VALUES (:a, :b)", ({"a": n, "b": None} for n in range(3, 1203)))
assert db.execute("INSERT INTO t(b) VALUES (?)", (datetime.date(2026, 1, 2),)).lastrowid == 1203
assert db.execute("SELECT count(*) FROM t").fetchone()[0] == 1203
many = db.execute("SELECT a FROM t ORDER BY a")
assert [len(many.fetchmany(n)) for n in (2, 1, 1000)] == [2, 1, 1000] and len(many.fetchall()) == 200
values = [None, 1, -2**63, 1.5, float("inf"), "é;'", b"\x00\xff", True]
row = db.execute("SELECT " + ", ".join("?" * len(values)), values).fetchone()
assert row == tuple(values), row
db.row_factory = sqlite3.Row
row = db.execute("SELECT a AS number FROM t LIMIT 1").fetchone()
assert row["number"] == row[0] == 1 and row.keys() == ["number"]
try:
    db.execute("INSERT INTO t(a) VALUES (1)")
    raise AssertionError("no error")
except sqlite3.IntegrityError as error:
    assert "UNIQUE" in str(error)
try:
    db.execute("SELECT * FROM nowhere")
    raise AssertionError("no error")
except sqlite3.OperationalError as error:
    assert "no such table" in str(error)
try:
    db.execute("SELECT ?", ())
    raise AssertionError("no error")
except sqlite3.ProgrammingError:
    pass
db.executescript("CREATE TABLE s(a); CREATE TRIGGER r AFTER INSERT ON s BEGIN SELECT 1; SELECT ';'; END; INSERT INTO s VALUES (1);")
with db:
    db.execute("INSERT INTO s VALUES (2)")
print("this goes nowhere near the report")
"#;
    let world = world(up.trim(), "pass");
    world.run(&["dev", "up"]).good();
    assert_eq!(world.query("SELECT count(*) FROM t"), json!([[1203]]));
    assert_eq!(
        world.query("SELECT b FROM t WHERE a IN (1, 2, 1203)"),
        json!([["z"], ["zz"], ["2026-01-02"]])
    );
    assert_eq!(world.query("SELECT a FROM s"), json!([[1], [2]]));
}

#[test]
fn commit_and_rollback_mean_what_they_say_and_the_transaction_stays_whole() {
    let up = "db.execute('INSERT INTO t VALUES (3, 1)')
db.commit()
db.execute('INSERT INTO t VALUES (4, 1)')
db.rollback()
db.execute('BEGIN')
db.execute('INSERT INTO t VALUES (5, 1)')
db.execute('COMMIT')
db.executescript('BEGIN; INSERT INTO t VALUES (6, 1); ROLLBACK; INSERT INTO t VALUES (7, 1); COMMIT;')";
    let world = world(up, "pass");
    world.run(&["dev", "up"]).good();
    assert_eq!(world.query("SELECT group_concat(a) FROM t"), json!([["1,2,3,5,7"]]));

    let failing = self::world(&format!("{up}\nraise ValueError('enough')"), "pass");
    let before = failing.dump();
    let answer = failing.run(&["dev", "up"]).refused("migration-failed");
    assert!(answer.text().contains("001_m.py line 17 failed: ValueError: enough"), "{}", answer.text());
    assert_eq!(failing.dump(), before);
}

#[test]
fn no_script_gets_out_of_the_transaction() {
    for escape in [
        "db.execute('RELEASE migrate_script')",
        "db.execute('ROLLBACK TO migrate_script')",
        "db.execute(\"ATTACH ':memory:' AS x\")",
        "db.execute('INSERT OR ROLLBACK INTO t VALUES (1, 1)')",
        "try:\n    db.execute('INSERT OR ROLLBACK INTO t VALUES (1, 1)')\nexcept sqlite3.Error:\n    pass\ndb.execute('CREATE TABLE escaped(a)')",
        "db.create_function('f', 1, str)",
        "import os\nos._exit(0)",
        "import os\nos.close(0)\nos.closerange(3, 20)\ndb.execute('SELECT 1')",
    ] {
        let world = world(&format!("db.execute('CREATE TABLE u(a)')\n{escape}"), "pass");
        let before = world.dump();
        world.run(&["dev", "up"]).refused("migration-failed");
        assert_eq!(world.dump(), before, "{escape}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_the_database_is_touched() {
    for (text, reason) in
        [("def down(db):\n    pass\n", "defines no function up"), ("def up(db):\n  if\n", "SyntaxError")]
    {
        let world = World::new();
        world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;").write("002_n.py", text);
        let answer = world.run(&["dev", "up"]).refused("migration-refused");
        assert!(answer.text().contains(reason), "{}", answer.text());
        assert!(!world.database().exists());
    }
}

#[test]
fn one_interpreter_serves_a_batch_and_none_is_started_for_sql_alone() {
    let world = World::new();
    let python = world.path().join(".venv/bin/python");
    fs::create_dir_all(python.parent().unwrap()).unwrap();
    fs::write(&python, "#!/bin/sh\necho x >> \"$(dirname \"$0\")/starts\"\nexec python3 \"$@\"\n").unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let starts = || fs::read_to_string(python.with_file_name("starts")).unwrap_or_default().lines().count();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["dev", "up"]).good();
    assert_eq!(starts(), 0);
    fs::write(world.path().join("model.py"), "ROWS = [(1,), (2,)]\n").unwrap();
    for version in 2..6 {
        let up = "from model import ROWS\ndb.executemany('INSERT INTO t VALUES (?)', ROWS)";
        world.write(&format!("{version:03}_m.py"), script(up, "pass"));
    }
    world.run(&["dev", "up"]).good();
    assert_eq!((starts(), world.number("SELECT count(*) FROM t")), (1, 8));
}

#[test]
fn a_signal_and_a_kill_end_a_script_that_never_ends() {
    for signal in ["-TERM", "-KILL"] {
        let mark = tempfile::NamedTempFile::new().unwrap();
        let up = format!("import os\nopen({:?}, 'w').write(str(os.getpid()))\nwhile True: pass", mark.path());
        let world = world(&up, "pass");
        let child = world.start(&["dev", "up"]);
        let pid = loop {
            match fs::read_to_string(mark.path()).unwrap().parse::<u32>() {
                Ok(pid) => break pid,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let answer = World::finish(child);
        assert!(signal == "-KILL" || answer.code == Some(143), "{answer:?}");
        let stat = format!("/proc/{pid}/stat");
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(world.number("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'"), 0);
    }
}
