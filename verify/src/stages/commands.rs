//! The programs that are checks. Their output goes to a log file of the run; of what they print a
//! finding shows the end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Instant;

use common::exec::RunLog;
use common::report::{Problem, Step, quoted};

use super::{TOOL, milliseconds};
use crate::checks::Command;
use crate::finding::Finding;
use crate::program;
use crate::subject::Subject;

/// Texts are looked for in so much of an output.
const SEARCHED: u64 = 16 * 1024 * 1024;

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
    let (begun, start) = (Instant::now(), log.end());
    let result = run(subject, command, log, start);
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

fn run(subject: &Subject, command: &Command, log: &RunLog, start: u64) -> Result<Vec<Finding>, Problem> {
    let limit = subject.remaining(command.time());
    let finished = match program::of_release(subject, &command.run, limit)?.log(log).run() {
        Ok(finished) => finished,
        Err(problem) if problem.kind == "time-limit" => {
            let phrase = format!("did not end within {} s", limit.as_secs_f32());
            return Ok(vec![Finding::new("time-limit", phrase).line("output", printed(log, start, tail))]);
        }
        Err(problem) => return Err(problem),
    };
    let mut findings = Vec::new();
    if finished.status.code() != Some(command.exit) {
        let phrase = format!("ended with {} instead of {}", finished.ending(), command.exit);
        findings.push(Finding::new("command-exit", phrase).line("output", &finished.tail));
    }
    let output = if command.texts().is_empty() { String::new() } else { printed(log, start, str::to_owned) };
    let missing = command.texts().iter().filter(|text| !output.contains(text.as_str()));
    findings.extend(missing.map(|text| {
        Finding::new("text-missing", format!("does not print '{text}'"))
            .line("expected", text)
            .line("output", &finished.tail)
    }));
    Ok(findings)
}

/// What `take` makes of the output, which begins after the headline.
fn printed(log: &RunLog, start: u64, take: impl Fn(&str) -> String) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log.path()).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.take(SEARCHED).read_to_end(&mut bytes)
    });
    let text = String::from_utf8_lossy(&bytes);
    let output = text.split_once('\n').filter(|_| read.is_ok()).map_or("", |(_, output)| output);
    take(output)
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
