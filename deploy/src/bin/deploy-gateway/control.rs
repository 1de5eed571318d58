//! The control socket: one JSON object a line in, one a line out.
//! It translates between lines and `Gateway`; file permissions say who may ask.

use std::io::{self, BufRead, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};
use std::{fs, process};

use common::durable;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::gateway::Gateway;
use crate::target::Description;

const NAME: &str = "control.sock";
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(1);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Command {
    Status,
    Switch {
        /// Null takes the target away; leaving it out is a mistake.
        #[serde(deserialize_with = "Option::deserialize")]
        target: Option<Description>,
    },
    Drain {
        deployment: String,
        timeout_ms: u64,
    },
    Hold {
        limit_ms: u64,
    },
    Release,
    Ping,
    /// Said by a newer process on the same listener.
    Follow,
    /// Asks for the public listener, for a keeper in the place of one that is gone: the answer
    /// carries the descriptor.
    Listener,
}

/// The inode of the socket that this process bound.
static OWN_INODE: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
}

impl Socket {
    /// Takes the name over from an older process, or from a dead one, by rename.
    pub(crate) fn bind() -> io::Result<Self> {
        let temporary = format!("{NAME}.{}", process::id());
        let _ = fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
        OWN_INODE.store(fs::metadata(&temporary)?.ino(), Ordering::SeqCst);
        // A dead one left its socket file and does not answer.
        let _ = tell_predecessor();
        durable::rename_for_now(Path::new(&temporary), Path::new(NAME))?;
        Ok(Self { listener })
    }

    /// False when a newer process has taken the name over.
    pub(crate) fn is_own() -> bool {
        fs::metadata(NAME).is_ok_and(|file| file.ino() == OWN_INODE.load(Ordering::SeqCst))
    }

    pub(crate) fn remove_own() {
        if Self::is_own() {
            let _ = fs::remove_file(NAME);
        }
    }

    /// Serves for ever, each connection by itself: a drain holds up nobody else.
    pub(crate) async fn serve(self, gateway: Arc<Gateway>, public: Weak<TcpListener>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, Arc::clone(&gateway), Weak::clone(&public)));
                }
                Err(_) => tokio::time::sleep(AFTER_ACCEPT_ERROR).await,
            }
        }
    }
}

/// From its answer on it follows our state file, so no switch of ours is missed
/// by the connections that are still with it.
fn tell_predecessor() -> io::Result<()> {
    let mut predecessor = net::UnixStream::connect(NAME)?;
    predecessor.set_read_timeout(Some(PREDECESSOR_LIMIT))?;
    predecessor.write_all(b"{\"command\":\"follow\"}\n")?;
    io::BufReader::new(predecessor).read_line(&mut String::new())?;
    Ok(())
}

/// Ends with the connection.
async fn converse(
    mut stream: UnixStream,
    gateway: Arc<Gateway>,
    public: Weak<TcpListener>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let command = serde_json::from_str(&line);
        let passes_listener = matches!(command, Ok(Command::Listener));
        let mut reply = match command {
            Ok(command) => obey(&gateway, command).await,
            Err(error) => json!({ "error": format!("not a command: {error}") }),
        }
        .to_string();
        reply.push('\n');
        if passes_listener {
            let listener = public.upgrade().ok_or(io::ErrorKind::NotConnected)?;
            send_with(writer.as_ref(), &reply, listener.as_fd())?;
        } else {
            writer.write_all(reply.as_bytes()).await?;
        }
    }
    Ok(())
}

/// The line is short: the socket takes it whole, and at once.
fn send_with(stream: &UnixStream, line: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let passed = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&passed));
    sendmsg(stream, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::empty())?;
    Ok(())
}

async fn obey(gateway: &Gateway, command: Command) -> Value {
    let is_successors = matches!(command, Command::Switch { .. } | Command::Hold { .. });
    if is_successors && gateway.is_succeeded() {
        return json!({ "error": "a newer gateway has taken over; connect again" });
    }
    match command {
        Command::Status => status(gateway),
        Command::Switch { target } => match gateway.switch(target.clone()).await {
            Ok(previous) => json!({ "previous": previous, "active": target }),
            Err(error) => json!({ "error": format!("cannot save gateway.json: {error}") }),
        },
        Command::Drain { deployment, timeout_ms } => {
            let limit = Duration::from_millis(timeout_ms);
            let drained = gateway.drain(&deployment, limit).await;
            json!({
                "drained": drained.requests_cut == 0,
                "requests_cut": drained.requests_cut,
                "waited_ms": milliseconds(drained.waited),
            })
        }
        Command::Hold { limit_ms } => {
            gateway.hold(Duration::from_millis(limit_ms));
            json!({ "held": true })
        }
        Command::Release => json!({ "held": false, "waited": gateway.release() }),
        Command::Ping => json!({ "ok": true }),
        Command::Follow => {
            gateway.follow();
            json!({ "following": true })
        }
        Command::Listener => json!({ "listen": gateway.listen }),
    }
}

fn status(gateway: &Gateway) -> Value {
    let mut in_flight_everywhere = 0;
    let mut targets = Vec::new();
    for target in gateway.targets() {
        let in_flight = target.in_flight();
        in_flight_everywhere += in_flight;
        let Description { address, deployment, .. } = &target.description;
        targets.push(json!({
            "address": address,
            "deployment": deployment,
            "in_flight": in_flight,
        }));
    }
    let started = gateway.started.duration_since(UNIX_EPOCH);
    let counters = &gateway.counters;
    json!({
        "pid": process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "listen": gateway.listen,
        "started_ms": milliseconds(started.unwrap_or_default()),
        "active": gateway.active(),
        "in_flight": in_flight_everywhere,
        "targets": targets,
        "requests": counters.requests.get(),
        "failed": counters.failed.get(),
        "server_errors": counters.server_errors.get(),
        "requests_cut": counters.requests_cut.get(),
        "holding": gateway.queue.holding(),
        "held": gateway.is_holding(),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
