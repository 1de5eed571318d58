//! The gateway: takes the public traffic of one environment and sends each
//! request to the active target, which a single command swaps.
//!
//! It decides nothing: which target is active, when to drain and when to hold
//! is said on the control socket (`control`). It never starts or stops an
//! instance, and it keeps no log of requests.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod body;
mod claim;
mod client;
mod clients;
mod control;
mod counters;
mod forward;
mod gateway;
mod headers;
mod hold;
mod listener;
mod options;
mod page;
mod pool;
mod shutdown;
mod state;
mod status;
mod target;
mod tunnel;
mod unpoisoned;
mod workers;

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use gateway::Gateway;
use options::Options;
use rustix::fs::Mode;

const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => return complain(EXIT_USAGE, &problem),
    };
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, &error.to_string()),
    }
}

fn start(options: &Options) -> io::Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let public = listener::open(options.listen.as_deref())?;
    // A control socket's path may hold about 100 bytes; a bare name always fits.
    std::env::set_current_dir(&options.dir)?;
    workers::runtime()?.block_on(serve(options, public))
}

async fn serve(options: &Options, public: TcpListener) -> io::Result<()> {
    let stop = shutdown::requested()?;
    // Before the state is read: a switch goes to the newest process, or to us.
    let control = control::Socket::bind()?;
    let active = state::load().unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: cannot read gateway.json: {error}");
        None
    });
    let gateway = Gateway::new(public.local_addr()?, status::environment()?, active);
    let gateway = Arc::new(gateway);
    let lent = Arc::new(public.try_clone()?);
    tokio::spawn(control.serve(Arc::clone(&gateway), Arc::downgrade(&lent)));
    tokio::spawn(Arc::clone(&gateway.clients).sweep(options.upstream_timeout));
    let public = tokio::net::TcpListener::from_std(public)?;
    let mut others = workers::Others::start(&gateway)?;
    tokio::select! {
        () = listener::accept(&public, &gateway, &mut others) => {}
        () = stop => {}
    }
    drop((public, lent));
    shutdown::finish(&gateway).await;
    control::Socket::remove_own();
    Ok(())
}

fn complain(code: u8, problem: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {problem}");
    ExitCode::from(code)
}
