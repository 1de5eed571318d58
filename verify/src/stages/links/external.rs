//! Links to other hosts, asked with curl, which has their encryption and the operator's proxy: HEAD
//! first, GET where that is not answered well. Another host's trouble is told, and fails only where
//! it was asked to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::exec::Program;
use common::report::{Problem, Step, quoted};

use super::super::sight::Sight;
use super::super::{TOOL, skipped};
use crate::checks::External;
use crate::crawl::Crawl;
use crate::subject::Subject;

const AT_ONCE: usize = 4;
/// Others are not asked for more than this.
const ASKED: usize = 500;
const LIMIT: Duration = Duration::from_secs(10);
/// What hosts answer that do not want to be asked by programs; the page may well be there.
const UNWILLING: [u16; 6] = [401, 403, 405, 406, 429, 999];

pub(super) fn steps(sight: &Sight<'_>, crawl: &Crawl, wanted: External) -> Vec<Step> {
    let urls: Vec<&str> = super::externals(crawl).take(ASKED).collect();
    if wanted == External::Ignored || urls.is_empty() {
        return Vec::new();
    }
    if let Err(problem) = Program::new("curl").args(["--version"]).succeed() {
        return vec![skipped("links.external", &format!("other hosts are asked with curl: {problem}"))];
    }
    let dead = ask_all(sight.subject, &urls);
    if dead.is_empty() {
        return vec![Step::new(TOOL, "links.external", 0).target(format!("{} addresses", urls.len()))];
    }
    dead.into_iter()
        .map(|(url, answer)| {
            let step = Step::new(TOOL, format!("links.{url}"), 0).target(&url);
            match wanted {
                External::Failing => step.fail(
                    Problem::new("link-external", format!("link {url} {answer}"))
                        .hint(format!("curl -sSIL {}", quoted(&url))),
                ),
                _ => step.skip(format!("{answer}; links to other hosts fail with external = \"fail\"")),
            }
        })
        .collect()
}

/// What is dead, and how it answered.
fn ask_all(subject: &Subject, urls: &[&str]) -> BTreeMap<String, String> {
    let (next, dead) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(urls.len()) {
            scope.spawn(|| {
                while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let limit = subject.remaining(LIMIT);
                    let answer = ask(url, &["--head"], limit).or_else(|_| ask(url, &[], limit));
                    if let (Err(answer), Ok(mut dead)) = (answer, dead.lock()) {
                        dead.insert((*url).to_owned(), answer);
                    }
                }
            });
        }
    });
    dead.into_inner().unwrap_or_default()
}

fn ask(url: &str, options: &[&str], limit: Duration) -> Result<(), String> {
    if limit < Duration::from_secs(1) {
        return Err("was not asked: the time for the whole verification is over".into());
    }
    let seconds = limit.as_secs().to_string();
    let plain = ["--silent", "--show-error", "--location", "--max-time", &seconds, "--output", "/dev/null"];
    let asked = Program::new("curl")
        .args(plain)
        .args(options)
        .args([
            "--proto",
            "=http,https",
            "--proto-redir",
            "=http,https",
            "--write-out",
            "%{http_code}",
            "--",
            url,
        ])
        .limit(limit + LIMIT)
        .run()
        .map_err(|problem| problem.to_string())?;
    let status: u16 = String::from_utf8_lossy(&asked.stdout).trim().parse().unwrap_or_default();
    match status {
        0 => Err(format!("did not answer: {}", asked.tail)),
        status if status < 400 || UNWILLING.contains(&status) => Ok(()),
        status => Err(format!("answered {status}")),
    }
}
