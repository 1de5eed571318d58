//! The `nginx` gateway: the operator runs nginx and includes our server block once; we say where
//! requests go, by a file that nginx loads again or by a symlink that it follows.
//!
//! `include` is that file, `loading` makes nginx load it, `sockets` is the symlink way, `server_block`
//! what the operator includes, `gate` what must hold first, `command` nginx as a program, `workers`
//! its processes. What nginx has loaded is asked of nginx itself, through the public address:
//! neither an exit status nor our file proves anything.

mod command;
mod gate;
mod include;
mod loading;
mod server_block;
mod sockets;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::command::Nginx;
use self::include::{Facts, Loaded};
use self::sockets::{Answers, Sockets};
use super::{Drained, GatewayStatus, Target, Traffic};
use crate::address::Address;
use crate::config::{self, Listen, Switch};
use crate::durable;
use crate::http;
use crate::identity;
use crate::instance::Instance;
use crate::layout::{Place, Slot};
use crate::report::{OrProblem, Problem};

const ANSWER: Duration = Duration::from_secs(5);
/// A connection that was on its way to the old socket has arrived by then.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(3);

/// Speaks with the nginx that serves one environment.
#[derive(Debug, Clone)]
pub struct Client {
    place: Place,
    listen: Listen,
    nginx: Nginx,
    /// In the symlink way.
    sockets: Option<Sockets>,
    answers: Option<Answers>,
    status: Option<SocketAddr>,
}

impl Client {
    pub(super) fn new(place: &Place, listen: Listen, settings: &config::Nginx) -> Self {
        let dir = settings.sockets.clone();
        let log = place.gateway().join("answers.log");
        Self {
            place: place.clone(),
            listen,
            nginx: Nginx { command: settings.command.clone() },
            answers: dir.clone().map(|dir| Answers { mark: dir.join("counted"), log }),
            sockets: dir.filter(|_| settings.switch == Switch::Symlink).map(|dir| Sockets { dir }),
            status: settings.status.map(|status| status.0),
        }
    }

    pub(super) fn status(&self) -> Option<GatewayStatus> {
        self.tell(&self.ask().ok()?)
    }

    fn tell(&self, loaded: &Loaded) -> Option<GatewayStatus> {
        let counted = self.answers.as_ref().and_then(Answers::counted);
        Some(GatewayStatus {
            pid: workers::master_of(loaded.worker)?,
            version: format!("nginx {}", loaded.version),
            listen: self.listen.0.to_string(),
            active: active(&self.place, &loaded.facts),
            in_flight: None,
            requests: counted.map(|(requests, _)| requests),
            failed: None,
            server_errors: counted.map(|(_, errors)| errors),
            requests_cut: None,
        })
    }

    fn facts(&self, active: Option<&Target>, held: Option<Target>) -> Facts {
        let sockets = match active.or(held.as_ref()) {
            Some(target) => self.sockets_of(target),
            None => self.sockets.as_ref(),
        };
        let sockets = sockets.map(|sockets| sockets.dir.clone());
        Facts {
            name: include::name(&self.place),
            environment: self.place.environment().to_owned(),
            active: active.filter(|_| sockets.is_none()).cloned(),
            held,
            sockets,
            status: self.status,
        }
    }

    pub(super) fn switch(&self, target: Option<&Target>) -> Result<(), Problem> {
        self.count(false)?;
        let loaded = self.ask().ok().and_then(|loaded| loaded.facts.sockets).map(|dir| Sockets { dir });
        match (target, loaded) {
            (None, Some(sockets)) => sockets.point_nowhere(),
            (None, None) => self.load(&self.facts(None, None)),
            (Some(target), loaded) => match self.sockets_of(target) {
                None => self.load(&self.facts(Some(target), None)),
                Some(sockets) => self.point(sockets, target, loaded.is_some_and(|of| of.dir == sockets.dir)),
            },
        }
    }

    /// The directory that the target's socket lies in; an instance of before the configuration was
    /// changed may have another address.
    fn sockets_of(&self, target: &Target) -> Option<&Sockets> {
        self.sockets.as_ref().filter(|sockets| sockets.of(target.slot) == target.address)
    }

    fn point(&self, sockets: &Sockets, target: &Target, is_followed: bool) -> Result<(), Problem> {
        sockets.prepare()?;
        if !is_followed {
            // The first that comes must find something to follow.
            sockets.point_to(target.slot)?;
        }
        self.load(&self.facts(Some(target), None))?;
        self.try_socket(target)?;
        sockets.point_to(target.slot)
    }

