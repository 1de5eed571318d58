//! A world of its own for each test: a bare remote, an operator's checkout of the tiny app, free
//! ports, and the real programs. Everything that was started in it ends with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::report::{Report, Step};
use rusqlite::OpenFlags;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries;

/// Below the ports that the kernel gives to outgoing connections, above the instances' first.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// One operator with one app in two environments.
pub struct World {
    dir: TempDir,
    listens: BTreeMap<&'static str, (SocketAddr, File)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The report on stdout.
    ///
    /// # Panics
    /// When stdout is not exactly one report.
    pub fn report(&self) -> Report {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is no report ({error}):\n{}\nstderr:\n{}", self.stdout, self.stderr)
        })
    }

    /// Requires exit 0.
    ///
    /// # Panics
    /// When it ended otherwise, with everything it printed.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Requires that a shell line ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok_shell(&self) {
        assert_eq!(self.status, 0, "{}", self.stderr);
    }

    /// Requires exit 1 and this problem.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn refused(&self, kind: &str) -> Report {
        self.ended_with(1, kind)
    }

    /// Requires a failure with one of these problems.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn ended_with_any(&self, kinds: &[&str]) {
        assert_ne!(self.status, 0, "{}", self.stdout);
        let kind = self.report().problem.map(|problem| problem.kind).unwrap_or_default();
        assert!(kinds.contains(&kind.as_str()), "{kind} is none of {kinds:?}");
    }

    /// Requires an exit status and a problem that has a hint.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn ended_with(&self, status: i32, kind: &str) -> Report {
        let report = self.report();
        assert_eq!(self.status, status, "{}\n{}", self.stdout, self.stderr);
        let problem = report.problem.as_ref().unwrap_or_else(|| panic!("no problem in {}", self.stdout));
        assert_eq!(problem.kind, kind, "{}", self.stdout);
        assert!(problem.hint.is_some(), "no hint in {problem:?}");
        report
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The tiny app, committed and pushed on `dev` and `main`; `dev` is checked out.
    ///
    /// # Panics
    /// When the machine cannot give what a test needs.
    pub fn new() -> Self {
        binaries::check_fresh();
        let dir = tempfile::Builder::new().prefix("deploy-world-").tempdir().expect("a temporary directory");
        let listens = ["dev", "prod"].into_iter().map(|name| (name, claim_port())).collect();
        let world = Self { dir, listens };
        git_in(world.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        git_in(world.dir.path(), &["clone", "--quiet", "origin.git", "checkout"]);
        for (key, value) in [("user.name", "Tester"), ("user.email", "tester@example.invalid")] {
            world.git(&["config", key, value]);
        }
        world.git(&["checkout", "--quiet", "-B", "main"]);
        copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tinyapp"), &world.checkout());
        world.write("deploy.toml", &world.configuration());
        world.commit("begin");
        world.git(&["push", "--quiet", "origin", "main:main", "main:dev"]);
        world.git(&["checkout", "--quiet", "-B", "dev", "--track", "origin/dev"]);
        world
    }

    fn configuration(&self) -> String {
        format!(
            "log_dir = \"../logs\"\nstate = \"../state\"\n\n[app]\nname = \"tinyapp\"\nrun = \"python3 -S -E app.py\"\nhealth = \"/healthz\"\n\
             shared = [\"instance\"]\n\n\
             [environments.dev]\nbranches = [\"dev\", \"feature/*\"]\nlisten = \"{}\"\ndatabase = \"sqlite:instance/app.db\"\nready_timeout = \"20s\"\n\n\
             [environments.prod]\nbranches = [\"main\"]\npromote_from = \"dev\"\nlisten = \"{}\"\ndatabase = \"sqlite:instance/app.db\"\nready_timeout = \"20s\"\n",
            self.listen("dev"),
            self.listen("prod"),
        )
    }

    /// Replaces text in deploy.toml, commits and pushes it.
    ///
    /// # Panics
    /// When the text is not there.
    pub fn configure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.checkout().join("deploy.toml")).expect("deploy.toml");
        assert!(text.contains(from), "deploy.toml has no {from:?}");
        self.write("deploy.toml", &text.replace(from, to));
        self.publish("configure");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The operator's checkout.
    pub fn checkout(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The database file of an environment.
    pub fn database(&self, environment: &str) -> PathBuf {
        self.state().join(environment).join("shared/instance/app.db")
    }

    /// The public address of an environment.
    ///
    /// # Panics
    /// When there is no such environment.
    pub fn listen(&self, environment: &str) -> SocketAddr {
        self.listens[environment].0
    }

    /// Writes a file of the checkout.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.checkout().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("the file");
    }

    /// Commits everything; gives the revision.
    ///
    /// # Panics
    /// When git refuses.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits everything and pushes the branch; gives the revision.
    pub fn publish(&self, message: &str) -> String {
        let revision = self.commit(message);
        self.git(&["push", "--quiet", "origin", "HEAD"]);
        revision
    }

    /// Publishes a good release that answers `version`.
    pub fn release(&self, version: &str) -> String {
        self.write("VERSION", version);
        self.publish(version)
    }

    /// Publishes a release with a fault: the text of its behaviour.json.
    pub fn faulty(&self, behaviour: &str) -> String {
        self.write("behaviour.json", behaviour);
        self.write("VERSION", "faulty");
        self.publish("faulty")
    }

    /// Takes the fault away again.
    ///
    /// # Panics
    /// When there was none.
    pub fn mend(&self, version: &str) -> String {
        fs::remove_file(self.checkout().join("behaviour.json")).expect("a fault to mend");
        self.release(version)
    }

    /// Runs git in the checkout; gives its output.
    pub fn git(&self, args: &[&str]) -> String {
        git_in(&self.checkout(), args)
    }

    /// A tool's command in the checkout, not yet started.
    pub fn command(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(binaries::path(tool));
        command.args(args).current_dir(self.checkout()).env_remove("DEPLOY_CONFIG").stdin(Stdio::null());
        command
    }

    /// Runs a tool to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, tool: &str, args: &[&str]) -> Ran {
        Ran::of(self.command(tool, args).output().expect("the tool"))
    }

    /// Runs a line of plain `sh` with the tools on its PATH.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sh(&self, line: &str) -> Ran {
        let path = format!("{}:{}", binaries::dir().display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.checkout())
            .env("PATH", path)
            .stdin(Stdio::null())
            .output();
        Ran::of(output.expect("sh"))
    }

    /// What `status ENV` says of the environment.
    ///
    /// # Panics
    /// When status prints no report.
    pub fn status(&self, environment: &str) -> Value {
        let report = self.run("status", &[environment]).report();
        report.details["status"][environment].clone()
    }

    /// The private process that serves, as `/pid` says through the gateway.
    ///
    /// # Panics
    /// When the app does not answer with a number.
    pub fn serving_pid(&self, environment: &str) -> i32 {
        self.get(environment, "/pid").1.trim().parse().expect("a pid")
    }

    /// One GET through the public address: status and body.
    ///
    /// # Panics
    /// When nothing answers.
    pub fn get(&self, environment: &str, path: &str) -> (u16, String) {
        crate::http::request(self.listen(environment), "GET", path).expect("an answer")
    }

    /// What must be the same after a command that changed nothing.
    ///
    /// # Panics
    /// When status prints no report.
    pub fn footprint(&self, environment: &str) -> Footprint {
        let releases = fs::read_dir(self.state().join(environment).join("releases"));
        let mut releases: Vec<String> = releases
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        releases.sort();
        let database = rusqlite::Connection::open_with_flags(
            self.database(environment),
            OpenFlags::SQLITE_OPEN_READ_ONLY,
        );
        let rows = database.ok().and_then(|db| {
            db.query_row("SELECT group_concat(name || ifnull(sql, '')) FROM sqlite_master", [], |row| {
                row.get(0)
            })
            .ok()
        });
        Footprint {
            serving: self.status(environment)["deployment"].as_str().map(str::to_owned),
            answer: crate::http::request(self.listen(environment), "GET", "/").ok(),
            releases,
            schema: rows.flatten(),
            branches: self.git(&[
                "for-each-ref",
                "--format=%(refname) %(objectname)",
                "refs/heads",
                "refs/tags",
            ]),
        }
    }

    /// Keepers and instances of this world that live, by the records below its state directory.
    pub fn keepers(&self) -> Vec<PathBuf> {
        keepers_below(&self.state())
    }
}

