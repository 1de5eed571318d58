//! A finding: what is wrong with one answer, before it is told as a problem.

use common::report::Problem;

/// One thing wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Problem type.
    pub(crate) kind: &'static str,
    /// Reads after the name of the check: `answered 500 instead of 200`.
    pub(crate) phrase: String,
    /// Expected, actual, excerpt: a line each.
    pub(crate) detail: String,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, phrase: impl Into<String>) -> Self {
        Self { kind, phrase: phrase.into(), detail: String::new() }
    }

    /// Nothing is known: the time for the whole verification was over before. That never fails a release.
    pub(crate) fn unasked(what: &str) -> Self {
        Self::new("unverified", format!("{what}: the time for the whole verification was over"))
    }

    pub(crate) fn line(mut self, label: &str, value: impl AsRef<str>) -> Self {
        let separator = if self.detail.is_empty() { "" } else { "\n" };
        self.detail = format!("{}{separator}{label}: {}", self.detail, value.as_ref());
        self
    }

    /// The problem of a check: its first finding, the others as further lines.
    pub(crate) fn tell(check: &str, findings: &[Self], hint: String) -> Option<Problem> {
        let (first, others) = findings.split_first()?;
        let mut detail = first.detail.clone();
        for other in others {
            detail = format!("{detail}\nalso: {}", other.phrase);
        }
        let problem = Problem::new(first.kind, format!("{check} {}", first.phrase)).hint(hint);
        Some(if detail.is_empty() { problem } else { problem.detail(detail.trim_start()) })
    }
}
