//! Files of the deployed release: that they are what the release meant to bring.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Instant;

use common::report::{Problem, Step, quoted};
use sha2::{Digest, Sha256};

use super::{TOOL, milliseconds};
use crate::checks::{FileCheck, FileWanted};
use crate::finding::Finding;
use crate::subject::Subject;

/// Texts are looked for in so much of a file.
const SEARCHED: u64 = 16 * 1024 * 1024;

pub(super) fn steps(subject: &Subject) -> Vec<Step> {
    subject.checks.files.iter().map(|check| step(subject, check)).collect()
}

fn step(subject: &Subject, check: &FileCheck) -> Step {
    let (begun, path) = (Instant::now(), subject.release.join(&check.path));
    let result = judge(check, &path);
    let step = Step::new(TOOL, format!("files.{}", check.path), milliseconds(begun.elapsed()));
    let step = step.target(path.display().to_string());
    match result {
        Ok(findings) => {
            let hint = format!("ls -l {0}; sha256sum {0}", quoted(path.display()));
            match Finding::tell(&format!("file {}", check.path), &findings, hint) {
                Some(problem) => step.fail(problem),
                None => step,
            }
        }
        Err(error) => step.fail(
            Problem::unverified(format!("cannot read {}", path.display()))
                .detail(error.to_string())
                .hint(format!("ls -l {}", quoted(path.display()))),
        ),
    }
}

fn judge(check: &FileCheck, path: &Path) -> io::Result<Vec<Finding>> {
    let is_there = path.symlink_metadata().is_ok();
    let (sha256, text, absent) = match &check.wanted {
        FileWanted::Gone if is_there => {
            return Ok(vec![Finding::new("file-present", "is there, and must not be")]);
        }
        FileWanted::Gone => return Ok(Vec::new()),
        FileWanted::Content { sha256, text, absent } => (sha256, text, absent),
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(vec![Finding::new("file-missing", "is not there")]);
        }
        Err(error) => return Err(error),
    };
    let mut findings = Vec::new();
    if let Some(expected) = sha256 {
        let actual = hash(&mut file)?;
        if actual != *expected {
            let finding = Finding::new("file-changed", "has another content");
            findings.push(finding.line("expected", expected).line("actual", actual));
        }
    }
    if !text.is_empty() || !absent.is_empty() {
        findings.extend(search(path, text, absent)?);
    }
    Ok(findings)
}

/// Files may be large: piece by piece.
fn hash(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(common::hex(&hasher.finalize())),
            count => hasher.update(&piece[..count]),
        }
    }
}

fn search(path: &Path, text: &[String], absent: &[String]) -> io::Result<Vec<Finding>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SEARCHED).read_to_end(&mut bytes)?;
    let content = String::from_utf8_lossy(&bytes);
    let missing = text.iter().filter(|text| !content.contains(text.as_str()));
    let missing = missing.map(|text| Finding::new("text-missing", format!("does not have '{text}'")));
    let present = absent.iter().filter(|text| content.contains(text.as_str()));
    let present = present.map(|text| Finding::new("text-present", format!("has '{text}'")));
    Ok(missing.chain(present).collect())
}
