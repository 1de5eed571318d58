//! A world of its own for each test: a bare remote, an operator's checkout of the tiny app, free
//! ports, and the real programs. Everything that was started in it ends with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::report::{Report, Step};
use rusqlite::OpenFlags;
use serde_json::Value;
use tempfile::TempDir;

use crate::host::Host;
use crate::ran::Ran;
use crate::{binaries, keepers, ports};

/// One operator with one app in two environments.
pub struct World {
    dir: TempDir,
    listens: BTreeMap<&'static str, (SocketAddr, File)>,
    /// Put before each command: where the tools run.
    entrance: Vec<String>,
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
        Self::within(&std::env::temp_dir())
    }

    /// The same, below `parent`: on a disk of its own.
    ///
    /// # Panics
    /// When the machine cannot give what a test needs.
    pub fn within(parent: &Path) -> Self {
        binaries::check_fresh();
        let dir = tempfile::Builder::new().prefix("deploy-world-").tempdir_in(parent).expect("a directory");
        let listens = ["dev", "prod"].into_iter().map(|name| (name, ports::claim())).collect();
        let world = Self { dir, listens, entrance: Vec::new() };
        git_in(world.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        git_in(world.dir.path(), &["clone", "--quiet", "origin.git", "checkout"]);
        world.introduce();
        world.git(&["checkout", "--quiet", "-B", "main"]);
        copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tinyapp"), &world.checkout());
        world.write("deploy.toml", &world.configuration());
        world.commit("begin");
        world.git(&["push", "--quiet", "origin", "main:main", "main:dev"]);
        world.git(&["checkout", "--quiet", "-B", "dev", "--track", "origin/dev"]);
        world
    }

    /// The same, on a host of its own, where the tools run from then on; `supervisor` is the value of
    /// that key in both environments.
    ///
    /// # Panics
    /// When the machine cannot give what a test needs.
    pub fn on(host: &Host, supervisor: &str) -> Self {
        let mut world = Self::within(host.dir());
        world.entrance = host.entrance(&world.checkout());
        world.configure("ready_timeout", &format!("supervisor = \"{supervisor}\"\nready_timeout"));
        world
    }

    /// A host that was rebooted is entered anew.
    pub fn reenter(&mut self, host: &Host) {
        self.entrance = host.entrance(&self.checkout());
    }

    /// The same, for a user of that host who is not root.
    pub fn reenter_as(&mut self, host: &Host, user: &str) {
        self.reenter(host);
        let home = format!("HOME=/home/{user}");
        let name = format!("USER={user}");
        let words = [
            "runuser",
            "-u",
            user,
            "--",
            "env",
            "-u",
            "XDG_RUNTIME_DIR",
            "-u",
            "XDG_CONFIG_HOME",
            &home,
            &name,
        ];
        self.entrance.extend(words.map(str::to_owned));
    }

    /// Another host with the same app: its own checkout of the same remote, on `main`, and its own
    /// state. Both have the same addresses, so each environment may serve on one of them only.
    ///
    /// # Panics
    /// When the machine cannot give what a test needs.
    #[must_use]
    pub fn twin(&self) -> Self {
        let dir = tempfile::Builder::new().prefix("deploy-twin-").tempdir().expect("a temporary directory");
        let listens = self
            .listens
            .iter()
            .map(|(name, (address, claim))| (*name, (*address, claim.try_clone().expect("a claim"))))
            .collect();
        let origin = self.dir.path().join("origin.git").display().to_string();
        git_in(dir.path(), &["clone", "--quiet", "--branch", "main", &origin, "checkout"]);
        let twin = Self { dir, listens, entrance: Vec::new() };
        twin.introduce();
        twin
    }

    /// Who commits here.
    fn introduce(&self) {
        for (key, value) in [("user.name", "Tester"), ("user.email", "tester@example.invalid")] {
            self.git(&["config", key, value]);
        }
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

    /// Writes a file of secrets (0600) beside the checkout, or in it.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write_secrets(&self, file: &str, text: &str) {
        self.write(file, text);
        fs::set_permissions(self.checkout().join(file), fs::Permissions::from_mode(0o600)).expect("a chmod");
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
        self.prepared(&binaries::path(tool), args)
    }

    fn prepared(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = match self.entrance.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).current_dir(self.checkout()).env_remove("DEPLOY_CONFIG").stdin(Stdio::null());
        command
    }

    /// Any other program, where the tools run.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        self.prepared(Path::new(program), args)
    }

    /// Runs `deploy ENV` of another installation, as before an upgrade of the tools.
    ///
    /// # Panics
    /// When it does not succeed.
    pub fn deploy_by_other_installation(&self, environment: &str) {
        let deploy = binaries::install_below(self.path()).join("deploy");
        Ran::of(self.prepared(&deploy, &[environment]).output().expect("the tool")).ok();
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
        let output = self.prepared(Path::new("sh"), &["-c", line]).env("PATH", path).output();
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

    /// The same, where perhaps nothing answers.
    pub fn try_get(&self, environment: &str, path: &str) -> Option<(u16, String)> {
        crate::http::request(self.listen(environment), "GET", path).ok()
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
        keepers::end_below(&self.state());
        make_removable(self.dir.path());
    }
}

/// Steps of a report whose name begins so.
pub fn steps<'a>(report: &'a Report, prefix: &str) -> Vec<&'a Step> {
    report.steps.iter().filter(|step| step.name.starts_with(prefix)).collect()
}

fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git");
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
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_dir()) {
        let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
    }
}
