//! The structure of a release: what each page answered when it was verified, in one JSON file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::facts::Facts;

/// What one verification saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Structure {
    pub(crate) deployment: String,
    pub(crate) revision: String,
    /// The git tree, or the revision where none is known: approvals are for it.
    pub(crate) tree: String,
    /// RFC 3339, UTC.
    pub(crate) recorded_at: String,
    /// By name, such as `GET /doc/all/`.
    pub(crate) pages: BTreeMap<String, Facts>,
    /// Rows of each table that must not shrink.
    pub(crate) rows: BTreeMap<String, u64>,
    /// File of each page's screenshot, beside this one.
    pub(crate) screenshots: BTreeMap<String, String>,
    /// Since the release before.
    pub(crate) changes: Vec<Change>,
}
