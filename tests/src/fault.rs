//! Fault points from outside: which ones a run passes, and a run with a fault at one of them.
//! What a point is, and what `DEPLOY_FAULT` says, stands in `common::fault`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::ran::Ran;
use crate::world::World;

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The tool ends as by kill -9.
    Abort,
    Sigterm,
    Sigint,
    /// The next program that the tool starts is killed.
    Child,
    /// The disk is full from here on.
    NoSpace,
}

impl Kind {
    /// Those that need no disk of their own.
    pub const ANYWHERE: [Self; 4] = [Self::Abort, Self::Sigterm, Self::Sigint, Self::Child];

    /// The fault at `point`, as `DEPLOY_FAULT` says it; `full` is the command that fills the disk.
    pub fn at(self, point: &str, full: &str) -> String {
        match self {
            Self::Abort => format!("{point}=abort"),
            Self::Sigterm => format!("{point}=sigterm"),
            Self::Sigint => format!("{point}=sigint"),
            Self::Child => format!("{point}=child"),
            Self::NoSpace => format!("{point}=run:{full}"),
        }
    }
}

/// A command and the faults that belong to it always.
#[derive(Debug, Clone)]
pub struct Act {
    pub tool: &'static str,
    pub args: Vec<String>,
    /// Lines of `DEPLOY_FAULT`.
    pub faults: Vec<String>,
}

impl Act {
    /// A command without a fault.
    pub fn new(tool: &'static str, args: &[&str]) -> Self {
        Self { tool, args: args.iter().map(|arg| (*arg).to_owned()).collect(), faults: Vec::new() }
    }

    /// Runs it with one more fault; gives how it ended and the points that it passed, in order.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, world: &World, fault: Option<&str>) -> (Ran, Vec<String>) {
        let dir = tempfile::tempdir_in(world.path()).expect("a directory for the trace");
        let trace = dir.path().join("trace");
        let faults: Vec<&str> = self.faults.iter().map(String::as_str).chain(fault).collect();
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut command = world.command(self.tool, &args);
        command.env("DEPLOY_FAULT_TRACE", &trace).env("DEPLOY_FAULT", faults.join("\n"));
        let ran = Ran::of(command.output().expect("the tool"));
        let passed = fs::read_to_string(trace).unwrap_or_default();
        (ran, passed.lines().map(str::to_owned).collect())
    }
}

/// The names in points: `deploy:file.before-sync#3` is `file.before-sync`.
pub fn names<'a>(points: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let name = |point: &String| Some(point.split_once(':')?.1.rsplit_once('#')?.0.to_owned());
    points.into_iter().filter_map(name).collect()
}

/// The deployment that a report names, a cut-off one too.
pub fn deployment_of(ran: &Ran) -> Option<String> {
    let first = ran.stdout.lines().next()?;
    let report: Value =
        serde_json::from_str(&ran.stdout).or_else(|_| serde_json::from_str(&format!("{first}}}"))).ok()?;
    report["deployment"].as_str().map(str::to_owned)
}
