//! The files of units that we write: whole, with a mark that says whose they are and a hash by which
//! an edit of somebody else is noticed. What an operator wants otherwise belongs into a drop-in,
//! which is never touched.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Manager;
use super::manager::OrKind;
use crate::durable;
use crate::hex;
use crate::layout::Place;
use crate::report::{OrProblem, Problem, quoted};

const MARK: &str = "# Written by agent-deploy for ";
const SEAL: &str = "# sha256 ";

/// The drop-ins of others may come before it, and after it.
const DROP_IN: &str = "80-agent-deploy.conf";

/// A unit's name and what belongs into its file, or into a drop-in of it.
#[derive(Debug, Clone)]
pub(crate) struct UnitFile {
    pub(crate) name: String,
    /// Below the directory of units.
    file: PathBuf,
    owner: String,
    body: String,
}

impl UnitFile {
    pub(crate) fn new(place: &Place, name: String, body: String) -> Self {
        let owner = format!("{MARK}{} in {}", place.environment(), place.state().display());
        Self { file: PathBuf::from(&name), name, owner, body }
    }

    /// Our addition to the unit `name` of somebody else.
    pub(crate) fn drop_in(place: &Place, name: &str, body: String) -> Self {
        let file = PathBuf::from(format!("{name}.d")).join(DROP_IN);
        Self { file, ..Self::new(place, name.to_owned(), body) }
    }

    pub(crate) fn path(&self, manager: Manager) -> PathBuf {
        manager.unit_dir().join(&self.file)
    }

    fn text(&self) -> String {
        let rest = format!(
            "{}\n# Changes belong into a drop-in: systemctl edit {}\n{}",
            self.owner, self.name, self.body
        );
        format!("{SEAL}{}\n{rest}", hash(&rest))
    }

    /// Refuses a file of that name that is not ours, or that somebody edited.
    ///
    /// # Errors
    /// `unit-foreign`, `unit-edited`, `state-unwritable`.
    pub(crate) fn check(&self, manager: Manager) -> Result<(), Problem> {
        self.found(manager).map(drop)
    }

    /// Our text as it lies there.
    fn found(&self, manager: Manager) -> Result<Option<String>, Problem> {
        let path = self.path(manager);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Problem::new("unit-foreign", format!("cannot read {}", path.display()))
                    .detail(error.to_string())
                    .hint(format!("ls -l {}", quoted(path.display()))));
            }
        };
        let sealed = text.strip_prefix(SEAL).and_then(|text| text.split_once('\n'));
        let Some((seal, rest)) = sealed.filter(|(_, rest)| rest.starts_with(MARK)) else {
            return Err(foreign(&path, "is not ours"));
        };
        if rest.lines().next() != Some(&self.owner) {
            return Err(foreign(&path, "belongs to another environment"));
        }
        if seal != hash(rest) {
            return Err(Problem::new("unit-edited", format!("somebody edited {}", path.display()))
                .detail(format!(
                    "changes belong into a drop-in (systemctl edit {}); without the file it is written anew",
                    self.name
                ))
                .hint(format!(
                    "mv {} {}",
                    quoted(path.display()),
                    quoted(format!("{}.edited", path.display()))
                )));
        }
        Ok(Some(text))
    }

    /// Writes the file when its text is another one.
    ///
    /// # Errors
    /// As [`UnitFile::check`].
    pub(crate) fn install(&self, manager: Manager) -> Result<(), Problem> {
        let text = self.text();
        if self.found(manager)?.is_some_and(|found| found == text) {
            return Ok(());
        }
        let path = self.path(manager);
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir)
            .and_then(|()| durable::write_readable(&path, text.as_bytes()))
            .or_problem("state-unwritable", || format!("cannot write {}", path.display()))
            .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(dir.display()))))
    }

    /// Takes the file away, and a directory of drop-ins that has nothing else.
    ///
    /// # Errors
    /// As [`UnitFile::check`].
    pub(crate) fn remove(&self, manager: Manager) -> Result<(), Problem> {
        let path = self.path(manager);
        if self.found(manager)?.is_none() {
            return Ok(());
        }
        durable::remove(&path)
            .or_problem("state-unwritable", || format!("cannot remove {}", path.display()))?;
        if let Some(dir) = path.parent().filter(|dir| *dir != manager.unit_dir()) {
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }

    /// The link by which `target` starts the unit `name`, which this file describes.
    fn link(&self, manager: Manager, target: &str, name: &str) -> PathBuf {
        let _ = self;
        manager.unit_dir().join(format!("{target}.wants")).join(name)
    }

    /// Lets a boot start the unit `name` by way of `target`, or not. Links are all that `systemctl
    /// enable` makes, and it would read every unit again.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub(crate) fn enable(
        &self,
        manager: Manager,
        target: &str,
        name: &str,
        wanted: bool,
    ) -> Result<(), Problem> {
        let link = self.link(manager, target, name);
        let enabled = fs::read_link(&link).ok();
        let made = match enabled {
            Some(_) if !wanted => durable::remove(&link),
            Some(to) if to == self.path(manager) => return Ok(()),
            None if !wanted => return Ok(()),
            _ => fs::create_dir_all(link.parent().unwrap_or(&link))
                .and_then(|()| durable::link(&self.path(manager), &link)),
        };
        made.or_problem("state-unwritable", || format!("cannot change {}", link.display()))
    }
}

/// Starts or stops units.
///
/// # Errors
/// `kind`, with what systemd says.
pub(crate) fn order(manager: Manager, kind: &str, args: &[&str]) -> Result<(), Problem> {
    manager.control(args).map(drop).or_problem_kind(kind)
}

fn foreign(path: &Path, why: &str) -> Problem {
    Problem::new("unit-foreign", format!("{} {why}", path.display()))
        .hint(format!("head -n 3 {}", quoted(path.display())))
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
