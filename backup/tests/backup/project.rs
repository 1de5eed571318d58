//! A project with one environment, its database, and the tool at hand.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Project {
    pub(crate) dir: TempDir,
}

/// How the tool ended.
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.stdout, self.stderr))
    }

    pub(crate) fn facts(&self) -> Value {
        self.report()["details"]["backup"].clone()
    }

    /// The report of a run that must have succeeded.
    pub(crate) fn succeeded(&self) -> Value {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self.report()
    }

    /// The problem's slug of a run that must have failed with `status`.
    pub(crate) fn failed(&self, status: i32) -> String {
        assert_eq!(self.status, status, "{}\n{}", self.stdout, self.stderr);
        self.report()["problem"]["type"].as_str().unwrap().to_owned()
    }
}

/// How long a keeper may take to end what it keeps.
const LIMIT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

impl Project {
    pub(crate) fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn in_dir(dir: TempDir) -> Self {
        let project = Self { dir };
        project.write(
            "deploy.toml",
            "[app]\nname = \"x\"\nrun = \"true\"\n[environments.dev]\nbranches = [\"dev\"]\nlisten = \"127.0.0.1:8001\"\n\
             database = \"sqlite:instance/app.db\"\nenv_file = \"dev.env\"\nbackups = { keep = 3 }\n",
        );
        project.write("dev.env", "TOKEN=sentinel-4711\nOTHER='second sentinel'\n");
        let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(project.dir.path().join("dev.env"), secret).unwrap();
        fs::create_dir_all(project.live().parent().unwrap()).unwrap();
        project
    }

    /// With `backups = { … }` of its own.
    pub(crate) fn keeping(backups: &str) -> Self {
        let project = Self::new();
        project.configure("{ keep = 3 }", backups);
        project
    }

    /// Changes the text of deploy.toml.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.dir.path().join("deploy.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        self.write("deploy.toml", &text.replace(from, to));
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.dir.path().join(".deploy/dev/shared")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.dir.path().join(".deploy/dev/shared/instance/app.db")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.dir.path().join(".deploy/backups/dev")
    }

    /// Opens the live database as the app would.
    pub(crate) fn database(&self) -> Connection {
        let db = Connection::open(self.live()).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        db
    }

    /// Runs SQL on the live database.
    pub(crate) fn sql(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }

    pub(crate) fn count(&self, query: &str) -> i64 {
        self.database().query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// The first column of every row.
    pub(crate) fn numbers(&self, query: &str) -> Vec<i64> {
        let db = self.database();
        let mut statement = db.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
        command.args(args).current_dir(&self.dir).env_remove("DEPLOY_CONFIG").env_remove("DEPLOY_LOCK_FD");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(&self.command(args).output().unwrap())
    }

    /// As a tool runs it that holds the lock and waits.
    pub(crate) fn run_for_a_deployment(&self, args: &[&str]) -> Ended {
        let own = self.command(args);
        let mut command = Command::new("sh");
        let passed = r#"exec 9<>"$0"; export DEPLOY_LOCK_FD=9; exec "$@""#;
        command.args(["-c", passed]).arg(self.dir.path().join(".deploy/dev/lock"));
        command.arg(own.get_program()).args(own.get_args()).current_dir(&self.dir);
        ended(&command.env_remove("DEPLOY_CONFIG").stdin(Stdio::null()).output().unwrap())
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        ended(&child.wait_with_output().unwrap())
    }

    /// Takes a backup; its id.
    pub(crate) fn backup(&self) -> String {
        self.run(&["dev"]).succeeded()["details"]["backup"]["id"].as_str().unwrap().to_owned()
    }

    /// Ids that `list` shows, newest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        let facts = self.run(&["dev", "list"]).facts();
        let backups = facts["backups"].as_array().unwrap();
        backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Every name in the backups directory.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.backups())
    }
}

/// A deployment that the ledger says serves is brought back by any command, with a keeper: it ends
/// with its project.
impl Drop for Project {
    fn drop(&mut self) {
        for kept in ["slots/blue", "slots/green", "gateway"] {
            let record = self.dir.path().join(".deploy/dev").join(kept).join("keeper.json");
            let Ok(text) = fs::read(record) else { continue };
            let keeper: Value = serde_json::from_slice(&text).unwrap_or_default();
            let pid = keeper["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            let Some(pid) = pid else { continue };
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let _ = pidfd_send_signal(&handle, Signal::TERM);
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&LIMIT));
        }
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn ended(output: &Output) -> Ended {
    Ended {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
