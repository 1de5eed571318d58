//! Applies and undoes the schema changes of a release.
//!
//! `scene` finds the environment, its database and the migrations; `engine` runs them in one
//! transaction; `up`, `down`, `rehearse`, `standing` and `template` are the verbs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod birth;
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
use std::time::Duration;

use common::cli::{Run, read_report};
use common::lock::Lock;
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
            let id = named_id(&verb, &scene);
            run.begin(&environment, id.as_deref());
            act(run, scene, verb)
        }
        (None, verb @ (Verb::Up(_) | Verb::Down(_))) => {
            run.follow(read_report("migrate")?);
            let environment = run.report.environment.clone();
            match environment.filter(|_| run.report.success) {
                Some(environment) => act(run, Scene::new(args.shared.load()?, &environment)?, verb),
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

fn act(run: &mut Run, mut scene: Scene, verb: Verb) -> Result<(), Problem> {
    run.report.serving = scene.serving.as_ref().map(|deployment| deployment.revision.clone());
    if scene.database.is_none() {
        scene.database_for(&scene.source(verb.release())?.migrations)?;
    }
    match verb {
        Verb::Up(options) => {
            let lock = take_lock(&mut scene, "up", options.patience.wait())?;
            let id = options.deployment.unwrap_or_else(|| current_id(run, &scene));
            up::apply_pending(run, &scene, &lock, options.origin.release.as_deref(), &id)
        }
        Verb::Down(options) => {
            let lock = take_lock(&mut scene, "down", options.patience.wait())?;
            let id = current_id(run, &scene);
            down::undo(run, &scene, &lock, &options.choice(), &id)
        }
        Verb::Baseline(options) => {
            let lock = take_lock(&mut scene, "baseline", options.patience.wait())?;
            let id = current_id(run, &scene);
            up::record_pending(run, &scene, &lock, options.origin.release.as_deref(), options.to, &id)
        }
        Verb::Status(origin) => standing::show(run, &scene, origin.release.as_deref()),
        Verb::Plan(origin) => rehearse::plan(run, &scene, origin.release.as_deref()),
        Verb::Rehearse(options) => {
            rehearse::rehearse(run, &scene, options.origin.release.as_deref(), options.keep_copy.as_deref())
        }
        Verb::New { .. } => Err(Problem::usage("'new' writes into the work tree and takes no environment")
            .hint("migrate new add_email")),
    }
}

fn take_lock(scene: &mut Scene, verb: &str, wait: Duration) -> Result<Lock, Problem> {
    scene.place.create()?;
    let lock = Lock::take(&scene.place, &format!("migrate {} {verb}", scene.environment()), wait)?;
    scene.look_again()?;
    Ok(lock)
}

/// The id a changing verb works under, known before it begins.
fn named_id(verb: &Verb, scene: &Scene) -> Option<String> {
    match verb {
        Verb::Up(options) => Some(options.deployment.clone().unwrap_or_else(|| operation::new_id(scene))),
        Verb::Down(_) | Verb::Baseline(_) => Some(operation::new_id(scene)),
        _ => None,
    }
}

fn current_id(run: &Run, scene: &Scene) -> String {
    run.report.deployment.clone().unwrap_or_else(|| operation::new_id(scene))
}
