//! Whether what answers is the expected release: the processes behind the private address, the
//! gateway's target, several fresh connections, and the database file they have open.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::gateway::Target;
use common::identity::{self, Owners, Verdict};
use common::report::{Problem, quoted};
use jiff::{SignedDuration, Timestamp};
use walkdir::{DirEntry, WalkDir};

use super::LIMIT;
use crate::http::{Asker, Request};
use crate::subject::Subject;

const CONNECTIONS: usize = 4;
const MAGIC: &[u8] = b"SQLite format 3\0";
const DATABASE_ENDINGS: [&str; 4] = ["db", "sqlite", "sqlite3", "db3"];
/// Times of processes and of files come from clocks of a few hundredths of a second.
const SLACK: SignedDuration = SignedDuration::from_millis(50);
/// Directories of installed packages, which may bring databases of their own.
const PACKAGES: [&str; 2] = ["node_modules", "site-packages"];

pub(super) fn check(subject: &Subject, verdict: &mut Option<Verdict>) -> Result<(), Problem> {
    let owners = identity::owners(&subject.instance.address)?;
    let judged = identity::judge(&owners, &subject.instance.release, &subject.release);
    *verdict = Some(judged.verdict);
    let reasons = judged.reasons.join("\n");
    let expected = &subject.instance.release;
    let environment = subject.place.environment();
    let problem = match judged.verdict {
        Verdict::New => return check_around(subject, &owners),
        Verdict::Old => Problem::new("identity-old", format!("another release than {expected} answers")),
        Verdict::Mixed => {
            Problem::new("identity-mixed", format!("{expected} and another release answer by turns"))
        }
        Verdict::Unknown => Problem::unverified("it cannot be seen which release answers"),
    };
    let hint = match judged.verdict {
        Verdict::Unknown => format!("sudo verify {environment} --only identity"),
        _ => subject.instance.address.listeners_hint(),
    };
    Err(problem.detail(reasons).hint(hint))
}

fn check_around(subject: &Subject, owners: &Owners) -> Result<(), Problem> {
    if subject.slot.is_none() {
        check_target(subject)?;
        check_connections(subject)?;
    }
    check_database(subject, owners)
}

fn check_target(subject: &Subject) -> Result<(), Problem> {
    let expected = Target::from(&subject.instance);
    // A gateway of several processes may not be of one mind.
    let ask = || subject.gateway.status().and_then(|status| status.active);
    let other = (0..CONNECTIONS).map(|_| ask()).find(|active| active.as_ref() != Some(&expected));
    let Some(active) = other else { return Ok(()) };
    let actual = active.map_or_else(|| "nothing".to_owned(), |target| describe(&target));
    Err(Problem::new("identity-old", format!("the gateway sends traffic to {actual}"))
        .detail(format!("expected: {}\nactual: {actual}", describe(&expected)))
        .hint(format!("status {}", subject.place.environment())))
}

fn describe(target: &Target) -> String {
    format!("{} in slot {} at {}", target.deployment, target.slot, target.address)
}

/// At once, so that they take no longer than one.
fn check_connections(subject: &Subject) -> Result<(), Problem> {
    let asker = Asker::new(&subject.address)?;
    let ask = || connection_fault(&asker, subject);
    let faults: Vec<Option<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let count = faults.iter().flatten().count();
    let Some(fault) = faults.into_iter().flatten().next() else { return Ok(()) };
    let url = asker.url(&subject.health);
    Err(Problem::new("gateway-unhealthy", format!("{url} {fault}"))
        .detail(format!("{count} of {CONNECTIONS} fresh connections"))
        .hint(format!("curl -si {}", quoted(url))))
}

fn connection_fault(asker: &Asker, subject: &Subject) -> Option<String> {
    match asker.ask(&Request::get(&subject.health, subject.remaining(LIMIT))) {
        Ok(reply) if reply.status < 500 => None,
        Ok(reply) => Some(format!("answered {}", reply.status)),
        Err(finding) => Some(finding.phrase),
    }
}

/// The instance has the environment's database open, or at least writes no other one: an app may
/// well close its database after each request.
fn check_database(subject: &Subject, owners: &Owners) -> Result<(), Problem> {
    let Some(expected) = &subject.database else { return Ok(()) };
    if owners.visible.iter().any(|owner| identity::holds(owner.pid, expected).unwrap_or(false)) {
        return Ok(());
    }
    match other_database(&subject.release, owners) {
        None => Ok(()),
        Some(other) => Err(Problem::new("identity-database", "the instance writes another database")
            .detail(format!("expected: {}\nactual: {}", expected.display(), other.display()))
            .hint(format!("ls -l {} {}", quoted(expected.display()), quoted(other.display())))),
    }
}

/// A database inside the release that an owner has open, or that changed since the owners started.
fn other_database(release: &Path, owners: &Owners) -> Option<PathBuf> {
    let release = release.canonicalize().ok()?;
    let open = || {
        let files = owners.visible.iter().flat_map(|owner| identity::open_files(owner.pid));
        files.filter(|path| path.starts_with(&release)).find(|path| is_database(path))
    };
    let started = owners.visible.iter().map(|owner| owner.started_at).min()?;
    let entries = WalkDir::new(&release).into_iter().filter_entry(is_own).filter_map(Result::ok);
    let changed =
        || entries.map(DirEntry::into_path).find(|path| changed_since(path, started) && is_database(path));
    open().or_else(changed)
}

fn is_own(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || !(name.starts_with('.') || PACKAGES.contains(&name.as_ref()))
}

fn changed_since(path: &Path, started: Timestamp) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let changed = |path: &Path| fs::symlink_metadata(path).and_then(|file| file.modified()).ok();
    let newest = changed(path).max(changed(&path.with_extension(format!("{ending}-wal"))));
    DATABASE_ENDINGS.contains(&ending)
        && newest.and_then(|time| Timestamp::try_from(time).ok()).is_some_and(|time| time > started + SLACK)
}

fn is_database(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    path.is_file() && read.is_ok() && head == MAGIC
}
