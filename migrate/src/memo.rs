//! What `up` remembers when it had nothing to do, so that the next one need not read thousands of
//! files and a whole schema to say so again.
//!
//! A memo holds what the report told, and the traces of all that it was told from, taken before
//! any of it was read: where they are the same, so is the answer. One that is missing, torn, of
//! another version or from elsewhere only costs the reading.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::cli::Run;
use common::durable;
use common::lock::Lock;
use common::migrations::{SETTINGS_FILE, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scene::Scene;
use crate::traces::{Traces, Walk};

const FILE: &str = "migrate-seen.json";
const VERSION: &str = concat!("3 ", env!("CARGO_PKG_VERSION"));
const TOOL: &str = "migrate";
/// Who needed longer, such as to make a lost ledger again, looks at the files again.
const FRESH: Duration = Duration::from_secs(1);

/// What was kept, and what it would have to be told from.
pub(crate) struct Memo {
    path: PathBuf,
    root: PathBuf,
    traces: String,
    kept: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Top of the release whose migrations they were.
    root: PathBuf,
    traces: String,
    /// The members of `details.migrate`.
    facts: Map<String, Value>,
}

impl Kept {
    fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }
}

/// The files that a memo is about, looked at while the ledger is opened and the lock is taken.
pub(crate) struct Ahead {
    kept: Kept,
    begun: Instant,
    walk: Walk,
}

impl Ahead {
    /// Begins to look; `None` where no memo is, or the database is another one by now.
    pub(crate) fn begin(scene: &Scene) -> Option<Self> {
        let kept = Kept::read(&file(scene))?;
        if !kept.traces.starts_with(&around(scene)?) {
            return None;
        }
        let (begun, walk) = (Instant::now(), walk(&kept.root)?);
        Some(Self { kept, begun, walk })
    }
}

impl Memo {
    /// To be asked under the lock, before anything is read. `None` where none can be relied on: something
    /// has changed just now, or cannot be looked at, or another `migrate` of the chain has told facts already.
    pub(crate) fn of(run: &Run, scene: &Scene, root: &Path, ahead: Option<Ahead>) -> Option<Self> {
        if run.report.details.contains_key(TOOL) {
            return None;
        }
        // The database changes more often than the files, and after that they need not be looked at.
        let around = around(scene)?;
        let path = file(scene);
        let waited = scene.lock.as_ref().is_none_or(Lock::was_waited_for);
        let is_good = |it: &Ahead| !waited && it.kept.root == root && it.begun.elapsed() < FRESH;
        let (kept, files) = match ahead.filter(is_good) {
            Some(ahead) => (Some(ahead.kept), ahead.walk),
            None => (Kept::read(&path), walk(root)?),
        };
        let traces = around + &files.end().end()?;
        Some(Self { path, root: root.to_owned(), traces, kept })
    }

    /// Tells again what was told; false when that may have become untrue.
    pub(crate) fn recall(&self, run: &mut Run) -> bool {
        let Some(kept) = self.kept.as_ref().filter(|kept| kept.traces == self.traces) else { return false };
        kept.facts.iter().for_each(|(name, value)| run.detail(name, value));
        true
    }

    /// Keeps what the run has told. Without it the next one is slower, and that is all.
    pub(crate) fn keep(self, run: &Run) {
        let Some(Value::Object(facts)) = run.report.details.get(TOOL).cloned() else { return };
        let kept = Kept { root: self.root, traces: self.traces, facts };
        let _ = serde_json::to_vec(&kept).map(|bytes| durable::write_for_now(&self.path, &bytes));
    }
}

fn file(scene: &Scene) -> PathBuf {
    scene.place.root().join(FILE)
}

/// Traces of everything but the files of the migrations.
fn around(scene: &Scene) -> Option<String> {
    let database = scene.database.as_deref()?;
    let mut traces = Traces::begin(&[VERSION, scene.environment()]);
    traces.file(&env::current_exe().ok()?);
    traces.file(database);
    traces.database(database);
    traces.end()
}

/// Begins to look at the files of a release.
fn walk(root: &Path) -> Option<Walk> {
    let mut traces = Traces::begin(&[]);
    traces.file(&root.join(SETTINGS_FILE));
    Some(Walk::begin(traces, Source::directory(root).ok()?))
}
