//! `verify init`: writes a first verify.toml from what serves now, such that it passes. What is wrong
//! today is excused by name, so that somebody sees it in the file; nothing is ever overwritten.
//!
//! `guess` finds out who lists the routes, `draft` is the file in the making.

mod draft;
mod guess;

use std::cell::OnceCell;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::durable;
use common::report::{OrProblem, Problem, quoted};
use serde_json::json;
use tempfile::Builder;

use crate::arguments::{Args, InitOptions};
use crate::checks::Checks;
use crate::stages::{Sight, flaws};
use crate::subject::Subject;
use draft::Draft;

/// A page that answers otherwise the second time is left out; so often it is tried.
const TRIALS: usize = 3;

/// Looks at what serves and writes what it found.
///
/// # Errors
/// `usage` when it is not clear what to look at, `nothing-serves`, `not-written`, `unverified` when
/// no request can be made.
pub(crate) fn run(args: &Args, options: &InitOptions, run: &mut Run) -> Result<(), Problem> {
    let config = args.shared.load()?;
    let environment = choose(args, &config)?;
    let file = config.root().join(&options.file);
    run.begin(environment, None);
    if file.symlink_metadata().is_ok() {
        run.skip("init.write", &format!("{} exists already; --file names another one", file.display()));
        return Ok(());
    }
    let mut subject = Subject::find(&config, environment, None)?;
    run.hide(&subject.secrets);
    let discover = run.step("init.discovery", || guess::discover(&subject))?;
    subject.checks = Checks::beginning(&subject.health, discover);
    let mut draft = run.step("init.crawl", || look(&subject))?;
    run.step("init.trial", || try_out(&mut subject, &mut draft))?;
    run.step("init.write", || write_new(&file, &draft.text()))?;
    run.report.changed = true;
    tell(run, &draft, &file);
    Ok(())
}

/// The environment that is named, or the only one.
fn choose<'a>(args: &'a Args, config: &'a Config) -> Result<&'a str, Problem> {
    let mut keys = config.environments.keys();
    match (&args.environment, keys.next(), keys.next()) {
        (Some(named), ..) => config.environment(named).map(|_| named.as_str()),
        (None, Some(only), None) => Ok(only),
        (None, first, _) => {
            let names: Vec<&str> = config.environments.keys().map(String::as_str).collect();
            Err(Problem::usage(format!("init needs one of the environments {}", names.join(", ")))
                .hint(format!("verify {} init", first.map_or("dev", String::as_str))))
        }
    }
}

fn look(subject: &Subject) -> Result<Draft, Problem> {
    let survey = OnceCell::new();
    let sight = Sight::new(subject, &survey)?;
    let crawl = sight.crawl().map_err(Problem::unverified)?;
    let mut draft = Draft::of(subject, sight.survey(), crawl);
    excuse(&sight, &mut draft);
    Ok(draft)
}

/// Takes up what is wrong today; whether there was anything new.
fn excuse(sight: &Sight<'_>, draft: &mut Draft) -> bool {
    let before = draft.clone();
    if let Ok(crawl) = sight.crawl() {
        draft.skip.extend(flaws::of_links(sight, crawl));
        draft.skip_forms.extend(flaws::of_forms(sight, crawl));
    }
    let shown = flaws::shown(sight);
    draft.absent.retain(|text| !shown.contains(text));
    draft.give_up(&sight.visit().failed());
    draft.excuse.extend(flaws::unchecked(sight));
    *draft != before
}

/// The file as it will be read, tried on what serves until nothing is found any more.
fn try_out(subject: &mut Subject, draft: &mut Draft) -> Result<(), Problem> {
    let scratch =
        tempfile::tempdir().or_problem("not-written", || "cannot make a temporary directory".into())?;
    for _ in 0..TRIALS {
        let text = draft.text();
        write_new(&scratch.path().join("verify.toml"), &text)?;
        subject.checks = Checks::load(scratch.path(), &subject.health, &subject.secrets)?;
        let survey = OnceCell::new();
        if !excuse(&Sight::new(subject, &survey)?, draft) {
            return Ok(());
        }
        let _ = std::fs::remove_file(scratch.path().join("verify.toml"));
    }
    Ok(())
}

/// Whole or not at all, and never over another one.
fn write_new(file: &Path, text: &str) -> Result<(), Problem> {
    let dir = file.parent().unwrap_or(file);
    let readable = Permissions::from_mode(0o644);
    let written = Builder::new().permissions(readable).tempfile_in(dir).and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        durable::sync_file(open.as_file())?;
        open.persist_noclobber(file).map_err(|error| error.error)?;
        durable::sync_dir(dir)
    });
    written
        .or_problem("not-written", || format!("cannot write {}", file.display()))
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(dir.display()))))
}

fn tell(run: &mut Run, draft: &Draft, file: &Path) {
    for route in &draft.routes {
        run.tell(route.told());
    }
    let excused = draft.skip.len() + draft.skip_forms.len() + draft.excuse.len();
    run.tell(format!("written: {}; {excused} things of today are excused in it", file.display()));
    run.detail("written", [file]);
    run.detail("seen", &draft.routes);
    run.detail("excused", json!({"links": draft.skip, "forms": draft.skip_forms, "rules": draft.excuse}));
    run.note(&format!(
        "Next: read {0}, git add {0} && git commit, deploy {1}, verify {1}",
        file.display(),
        run.report.environment.as_deref().unwrap_or_default()
    ));
}
