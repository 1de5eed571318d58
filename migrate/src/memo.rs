//! What `up` remembers when it had nothing to do, so that the next one need not read thousands of
//! files and a whole schema to say so again.
//!
//! A memo holds what the report told, and the traces of all that it was told from, taken before
//! any of it was read: where they are the same, so is the answer. One that is missing, torn, of
//! another version or from elsewhere only costs the reading.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use common::cli::Run;
use common::durable;
use common::migrations::{SETTINGS_FILE, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scene::Scene;
use crate::traces::Traces;

const FILE: &str = "migrate-seen.json";
const VERSION: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));
const TOOL: &str = "migrate";

/// Where it is kept, and what it would have to be told from.
pub(crate) struct Memo {
    path: PathBuf,
    traces: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    traces: String,
    /// The members of `details.migrate`.
    facts: Map<String, Value>,
}

impl Memo {
    /// To be asked before anything is read. `None` where none can be relied on: something has changed
    /// just now, or cannot be looked at, or another `migrate` of the chain has told facts already.
    pub(crate) fn of(run: &Run, scene: &Scene, root: &Path) -> Option<Self> {
        if run.report.details.contains_key(TOOL) {
            return None;
        }
        let database = scene.database.as_deref()?;
        let mut traces = Traces::begin(&[VERSION, scene.environment()]);
        traces.file(&env::current_exe().ok()?);
        traces.file(&root.join(SETTINGS_FILE));
        traces.tree(&Source::directory(root).ok()?);
        traces.file(database);
        traces.database(database);
        Some(Self { path: scene.place.root().join(FILE), traces: traces.end()? })
    }

    /// Tells again what was told; false when that may have become untrue.
    pub(crate) fn recall(&self, run: &mut Run) -> bool {
        let kept = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let Some(kept) = kept.filter(|kept| kept.traces == self.traces) else { return false };
        kept.facts.iter().for_each(|(name, value)| run.detail(name, value));
        true
    }

    /// Keeps what the run has told. Without it the next one is slower, and that is all.
    pub(crate) fn keep(self, run: &Run) {
        let Some(Value::Object(facts)) = run.report.details.get(TOOL).cloned() else { return };
        let kept = Kept { traces: self.traces, facts };
        let _ = serde_json::to_vec(&kept).map(|bytes| durable::write_for_now(&self.path, &bytes));
    }
}
