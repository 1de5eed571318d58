//! The client side of `deploy-gateway`: one JSON line each way over its control socket.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::units::Units;
use super::{Drained, GatewayStatus, Target, Traffic};
use crate::address::socket_within;
use crate::config::Listen;
use crate::exec::companion;
use crate::fault;
use crate::identity;
use crate::instance::base_environment;
use crate::layout::Place;
use crate::process::{await_end, to_pid};
use crate::report::{OrProblem, Problem, quoted};
use crate::supervisor::{KeeperRecord, keeper_command, keeper_lives, keeper_of, start_keeper, stop_keeper};

const ANSWER: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(10);
/// A gateway that is told to end finishes requests for up to 30 s.
const GRACE: Duration = Duration::from_secs(35);
const PAUSE: Duration = Duration::from_millis(2);

/// Speaks with the gateway of one environment.
#[derive(Debug, Clone)]
pub struct Client {
    dir: PathBuf,
    listen: Listen,
    /// What keeps it, where that is not a keeper.
    units: Option<Units>,
    place: Place,
}

impl Client {
    pub(super) fn new(place: &Place, listen: Listen, units: Option<Units>) -> Self {
        Self { dir: place.gateway(), listen, units, place: place.clone() }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        self.units.as_ref().map_or(Ok(()), Units::check)
    }

    pub(super) fn ensure(&self) -> Result<GatewayStatus, Problem> {
        if let Some(status) = self.status() {
            if status.listen == self.listen.0.to_string() && self.is_kept_as_configured() {
                return Ok(status);
            }
            self.stop()?;
        }
        match &self.units {
            Some(units) => units.start().map_err(|problem| self.blame(problem))?,
            None if keeper_lives(&self.dir) => {}
            None => self.start()?,
        }
        let begun = Instant::now();
        loop {
            match self.status() {
                Some(status) => return Ok(status),
                None if begun.elapsed() < START => std::thread::sleep(PAUSE),
                None => return Err(self.failed("the gateway does not answer")),
            }
        }
    }

    pub(super) fn status(&self) -> Option<GatewayStatus> {
        let answer = self.ask(&json!({"command": "status"}), ANSWER).ok()?;
        serde_json::from_value(answer).ok()
    }

    /// A change of the supervisor is one of what keeps the gateway too.
    fn is_kept_as_configured(&self) -> bool {
        match &self.units {
            Some(_) => !keeper_lives(&self.dir),
            None => Units::left_behind(&self.place, self.listen).is_none(),
        }
    }

    /// Why the public address could not be had.
    fn blame(&self, problem: Problem) -> Problem {
        match identity::stranger(&self.listen.0.into()) {
            Some(_) if self.status().is_none() => port_taken(self.listen),
            _ => problem,
        }
    }

    pub(super) fn is_orphaned(&self) -> bool {
        let Some(status) = self.status() else { return false };
        match &self.units {
            Some(units) => !keeper_lives(&self.dir) && !units.keeps(status.pid),
            None => !keeper_lives(&self.dir) && Units::left_behind(&self.place, self.listen).is_none(),
        }
    }

    /// Whether it, or its keeper, runs another file than the one that would be started now.
    pub(super) fn is_outdated(&self) -> bool {
        let differs = |pid: u32, program: &str| {
            let runs = fs::metadata(format!("/proc/{pid}/exe")).ok();
            let ours = companion(program).ok().and_then(|path| fs::metadata(path).ok());
            runs.zip(ours).is_some_and(|(runs, ours)| (runs.dev(), runs.ino()) != (ours.dev(), ours.ino()))
        };
        self.status().is_some_and(|status| differs(status.pid, "deploy-gateway"))
            || keeper_lives(&self.dir)
                && KeeperRecord::read(&self.dir).is_some_and(|record| differs(record.pid, "deploy-keeper"))
    }

    /// Starts another keeper, and with it another gateway on the same socket; the old one answers
    /// what it was asked and ends. A keeper that lives goes first: until the next one lives, a crash
    /// of the gateway would end the service, and a kill here leaves an orphan that serves.
    pub(super) fn renew(&self) -> Result<(), Problem> {
        let old = self.status().map(|status| status.pid);
        if let Some(units) = &self.units {
            return self.renew_units(units, old);
        }
        let failed = |error: std::io::Error| self.failed(&format!("its listener is not to be had: {error}"));
        let listener = self.ask_for_listener().map_err(failed)?;
        if let Some(pid) = keeper_of(&self.dir) {
            let _ = kill_process(pid, Signal::KILL);
            await_end(pid, ANSWER);
            fault::point("gateway.keeper-ended");
        }
        let record = start_keeper(&self.dir, self.keeper(&["--take-over"])?, Stdio::from(listener))?;
        if record.state == "failed" {
            return Err(self.failed(record.error.as_deref().unwrap_or("the keeper could not start it")));
        }
        self.await_other(old)
    }

