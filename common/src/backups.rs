//! Backups on disk: one directory each, with a manifest that proves it whole.
//!
//! Owns the manifest, how it is sealed and read, and the list of an environment's backups.
//! Making, checking and restoring them is the work of the tool `backup`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::database::TableFacts;
use crate::durable;
use crate::layout::Place;
use crate::report::{OrProblem, Problem};

/// Raised when an older tool could no longer read a manifest.
pub const FORMAT: u32 = 1;

/// The page-exact snapshot: what a restore reads.
pub const DATABASE: &str = "database.db.zst";
/// The snapshot of a provisional backup, before it is compressed.
pub const DATABASE_PLAIN: &str = "database.db";
/// The readable export, and its name once a newer backup exists.
pub const EXPORT: &str = "database.sql";
pub const EXPORT_COMPRESSED: &str = "database.sql.zst";
pub const GIT_TAG: &str = "git-tag.txt";
pub const SETTINGS: &str = "config.json";
pub const MANIFEST: &str = "manifest.json";
/// Further files, below a directory of their own, and what they are.
pub const FILES: &str = "files";
pub const FILES_INDEX: &str = "files.json";

const SEAL: &str = ",\n  \"sha256\": \"";
const SEAL_END: &str = "\"\n}\n";

/// One file of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Bytes.
    pub size: u64,
    /// Hex.
    pub sha256: String,
}

/// The further files of a backup, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FurtherFacts {
    pub files: u64,
    pub bytes: u64,
}

/// What was proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub integrity_check: bool,
    /// False when rows refer to rows that do not exist: the app's own data, kept as it is.
    pub foreign_key_check: bool,
    /// The compressed snapshot was read back and is equal.
    pub read_back: bool,
    /// The readable export was loaded and holds the same content; added after the rest.
    pub export: bool,
}

impl Verified {
    /// Whether a restore from this backup can be relied on.
    pub fn holds(self) -> bool {
        self.integrity_check && self.read_back
    }
}

/// `manifest.json`, written last, and once more when the readable export is added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The directory's name: UTC time `YYYY-MM-DD_HH-MM-SS`, `-2` and so on in the same second.
    pub id: String,
    pub environment: String,
    /// The deployment it was taken for.
    pub deployment: Option<String>,
    /// `deploy`, `pre-rollback`, `pre-restore` or `manual`.
    pub reason: String,
    /// Order of making; clocks may step back, this never does. 0 in those of an earlier version.
    #[serde(default)]
    pub number: u64,
    /// Never pruned.
    pub protected: bool,
    pub created_at: Timestamp,
    pub tool_version: String,
    pub sqlite_version: String,
    pub page_size: u32,
    pub journal_mode: String,
    pub user_version: i64,
    pub application_id: i64,
    /// Versions of the migrations that the database records, lowest first; absent in backups of an
    /// earlier version, and where there are no records that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Vec<i64>>,
    pub files: BTreeMap<String, FileFacts>,
    /// Size and hex SHA-256 of the database before compression.
    pub raw_bytes: u64,
    pub raw_sha256: String,
    /// Hashes are over the rows in order. Empty while it is provisional.
    pub tables: BTreeMap<String, TableFacts>,
    pub schema_hash: String,
    /// Absent where no further files are configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub further: Option<FurtherFacts>,
    /// Why it has no readable export and gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexportable: Option<String>,
    pub verified: Verified,
}

/// A whole backup.
#[derive(Debug, Clone)]
pub struct Backup {
    pub directory: PathBuf,
    pub manifest: Manifest,
}

impl Backup {
    /// Bytes of all its files; further ones may share them with other backups.
    pub fn bytes(&self) -> u64 {
        let own: u64 = self.manifest.files.values().map(|file| file.size).sum();
        own + self.manifest.further.map_or(0, |further| further.bytes)
    }
}

/// All backups of an environment.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub backups: Vec<Backup>,
    /// Directories that are no whole backup of this environment, with the reason.
    pub unreadable: Vec<(String, Problem)>,
}

