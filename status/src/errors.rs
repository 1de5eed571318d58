//! `status ENV errors`: what the instances wrote into their logs, grouped; what is new in the release
//! that serves comes first. Nothing is kept by looking.

use std::collections::BTreeMap;

use clap::Args;
use common::cli::Run;
use common::config::Config;
use common::errors::Survey;
use common::layout::Place;
use common::ledger::{ErrorGroup, Ledger};
use common::report::Problem;
use common::secrets::Secrets;
use common::supervisor::Supervisor;
use serde::Serialize;
use serde_json::json;

use crate::facts::time;

#[derive(Debug, Args)]
pub(crate) struct Errors {
    /// How many kinds of errors to list
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// One kind of error, over all releases.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    fingerprint: String,
    title: String,
    /// Only the release that serves has it.
    new: bool,
    count: u64,
    /// How often in each release.
    releases: BTreeMap<String, u64>,
    first_seen: Option<String>,
    last_seen: Option<String>,
    excerpt: String,
    #[serde(skip)]
    last_ms: i64,
}

/// Lists the errors of each environment.
///
/// # Errors
/// `ledger-unreadable`; where there are errors also `env-file`, `env-command`: what is not known to be
/// a secret could not be hidden.
pub(crate) fn tell(
    run: &mut Run,
    config: &Config,
    ledger: Option<&Ledger>,
    names: &[String],
    options: &Errors,
) -> Result<(), Problem> {
    for name in names {
        let settings = config.environment(name)?;
        let survey = Survey::of(ledger, &Place::new(config, name), &Supervisor::of(settings))?;
        let serving = ledger.map(|ledger| ledger.serving(name)).transpose()?.flatten();
        let release = serving.and_then(|row| row.release);
        let mut all = list(&survey, release.as_deref());
        if !all.is_empty() {
            run.hide(&Secrets::of(config, settings)?);
        }
        let (kinds, new) = (all.len(), all.iter().filter(|listed| listed.new).count());
        all.truncate(options.limit);
        run.tell(format!("{name}: kinds of errors: {kinds}, of them new: {new}"));
        for listed in &all {
            run.tell(words(listed));
        }
        run.detail(name, json!({"release": release, "kinds": kinds, "new": new, "errors": all}));
    }
    Ok(())
}

fn words(listed: &Listed) -> String {
    let mark = if listed.new { "new" } else { "" };
    let last = listed.last_seen.as_deref().unwrap_or_default();
    format!("  {mark:3} {} {:>6}x  {last}  {}", listed.fingerprint, listed.count, listed.title)
}

/// New ones first, then what was seen last.
fn list(survey: &Survey, serving: Option<&str>) -> Vec<Listed> {
    let new = serving.map(|release| survey.new_in(release)).unwrap_or_default();
    let mut all: BTreeMap<&str, Listed> = BTreeMap::new();
    for (release, groups) in &survey.releases {
        for group in groups.values() {
            let is_new = new.iter().any(|known| known.fingerprint == group.fingerprint);
            let listed = all.entry(&group.fingerprint).or_insert_with(|| Listed::begin(group, is_new));
            listed.count += group.count;
            listed.releases.insert(release.clone(), group.count);
            listed.first_seen = listed.first_seen.take().min(time(group.first_ms));
            if group.last_ms > listed.last_ms {
                (listed.last_ms, listed.last_seen) = (group.last_ms, time(group.last_ms));
            }
        }
    }
    let mut all: Vec<Listed> = all.into_values().collect();
    all.sort_by_key(|listed| (!listed.new, -listed.last_ms));
    all
}

impl Listed {
    fn begin(group: &ErrorGroup, new: bool) -> Self {
        Self {
            fingerprint: group.fingerprint.clone(),
            title: group.title.clone(),
            new,
            count: 0,
            releases: BTreeMap::new(),
            first_seen: time(group.first_ms),
            last_seen: time(group.last_ms),
            excerpt: group.excerpt.clone(),
            last_ms: group.last_ms,
        }
    }
}
