//! `backup ENV list`: what there is, newest first.

use common::backups::{self, Backup};
use common::cli::Run;
use common::report::{Problem, now};
use serde_json::{Value, json};

use crate::site::Site;

/// Puts all backups into the report.
///
/// # Errors
/// `state-unreadable`.
pub(crate) fn list(run: &mut Run, site: &Site<'_>) -> Result<(), Problem> {
    let listing = backups::list(&site.place)?;
    run.detail("directory", site.place.backups().display().to_string());
    run.detail("backups", listing.backups.iter().map(line).collect::<Vec<_>>());
    if !listing.unreadable.is_empty() {
        let unreadable = listing.unreadable.iter();
        let lines =
            unreadable.map(|(name, problem)| json!({"directory": name, "problem": problem.to_string()}));
        run.detail("unreadable", lines.collect::<Vec<_>>());
    }
    Ok(())
}

fn line(backup: &Backup) -> Value {
    let manifest = &backup.manifest;
    json!({
        "id": manifest.id,
        "age": age(now().as_second() - manifest.created_at.as_second()),
        "reason": manifest.reason,
        "verified": manifest.verified.holds(),
        "protected": manifest.protected,
        "bytes": backup.bytes(),
        "raw_bytes": manifest.raw_bytes,
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
