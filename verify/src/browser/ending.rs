//! How a look at a page ended, and what is told of that.

use std::time::Duration;

use reqwest::Url;

use super::watch::{self, Watch};
use crate::finding::Finding;

/// Of one visit.
pub(super) enum Ending {
    /// Its picture, when there is one.
    Seen(Option<Vec<u8>>),
    /// The browser's own words.
    Refused(String),
    Late,
    Crashed,
}

impl Ending {
    /// What is wrong with the page at `url` beside what happened on it, and its picture; it was
    /// looked at for so long.
    pub(super) fn told(
        self,
        watch: &Watch<'_>,
        url: &Url,
        waited: Duration,
    ) -> (Vec<Finding>, Option<Vec<u8>>) {
        match self {
            Self::Seen(picture) => (about_document(watch, url), picture),
            Self::Refused(words) if !watch.crashed => (vec![unopened(&words)], None),
            Self::Late => (vec![unloaded(watch, waited)], None),
            Self::Refused(_) | Self::Crashed => (about_document(watch, url), None),
        }
    }
}

fn about_document(watch: &Watch<'_>, url: &Url) -> Vec<Finding> {
    let mut findings = Vec::new();
    if watch.crashed {
        findings.push(Finding::new("page-crashed", "makes the browser's page crash"));
    }
    if let Some(status) = watch.status.filter(|status| *status >= 400) {
        findings.push(Finding::new("route-status", format!("answered {status} to the browser")));
    }
    let shown = watch.url.split('#').next().unwrap_or_default();
    if shown != url.as_str().split('#').next().unwrap_or_default() {
        let elsewhere = watch::path(shown);
        let finding = Finding::new("redirect-unexpected", format!("leads the browser to {elsewhere}"));
        findings.push(finding.line("expected", url.as_str()).line("actual", shown));
    }
    findings
}

fn unopened(words: &str) -> Finding {
    Finding::new("page-unopened", "cannot be opened in the browser").line("actual", words)
}

fn unloaded(watch: &Watch<'_>, waited: Duration) -> Finding {
    let seconds = waited.as_secs_f32();
    let what = match watch.document {
        Some(_) => format!("has not finished loading after {seconds:.1} s"),
        None => format!("did not answer the browser within {seconds:.1} s"),
    };
    Finding::new("load-slow", what)
}