impl Manifest {
    /// Whether it was taken while writers waited, and is still to be checked and compressed.
    pub fn is_provisional(&self) -> bool {
        self.files.contains_key(DATABASE_PLAIN)
    }

    /// Reads the manifest of a backup directory; its seal covers every byte of the file.
    ///
    /// # Errors
    /// `backup-damaged`: missing, not readable, changed since it was written, a newer format.
    pub fn read(directory: &Path) -> Result<Self, Problem> {
        let file = directory.join(MANIFEST);
        let damaged = |why: String| {
            Problem::new("backup-damaged", format!("{} cannot be believed", file.display())).detail(why)
        };
        let text = fs::read_to_string(&file).map_err(|error| damaged(error.to_string()))?;
        if !is_sealed(&text) {
            return Err(damaged("it is not what was written".into()));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("its format is {}, this tool reads {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }

    /// Writes the sealed manifest (0600) and waits until it is on disk; replaces an older one whole.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub fn write(&self, directory: &Path) -> Result<(), Problem> {
        let file = directory.join(MANIFEST);
        durable::write(&file, self.sealed().as_bytes())
            .or_problem("state-unwritable", || format!("cannot write {}", file.display()))
    }

    fn sealed(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let body = text.strip_suffix("\n}").unwrap_or(&text);
        format!("{body}{SEAL}{}{SEAL_END}", seal_of(body))
    }
}

fn seal_of(body: &str) -> String {
    crate::hex(&Sha256::digest(body.as_bytes()))
}

fn is_sealed(text: &str) -> bool {
    text.rsplit_once(SEAL).is_some_and(|(body, seal)| seal.strip_suffix(SEAL_END) == Some(&seal_of(body)))
}

/// Whether `name` has the form of a backup's id.
pub fn is_id(name: &str) -> bool {
    let pattern = b"0000-00-00_00-00-00";
    let Some((stamp, rest)) = name.split_at_checked(pattern.len()) else { return false };
    let fits = stamp.bytes().zip(pattern).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *form,
    });
    let number = rest.strip_prefix('-').and_then(|number| number.parse::<u32>().ok());
    fits && (rest.is_empty() || number.is_some_and(|number| rest == format!("-{number}")))
}

/// Lists an environment's backups; none when there never was one.
///
/// # Errors
/// `state-unreadable`.
pub fn list(place: &Place) -> Result<Listing, Problem> {
    list_in(&place.backups(), place.environment())
}

