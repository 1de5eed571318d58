//! Further files of a backup, such as uploads: `files.json` says what they are, `files/` holds them.
//!
//! `survey` finds what is named, `collection` copies it or links it to an earlier backup's copy,
//! `placing` puts it back. No link is followed anywhere, since the app may write where we walk.

mod collection;
mod folder;
mod naming;
mod placing;
mod stock;
mod survey;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::backups::{Backup, FILES, FILES_INDEX, FileFacts};
use common::report::{OrProblem, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use collection::collect;
pub(crate) use naming::path_of;
pub(crate) use placing::{Placing, Way};
pub(crate) use stock::Stock;
pub(crate) use survey::{Survey, survey};

/// One thing below the shared directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Entry {
    File {
        #[serde(flatten)]
        facts: FileFacts,
        /// Permission bits.
        mode: u32,
        modified: Timestamp,
    },
    Link {
        /// As it was written; `%` escapes as in paths.
        target: String,
    },
    Directory {
        mode: u32,
    },
}

/// `files.json`: every entry by its path below the shared directory, parents first. Bytes that are
/// no UTF-8, and `%` itself, are written `%XX`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Index {
    /// Of a backup without further files: empty.
    ///
    /// # Errors
    /// `backup-damaged`.
    pub(crate) fn of(backup: &Backup) -> Result<Self, Problem> {
        if backup.manifest.further.is_none() {
            return Ok(Self::default());
        }
        let file = backup.directory.join(FILES_INDEX);
        let title = || format!("{} cannot be believed", file.display());
        let text = fs::read_to_string(&file).or_problem("backup-damaged", title)?;
        let index: Self = serde_json::from_str(&text).or_problem("backup-damaged", title)?;
        match index.entries.keys().find(|name| path_of(name).is_none()) {
            None => Ok(index),
            Some(name) => {
                Err(Problem::new("backup-damaged", title()).detail(format!("'{name}' is no path inside")))
            }
        }
    }

    /// Regular files: their path and what they hold.
    pub(crate) fn files(&self) -> impl Iterator<Item = (PathBuf, &FileFacts)> {
        self.entries.iter().filter_map(|(name, entry)| match entry {
            Entry::File { facts, .. } => Some((path_of(name)?, facts)),
            _ => None,
        })
    }

    /// Whether a path below `files/` belongs to the backup.
    pub(crate) fn holds(&self, below: &Path) -> bool {
        self.entries.contains_key(&naming::text_of(below))
    }
}

/// Where a backup keeps the file of that path.
pub(crate) fn kept(directory: &Path, path: &Path) -> PathBuf {
    directory.join(FILES).join(path)
}
