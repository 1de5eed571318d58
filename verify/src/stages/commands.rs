//! The programs that are checks. What they print goes to a log file of the run, without the secrets
//! in it; a finding shows the end.

use std::path::PathBuf;
use std::time::Instant;

use common::exec::{Beyond, RunLog, Streams, tail_of};
use common::report::{Problem, Step, quoted};

use super::{TOOL, milliseconds};
use crate::checks::Command;
use crate::finding::Finding;
use crate::program;
use crate::subject::Subject;

/// Texts are looked for in so much of an output, and so much of it is kept.
const KEPT: usize = 16 << 20;

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
    let program = program::of_release(subject, &command.run, limit)?;
    let (ended, printed) = program.record(Streams::Both, KEPT, Beyond::Forgotten);
    let output = String::from_utf8_lossy(&printed.bytes);
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
        // The shell itself: that says nothing of the release.
        Err(problem) => {
            return Err(Problem::unverified(problem.title.clone()).detail(problem.to_string()));
        }
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
