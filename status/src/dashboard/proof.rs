//! A verification for people: what each stage came to, what failed, and the pictures that it left in
//! `ENV/verifications`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::layout::{Place, STRUCTURE, is_plain_name, marked_picture, verification_name};
use common::report::{Report, Status};
use serde::Deserialize;
use serde_json::Value;

use super::line::word;
use super::moment::{Moment, length};

const ENDING: &str = ".png";
/// A page is no gallery.
const MOST_PICTURES: usize = 24;

/// What is shown of one.
pub(super) struct Proof {
    pub(super) passed: bool,
    pub(super) at: Option<Moment>,
    pub(super) took: String,
    pub(super) stages: Vec<Stage>,
    pub(super) failures: Vec<Failure>,
    pub(super) pictures: Vec<Picture>,
}

/// The checks of one stage, counted.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

pub(super) struct Failure {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) title: String,
    pub(super) detail: Option<String>,
}

/// A page's screenshot, and the same with what differs marked.
pub(super) struct Picture {
    pub(super) page: String,
    /// Address below the deployment's page.
    pub(super) file: String,
    pub(super) difference: Option<String>,
}

/// The part of [`STRUCTURE`] that is needed here.
#[derive(Debug, Default, Deserialize)]
struct Structure {
    #[serde(default)]
    screenshots: BTreeMap<String, String>,
}

impl Proof {
    /// Nothing when this deployment was never verified whole, and left no picture.
    pub(super) fn of(place: &Place, id: &str, report: Option<&Value>) -> Option<Self> {
        let report: Option<Report> = report.and_then(|report| serde_json::from_value(report.clone()).ok());
        let pictures = pictures(place, id);
        if report.is_none() && pictures.is_empty() {
            return None;
        }
        let steps = report.as_ref().map(|report| report.steps.as_slice()).unwrap_or_default();
        let mut stages: Vec<Stage> = Vec::new();
        for step in steps {
            let name = step.stage();
            if stages.last().is_none_or(|last| last.name != name) {
                stages.push(Stage { name: name.to_owned(), passed: 0, failed: 0, skipped: 0 });
            }
            let Some(stage) = stages.last_mut() else { continue };
            match step.status {
                Status::Passed => stage.passed += 1,
                Status::Failed => stage.failed += 1,
                Status::Skipped => stage.skipped += 1,
            }
        }
        let failures = steps.iter().filter(|step| step.status == Status::Failed).map(|step| Failure {
            name: step.name.clone(),
            status: word(step.status),
            title: step.problem.as_ref().map(|problem| problem.title.clone()).unwrap_or_default(),
            detail: step.problem.as_ref().and_then(|problem| problem.detail.clone()),
        });
        Some(Self {
            passed: report.as_ref().is_some_and(|report| report.success),
            at: report.as_ref().map(|report| Moment::at(report.started_at)),
            took: report.as_ref().map(|report| length(report.duration_ms)).unwrap_or_default(),
            failures: failures.collect(),
            stages,
            pictures,
        })
    }
}

/// Of what passed, else of what did not.
fn dirs(place: &Place, id: &str) -> [(PathBuf, &'static str); 2] {
    let dir = |passed| place.verifications().join(verification_name(id, passed));
    [(dir(true), "passed-"), (dir(false), "failed-")]
}

fn pictures(place: &Place, id: &str) -> Vec<Picture> {
    if !is_plain_name(id) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (dir, prefix) in dirs(place, id) {
        let text = fs::read(dir.join(STRUCTURE)).unwrap_or_default();
        let structure: Structure = serde_json::from_slice(&text).unwrap_or_default();
        for (page, file) in structure.screenshots.into_iter().filter(|(_, file)| is_picture(file)) {
            let marked = marked_picture(&file);
            let difference = dir.join(&marked).exists().then(|| format!("{prefix}{marked}"));
            found.push(Picture { page, file: format!("{prefix}{file}"), difference });
        }
    }
    found.truncate(MOST_PICTURES);
    found
}

/// The content of a picture that a page names; never a file elsewhere.
pub(super) fn picture(place: &Place, id: &str, name: &str) -> Option<Vec<u8>> {
    let is_plain = is_plain_name(id);
    let found = dirs(place, id).into_iter().filter(|_| is_plain).find_map(|(dir, prefix)| {
        let file = name.strip_prefix(prefix).filter(|file| is_picture(file))?;
        let path = dir.join(file);
        (!path.is_symlink()).then_some(path)
    });
    fs::read(found?).ok()
}

fn is_picture(file: &str) -> bool {
    is_plain_name(file) && file.ends_with(ENDING)
}
