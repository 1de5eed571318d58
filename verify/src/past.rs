//! What verifications leave beside the ledger, in `ENV/verifications`: a directory of the name of
//! its deployment for what passed, and one ending in `.failed` for what a browser or a comparison
//! found wrong. Each holds a structure and screenshots, and is replaced whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::durable;
use common::layout::{FAILED, Place, STRUCTURE, create_private_dir, is_plain_name, verification_name};
use common::report::{OrProblem, Problem};

use crate::regressions::Structure;

/// So many deployments, and so many verified ones, keep what their verification left.
pub(crate) const KEPT: u32 = 5;

/// The directory of one environment.
pub(crate) struct Past {
    dir: PathBuf,
}

/// What one verification leaves.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    pub(crate) structure: Structure,
    /// Content of each file of [`Structure::screenshots`], and of marked differences.
    pub(crate) pictures: BTreeMap<String, Vec<u8>>,
}

impl Past {
    pub(crate) fn of(place: &Place) -> Self {
        Self { dir: place.verifications() }
    }

    /// What the last passed verification of a deployment saw.
    pub(crate) fn structure(&self, deployment: &str) -> Option<Structure> {
        read(&self.dir.join(deployment))
    }

    /// The screenshot of a page that it left.
    pub(crate) fn screenshot(&self, structure: &Structure, page: &str) -> Option<Vec<u8>> {
        let file = structure.screenshots.get(page).filter(|name| is_plain_name(name))?;
        fs::read(self.dir.join(&structure.deployment).join(file)).ok()
    }

    /// Everything that was found wrong and is still kept.
    pub(crate) fn failed(&self) -> Vec<Structure> {
        let names = self.names().into_iter().filter(|name| name.ends_with(FAILED));
        names.filter_map(|name| read(&self.dir.join(name))).collect()
    }

    /// Where what passed, or failed, of this deployment is kept.
    pub(crate) fn place_of(&self, deployment: &str, passed: bool) -> PathBuf {
        self.dir.join(verification_name(deployment, passed))
    }

    /// Whether what a failed run leaves tells more than what is there. A run that has not `compared`
    /// does not take the place of one that has: its changes are still to be approved.
    pub(crate) fn lacks(&self, leaving: &Leaving, compared: bool) -> bool {
        let found_nothing = leaving.pictures.is_empty() && leaving.structure.changes.is_empty();
        let earlier = self.place_of(&leaving.structure.deployment, false);
        !found_nothing && (compared || !earlier.exists())
    }

    /// Keeps what a verification leaves, in place of what was there.
    ///
    /// # Errors
    /// `state-unwritable`; then what was there before is there still.
    pub(crate) fn keep(&self, leaving: &Leaving, passed: bool) -> Result<(), Problem> {
        create_private_dir(&self.dir)?;
        let target = self.place_of(&leaving.structure.deployment, passed);
        self.replace(&target, leaving)
            .or_problem("state-unwritable", || format!("cannot write {}", target.display()))?;
        if passed {
            let _ = fs::remove_dir_all(self.place_of(&leaving.structure.deployment, false));
        }
        Ok(())
    }

    fn replace(&self, target: &Path, leaving: &Leaving) -> std::io::Result<()> {
        let private = fs::Permissions::from_mode(0o700);
        let draft = tempfile::Builder::new().prefix(".draft-").permissions(private).tempdir_in(&self.dir)?;
        for (name, bytes) in &leaving.pictures {
            durable::write(&draft.path().join(name), bytes)?;
        }
        let text = serde_json::to_vec(&leaving.structure)?;
        durable::write(&draft.path().join(STRUCTURE), &text)?;
        if target.exists() {
            // What was there goes with the draft.
            return durable::exchange(draft.path(), target);
        }
        durable::rename(draft.path(), target)?;
        let _ = draft.keep();
        Ok(())
    }

    /// Removes what belongs to none of these deployments, and drafts that a killed run left.
    pub(crate) fn prune(&self, deployments: &[String]) {
        let unknown = |name: &String| !deployments.iter().any(|id| id == name.trim_end_matches(FAILED));
        for name in self.names().iter().filter(|name| unknown(name)) {
            let _ = fs::remove_dir_all(self.dir.join(name));
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn read(dir: &Path) -> Option<Structure> {
    serde_json::from_slice(&fs::read(dir.join(STRUCTURE)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(deployment: &str, picture: &[u8]) -> Leaving {
        let mut leaving = Leaving::default();
        leaving.structure.deployment = deployment.into();
        leaving.structure.screenshots.insert("GET /".into(), "1.png".into());
        leaving.pictures.insert("1.png".into(), picture.into());
        leaving
    }

    fn keep(past: &Past, deployment: &str, picture: &[u8], passed: bool) {
        past.keep(&leaving(deployment, picture), passed).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_last_one_replaces_the_one_before_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let past = Past { dir: dir.path().join("verifications") };
        keep(&past, "a", b"failed", false);
        for picture in [b"one", b"two"] {
            keep(&past, "a", picture, true);
            let structure = past.structure("a").unwrap();
            assert_eq!(past.screenshot(&structure, "GET /").unwrap(), picture);
        }
        assert_eq!(past.names(), ["a"]);
        let kept = past.place_of("a", true);
        assert_eq!((mode(&past.dir), mode(&kept), mode(&kept.join("1.png"))), (0o700, 0o700, 0o600));
    }

    #[test]
    fn a_run_of_some_stages_keeps_the_changes_that_wait_for_approval() {
        let dir = tempfile::tempdir().unwrap();
        let past = Past { dir: dir.path().to_owned() };
        let found = leaving("a", b"picture");
        assert!(past.lacks(&found, false), "better than nothing");
        past.keep(&found, false).unwrap();
        assert!(!past.lacks(&found, false) && past.lacks(&found, true));
        let mut nothing = Leaving::default();
        nothing.structure.deployment = "b".into();
        assert!(!past.lacks(&nothing, true));
    }

    #[test]
    fn what_no_deployment_owns_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let past = Past { dir: dir.path().to_owned() };
        for (name, passed) in [("a", true), ("b", false), ("c", true), ("d", false)] {
            keep(&past, name, b"x", passed);
        }
        fs::create_dir(dir.path().join(".draft-killed")).unwrap();
        past.prune(&["a".into(), "b".into()]);
        assert_eq!(past.names(), ["a", "b.failed"]);
        assert_eq!(past.failed().len(), 1);
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let past = Past { dir: dir.path().to_owned() };
        fs::write(dir.path().join("outside"), "x").unwrap();
        let mut structure = Structure { deployment: "a".into(), ..Structure::default() };
        structure.screenshots.insert("GET /".into(), "../outside".into());
        assert!(past.screenshot(&structure, "GET /").is_none());
    }
}
