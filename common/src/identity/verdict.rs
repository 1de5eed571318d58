//! What the owners of an address prove: the expected release, another one, both, or nothing.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::{Owner, Owners, Release};

/// Which release answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every owner runs the expected release.
    New,
    /// No owner does.
    Old,
    /// Some do and some do not.
    Mixed,
    /// Nobody listens, or owners cannot be seen.
    Unknown,
}

impl Verdict {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// One sentence for each owner that is not proved to run the expected release.
    pub reasons: Vec<String>,
}

/// Judges `owners` against the release `expected`, built in `directory`.
///
/// An owner is right when its environment names the release and it works inside that directory;
/// where its environment is overwritten, the directory alone decides, since it holds one release.
pub fn judge(owners: &Owners, expected: &str, directory: &Path) -> Judgement {
    let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mut reasons: Vec<String> = Vec::new();
    for owner in &owners.visible {
        reasons.extend(
            objection(owner, expected, &resolved)
                .map(|reason| format!("pid {} ({}) {reason}", owner.pid, owner.command)),
        );
    }
    let wrong = reasons.len();
    if owners.hidden > 0 {
        reasons.push(hidden_sentence(owners));
    }
    let verdict = match (wrong, owners.visible.len() - wrong) {
        (0, 0) => {
            reasons.extend((owners.hidden == 0).then(|| String::from("nobody listens there")));
            Verdict::Unknown
        }
        (0, _) if owners.hidden > 0 => Verdict::Unknown,
        (0, _) => Verdict::New,
        (_, 0) => Verdict::Old,
        _ => Verdict::Mixed,
    };
    Judgement { verdict, reasons }
}

/// Why the owner is not the expected release, as the end of a sentence about it.
fn objection(owner: &Owner, expected: &str, directory: &Path) -> Option<String> {
    match &owner.release {
        Release::Named(name) if name != expected => return Some(format!("runs release {name}")),
        Release::Absent => return Some("was started without a RELEASE".into()),
        Release::Named(_) | Release::Overwritten => {}
    }
    match &owner.cwd {
        Some(cwd) if owner.cwd_deleted => Some(format!("works in {}, which was removed", cwd.display())),
        Some(cwd) if cwd.starts_with(directory) => None,
        Some(cwd) => Some(format!("works in {}", cwd.display())),
        None => Some("works in a directory that cannot be read".into()),
    }
}

fn hidden_sentence(owners: &Owners) -> String {
    let user = owners.uid.unwrap_or_default();
    format!(
        "{} listening socket(s) belong to user {user} and only user {user} or root can see by whom they are held",
        owners.hidden
    )
}