    fn await_other(&self, old: Option<u32>) -> Result<(), Problem> {
        let begun = Instant::now();
        while self.status().is_none_or(|status| Some(status.pid) == old) {
            if begun.elapsed() > START {
                return Err(self.failed("no new gateway came"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The socket stays systemd's all the time. A gateway that no unit keeps has a socket of its own,
    /// which has to go first.
    fn renew_units(&self, units: &Units, old: Option<u32>) -> Result<(), Problem> {
        let Some(old) = old.filter(|pid| units.runs(*pid)) else {
            self.stop()?;
            return self.ensure().map(drop);
        };
        if units.start_successor(old)? {
            self.await_other(Some(old))?;
        }
        self.status().map_or(Ok(()), |status| units.settle_on(status.pid))
    }

    fn ask_for_listener(&self) -> std::io::Result<OwnedFd> {
        let mut stream = self.connect(ANSWER)?;
        stream.write_all(b"{\"command\":\"listener\"}\n")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut line = [0; 1024];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let passed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        passed.ok_or_else(|| std::io::Error::other("it is of an earlier version"))
    }

    pub(super) fn switch(&self, target: Option<&Target>) -> Result<(), Problem> {
        self.ask(&json!({"command": "switch", "target": target}), ANSWER).map(drop)
    }

    pub(super) fn drain(&self, deployment: &str, limit: Duration) -> Result<Drained, Problem> {
        let command = json!({"command": "drain", "deployment": deployment, "timeout_ms": millis(limit)});
        let answer = self.ask(&command, limit + ANSWER)?;
        serde_json::from_value(answer).map_err(|error| self.failed(&error.to_string()))
    }

    pub(super) fn hold(&self, limit: Duration) -> Result<(), Problem> {
        self.ask(&json!({"command": "hold", "limit_ms": millis(limit)}), ANSWER).map(drop)
    }

    pub(super) fn release(&self) -> Result<(), Problem> {
        self.ask(&json!({"command": "release"}), ANSWER).map(drop)
    }

    pub(super) fn stop(&self) -> Result<(), Problem> {
        if stop_keeper(&self.dir, GRACE)?.is_some() {
            return Ok(());
        }
        if let Some(units) = Units::left_behind(&self.place, self.listen) {
            units.stop()?;
        }
        let orphan = self.status().filter(|_| self.units.is_some()).and_then(|status| to_pid(status.pid));
        if let Some(pid) = orphan {
            let _ = kill_process(pid, Signal::TERM);
            await_end(pid, GRACE);
        }
        Ok(())
    }

    fn keeper(&self, how: &[&str]) -> Result<Command, Problem> {
        let mut command = keeper_command(&self.dir, "gateway.log", GRACE)?;
        command
            .args(how)
            .arg("--")
            .arg(companion("deploy-gateway")?)
            .arg("--dir")
            .arg(&self.dir)
            .current_dir("/")
            .env_clear()
            .envs(base_environment());
        Ok(command)
    }

    fn start(&self) -> Result<(), Problem> {
        let command = self.keeper(&["--listen", &self.listen.0.to_string()])?;
        let record = start_keeper(&self.dir, command, Stdio::null())?;
        match record.error_kind.as_deref() {
            Some("address_in_use") => Err(port_taken(self.listen)),
            _ if record.state == "failed" => {
                Err(self.failed(record.error.as_deref().unwrap_or("the keeper could not start it")))
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, command: &Value, limit: Duration) -> Result<Value, Problem> {
        let answer = self
            .exchange(command, limit)
            .or_problem("gateway-failed", || "the gateway does not answer".into());
        let answer = answer.map_err(|problem| problem.hint(self.hint()))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(self.failed(error)),
            None => Ok(answer),
        }
    }

    fn connect(&self, limit: Duration) -> std::io::Result<UnixStream> {
        let dir = File::open(&self.dir)?;
        let stream = UnixStream::connect(socket_within(&dir, "control.sock"))?;
        stream.set_read_timeout(Some(limit))?;
        Ok(stream)
    }

    fn exchange(&self, command: &Value, limit: Duration) -> std::io::Result<Value> {
        let mut stream = self.connect(limit)?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn failed(&self, why: &str) -> Problem {
        Problem::new("gateway-failed", "the gateway failed").detail(why).hint(self.hint())
    }

    fn hint(&self) -> String {
        if let Some(units) = &self.units {
            return units.hint();
        }
        format!("tail -n 50 {}", quoted(self.dir.join("gateway.log").display()))
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn recorded(place: &Place) -> Traffic {
    #[derive(serde::Deserialize)]
    struct State {
        active: Option<Target>,
    }
    let text = fs::read(place.gateway().join("gateway.json")).unwrap_or_default();
    serde_json::from_slice::<State>(&text).map_or(Traffic::Untold, |state| state.active.into())
}

/// The problem of a public address that somebody else has.
pub(crate) fn port_taken(listen: Listen) -> Problem {
    let who =
        identity::stranger(&listen.0.into()).unwrap_or_else(|| "a process that this user may not see".into());
    Problem::new("port-taken", format!("{} is taken by {who}", listen.0))
        .hint(format!("ss -ltnp 'sport = :{}'", listen.0.port()))
}
