//! Applies and undoes the schema changes of a release.
//!
//! `scene` finds the environment, its database and the migrations; `engine` runs them in one
//! transaction; `up`, `down`, `rehearse`, `standing` and `template` are the verbs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod birth;
mod cancel;
mod content;
mod down;
mod engine;
mod job;
mod loss;
mod operation;
mod outcome;
mod references;
mod rehearsal;
mod rehearse;
mod rows;
mod scene;
mod scratch;
mod screen;
mod standing;
mod template;
mod tokens;
mod up;

use std::process::ExitCode;

use common::cli::{Run, read_report};
use common::relocation;
use common::report::Problem;

use arguments::{Args, Verb};
use scene::Scene;

fn main() -> ExitCode {
    common::cli::main::<Args>("migrate", story)
}

fn story(args: Args, run: &mut Run) -> Result<(), Problem> {
    let verb = args.verb.unwrap_or(Verb::Up(args.up));
    match (args.environment, verb) {
        (None, Verb::New { name }) => template::create(run, &args.shared.load()?, &name),
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
    if let Some(wait) = verb.patience() {
        scene.take_lock(wait)?;
    }
    scene.ask_ledger()?;
    named.map_or(Ok(()), |id| scene.expect(id))?;
    relocation::check(&scene.config, &scene.place, scene.serving.as_ref())?;
    run.report.serving = scene.serving.as_ref().map(|deployment| deployment.revision.clone());
    match verb {
        Verb::Up(_) => up::apply_pending(run, &scene, release, &id),
        Verb::Down(options) => down::undo(run, &scene, &options.choice(), &id),
        Verb::Baseline(options) => up::record_pending(run, &scene, release, options.to, &id),
        Verb::Status(_) => standing::show(run, &scene, release),
        Verb::Plan(_) => rehearse::plan(run, &scene, release),
        Verb::Rehearse(options) => rehearse::rehearse(run, &scene, release, options.keep_copy.as_deref()),
        Verb::New { .. } => Err(Problem::usage("'new' writes into the work tree and takes no environment")
            .hint("migrate new add_email")),
    }
}
