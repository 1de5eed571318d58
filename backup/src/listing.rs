//! `backup ENV list`: what there is, newest first.

use std::collections::BTreeSet;

use common::backups::{self, Backup, order};
use common::cli::Run;
use common::report::{Problem, now};
use serde_json::{Value, json};

use crate::site::Site;
use crate::{further, second};

/// Puts all backups into the report, with the places where each lies.
///
/// # Errors
/// `state-unreadable`.
pub(crate) fn list(run: &mut Run, site: &Site<'_>) -> Result<(), Problem> {
    let mut listing = backups::list(&site.place)?;
    let second = second::held(site)?;
    let here: BTreeSet<String> = listing.backups.iter().map(|backup| backup.manifest.id.clone()).collect();
    listing.backups.extend(second.only_there(&here));
    listing.backups.sort_by(|a, b| order(&b.manifest).cmp(&order(&a.manifest)));
    let places = |backup: &Backup| {
        let known = [("here", here.contains(&backup.manifest.id)), ("second", second.has(backup))];
        known.into_iter().filter_map(|(place, holds)| holds.then_some(place)).collect::<Vec<_>>()
    };
    let lines = listing.backups.iter().map(|backup| line(backup, &places(backup)));
    run.detail("directory", site.place.backups().display().to_string());
    run.detail("backups", lines.collect::<Vec<_>>());
    run.warn_all(&second.warnings.into_iter().chain(further::cut_off(site)).collect::<Vec<_>>());
    listing.unreadable.extend(second.unreadable);
    if !listing.unreadable.is_empty() {
        let unreadable = listing.unreadable.iter();
        let lines =
            unreadable.map(|(name, problem)| json!({"directory": name, "problem": problem.to_string()}));
        run.detail("unreadable", lines.collect::<Vec<_>>());
    }
    Ok(())
}

fn line(backup: &Backup, places: &[&str]) -> Value {
    let manifest = &backup.manifest;
    json!({
        "id": manifest.id,
        "age": age(now().as_second() - manifest.created_at.as_second()),
        "reason": manifest.reason,
        "verified": manifest.verified.holds(),
        "protected": manifest.protected,
        "places": places,
        "bytes": backup.bytes(),
        "raw_bytes": manifest.raw_bytes,
        "further": manifest.further,
        "created_at": manifest.created_at,
        "deployment": manifest.deployment,
    })
}

/// Seconds as people say them.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages_are_said_in_one_unit() {
        for (seconds, said) in
            [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(super::age(seconds), said);
        }
    }
}
