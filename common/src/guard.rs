//! The guard of a run that must not end half-way: a process of its own, which no lost connection or
//! kill of that run takes along. It sleeps until the run ends, and finishes what a dead one left.
//!
//! For a release that goes back unless somebody confirms it, and for a standstill, in which nothing
//! serves. What the guard does is `deploy ENV confirm --guard ID`.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdin, Command, Stdio};

use crate::exec::companion;
use crate::lock;
use crate::report::{OrProblem, Problem};
use crate::site::Site;

/// A running guard, as the run that it guards holds it: the pipe to it closes when that run ends,
/// however it ends. Nobody waits for the guard, which may need our lock.
#[derive(Debug)]
pub struct Guard {
    _pipe: ChildStdin,
}

impl Guard {
    /// Starts the guard of the deployment `id`; it watches when this returns.
    ///
    /// # Errors
    /// `not-started`.
    pub fn start(site: &Site, id: &str) -> Result<Self, Problem> {
        let title = || format!("cannot start the guard of {id}");
        let mut child = Command::new(companion("deploy")?)
            .args([&site.environment, "confirm", "--quiet", "--json", "--guard", id, "--config"])
            .arg(&site.config.file)
            .env_remove(lock::INHERITED)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .or_problem("not-started", title)?;
        let mut ready = String::new();
        let answered = child.stdout.take().map(|pipe| BufReader::new(pipe).read_line(&mut ready));
        // A guard that cannot watch prints a report too; only one that watches names the deployment.
        match (answered, child.stdin.take()) {
            (Some(Ok(_)), Some(pipe)) if ready.contains(id) => Ok(Self { _pipe: pipe }),
            _ => Err(Problem::new("not-started", title()).hint("deploy doctor")),
        }
    }
}
