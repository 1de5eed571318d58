//! Starts the child: own process group, log file, and the listener as fd 3.
//! Ending it belongs to `group`, deciding when to `keeper`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::durable;
use rustix::process::Pid;

use crate::options::Options;

const LOG_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// The listener comes in as stdin, which needs no fd number; the shell moves it
/// to 3 and becomes the command, so that `LISTEN_PID` is the command's own pid.
const HAND_OVER: &str =
    r#"LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@" 3<&0 0</dev/null"#;

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) started: Instant,
    /// Start ticks of one that a killed keeper left: nobody tells us when it ends.
    adopted: Option<u64>,
}

impl Child {
    pub(crate) fn start(options: &Options, listener: Option<&TcpListener>) -> io::Result<Self> {
        let log = open_log(&options.log)?;
        let mut command = match listener {
            Some(listener) => hand_over(options, listener)?,
            None => direct(options),
        };
        let child = command.stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
        Ok(Self { pid: Pid::from_child(&child), started: Instant::now(), adopted: None })
    }

    /// The child of a predecessor.
    pub(crate) fn adopt(pid: Pid) -> Self {
        let adopted = Some(start_ticks(pid.as_raw_nonzero().get()).unwrap_or_default());
        Self { pid, started: Instant::now(), adopted }
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted.is_some()
    }

    /// An adopted child that has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_adopted() && start_ticks(self.pid.as_raw_nonzero().get()) != self.adopted
    }
}

fn direct(options: &Options) -> Command {
    let mut command = Command::new(&options.command[0]);
    command
        .args(&options.command[1..])
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .stdin(Stdio::null());
    command
}

fn hand_over(options: &Options, listener: &TcpListener) -> io::Result<Command> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", HAND_OVER, "sh"]).args(&options.command).stdin(OwnedFd::from(listener.try_clone()?));
    Ok(command)
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_LIMIT_BYTES) {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        durable::rename_for_now(path, Path::new(&older))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// When the kernel started this process, in clock ticks since boot: with the
/// pid, the name of a process that no later one can share.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    const FIELDS_FROM_STATE_TO_START_TIME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name and may hold spaces and brackets.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(FIELDS_FROM_STATE_TO_START_TIME)?.parse().ok()
}