/// What serves, from which directories, on which schema; and where the branches stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    pub serving: Option<String>,
    pub answer: Option<(u16, String)>,
    pub releases: Vec<String>,
    pub schema: Option<String>,
    pub branches: String,
}

impl Drop for World {
    fn drop(&mut self) {
        end_keepers_below(&self.state());
        make_removable(self.dir.path());
    }
}

/// Steps of a report whose name begins so.
pub fn steps<'a>(report: &'a Report, prefix: &str) -> Vec<&'a Step> {
    report.steps.iter().filter(|step| step.name.starts_with(prefix)).collect()
}

/// Ends every keeper whose record lies below a state directory, and what it keeps.
pub fn end_keepers_below(state: &Path) {
    for record in keepers_below(state) {
        end_keeper(&record, state);
    }
}

fn keepers_below(state: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(state)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_name() == "keeper.json")
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// Ends a keeper and what it keeps, and nobody else: the lock proves that the pid is still its own.
fn end_keeper(record: &Path, state: &Path) {
    let Some(dir) = record.parent() else { return };
    let facts: Value =
        fs::read(record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let alive = File::open(dir.join("keeper.lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    let pid =
        |name: &str| facts[name].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let (true, Some(keeper)) = (alive, pid("pid")) {
        let _ = kill_process(keeper, Signal::KILL);
    }
    if let Some(child) = pid("child").filter(|child| works_below(*child, state)) {
        let _ = kill_process_group(child, Signal::KILL);
    }
}

/// Whether a process was started from below `state`.
fn works_below(pid: Pid, state: &Path) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    let cwd = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).unwrap_or_default();
    let seen = [read("cmdline"), read("environ")].concat();
    cwd.starts_with(state) || String::from_utf8_lossy(&seen).contains(&*state.to_string_lossy())
}

/// A port that no other test of this machine uses while the file is open.
fn claim_port() -> (SocketAddr, File) {
    let dir = std::env::temp_dir().join("deploy-test-ports");
    fs::create_dir_all(&dir).expect("a directory for port claims");
    let count = PORTS.len();
    let start = usize::try_from(std::process::id()).unwrap_or(0) * 37;
    for step in 0..count {
        let port = PORTS.start + u16::try_from((start + step) % count).expect("a port");
        let claim = File::create(dir.join(port.to_string())).expect("a claim");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if claim.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
            return (address, claim);
        }
    }
    panic!("no port is free");
}

fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(dir).output().expect("git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().flatten() {
        let target = to.join(entry.path().strip_prefix(from).expect("below"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).expect("a directory");
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// Releases are sealed; a user who is not root could not remove them.
fn make_removable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_dir()) {
        let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
    }
}