/// Lists the backups of `environment` that lie in `root`; none when it is not there.
///
/// # Errors
/// `state-unreadable`.
pub fn list_in(root: &Path, environment: &str) -> Result<Listing, Problem> {
    let mut listing = Listing::default();
    if !root.exists() {
        return Ok(listing);
    }
    let title = || format!("cannot read {}", root.display());
    for entry in fs::read_dir(root).or_problem("state-unreadable", title)? {
        let name = entry.or_problem("state-unreadable", title)?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match find_in(root, environment, &name) {
            Ok(backup) => listing.backups.push(backup),
            Err(problem) if root.join(&name).exists() => listing.unreadable.push((name, problem)),
            Err(_) => {}
        }
    }
    listing.backups.sort_by(|a, b| order(&b.manifest).cmp(&order(&a.manifest)));
    listing.unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

/// The backup of that id.
///
/// # Errors
/// Usage (exit 2) when `id` is no id or there is no such backup; `backup-damaged`.
pub fn find(place: &Place, id: &str) -> Result<Backup, Problem> {
    find_in(&place.backups(), place.environment(), id)
}

/// The backup of that id and of `environment` in `root`.
///
/// # Errors
/// As [`find`].
pub fn find_in(root: &Path, environment: &str, id: &str) -> Result<Backup, Problem> {
    let directory = root.join(id);
    if !is_id(id) || !directory.is_dir() {
        return Err(Problem::usage(format!("'{environment}' has no backup '{id}'"))
            .hint(format!("backup {environment} list")));
    }
    let manifest = Manifest::read(&directory)?;
    if manifest.id == id && manifest.environment == environment {
        return Ok(Backup { directory, manifest });
    }
    Err(Problem::new("backup-damaged", format!("{} is another backup's directory", directory.display()))
        .detail(format!("its manifest says {} of '{}'", manifest.id, manifest.environment))
        .hint(format!("backup {environment} list")))
}

/// The newest backup that a deployment took of a database with exactly these migrations, lowest
/// first; that deployment alone, where one is named.
///
/// # Errors
/// `state-unreadable`.
pub fn before_migrations(
    place: &Place,
    versions: &[i64],
    deployment: Option<&str>,
) -> Result<Option<Backup>, Problem> {
    let fits = |backup: &Backup| {
        let manifest = &backup.manifest;
        manifest.reason == "deploy"
            && manifest.applied.as_deref() == Some(versions)
            && (deployment.is_none() || manifest.deployment.as_deref() == deployment)
    };
    Ok(list(place)?.backups.into_iter().find(fits))
}

/// The newest backup that was taken for a deployment; for that reason alone, where one is named.
///
/// # Errors
/// `state-unreadable`.
pub fn taken_for(place: &Place, deployment: &str, reason: Option<&str>) -> Result<Option<Backup>, Problem> {
    let is_its = |backup: &Backup| {
        let manifest = &backup.manifest;
        manifest.deployment.as_deref() == Some(deployment)
            && reason.is_none_or(|reason| manifest.reason == reason)
    };
    Ok(list(place)?.backups.into_iter().find(is_its))
}

/// The order of two backups: by number, and before there were any by the manifest's time, then in
/// the order of equal seconds.
pub fn order(manifest: &Manifest) -> (u64, Timestamp, usize, &str) {
    (manifest.number, manifest.created_at, manifest.id.len(), &manifest.id)
}

/// The number of an environment's next backup; only under the lock.
///
/// # Errors
/// `state-unreadable`.
pub fn next_number(place: &Place) -> Result<u64, Problem> {
    let newest = list(place)?.backups.iter().map(|backup| backup.manifest.number).max();
    Ok(newest.unwrap_or(0).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            id: "2026-01-17_14-30-00".into(),
            environment: "dev".into(),
            deployment: None,
            reason: "manual".into(),
            number: 1,
            protected: false,
            created_at: crate::report::now(),
            tool_version: "0".into(),
            sqlite_version: "3".into(),
            page_size: 4096,
            journal_mode: "wal".into(),
            user_version: 7,
            applied: Some(vec![1, 2]),
            application_id: -1,
            files: BTreeMap::from([(DATABASE.into(), FileFacts { size: 1, sha256: "00".into() })]),
            raw_bytes: 4096,
            raw_sha256: "11".into(),
            tables: BTreeMap::from([("}\n".into(), TableFacts { rows: 1, hash: "22".into() })]),
            schema_hash: "33".into(),
            further: None,
            unexportable: None,
            verified: Verified::default(),
        }
    }

    #[test]
    fn a_manifest_comes_back_and_any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        manifest().write(dir.path()).unwrap();
        let read = Manifest::read(dir.path()).unwrap();
        assert_eq!(read, Manifest { created_at: read.created_at, ..manifest() });
        let bytes = fs::read(dir.path().join(MANIFEST)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(dir.path().join(MANIFEST), &changed).unwrap();
            assert_eq!(Manifest::read(dir.path()).unwrap_err().kind, "backup-damaged", "byte {at}");
        }
        for end in 0..bytes.len() {
            fs::write(dir.path().join(MANIFEST), &bytes[..end]).unwrap();
            assert!(Manifest::read(dir.path()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn ids_are_times_and_nothing_else() {
        for good in ["2026-01-17_14-30-00", "2026-01-17_14-30-00-2", "2026-01-17_14-30-00-10"] {
            assert!(is_id(good), "{good}");
        }
        let bad = ["", "..", "2026-01-17", "2026-01-17_14-30-00-", "2026-01-17_14-30-00-02", ".tmp-2026"];
        for bad in
            bad.into_iter().chain(["2026-01-17_14-30-00/../x", "2026-01-17T14-30-00", "2026-01-17_14-30-0ö"])
        {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
