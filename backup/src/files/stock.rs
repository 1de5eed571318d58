//! Copies that earlier backups keep: an unchanged file is linked to one of them, once its content
//! has been read and is what it should be. Files of the app are never linked to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::backups::{Backup, FileFacts};

use super::{Index, kept};
use crate::archive;

/// Kept files by their hash.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    copies: BTreeMap<String, PathBuf>,
    sizes: BTreeSet<u64>,
}

impl Stock {
    /// What the newest of `backups` (newest first) that has further files keeps.
    pub(crate) fn of(backups: &[Backup]) -> Self {
        let mut stock = Self::default();
        let newest = backups.iter().find(|backup| backup.manifest.further.is_some());
        let Some((backup, index)) = newest.and_then(|backup| Some((backup, Index::of(backup).ok()?))) else {
            return stock;
        };
        for (path, facts) in index.files() {
            stock.add(facts, kept(&backup.directory, &path));
        }
        stock
    }

    pub(super) fn add(&mut self, facts: &FileFacts, copy: PathBuf) {
        self.sizes.insert(facts.size);
        self.copies.insert(facts.sha256.clone(), copy);
    }

    /// Whether a file of that size may be there.
    pub(super) fn may_hold(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// Makes `target` a link to a kept copy of that content; false when there is no sound one, or
    /// the file system has no more links to give.
    pub(crate) fn link(&self, facts: &FileFacts, target: &Path) -> bool {
        self.copies.get(&facts.sha256).is_some_and(|copy| {
            archive::measure(copy).is_ok_and(|held| &held == facts) && fs::hard_link(copy, target).is_ok()
        })
    }
}
