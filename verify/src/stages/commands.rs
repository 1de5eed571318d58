//! The programs that are checks. What they print goes to a log file of the run, without the secrets
//! in it; a finding shows the end.

use std::io::{Read, pipe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::exec::{Finished, Program, RunLog, tail_of};
use common::report::{OrProblem, Problem, Step, quoted};

use super::{TOOL, milliseconds};
use crate::checks::Command;
use crate::finding::Finding;
use crate::program;
use crate::subject::Subject;

/// Texts are looked for in so much of an output, and so much of it is kept.
const KEPT: usize = 16 << 20;
/// How long what holds the output open is waited for once the program has ended.
const SLACK: Duration = Duration::from_secs(1);

/// The steps of this stage, and the log file when there is one.
pub(super) fn steps(subject: &Subject) -> (Vec<Step>, Option<PathBuf>) {
    let commands = &subject.checks.commands;
    if commands.is_empty() {
        return (Vec::new(), None);
    }
    let log = match RunLog::create(&subject.log_directory, TOOL, subject.place.environment()) {
        Ok(log) => log,
        // A full disk says nothing against the release.
        Err(problem) => {
            let problem = Problem { kind: "unverified".into(), ..problem };
            return (vec![Step::new(TOOL, "commands", 0).fail(problem)], None);
        }
    };
    (commands.iter().map(|command| step(subject, command, &log)).collect(), Some(log.path().to_owned()))
}

fn step(subject: &Subject, command: &Command, log: &RunLog) -> Step {
    let begun = Instant::now();
    let result = run(subject, command, log);
    let step = Step::new(TOOL, format!("commands.{}", command.name), milliseconds(begun.elapsed()));
    let step = step.target(&command.run);
    match result {
        Ok(findings) => {
            let hint = format!("less +G {}", quoted(log.path().display()));
            match Finding::tell(&format!("command {}", command.name), &findings, hint) {
                Some(problem) => step.fail(problem),
                None => step,
            }
        }
        Err(problem) => step.fail(problem),
    }
}

fn run(subject: &Subject, command: &Command, log: &RunLog) -> Result<Vec<Finding>, Problem> {
    let limit = subject.remaining(command.time());
    if limit.is_zero() {
        return Ok(vec![Finding::unasked("was not run")]);
    }
    let (ended, output) = printing(program::of_release(subject, &command.run, limit)?)?;
    log.title(&command.run);
    log.append(&subject.secrets.hide(&output));
    let finished = match ended {
        Ok(finished) => finished,
        Err(problem) if problem.kind == "time-limit" && limit < command.time() => {
            return Ok(vec![Finding::unasked("did not end").line("output", tail_of(&output))]);
        }
        Err(problem) if problem.kind == "time-limit" => {
            let phrase = format!("did not end within {} s", limit.as_secs_f32());
            return Ok(vec![Finding::new("time-limit", phrase).line("output", tail_of(&output))]);
        }
        Err(problem) => return Err(problem),
    };
    let mut findings = Vec::new();
    if finished.status.code() != Some(command.exit) {
        let phrase = format!("ended with {} instead of {}", finished.ending(), command.exit);
        findings.push(Finding::new("command-exit", phrase).line("output", tail_of(&output)));
    }
    let missing = command.texts().iter().filter(|text| !output.contains(text.as_str()));
    findings.extend(missing.map(|text| {
        Finding::new("text-missing", format!("does not print '{text}'"))
            .line("expected", text)
            .line("output", tail_of(&output))
    }));
    Ok(findings)
}

/// Runs a program; how it ended, and the first 16 MiB of what it printed.
fn printing(program: Program<'_>) -> Result<(Result<Finished, Problem>, String), Problem> {
    let (reader, writer) = pipe().or_problem("unverified", || "cannot make a pipe".into())?;
    let printed = Arc::new(Mutex::new(Vec::new()));
    let (sender, ended) = mpsc::channel::<()>();
    let collected = Arc::clone(&printed);
    thread::spawn(move || {
        collect(reader, &collected);
        drop(sender);
    });
    let program = program.both(writer.into());
    let finished = program.run();
    drop(program);
    // What it left running in the background may hold its output open.
    let _ = ended.recv_timeout(SLACK);
    let bytes = printed.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((finished, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads all, so that nothing waits for us, and keeps the beginning.
fn collect(mut from: impl Read, into: &Mutex<Vec<u8>>) {
    let mut part = [0; 8192];
    while let Ok(taken @ 1..) = from.read(&mut part) {
        let mut bytes = into.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(bytes.len());
        bytes.extend_from_slice(&part[..taken.min(room)]);
    }
}
