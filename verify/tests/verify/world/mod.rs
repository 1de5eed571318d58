//! A place as `deploy` leaves it, with a real server behind it, and `verify` run against it.

pub(crate) mod processes;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use common::config::{self, Config};
use common::instance::Instance;
use common::layout::{Place, Slot};
use common::ledger::{Beginning, Kind, Ledger};
use common::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const DEPLOYMENT: &str = "20261123T093012Z-3f2a9c1";
pub(crate) const RELEASE: &str = "20261123T093012Z-3f2a9c1";
pub(crate) const REVISION: &str = "3f2a9c1000000000000000000000000000000000";

/// An environment `dev` whose slot blue is on record as serving.
pub(crate) struct World {
    root: TempDir,
    pub(crate) place: Place,
    pub(crate) config: Config,
    server: Option<Server>,
}

/// What one run of `verify` came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) report: Value,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// `verify_toml` travels with the release; `settings` are more lines of `[environments.dev]`.
    pub(crate) fn new(verify_toml: &str, settings: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("deploy.toml");
        let text = format!(
            "log_dir = \"logs\"\n[app]\nname = \"x\"\nrun = \"true\"\n[environments.dev]\nbranches = [\"dev\"]\nlisten = \"127.0.0.1:9\"\nenv_file = \"dev.env\"\n{settings}\n"
        );
        fs::write(&file, text).unwrap();
        let env = root.path().join("dev.env");
        fs::write(&env, "VERIFY_USER=someone\nVERIFY_PASSWORD=sentinel-password\n").unwrap();
        fs::set_permissions(&env, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config = config::load(Some(&file)).unwrap();
        let place = Place::new(&config, "dev");
        place.create().unwrap();
        // As a deployment does: a release without a ledger would mean that one was lost.
        Ledger::open(&config).unwrap();
        fs::create_dir(place.release(RELEASE)).unwrap();
        fs::write(place.release(RELEASE).join("verify.toml"), verify_toml).unwrap();
        Self { root, place, config, server: None }
    }

    /// Gives the app pages of its own; `server.py` says in what form.
    pub(crate) fn with_site(self, site: &Value) -> Self {
        fs::write(self.release().join("site.json"), site.to_string()).unwrap();
        self
    }

    /// What was asked of the site so far: method, target and cookies of each request.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.release().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Starts the app as the release's instance; `args` go to the server.
    pub(crate) fn serving(mut self, args: &[&str]) -> Self {
        let server = Server::start(&self.release(), RELEASE, args);
        self.record(server.address);
        self.server = Some(server);
        self
    }

    /// Puts an instance at `address` on record without starting anything.
    pub(crate) fn record(&self, address: SocketAddr) {
        let (deployment, release, revision) = (DEPLOYMENT.into(), RELEASE.into(), REVISION.into());
        let instance = Instance { slot: Slot::Blue, deployment, release, revision, address: address.into() };
        instance.write(&self.place).unwrap();
        let ledger = Ledger::open(&self.config).unwrap();
        let beginning = Beginning {
            id: DEPLOYMENT,
            environment: "dev",
            kind: Kind::Deploy,
            revision: REVISION,
            branch: Some("dev"),
            tree: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
            replaced: None,
            restores: None,
            log_file: None,
        };
        ledger.begin(&beginning).unwrap();
        ledger.place(DEPLOYMENT, RELEASE, Slot::Blue, None).unwrap();
        ledger.set_serving("dev", DEPLOYMENT).unwrap();
        ledger.end(DEPLOYMENT, &Report::new("deploy")).unwrap();
    }

    /// Makes the server's own address the public one: nothing stands before it.
    pub(crate) fn in_public(self) -> Self {
        let file = self.path("deploy.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("127.0.0.1:9\"", &format!("{}\"", self.address()))).unwrap();
        self
    }

    pub(crate) fn release(&self) -> PathBuf {
        self.place.release(RELEASE)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs `verify ARGS`, quietly.
    pub(crate) fn verify(&self, args: &[&str]) -> Run {
        self.verify_with(args, "")
    }

    /// Runs `verify ARGS` with `input` on its stdin.
    pub(crate) fn verify_with(&self, args: &[&str], input: &str) -> Run {
        let mut process = self.spawn(args);
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Run::end(process)
    }

    /// Runs `verify ARGS`; the most memory that it had, in KiB.
    pub(crate) fn verify_watched(&self, args: &[&str]) -> (Run, u64) {
        let mut process = self.spawn(args);
        drop(process.stdin.take());
        let status = format!("/proc/{}/status", process.id());
        let mut peak = 0;
        while process.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = peak.max(line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap()));
            std::thread::yield_now();
        }
        (Run::end(process), peak)
    }

    /// Runs `verify ARGS` and sends `signal` once `mark` exists.
    pub(crate) fn verify_until(&self, args: &[&str], mark: &Path, signal: Signal) -> Run {
        let process = self.spawn(args);
        while !mark.exists() {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&process), signal).unwrap();
        Run::end(process)
    }

    /// Runs `verify ARGS`, its temporary files in `dir`, and `meddle` beside it.
    pub(crate) fn verify_beside(&self, args: &[&str], dir: &Path, meddle: impl FnOnce()) -> Run {
        let process = self.command(args).env("TMPDIR", dir).spawn().unwrap();
        meddle();
        Run::end(process)
    }

    /// Runs `verify ARGS` where no program can be found.
    pub(crate) fn verify_without_path(&self, args: &[&str]) -> Run {
        Run::end(self.command(args).env("PATH", self.root.path()).spawn().unwrap())
    }

    /// Starts `verify ARGS`, its temporary files in `dir`.
    pub(crate) fn spawn_in(&self, args: &[&str], dir: &Path) -> Child {
        self.command(args).env("TMPDIR", dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs `verify ARGS` with one more variable in its environment.
    pub(crate) fn verify_in(&self, args: &[&str], name: &str, value: &str) -> Run {
        Run::end(self.command(args).env(name, value).spawn().unwrap())
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        command.args(args).current_dir(self.root.path()).env_remove("DEPLOY_CONFIG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Run {
    fn end(process: Child) -> Self {
        let output = process.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Self {
            code: output.status.code().unwrap(),
            report: serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}")),
            stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The step of that name.
    pub(crate) fn step(&self, name: &str) -> &Value {
        let steps = self.report["steps"].as_array().unwrap();
        steps
            .iter()
            .find(|step| step["name"] == name)
            .unwrap_or_else(|| panic!("no step {name}: {}", self.stdout))
    }

    /// Status of a step, or the type of its problem when it failed.
    pub(crate) fn ending(&self, name: &str) -> &str {
        let step = self.step(name);
        let problem = step["problem"]["type"].as_str();
        problem.filter(|_| step["status"] == "failed").or(step["status"].as_str()).unwrap()
    }

    /// Outcome of the whole run and its exit status.
    pub(crate) fn outcome(&self) -> (&str, i32) {
        (self.report["outcome"].as_str().unwrap(), self.code)
    }
}

/// One server process; it ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(dir: &Path, release: &str, args: &[&str]) -> Self {
        let mut process = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify/world/server.py"))
            .args(args)
            .current_dir(dir)
            .env("RELEASE", release)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Self { process, stdin, address }
    }
}

/// A recovery starts keepers, which would wait for ever to start their app again.
impl Drop for World {
    fn drop(&mut self) {
        tests::keepers::end_below(&self.root.path().join(".deploy"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}
