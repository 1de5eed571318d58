//! `rollback ENV --plan`: where it would go and by which rung of the ladder; nothing is changed.

use common::cli::Run;
use common::config::Strategy;
use common::report::{Problem, Release};
use common::site::Site;
use serde_json::json;

use crate::ladder;
use crate::target::{self, Wish};

/// Tells what would happen. A way back for the schema is tried on a copy of the database.
///
/// # Errors
/// Those that the rollback would have before it changed anything.
pub(crate) fn tell(run: &mut Run, site: &Site, wish: &Wish, discard: bool) -> Result<(), Problem> {
    run.begin(&site.environment, None);
    run.report.serving = site.serving_revision()?;
    let target = run.step("target", || target::find(site, wish))?;
    run.report.release = Some(Release {
        revision: target.revision.clone(),
        branch: target.branch.clone(),
        tree: target.tree.clone(),
    });
    run.detail("target", json!({ "deployment": target.id, "revision": target.revision }));
    if target::serving(site, &target)?.is_some() {
        run.detail("nothing_to_do", true);
        return Ok(());
    }
    let Some(release) = target.release.as_ref().filter(|id| site.place.release(id).is_dir()) else {
        run.detail("rebuild", true);
        run.note("the release has to be built again; only then its migrations can be compared");
        return Ok(());
    };
    let choice = ladder::choose(run, site, release, discard)?;
    choice.tell(run);
    let restarts = site.settings().strategy == Strategy::Restart;
    run.detail("standstill", restarts || choice.needs_standstill());
    Ok(())
}
