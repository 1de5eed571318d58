//! A lost ledger: noticed, and made again from the event log, the manifests and what really serves.
//!
//! It belongs to all environments, so it is made again under the locks of all of them, taken after
//! a lock of its own and never while holding one: nobody still writes into a file that is gone, and
//! two commands do it once. What was found damaged is set aside, never deleted. A kill on the way
//! leaves a draft, and the next command begins anew.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::past::Past;
use super::schema::{self, Age};
use super::witness::Witness;
use super::{Ledger, WRITABLE, connect, file, is_made, unreadable, unwritable};
use crate::config::Config;
use crate::database::files_of;
use crate::durable;
use crate::layout::{Place, environments_on_disk};
use crate::lock::Lock;
use crate::ownership::{self, Use};
use crate::report::{OrProblem, Problem, now};

/// So few pages at a time are enough to look all over it, and cost no memory that is new each time.
const FEW_PAGES: i64 = 10;
/// SQLite's own.
const USUAL_PAGES: i64 = -2000;
/// A larger ledger is looked at where it begins, and not read whole by every command.
const READ_WHOLE: u64 = 16 * 1024 * 1024;

/// Whether the file can be relied on.
#[derive(Debug)]
pub(super) enum Standing {
    Sound(Sound),
    /// Why it cannot, after "the ledger".
    Lost(String),
}

/// A ledger that was looked over and found sound, still open, with its device and inode from right
/// before; empty where there is no file, or it could not be read.
#[derive(Debug, Default)]
pub struct Sound(Option<(Connection, [u64; 2])>);

impl Sound {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn connection(self) -> Option<Connection> {
        self.0.map(|(db, _)| db)
    }

    /// The connection, if it may write and its file is the one in `path` by now.
    pub(super) fn writable(self, path: &Path) -> Option<Connection> {
        let is_there = |id| fs::metadata(path).is_ok_and(|meta| identity(&meta) == id);
        let (db, _) = self.0.filter(|(_, id)| is_there(*id))?;
        (db.is_readonly(MAIN_DB) == Ok(false)).then_some(db)
    }
}

fn identity(meta: &Metadata) -> [u64; 2] {
    [meta.dev(), meta.ino()]
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
pub fn ensure(config: &Config, wait: Duration) -> Result<Sound, Problem> {
    ownership::check(&config.state_dir(), Use::Writing)?;
    ownership::check_file(&file(config))?;
    if let Standing::Sound(sound) = standing(config, WRITABLE) {
        return Ok(sound);
    }
    let until = Instant::now() + wait;
    let left = || until.saturating_duration_since(Instant::now());
    let (path, what) = (config.state_dir().join("ledger.lock"), "rebuilding the ledger");
    let _alone = Lock::take_file(&path, "the lost ledger", what, left())?;
    let why = match standing(config, WRITABLE) {
        Standing::Lost(why) => why,
        Standing::Sound(sound) => return Ok(sound),
    };
    let mut held = Vec::new();
    for name in environments_on_disk(config) {
        held.push(Lock::take(&Place::new(config, &name), what, left())?);
    }
    write(config, &why).map(|()| Sound::default())
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

pub(super) fn standing(config: &Config, access: OpenFlags) -> Standing {
    let found = match look_over(&file(config), access) {
        Err(Defect::Missing(_)) if Witness::gather(config).is_empty() => Ok(Sound::default()),
        // Somebody's first deployment may have begun in between.
        Err(Defect::Missing(_)) => look_over(&file(config), access),
        found => found,
    };
    match found {
        Ok(sound) => Standing::Sound(sound),
        Err(Defect::Missing(why)) => Standing::Lost(why.to_owned()),
        Err(Defect::Damaged(why)) => Standing::Lost(why),
    }
}

/// What kept us from reading is no damage: whoever opens the file next will say it.
fn look_over(path: &Path, access: OpenFlags) -> Result<Sound, Defect> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Defect::Missing("is gone")),
        Ok(meta) if meta.len() == 0 => return Err(Defect::Missing("is empty")),
        Err(_) => return Ok(Sound::default()),
        Ok(meta) => meta,
    };
    let examined = connect(path, access).and_then(|db| Ok((examine(&db, meta.len())?, db)));
    match examined {
        Ok((None, db)) => Ok(Sound(Some((db, identity(&meta))))),
        Ok((Some(defect), _)) => Err(defect),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Err(Defect::Damaged(format!("is damaged ({error})")))
            }
            _ => Ok(Sound::default()),
        },
    }
}

