//! Writing hooks, taking them away, telling how they stand.
//!
//! A hook of somebody else is kept beside ours by a second link before ours takes its name in one
//! rename: whenever the run ends, git finds either the old hook or ours, whole. Nothing is written
//! when any of the files cannot be accounted for.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::cli::Run;
use common::config::Config;
use common::durable;
use common::fault;
use common::git::Repository;
use common::report::{OrProblem, Problem, quoted};
use serde_json::json;

use super::{Hook, kept, script};

const UNFINISHED: &str = ".deploy-hook-";

/// What lies under a hook's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Foreign,
    /// Foreign, and an install that was cut off has already linked it beside.
    Linked,
    Ours,
}

/// The hooks of one repository, while nobody else changes them.
struct Place {
    hooks: &'static [Hook],
    dir: PathBuf,
    /// A kernel lock on the directory; it ends with us.
    _lock: File,
}

pub(super) fn install(run: &mut Run, config: &Config, repository: &Path) -> Result<(), Problem> {
    let repository = Repository::open(repository)?;
    check_source(run, config, &repository)?;
    check_own(&repository)?;
    let place = Place::open(&repository)?;
    let program = std::env::current_exe().or_problem("hooks-unwritable", || "cannot find myself".into())?;
    let found = place.inspect_all()?;
    let mut written = Vec::new();
    for (hook, found) in found {
        let text = script::text(hook, &program, &config.file);
        let path = place.path(hook);
        if fs::read(&path).is_ok_and(|present| present == text) {
            run.skip(&format!("install.{}", hook.name()), "it is installed already");
            continue;
        }
        run.step(&format!("install.{}", hook.name()), || place.write(hook, found, &text))?;
        written.push(path);
    }
    run.report.changed = !written.is_empty();
    run.detail("written", &written);
    place.tell(run)
}

pub(super) fn remove(run: &mut Run, repository: &Path) -> Result<(), Problem> {
    let place = Place::open(&Repository::open(repository)?)?;
    for (hook, found) in place.inspect_all()? {
        let name = format!("remove.{}", hook.name());
        match found {
            Found::Nothing | Found::Foreign if !place.is_left_over(hook, found) => {
                run.skip(&name, "it is not installed");
            }
            _ => {
                run.step(&name, || place.restore(hook, found))?;
                run.report.changed = true;
            }
        }
    }
    place.tell(run)
}

pub(super) fn tell(run: &mut Run, repository: &Path) -> Result<(), Problem> {
    let place = Place::open(&Repository::open(repository)?)?;
    let found = place.inspect_all()?;
    place.tell(run)?;
    match found.iter().find(|(_, found)| *found != Found::Ours) {
        None => Ok(()),
        Some((hook, _)) => Err(Problem::new("hooks-missing", format!("{} is not installed", hook.name()))
            .detail(place.path(*hook).display().to_string())
            .hint("deploy hooks install")),
    }
}

/// What is pushed to a bare repository must be what the configuration's repository deploys.
fn check_source(run: &Run, config: &Config, repository: &Repository) -> Result<(), Problem> {
    let operators = Repository::open(config.root())?;
    if !repository.is_bare() || operators.common_dir() == repository.common_dir() {
        return Ok(());
    }
    let here = repository.common_dir().unwrap_or_default();
    let root = config.root();
    let other = |what: String| {
        Err(Problem::configuration(what)
            .detail(format!("what is pushed to {} could not be deployed by it", here.display()))
            .hint(format!("git -C {} remote add origin {}", quoted(root.display()), quoted(here.display()))))
    };
    let Some(address) = operators.remote().and_then(|remote| operators.remote_address(&remote)) else {
        return other(format!("the repository of {} has no remote", config.file.display()));
    };
    let local = config.root().join(address.strip_prefix("file://").unwrap_or(&address));
    match (fs::canonicalize(local), fs::canonicalize(&here)) {
        (Ok(local), Ok(here)) if local != here => {
            other(format!("{} fetches from {address}, another repository", config.file.display()))
        }
        (Ok(_), _) => Ok(()),
        (Err(_), _) => {
            run.note(&format!(
                "{} fetches from {address}; make sure that this is {}",
                root.display(),
                here.display()
            ));
            Ok(())
        }
    }
}

/// Hooks are written only where no other repository and no commit has them.
fn check_own(repository: &Repository) -> Result<(), Problem> {
    let dir = repository.hooks_dir().unwrap_or_default();
    let shared = |title: &str| {
        Err(Problem::new("hooks-shared", title)
            .detail(dir.display().to_string())
            .hint("git config --local core.hooksPath \"$(git rev-parse --git-common-dir)/hooks\""))
    };
    if repository.hooks_path_is_local() == Some(false) {
        return shared("core.hooksPath is set for all repositories of this account");
    }
    if repository.would_track(&dir.join(Hook::PrePush.name())) {
        return shared("core.hooksPath leads into the work tree, where the hook would be committed");
    }
    Ok(())
}

