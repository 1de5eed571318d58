//! What makes a copy of the database a backup: it is checked, its content is read, and it is compressed
//! and read back.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::backups::{DATABASE, FileFacts, Manifest};
use common::cli::{Meter, Run, warn};
use common::migrations::read_applied;
use common::report::{OrProblem, Problem};

use crate::archive::{self, Compressed};
use crate::content::{self, Content, Header};

/// What becomes of a database that is damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Refused,
    /// With a warning, and never counted as verified.
    Kept,
}

/// Notes what can be told of the copy `raw` at once.
///
/// # Errors
/// `database-unreadable`.
pub(crate) fn describe(raw: &Path, copied: FileFacts, manifest: &mut Manifest) -> Result<(), Problem> {
    let header = Header::read(raw)?;
    manifest.page_size = header.page_size;
    header.journal_mode().clone_into(&mut manifest.journal_mode);
    manifest.raw_bytes = copied.size;
    manifest.raw_sha256 = copied.sha256;
    let applied = content::open_private(raw).ok().and_then(|copy| read_applied(&copy).ok());
    manifest.applied = applied.map(|rows| rows.iter().map(|row| row.version).collect());
    Ok(())
}

/// How long each part took; they run side by side.
pub(crate) struct Took {
    check: Duration,
    compress: Duration,
}

impl Took {
    pub(crate) fn tell(&self, run: &mut Run) {
        run.end_step("backup.check", None, self.check, None);
        run.end_step("backup.compress", None, self.compress, None);
    }
}

/// Checks the copy `raw` and reads its content, while it is compressed into the new file `target`.
///
/// # Errors
/// `database-damaged`, `database-unreadable`, `snapshot-failed`.
pub(crate) fn prove_and_compress(
    raw: &Path,
    target: &Path,
    manifest: &mut Manifest,
    damage: Damage,
) -> Result<Took, Problem> {
    let ((content, check), (packed, compress)) = thread::scope(|scope| {
        let packing = scope.spawn(|| timed(|| compress(raw, target)));
        let content = timed(|| prove(raw, manifest, damage));
        (content, packing.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (content, packed) = (content?, packed?);
    if packed.raw.sha256 != manifest.raw_sha256 {
        return Err(Problem::new(
            "snapshot-failed",
            "the copy of the database does not read back as it was written",
        )
        .detail(raw.display().to_string())
        .hint("journalctl -k   # what the kernel says of the disk"));
    }
    manifest.verified.read_back = true;
    manifest.files.insert(DATABASE.to_owned(), packed.file);
    manifest.tables = content.tables;
    manifest.schema_hash = content.schema_hash;
    manifest.user_version = content.user_version;
    manifest.application_id = content.application_id;
    Ok(Took { check, compress })
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = act();
    (result, begun.elapsed())
}

fn prove(raw: &Path, manifest: &mut Manifest, damage: Damage) -> Result<Content, Problem> {
    let copy = content::open_private(raw)?;
    match content::check(&copy) {
        Ok(foreign_keys_hold) => {
            manifest.verified.integrity_check = true;
            manifest.verified.foreign_key_check = foreign_keys_hold;
        }
        Err(problem) if damage == Damage::Kept => warn(&problem.to_string()),
        Err(problem) => return Err(problem.hint(format!("backup {} list", manifest.environment))),
    }
    match content::read(&copy) {
        Err(_) if damage == Damage::Kept => Ok(Content::default()),
        content => content,
    }
}

fn compress(raw: &Path, target: &Path) -> Result<Compressed, Problem> {
    let total = raw.metadata().map_or(0, |meta| meta.len());
    let mut meter = Meter::new("compress");
    archive::compress(raw, target, &mut |done| meter.update(done, total))
        .or_problem("snapshot-failed", || format!("cannot write {}", target.display()))
}