    /// nginx's own workers ask the instance before anybody is sent to it: they are another user, and
    /// may see other directories.
    fn try_socket(&self, target: &Target) -> Result<(), Problem> {
        let path = format!("/_deploy/{}", target.slot);
        let why = match http::text(&self.listen.reachable().into(), &path, ANSWER) {
            Ok((502 | 504, _)) => "nginx's workers cannot connect to it".to_owned(),
            Ok((503, body)) if body == server_block::CLOSED => {
                "nginx's workers cannot connect to it".to_owned()
            }
            Ok((404, body)) if body.contains("<center>nginx") => {
                return Err(Problem::new("nginx-unproved", format!("nginx does not know {path}"))
                    .detail("the server block is an old one, or not loaded")
                    .hint(self.include_hint()));
            }
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        Err(Problem::new("socket-refused", format!("nginx does not reach {}", target.address))
            .detail(format!("{why}\n{}", Sockets::describe(&target.address)))
            .hint("grep -n umask deploy.toml   # run = \"umask 0; exec …\" lets others connect"))
    }

    /// The old instance may have open connections of old workers, and, behind a socket, of all.
    pub(super) fn drain(&self, deployment: &str, limit: Duration) -> Result<Drained, Problem> {
        let begun = Instant::now();
        let address = Instance::of(&self.place, deployment).map(|instance| instance.address);
        let mut drained = workers::await_end(&self.place, limit);
        if let Some(address @ Address::Unix(_)) = &address {
            std::thread::sleep(ON_ITS_WAY);
            drained &= await_idle(address, begun, limit);
        }
        let in_flight = match &address {
            Some(address) if !drained => identity::connections(address)?,
            _ => 0,
        };
        let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Drained { drained, requests_cut: 0, in_flight, waited_ms })
    }

    pub(super) fn hold(&self) -> Result<(), Problem> {
        let loaded = self.ask().map_err(|why| self.not_switched(&why))?;
        match (loaded.facts.sockets, loaded.facts.active) {
            (Some(dir), _) => Sockets { dir }.close(),
            (None, Some(target)) => self.load(&Facts { sockets: None, ..self.facts(None, Some(target)) }),
            (None, None) => Ok(()),
        }
    }

    pub(super) fn release(&self) -> Result<(), Problem> {
        match include::read(&self.place) {
            Some(Facts { sockets: Some(dir), .. }) => Sockets { dir }.open(),
            Some(Facts { held: Some(target), .. }) => self.load(&self.facts(Some(&target), None)),
            _ => Ok(()),
        }
    }

    /// Begins or ends counting answers, where nginx's workers can see a mark.
    pub(super) fn count(&self, wanted: bool) -> Result<(), Problem> {
        match &self.answers {
            Some(answers) if wanted => {
                Sockets { dir: answers.mark.parent().unwrap_or(&answers.mark).to_owned() }.prepare()?;
                answers.begin()
            }
            Some(answers) => {
                answers.end();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Where the instance of a slot must listen; the others choose a port.
    pub(super) fn private_address(&self, slot: Slot) -> Option<Address> {
        self.sockets.as_ref().map(|sockets| sockets.of(slot))
    }

    /// Before an instance is started.
    pub(super) fn make_room(&self, address: &Address) -> Result<(), Problem> {
        self.sockets.as_ref().map_or(Ok(()), |sockets| sockets.clear(address))
    }

    /// Where the server block lies that `deploy init` writes.
    pub(super) fn server_block(&self) -> PathBuf {
        self.place.gateway().join("server.conf")
    }

    /// Writes our file and the server block, where they are missing; gives those written.
    pub(super) fn introduce(&self) -> Result<Vec<PathBuf>, Problem> {
        let write = |path: &PathBuf, text: String| {
            durable::write(path, text.as_bytes())
                .or_problem("not-written", || format!("cannot write {}", path.display()))
        };
        let mut written = Vec::new();
        let block = server_block::text(self)?;
        // nginx makes a log that is not there, as a user who may not be ours.
        let log = self.place.gateway().join("answers.log");
        for (path, text) in
            [(log, String::new()), (include::path(&self.place), self.facts(None, None).render())]
        {
            if !path.exists() {
                write(&path, text)?;
                written.push(path);
            }
        }
        let path = self.server_block();
        if !path.exists() {
            write(&path, block)?;
            written.push(path);
        }
        if let Some(sockets) = &self.sockets {
            sockets.prepare()?;
        }
        Ok(written)
    }

    /// How to make nginx use them.
    pub(super) fn advice(&self) -> String {
        self.include_hint()
    }
}

/// Where requests go, by what nginx has loaded, or by our file when it is not to be asked.
fn active(place: &Place, facts: &Facts) -> Option<Target> {
    match &facts.sockets {
        None => facts.active.clone(),
        Some(dir) => in_slot(place, Sockets { dir: dir.clone() }.active()?),
    }
}

/// Where they went before the gateway was closed.
fn kept(place: &Place, facts: &Facts) -> Option<Target> {
    match &facts.sockets {
        None => facts.held.clone(),
        Some(dir) => in_slot(place, Sockets { dir: dir.clone() }.kept()?),
    }
}

fn in_slot(place: &Place, slot: Slot) -> Option<Target> {
    Instance::read(place, slot).as_ref().map(Target::from)
}

/// What our file says, for when nginx does not answer.
pub(super) fn recorded(place: &Place) -> Traffic {
    match include::read(place) {
        None => Traffic::Untold,
        // A reboot may have taken the sockets with their directory.
        Some(Facts { sockets: Some(dir), .. }) if !dir.is_dir() => Traffic::Untold,
        Some(facts) => active(place, &facts).or_else(|| kept(place, &facts)).into(),
    }
}

/// Waits until nobody is connected to the instance any more.
fn await_idle(address: &Address, begun: Instant, limit: Duration) -> bool {
    loop {
        match identity::connections(address) {
            Ok(0) => return true,
            _ if begun.elapsed() >= limit || crate::interrupt::check().is_err() => return false,
            _ => std::thread::sleep(PAUSE),
        }
    }
}
