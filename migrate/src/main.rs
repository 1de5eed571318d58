//! Applies and undoes the schema changes of a release.
//!
//! `scene` finds the environment, its database and the migrations; `choice` says which are due;
//! `engine` runs them, `pass` in transactions, `python` those that are scripts; `books` keeps the
//! tables of other tools; `memo` remembers that nothing was due, by the `traces` of the files. `up`,
//! `down`, `rehearse`, `standing`, `schema_file`, `squash` and `template` are the verbs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod belonging;
mod birth;
mod books;
mod cancel;
mod choice;
mod content;
mod cores;
mod down;
mod engine;
mod fingerprint;
mod guard;
mod in_place;
mod job;
mod kept_journal;
mod lint;
mod loss;
mod memo;
mod operation;
mod outcome;
mod outside;
mod pass;
mod python;
mod recorded;
mod references;
mod rehearsal;
mod rehearse;
mod rows;
mod salvage;
mod scene;
mod schema_file;
mod screen;
mod squash;
mod standing;
mod statements;
mod template;
mod tokens;
mod traces;
mod up;
mod verdict;
mod vocabulary;
mod way_back;

use std::process::ExitCode;

use common::cli::{Run, read_report};
use common::report::Problem;

use arguments::{Args, RehearseOptions, Verb};
use choice::Wanted;
use memo::Ahead;
use scene::Scene;
use up::Baseline;

fn main() -> ExitCode {
    common::cli::main::<Args>("migrate", story)
}

fn story(args: Args, run: &mut Run) -> Result<(), Problem> {
    let verb = args.verb.unwrap_or(Verb::Up(args.up));
    match (args.environment, verb) {
        (None, Verb::New(options)) => {
            template::create(run, &args.shared.load()?, &options.name, options.python)
        }
        (None, Verb::Squash { to }) => squash::squash(run, &args.shared.load()?, to),
        (Some(environment), verb) => {
            let scene = Scene::new(args.shared.load()?, &environment)?;
            let id = verb.patience().map(|_| verb.deployment().unwrap_or_else(operation::new_id));
            run.begin(&environment, id.as_deref());
            act(run, scene, verb, None)
        }
        (None, verb @ (Verb::Up(_) | Verb::Down(_))) => {
            let received = read_report("migrate")?;
            let named = received.deployment().map(str::to_owned);
            run.follow(received.named(operation::new_id));
            let environment = run.report.environment.clone();
            match environment.filter(|_| run.report.success) {
                Some(environment) => {
                    act(run, Scene::new(args.shared.load()?, &environment)?, verb, named.as_deref())
                }
                None if run.report.success => {
                    Err(Problem::usage("the report on stdin names no environment").hint("migrate dev up"))
                }
                // The chain has failed before us: its report goes on as it came.
                None => Ok(()),
            }
        }
        (None, _) => {
            Err(Problem::usage("this verb of migrate needs an environment").hint("migrate dev status"))
        }
    }
}

/// `named` is the deployment that a report names: what we do would be undone with it.
fn act(run: &mut Run, mut scene: Scene, verb: Verb, named: Option<&str>) -> Result<(), Problem> {
    let id = verb.deployment().or_else(|| run.report.deployment.clone()).unwrap_or_else(operation::new_id);
    let release = verb.release().map(str::to_owned);
    let release = release.as_deref();
    scene.require_database(release)?;
    let ahead = if matches!(verb, Verb::Up(_)) { Ahead::begin(&scene) } else { None };
    if let Some(wait) = verb.patience() {
        scene.take_lock(wait)?;
    }
    scene.ask_ledger()?;
    named.map_or(Ok(()), |id| scene.expect(id))?;
    scene.check_database()?;
    run.report.serving = scene.serving.as_ref().map(|deployment| deployment.revision.clone());
    let wanted = Wanted { release, contract: verb.contract() };
    match verb {
        Verb::Up(options) => up::apply_pending(run, &scene, (wanted, options.each), &id, ahead),
        Verb::Down(options) => down::undo(run, &scene, &options.choice(), options.manner(), &id),
        Verb::Baseline(options) => {
            let asked = Baseline { release, to: options.to, take_over: options.take_over };
            up::record_pending(run, &scene, asked, &id)
        }
        Verb::Status(_) => standing::show(run, &scene, release),
        Verb::Plan(_) => rehearse::plan(run, &scene, wanted),
        Verb::Rehearse(RehearseOptions { back_to: Some(version), backup, prepared, .. }) => {
            way_back::rehearse(run, &scene, version, backup.as_deref(), prepared.as_deref())
        }
        Verb::Rehearse(options) => rehearse::rehearse(run, &scene, wanted, options.keep_copy.as_deref()),
        Verb::Schema => schema_file::write(run, &scene),
        Verb::New(_) | Verb::Squash { .. } => {
            Err(Problem::usage("'new' and 'squash' write into the work tree and take no environment")
                .hint("migrate new add_email"))
        }
    }
}
