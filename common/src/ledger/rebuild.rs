//! A lost ledger: noticed, and made again from the event log, the manifests and what really serves.
//!
//! It belongs to all environments, so it is made again under the locks of all of them, taken after
//! a lock of its own and never while holding one: nobody still writes into a file that is gone, and
//! two commands do it once. What was found damaged is set aside, never deleted. A kill on the way
//! leaves a draft, and the next command begins anew.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::past::Past;
use super::schema::{self, Age};
use super::witness::Witness;
use super::{BUSY, Ledger, file, is_made, unreadable, unwritable};
use crate::config::Config;
use crate::database::files_of;
use crate::durable;
use crate::layout::{Place, environments_on_disk};
use crate::lock::Lock;
use crate::ownership::{self, Use};
use crate::report::{OrProblem, Problem, now};

/// A larger ledger is looked at where it begins, and not read whole by every command.
const READ_WHOLE: u64 = 16 * 1024 * 1024;

/// Whether the file can be relied on.
#[derive(Debug)]
pub(super) enum Standing {
    Sound,
    /// Why it cannot, after "the ledger".
    Lost(String),
}

#[derive(Debug)]
enum Defect {
    /// No rows: fine where nothing was ever deployed.
    Missing(&'static str),
    Damaged(String),
}

/// Makes the ledger again when it is lost. To be called before a lock is taken; waits at most
/// `wait` for commands that still work.
///
/// # Errors
/// `locked` when a command still works; `state-unwritable`, `state-untrusted`.
pub fn ensure(config: &Config, wait: Duration) -> Result<(), Problem> {
    ownership::check(&config.state_dir(), Use::Writing)?;
    if matches!(standing(config), Standing::Sound) {
        return Ok(());
    }
    let until = Instant::now() + wait;
    let left = || until.saturating_duration_since(Instant::now());
    let (path, what) = (config.state_dir().join("ledger.lock"), "rebuilding the ledger");
    let _alone = Lock::take_file(&path, "the lost ledger", what, left())?;
    let Standing::Lost(why) = standing(config) else { return Ok(()) };
    let mut held = Vec::new();
    for name in environments_on_disk(config) {
        held.push(Lock::take(&Place::new(config, &name), what, left())?);
    }
    write(config, &why)
}

/// # Errors
/// `ledger-lost` (retryable): the ledger is gone, and this run may not make it again.
pub(super) fn refuse_a_gap(config: &Config) -> Result<(), Problem> {
    // In this order: somebody's first deployment may begin in between.
    if is_made(config) || Witness::gather(config).is_empty() || is_made(config) {
        return Ok(());
    }
    Err(Problem::new("ledger-lost", "the ledger vanished while this run needed it")
        .detail(file(config).display().to_string())
        .hint("status all   # the next command makes it again from the event log")
        .retryable())
}

pub(super) fn standing(config: &Config) -> Standing {
    match defect(&file(config)) {
        None => Standing::Sound,
        Some(Defect::Damaged(why)) => Standing::Lost(why),
        Some(Defect::Missing(_)) if Witness::gather(config).is_empty() => Standing::Sound,
        // Somebody's first deployment may have begun in between.
        Some(Defect::Missing(_)) => match defect(&file(config)) {
            None => Standing::Sound,
            Some(Defect::Missing(why)) => Standing::Lost(why.to_owned()),
            Some(Defect::Damaged(why)) => Standing::Lost(why),
        },
    }
}

/// What kept us from reading is no damage: whoever opens the file next will say it.
fn defect(path: &Path) -> Option<Defect> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Defect::Missing("is gone")),
        Ok(meta) if meta.len() == 0 => return Some(Defect::Missing("is empty")),
        _ => {}
    }
    examine(path).unwrap_or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            Some(Defect::Damaged(format!("is damaged ({error})")))
        }
        _ => None,
    })
}

fn examine(path: &Path) -> rusqlite::Result<Option<Defect>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match schema::age(&db)? {
        Age::Empty if tables == 0 => return Ok(Some(Defect::Missing("is empty"))),
        Age::Empty => return Ok(Some(Defect::Damaged("is another program's database".into()))),
        Age::Newer => return Ok(None),
        Age::Older | Age::Current => {}
    }
    db.query_row("SELECT count(*) FROM environments", [], |_| Ok(()))?;
    if fs::metadata(path).is_ok_and(|meta| meta.len() > READ_WHOLE) {
        return Ok(None);
    }
    let finding: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((finding != "ok").then(|| Defect::Damaged(format!("is damaged ({finding})"))))
}

/// The ledger as it would be made again, for those who only read.
pub(super) fn in_memory(config: &Config, why: String) -> Result<Ledger, Problem> {
    let db = Connection::open_in_memory().map_err(|error| unreadable(&error))?;
    let past = Past::reconstruct(config);
    past.fill(&db, &why).map_err(|error| unreadable(&error))?;
    Ok(Ledger { lost: Some(why), ..Ledger::around(db, config) })
}

fn write(config: &Config, why: &str) -> Result<(), Problem> {
    let path = file(config);
    let title = || format!("cannot make {} again", path.display());
    let past = Past::reconstruct(config);
    let aside = files_of(&path).iter().any(|part| part.exists()).then(|| name_aside(&path));
    let kept = aside.as_ref().map(|name| format!("; what was left of it is kept as {}", name.display()));
    let draft = path.with_extension("db.new");
    remove_all(&draft).or_problem("state-unwritable", title)?;
    let story = format!("{why}{}", kept.unwrap_or_default());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    made.or_problem("state-unwritable", title)?;
    fill_file(&draft, &past, &story).map_err(|error| unwritable(&error))?;
    let replace = || {
        durable::sync_file(&File::open(&draft)?)?;
        if let Some(aside) = &aside {
            for (from, to) in files_of(&path).iter().zip(&files_of(aside)).filter(|(from, _)| from.exists()) {
                durable::rename(from, to)?;
            }
        }
        durable::rename(&draft, &path)
    };
    replace().or_problem("state-unwritable", title)
}

fn fill_file(draft: &Path, past: &Past, story: &str) -> rusqlite::Result<()> {
    let db = Connection::open_with_flags(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    past.fill(&db, story)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)
}

fn remove_all(path: &Path) -> std::io::Result<()> {
    files_of(path).iter().filter(|part| part.exists()).try_for_each(fs::remove_file)
}

fn name_aside(path: &Path) -> PathBuf {
    let stem = format!("db.lost-{}", now().strftime("%Y%m%dT%H%M%SZ"));
    let mut name = path.with_extension(&stem);
    let mut number = 1;
    while files_of(&name).iter().any(|part| part.exists()) {
        number += 1;
        name = path.with_extension(format!("{stem}-{number}"));
    }
    name
}
