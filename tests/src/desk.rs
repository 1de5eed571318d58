//! Somebody else's clone of a world's remote: the one who pushes, and deploys by pushing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ran::Ran;
use crate::world::World;

/// A clone with `dev` checked out.
pub struct Desk {
    dir: PathBuf,
}

impl Desk {
    /// Clones `remote` into the world's directory `name`.
    ///
    /// # Panics
    /// When git refuses.
    pub fn clone(world: &World, remote: &Path, name: &str) -> Self {
        let desk = Self { dir: world.path().join(name) };
        let cloned = Command::new("git")
            .args(["clone", "--quiet", "--branch", "dev"])
            .args([remote, &desk.dir])
            .output()
            .expect("git");
        assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
        desk.git(&["config", "user.name", "Pusher"]).ok();
        desk.git(&["config", "user.email", "pusher@example.invalid"]).ok();
        desk
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// git in the clone, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(args).current_dir(&self.dir).env_remove("DEPLOY_CONFIG").stdin(Stdio::null());
        command
    }

    /// Runs git in the clone.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn git(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("git"))
    }

    /// Commits a release that answers `version`; gives the revision.
    ///
    /// # Panics
    /// When git refuses.
    pub fn commit(&self, version: &str) -> String {
        self.commit_file("VERSION", version)
    }

    /// Commits one changed file; gives the revision.
    ///
    /// # Panics
    /// When git refuses.
    pub fn commit_file(&self, file: &str, text: &str) -> String {
        fs::write(self.dir.join(file), text).expect("the file");
        self.git(&["add", "--all"]).ok();
        self.git(&["commit", "--quiet", "--allow-empty", "--message", text]).ok();
        self.git(&["rev-parse", "HEAD"]).ok().stdout.trim().to_owned()
    }

    /// `git push origin REFSPECS…`.
    pub fn push(&self, refspecs: &[&str]) -> Ran {
        self.git(&[&["push", "origin"], refspecs].concat())
    }
}
