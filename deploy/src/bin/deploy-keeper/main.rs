//! Keeps one child alive: restarts it with back-off, holds its public listener,
//! keeps its log and says in `DIR/keeper.json` what is going on.
//!
//! It knows nothing about releases, slots or the gateway protocol; whoever
//! starts it decides what runs and reads the record. Whether a keeper lives is
//! told by the kernel lock on `DIR/keeper.lock`, never by a pid.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backoff;
mod child;
mod descriptors;
mod group;
mod keeper;
mod lock;
mod options;
mod orphan;
mod record;
mod signals;

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;

use child::Child;
use keeper::Keeper;
use lock::Lock;
use options::Options;
use record::{Record, State};
use rustix::fs::Mode;
use signals::Signals;

const BACKLOG: i32 = 4096;
const EXIT_USAGE: u8 = 2;
/// Nobody could know of the child.
const EXIT_UNRECORDED: u8 = 74;
const EXIT_LOCKED: u8 = 75;

fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => run(&options).unwrap_or_else(|error| complain(1, &error.to_string())),
        Err(problem) => complain(EXIT_USAGE, &problem),
    }
}

fn run(options: &Options) -> io::Result<ExitCode> {
    descriptors::shed_inherited()?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Already a session leader: nothing left to leave.
    let _ = rustix::process::setsid();
    // Orphans of the child come to us, so that "the whole group is gone" can be known.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;

    let signals = Signals::register()?;
    let Some(lock) = Lock::take(&options.dir)? else {
        return Ok(ExitCode::from(EXIT_LOCKED));
    };
    let mut orphans = orphan::find(&options.dir);
    // Named until they are gone: we may be killed, too.
    lock.sign(&orphans)?;
    if !options.take_over {
        orphans.drain(..).for_each(|pid| orphan::clear(pid, options.stop_timeout));
    }
    let adopted: Vec<Child> = orphans.into_iter().map(Child::adopt).collect();
    let mut record = Record::new(&options.dir);
    record.set_child(adopted.last());
    let listener = match open_listener(options) {
        Ok(listener) => listener,
        Err(error) => {
            record.fail(&error, "cannot listen");
            return Err(error);
        }
    };
    // What we take over runs, whatever becomes of the records that follow.
    if !adopted.is_empty() {
        record.state = State::Running;
    }
    if let Err(error) = record.save() {
        return Ok(unrecorded(&error));
    }
    let mut keeper = Keeper::new(options, &lock, signals, listener, record);
    keeper.succeed(adopted);
    Ok(keeper.run().map_or_else(|error| unrecorded(&error), |()| ExitCode::SUCCESS))
}

fn open_listener(options: &Options) -> io::Result<Option<TcpListener>> {
    if options.take_over {
        let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Fails where stdin is something else.
        return listener.local_addr().map(|_| Some(listener));
    }
    options.listen.as_deref().map(listen).transpose()
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn unrecorded(error: &io::Error) -> ExitCode {
    complain(EXIT_UNRECORDED, &format!("cannot write keeper.json: {error}"))
}

fn complain(code: u8, problem: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {problem}");
    ExitCode::from(code)
}
