//! Runs the two binaries for tests and talks to them: spawn, control socket,
//! record, signals. Everything started here ends with its value.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const GATEWAY: &str = env!("CARGO_BIN_EXE_deploy-gateway");
pub const KEEPER: &str = env!("CARGO_BIN_EXE_deploy-keeper");

/// Generous: a loaded machine is no failure.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks until the answer is yes.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn signal(pid: i64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A zombie is gone too: nobody may be left to reap it.
pub fn is_gone(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// The control socket of a gateway in `dir`.
pub struct Control {
    dir: PathBuf,
}

impl Control {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    pub fn try_ask(&self, command: &Value) -> Option<Value> {
        let mut socket = UnixStream::connect(self.dir.join("control.sock")).ok()?;
        socket.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    #[track_caller]
    pub fn ask(&self, command: &Value) -> Value {
        self.try_ask(command).expect("the gateway answers")
    }

    pub fn status(&self) -> Value {
        self.ask(&json!({"command": "status"}))
    }

    pub fn switch(&self, address: SocketAddr, deployment: &str) -> Value {
        self.ask(&json!({"command": "switch", "target": target(address, deployment)}))
    }

    pub fn drain(&self, deployment: &str, timeout_ms: u64) -> Value {
        self.ask(&json!({"command": "drain", "deployment": deployment, "timeout_ms": timeout_ms}))
    }

    pub fn wait_until_in_flight(&self, count: u64) {
        wait_for("requests in flight", || (self.status()["in_flight"] == count).then_some(()));
    }
}

pub fn target(address: SocketAddr, deployment: &str) -> Value {
    json!({"slot": "blue", "address": address, "deployment": deployment})
}

/// A gateway without a keeper.
pub struct Gateway {
    pub control: Control,
    pub address: SocketAddr,
    pub child: Child,
    pub dir: TempDir,
}

impl Gateway {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let child = Command::new(GATEWAY)
            .args(["--listen", "127.0.0.1:0", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let control = Control::new(dir.path());
        let address = wait_for("the gateway", || {
            control.try_ask(&json!({"command": "status"}))?["listen"].as_str()?.parse().ok()
        });
        Self { control, address, child, dir }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A keeper in its own directory, which is its working directory too.
pub struct Keeper {
    pub child: Child,
    pub dir: TempDir,
}

impl Keeper {
    pub fn start(options: &[&str], command: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), options, command)
    }

    pub fn start_in(dir: TempDir, options: &[&str], command: &[&str]) -> Self {
        let child = Self::command(dir.path(), options, command).spawn().unwrap();
        Self { child, dir }
    }

    pub fn command(dir: &Path, options: &[&str], command: &[&str]) -> Command {
        let mut keeper = Command::new(KEEPER);
        keeper
            .current_dir(dir)
            .args(["--dir", ".", "--log", "child.log"])
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        keeper
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The record, when there is one that was written by this keeper.
    pub fn record(&self) -> Option<Value> {
        let text = fs::read(self.path("keeper.json")).ok()?;
        let record: Value = serde_json::from_slice(&text).expect("the record is never half written");
        (record["pid"] == self.child.id()).then_some(record)
    }

    pub fn wait_for_record(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.record().filter(|record| accept(record)))
    }

    pub fn wait_until_running(&self) -> Value {
        self.wait_for_record("a running child", |record| record["state"] == "running")
    }

    /// Waits for a whole line in a file that the child writes.
    pub fn wait_for_line(&self, name: &str) -> String {
        wait_for(name, || {
            let text = fs::read_to_string(self.path(name)).ok()?;
            text.ends_with('\n').then(|| text.trim().to_owned())
        })
    }

    pub fn signal(&self, which: Signal) {
        signal(i64::from(self.child.id()), which);
    }

    /// SIGTERM, then the record as the keeper left it.
    pub fn stop(&mut self) -> Value {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
        self.record().unwrap()
    }
}

impl Drop for Keeper {
    /// By SIGTERM: only the keeper knows all that it has started.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}
