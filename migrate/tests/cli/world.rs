//! A project directory with one environment, and ways to act on it and look at it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tests::keepers;

const CONFIG: &str = "[app]\nname = \"x\"\nrun = \"true\"\n\
    [environments.dev]\nbranches = [\"dev\"]\nlisten = \"127.0.0.1:8001\"\ndatabase = \"sqlite:instance/app.db\"\n\
    [environments.prod]\nbranches = [\"main\"]\nlisten = \"127.0.0.1:8003\"\npromote_from = \"dev\"\ndatabase = \"sqlite:instance/app.db\"\n\
    [environments.bare]\nbranches = [\"bare\"]\nlisten = \"127.0.0.1:8002\"\n";

/// Schema objects and all rows, as python3 reads them.
const DUMP: &str = "import sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
print('\\n'.join(line for line in db.iterdump() if 'migrations' not in line))";

const QUERY: &str = "import sqlite3, sys, json
db = sqlite3.connect(sys.argv[1])
print(json.dumps(db.execute(sys.argv[2]).fetchall()))";

const SCRIPT: &str = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])";

pub(crate) struct World {
    dir: TempDir,
}

/// Exit status and report of one run.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) report: Value,
}

impl Answer {
    fn new(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { code: output.status.code(), report }
    }

    pub(crate) fn details(&self) -> &Value {
        &self.report["details"]["migrate"]
    }

    pub(crate) fn problem(&self) -> &str {
        self.report["problem"]["type"].as_str().unwrap_or_default()
    }

    /// The whole report as text, to search in.
    pub(crate) fn text(&self) -> String {
        self.report.to_string()
    }

    /// Requires success.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!((self.code, &self.report["success"]), (Some(0), &Value::Bool(true)), "{:#}", self.report);
        self
    }

    /// Requires failure with exit 1, this problem, a hint, and that nothing was changed.
    #[track_caller]
    pub(crate) fn refused(self, problem: &str) -> Self {
        assert_eq!((self.code, self.problem()), (Some(1), problem), "{:#}", self.report);
        assert_eq!(self.report["changed"], false);
        assert!(self.report["problem"]["hint"].is_string(), "{:#}", self.report);
        self
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("deploy.toml"), CONFIG).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join(".deploy")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.database_of("dev")
    }

    pub(crate) fn database_of(&self, environment: &str) -> PathBuf {
        self.state().join(environment).join("shared/instance/app.db")
    }

    /// A database of `environment` that is a copy of dev's.
    pub(crate) fn copy_to(&self, environment: &str) {
        let target = self.database_of(environment);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(self.database(), target).unwrap();
    }

    pub(crate) fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join("migrations").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path().join("migrations").join(file)).unwrap();
    }

    /// Writes both files of a migration called `m`.
    pub(crate) fn migration(&self, version: u32, up: &str, down: &str) -> &Self {
        self.write(&format!("{version:03}_m.up.sql"), up).write(&format!("{version:03}_m.down.sql"), down)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(Stdio::piped()).env_remove("DEPLOY_CONFIG").env_remove("DEPLOY_LOCK_FD");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::new(&self.command(args).output().unwrap())
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub(crate) fn finish(child: Child) -> Answer {
        Answer::new(&child.wait_with_output().unwrap())
    }

    pub(crate) fn pipe(&self, args: &[&str], stdin: &str) -> Answer {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Self::finish(child)
    }

    /// Runs SQL by python3, making the database when there is none.
    pub(crate) fn script(&self, sql: &str) -> &Self {
        fs::create_dir_all(self.database().parent().unwrap()).unwrap();
        python(SCRIPT, &self.database(), sql);
        self
    }

    /// All rows of a query, as JSON.
    pub(crate) fn query(&self, sql: &str) -> Value {
        serde_json::from_str(&python(QUERY, &self.database(), sql)).unwrap()
    }

    /// One number, read by our own SQLite: quicker than python3 in a loop.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.database()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Everything in the database but the tracking table.
    pub(crate) fn dump(&self) -> String {
        python(DUMP, &self.database(), "")
    }

    /// Every file below the state directory's environment, without the lock.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.state().join("dev"), &mut found);
        found.retain(|file| !file.ends_with("/lock"));
        found.sort();
        found
    }
}

/// Recovery brings back what serves by the ledger, with a keeper of its own.
impl Drop for World {
    fn drop(&mut self) {
        keepers::end_below(&self.state());
    }
}

fn collect(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        collect(&entry.path(), found);
    }
}

fn python(program: &str, database: &Path, text: &str) -> String {
    let output = Command::new("python3").args(["-c", program]).arg(database).arg(text).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
