//! Changes that somebody approved: `approvals.json`, for the tree in which they were found, so that
//! they hold in each environment where that tree is deployed, and for no other.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::durable;
use common::layout::Place;
use common::lock::{self, Lock};
use common::report::{OrProblem, Problem, now, quoted};
use serde::{Deserialize, Serialize};

use super::change::{Change, in_short};
use super::structure::Structure;

/// Older ones are for trees that nobody deploys any more.
const KEPT: usize = 500;
const WAIT: Duration = Duration::from_secs(10);

/// Somebody's word that a change is meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) id: String,
    pub(crate) tree: String,
    /// What was approved, in words.
    pub(crate) sentence: String,
    /// Names of the pages that had changed so: no other page is approved.
    #[serde(default)]
    pub(crate) pages: Vec<String>,
    pub(crate) who: String,
    /// RFC 3339, UTC.
    pub(crate) at: String,
}

impl Approval {
    /// Whether it says all that `other` does.
    fn covers(&self, other: &Self) -> bool {
        (&self.id, &self.tree) == (&other.id, &other.tree)
            && other.pages.iter().all(|page| self.pages.contains(page))
    }
}

/// Accepts the changes that were approved for `tree`, of the pages that somebody saw them on.
pub(crate) fn accept(place: &Place, tree: &str, changes: &mut Vec<Change>) {
    let approvals = read(place).unwrap_or_default();
    for mut change in take(changes) {
        let known = |known: &&Approval| known.id == change.id && known.tree == tree;
        let approved = approvals.iter().filter(|_| change.accepted.is_none()).filter(known);
        for approval in approved.collect::<Vec<_>>() {
            let by = format!("{} at {}", approval.who, approval.at);
            changes.extend(change.split_off(&approval.pages, &by));
        }
        if !change.pages.is_empty() {
            changes.push(change);
        }
    }
}

/// Approves the changes of these ids, all of which `found`, oldest first, must name. Where several
/// verifications have found one, the newest counts.
///
/// # Errors
/// `unknown-change`, `locked`, `state-unreadable`, `state-unwritable`; then none of them is
/// approved.
pub(crate) fn approve(place: &Place, ids: &[String], found: &[Structure]) -> Result<Vec<Approval>, Problem> {
    let new = ids.iter().map(|id| approval(place, id, found)).collect::<Result<Vec<_>, _>>()?;
    let guard = place.state().join("approvals.lock");
    let _lock = Lock::take_file(&guard, "the approvals", "verify --approve", WAIT)?;
    let mut all = read(place)?;
    all.retain(|known| !new.iter().any(|new| new.covers(known)));
    all.extend(new.iter().cloned());
    let surplus = all.len().saturating_sub(KEPT);
    let text = serde_json::to_vec_pretty(&all[surplus..]).unwrap_or_default();
    let file = file(place);
    durable::write(&file, &text)
        .or_problem("state-unwritable", || format!("cannot write {}", file.display()))?;
    Ok(new)
}

fn approval(place: &Place, id: &str, found: &[Structure]) -> Result<Approval, Problem> {
    let of_id = |structure: &Structure| -> Vec<Change> {
        structure.changes.iter().filter(|change| change.id == id).cloned().collect()
    };
    let mut newest = found.iter().rev().map(|structure| (structure, of_id(structure)));
    let Some((structure, parts)) = newest.find(|(_, parts)| !parts.is_empty()) else {
        let known = found.iter().flat_map(|structure| &structure.changes);
        let ids: BTreeSet<&str> = known.map(|change| change.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let which = if ids.is_empty() { "none".into() } else { ids.join("\n") };
        return Err(Problem::new("unknown-change", format!("no verification has found the change '{id}'"))
            .detail(format!("found: {which}"))
            .hint(format!("verify {}", quoted(place.environment()))));
    };
    let phrase = parts.first().map(|part| part.phrase.clone()).unwrap_or_default();
    let pages: Vec<String> = parts.into_iter().flat_map(|part| part.pages).collect();
    let sentence = format!("{} {phrase}", in_short(&pages));
    let tree = structure.tree.clone();
    Ok(Approval { id: id.to_owned(), tree, sentence, pages, who: lock::who(), at: now().to_string() })
}

fn read(place: &Place) -> Result<Vec<Approval>, Problem> {
    let file = file(place);
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| unreadable(&file, &error.to_string()))?,
    };
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&file, &error.to_string()))
}

fn unreadable(file: &Path, why: &str) -> Problem {
    Problem::new("state-unreadable", format!("cannot read {}", file.display()))
        .detail(why)
        .hint(format!("python3 -m json.tool {}", quoted(file.display())))
}

fn file(place: &Place) -> PathBuf {
    place.state().join("approvals.json")
}