fn examine(db: &Connection, bytes: u64) -> rusqlite::Result<Option<Defect>> {
    // A damaged one is set aside with the log beside it, which is not to flow into it now.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "cache_size", FEW_PAGES)?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match schema::age(db)? {
        Age::Empty if tables == 0 => return Ok(Some(Defect::Missing("is empty"))),
        Age::Empty => return Ok(Some(Defect::Damaged("is another program's database".into()))),
        Age::Newer => return Ok(None),
        Age::Older | Age::Current => {}
    }
    db.query_row("SELECT count(*) FROM environments", [], |_| Ok(()))?;
    if bytes <= READ_WHOLE {
        let finding: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if finding != "ok" {
            return Ok(Some(Defect::Damaged(format!("is damaged ({finding})"))));
        }
    }
    db.pragma_update(None, "cache_size", USUAL_PAGES)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn ledger(dir: &Path) -> (Config, Ledger) {
        let text = "[app]\nname = 'x'\nrun = 'true'\n\
                    [environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n";
        fs::write(dir.join("deploy.toml"), text).unwrap();
        let config = config::load(Some(&dir.join("deploy.toml"))).unwrap();
        let ledger = Ledger::open(&config).unwrap();
        (config, ledger)
    }

    fn note(ledger: &Ledger, name: &str) {
        ledger.db.execute("INSERT INTO environments(name) VALUES (?1)", [name]).unwrap();
    }

    fn names(ledger: &Ledger) -> String {
        let query = "SELECT group_concat(name) FROM environments";
        ledger.db.query_row(query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_was_looked_over_is_used_while_it_is_the_file_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (config, first) = ledger(dir.path());
        note(&first, "old");
        drop(first);
        let sound = ensure(&config, Duration::ZERO).unwrap();
        assert!(!sound.is_empty());
        let used = Ledger::open_sound(&config, sound).unwrap();
        note(&used, "more");
        assert_eq!(names(&used), "more,old");
        drop(used);

        let sound = ensure(&config, Duration::ZERO).unwrap();
        let other = tempfile::tempdir().unwrap();
        let (elsewhere, another) = ledger(other.path());
        note(&another, "new");
        drop(another);
        fs::copy(file(&elsewhere), dir.path().join("copy")).unwrap();
        durable::rename_for_now(&dir.path().join("copy"), &file(&config)).unwrap();
        assert_eq!(names(&Ledger::open_sound(&config, sound).unwrap()), "new");
    }

    #[test]
    fn looking_a_damaged_one_over_leaves_its_log_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (config, open) = ledger(dir.path());
        note(&open, "in the log");
        let [file, log] = ["ledger.db", "ledger.db-wal"].map(|name| config.state_dir().join(name));
        let copy = dir.path().join("copy.db");
        open.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        note(&open, "later");
        let mut bytes = fs::read(&file).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0x5a);
        fs::write(&copy, &bytes).unwrap();
        let kept = crate::database::with_suffix(&copy, "-wal");
        fs::copy(&log, &kept).unwrap();
        let before = fs::read(&kept).unwrap();
        assert!(!before.is_empty());
        assert!(matches!(look_over(&copy, WRITABLE), Err(Defect::Damaged(_))));
        assert_eq!((fs::read(&copy).unwrap() == bytes, fs::read(&kept).unwrap() == before), (true, true));
    }
}
