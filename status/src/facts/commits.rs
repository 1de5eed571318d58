//! What git says of the revisions that serve: their words, and how they stand to their branches.
//! Each question is asked once for all environments.

use std::collections::BTreeMap;
use std::thread;

use common::config::Config;
use common::git::{Repository, Sync, Words};
use common::ledger::Deployment;

use super::record::Record;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Commits {
    words: BTreeMap<String, Words>,
    /// How revision and branch stand.
    distances: BTreeMap<(String, String), String>,
}

impl Commits {
    /// Nothing where there is no repository.
    pub(super) fn read(config: &Config, records: &[Record<'_>]) -> Self {
        let serving: Vec<&Deployment> = records.iter().filter_map(|record| record.serving.as_ref()).collect();
        let repository = (!serving.is_empty()).then(|| Repository::open(config.root()).ok()).flatten();
        let Some(repository) = repository else {
            return Self::default();
        };
        let revisions: Vec<&str> = serving.iter().map(|row| row.revision.as_str()).collect();
        let branches: Vec<&str> = serving.iter().filter_map(|row| row.branch.as_deref()).collect();
        thread::scope(|scope| {
            let words = scope.spawn(|| repository.words_of(&revisions));
            let heads = repository.heads_of(&branches);
            let askers: Vec<_> = serving
                .iter()
                .filter_map(|row| {
                    let branch = row.branch.as_deref()?;
                    let head = heads.get(branch)?.clone();
                    let repository = &repository;
                    let key = (row.revision.clone(), branch.to_owned());
                    Some((key, scope.spawn(move || distance(repository, &row.revision, branch, &head))))
                })
                .collect();
            let distances = askers.into_iter().filter_map(|(key, asker)| Some((key, asker.join().ok()??)));
            Self { distances: distances.collect(), words: words.join().unwrap_or_default() }
        })
    }

    pub(super) fn words(&self, revision: &str) -> Option<&Words> {
        self.words.get(revision)
    }

    pub(super) fn distance(&self, row: &Deployment) -> Option<String> {
        self.distances.get(&(row.revision.clone(), row.branch.clone()?)).cloned()
    }
}

/// `same as dev`, `3 commits behind dev`.
fn distance(repository: &Repository, revision: &str, branch: &str, head: &str) -> Option<String> {
    if revision == head {
        return Some(format!("same as {branch}"));
    }
    Some(match repository.compare(revision, head).ok()? {
        Sync::Same => format!("same as {branch}"),
        Sync::Apart { ahead: 0, behind } => format!("{behind} commits behind {branch}"),
        Sync::Apart { ahead, behind: 0 } => format!("{ahead} commits ahead of {branch}"),
        Sync::Apart { ahead, behind } => format!("{ahead} commits ahead of {branch}, {behind} behind"),
    })
}