impl Place {
    fn open(repository: &Repository) -> Result<Self, Problem> {
        let hooks: &[Hook] =
            if repository.is_bare() { &[Hook::PreReceive, Hook::PostReceive] } else { &[Hook::PrePush] };
        let dir = repository.hooks_dir().unwrap_or_default();
        let lock = fs::create_dir_all(&dir)
            .and_then(|()| File::open(&dir))
            .and_then(|lock| lock.lock().map(|()| lock))
            .or_problem("hooks-unwritable", || format!("cannot use {}", dir.display()))
            .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(dir.display()))))?;
        Ok(Self { hooks, dir, _lock: lock })
    }

    fn path(&self, hook: Hook) -> PathBuf {
        self.dir.join(hook.name())
    }

    fn kept(&self, hook: Hook) -> PathBuf {
        kept::path(&self.dir, hook)
    }

    /// Somebody took our hook away by hand, and the former one still lies beside.
    fn is_left_over(&self, hook: Hook, found: Found) -> bool {
        found == Found::Nothing && self.kept(hook).symlink_metadata().is_ok()
    }

    fn inspect_all(&self) -> Result<Vec<(Hook, Found)>, Problem> {
        self.hooks.iter().map(|hook| self.inspect(*hook).map(|found| (*hook, found))).collect()
    }

    /// # Errors
    /// `hook-changed` when somebody else has edited or replaced ours.
    fn inspect(&self, hook: Hook) -> Result<Found, Problem> {
        let (path, beside) = (self.path(hook), self.kept(hook));
        let identity = |path: &Path| path.symlink_metadata().ok().map(|facts| (facts.dev(), facts.ino()));
        let changed = |title: String| {
            Err(Problem::new("hook-changed", title)
                .detail(path.display().to_string())
                .hint(format!("mv {0} {0}.mine   # and then: deploy hooks install", quoted(path.display()))))
        };
        let Some(present) = identity(&path) else { return Ok(Found::Nothing) };
        let is_link = path.is_symlink();
        match fs::read(&path).ok().filter(|_| !is_link).and_then(|text| script::recognise(&text)) {
            Some(true) => Ok(Found::Ours),
            Some(false) => changed(format!("{} was edited since it was installed", hook.name())),
            None => match identity(&beside) {
                None => Ok(Found::Foreign),
                Some(linked) if linked == present => Ok(Found::Linked),
                Some(_) => changed(format!("something has replaced {} since it was installed", hook.name())),
            },
        }
    }

    fn write(&self, hook: Hook, found: Found, text: &[u8]) -> Result<(), Problem> {
        let act = || {
            self.sweep()?;
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)?;
            file.write_all(text)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
            durable::sync_file(file.as_file())?;
            fault::point("hooks.before-link");
            if found == Found::Foreign {
                fs::hard_link(self.path(hook), self.kept(hook))?;
            }
            fault::point("hooks.before-rename");
            durable::rename(file.path(), &self.path(hook))?;
            fault::point("hooks.after-rename");
            Ok(())
        };
        self.explain(act(), "write", hook)
    }

    /// Removes what an install that was cut off had begun to write.
    fn sweep(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn restore(&self, hook: Hook, found: Found) -> Result<(), Problem> {
        let (path, beside) = (self.path(hook), self.kept(hook));
        let act = || {
            match found {
                // Two names of one file: a rename would leave both.
                Found::Linked => fs::remove_file(&beside)?,
                _ if beside.symlink_metadata().is_ok() => return durable::rename(&beside, &path),
                _ => fs::remove_file(&path)?,
            }
            durable::sync_dir(&self.dir)
        };
        self.explain(act(), "restore", hook)
    }

    fn explain(&self, result: std::io::Result<()>, verb: &str, hook: Hook) -> Result<(), Problem> {
        result
            .or_problem("hooks-unwritable", || format!("cannot {verb} {}", self.path(hook).display()))
            .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(self.dir.display()))))
    }

    /// How each hook stands, for people and for the report.
    fn tell(&self, run: &mut Run) -> Result<(), Problem> {
        let mut facts = Vec::new();
        for (hook, found) in self.inspect_all()? {
            let state = if found == Found::Ours { "installed" } else { "not installed" };
            let keeps = found == Found::Ours && self.kept(hook).symlink_metadata().is_ok();
            let after = if keeps { ", after the one that was here" } else { "" };
            run.tell(format!("{:<12} {state}{after}  {}", hook.name(), self.path(hook).display()));
            facts.push(json!({
                "hook": hook.name(), "installed": found == Found::Ours, "kept": keeps, "path": self.path(hook),
            }));
        }
        run.detail("hooks", facts);
        Ok(())
    }
}
