//! The symlink way: each slot's instance has a unix socket in a directory of its own, and nginx knows
//! `current.sock`, a symlink to one of them. A cutover is one rename, which nginx need not hear of.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::durable;
use crate::layout::Slot;
use crate::report::{OrProblem, Problem, quoted};

/// What the socket of a slot is called in the directory of that slot.
pub(super) const SOCKET: &str = "app.sock";

/// The directory of one environment's sockets.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    pub(super) dir: PathBuf,
}

impl Sockets {
    /// Where the instance of a slot listens.
    pub(super) fn of(&self, slot: Slot) -> Address {
        Address::Unix(self.dir.join(slot.name()).join(SOCKET))
    }

    fn current(&self) -> PathBuf {
        self.dir.join("current.sock")
    }

    /// The symlink's name while nobody may follow it.
    fn held(&self) -> PathBuf {
        self.dir.join("held.sock")
    }

    /// The slot that requests go to.
    pub(super) fn active(&self) -> Option<Slot> {
        self.slot_behind(&self.current())
    }

    /// The slot that requests went to before the gateway was closed.
    pub(super) fn kept(&self) -> Option<Slot> {
        self.slot_behind(&self.held())
    }

    fn slot_behind(&self, link: &Path) -> Option<Slot> {
        let target = self.dir.join(fs::read_link(link).ok()?);
        Slot::BOTH.into_iter().find(|slot| self.of(*slot) == Address::Unix(target.clone()))
    }

    /// Makes the directories, which a reboot may have taken: nginx's workers must come in, and the
    /// sockets themselves say who may do what. Nobody else may put one there, and an app only into
    /// that of its slot, which its supervisor may give to it.
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub(super) fn prepare(&self) -> Result<(), Problem> {
        let slots = Slot::BOTH.map(|slot| self.dir.join(slot.name()));
        let missing = [self.dir.clone()].into_iter().chain(slots).filter(|dir| !dir.is_dir());
        for dir in missing {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&dir)
                // The umask may have taken what nginx needs.
                .and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o755)))
                .map_err(|error| self.unusable(&error))?;
        }
        Ok(())
    }

    /// Removes a socket that nobody listens on: an app would find its address taken.
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub(super) fn clear(&self, address: &Address) -> Result<(), Problem> {
        self.prepare()?;
        match address {
            Address::Unix(path) if path.starts_with(&self.dir) => ignore_missing(fs::remove_file(path)),
            _ => Ok(()),
        }
        .map_err(|error| self.unusable(&error))
    }

    /// Sends requests to a slot.
    ///
    /// # Errors
    /// `sockets-unusable`: they go where they went.
    pub(super) fn point_to(&self, slot: Slot) -> Result<(), Problem> {
        let draft = self.dir.join(format!("current.sock{}", durable::DRAFT));
        ignore_missing(fs::remove_file(&draft))
            .and_then(|()| symlink(Path::new(slot.name()).join(SOCKET), &draft))
            .and_then(|()| durable::rename(&draft, &self.current()))
            .and_then(|()| ignore_missing(fs::remove_file(self.held())))
            .map_err(|error| self.unusable(&error))
    }

    /// Sends requests nowhere.
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub(super) fn point_nowhere(&self) -> Result<(), Problem> {
        ignore_missing(fs::remove_file(self.current()))
            .and_then(|()| ignore_missing(fs::remove_file(self.held())))
            .and_then(|()| ignore_missing(durable::sync_dir(&self.dir)))
            .map_err(|error| self.unusable(&error))
    }

    /// Sends requests nowhere, and keeps where they went.
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub(super) fn close(&self) -> Result<(), Problem> {
        ignore_missing(durable::rename(&self.current(), &self.held())).map_err(|error| self.unusable(&error))
    }

    /// Sends requests where they went before [`Sockets::close`].
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub(super) fn open(&self) -> Result<(), Problem> {
        ignore_missing(durable::rename(&self.held(), &self.current())).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &io::Error) -> Problem {
        Problem::new("sockets-unusable", format!("cannot work in {}", self.dir.display()))
            .detail(error.to_string())
            .hint(format!("ls -ld {0} {0}/*", quoted(self.dir.display())))
    }

    /// Who may use a socket, for a person who wonders why nginx may not.
    pub(super) fn describe(address: &Address) -> String {
        let Address::Unix(path) = address else { return String::new() };
        let lines = path.ancestors().take(2).filter_map(|path| {
            let mode = fs::symlink_metadata(path).ok()?.permissions().mode() & 0o7777;
            Some(format!("{}: mode {mode:04o}", path.display()))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The mark that makes nginx count answers, and what it counted.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) mark: PathBuf,
    pub(super) log: PathBuf,
}

/// A counted answer is a status and a line's end.
const LINE: usize = 4;
/// Beyond that many bytes nothing more is counted.
const MOST: usize = 8 * 1024 * 1024;

impl Answers {
    /// Begins to count from nothing.
    ///
    /// # Errors
    /// `sockets-unusable`, `state-unwritable`.
    pub(super) fn begin(&self) -> Result<(), Problem> {
        let write = |path: &Path| {
            fs::write(path, "").or_problem("state-unwritable", || format!("cannot write {}", path.display()))
        };
        write(&self.log)?;
        write(&self.mark)?;
        // Looked for by nginx's workers, whoever they are.
        let _ = fs::set_permissions(&self.mark, Permissions::from_mode(0o644));
        Ok(())
    }

    pub(super) fn end(&self) {
        let _ = fs::remove_file(&self.mark);
    }

    /// All answers and those of 500 and above, when they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.mark.symlink_metadata().ok()?;
        let bytes = fs::read(&self.log).ok()?;
        if bytes.len() > MOST {
            self.end();
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let errors = bytes.chunks_exact(LINE).filter(|line| line[0] == b'5').count();
        Some((count(bytes.len() / LINE), count(errors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_the_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = Sockets { dir: dir.path().join("a/b") };
        sockets.prepare().unwrap();
        assert_eq!(sockets.active(), None);
        sockets.point_to(Slot::Blue).unwrap();
        sockets.point_to(Slot::Green).unwrap();
        assert_eq!(sockets.active(), Some(Slot::Green));
        sockets.close().unwrap();
        assert_eq!((sockets.active(), sockets.kept()), (None, Some(Slot::Green)));
        sockets.open().unwrap();
        assert_eq!((sockets.active(), sockets.kept()), (Some(Slot::Green), None));
        sockets.point_nowhere().unwrap();
        sockets.point_nowhere().unwrap();
        assert_eq!(sockets.active(), None);
    }

    #[test]
    fn answers_are_counted_while_the_mark_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers { mark: dir.path().join("mark"), log: dir.path().join("log") };
        assert_eq!(answers.counted(), None);
        answers.begin().unwrap();
        fs::write(&answers.log, "200\n502\n404\n").unwrap();
        assert_eq!(answers.counted(), Some((3, 1)));
        answers.end();
        assert_eq!(answers.counted(), None);
    }
}
