//! The README is run: its commands, as they stand there, and its configuration.

use std::fs;
use std::path::Path;

use tests::world::World;

#[test]
fn the_commands_of_the_readme_work() {
    let world = World::new();
    let blocks = blocks("sh");
    let [day, others] = blocks.as_slice() else {
        panic!("the README has {} blocks of commands", blocks.len())
    };
    for version in ["v1", "v2"] {
        world.release(version);
        run_all(&world, day);
        assert_eq!(world.get("prod", "/").1, version);
    }
    run_all(&world, others);
    assert_eq!(world.get("prod", "/").1, "v1", "the README rolls prod back");
}

#[test]
fn the_configuration_of_the_readme_is_valid() {
    let blocks = blocks("toml");
    let [configuration, checks] = blocks.as_slice() else { panic!("{} blocks of TOML", blocks.len()) };
    let world = World::new();
    world.write("other/deploy.toml", configuration);
    world.run("status", &["all", "--config", "other/deploy.toml"]).ok();
    world.write("verify.toml", checks);
    world.write_secrets("deploy.env", "VERIFY_USER=reader\nVERIFY_PASSWORD=a-long-password\n");
    world.configure("ready_timeout", "env_file = \"deploy.env\"\nready_timeout");
    let report = world.run("deploy", &["dev"]).report();
    let first = report.steps.iter().find(|step| step.name == "routes.GET /").unwrap();
    assert_eq!(first.problem.as_ref().unwrap().kind, "text-missing", "the checks were read and asked");
}

fn run_all(world: &World, block: &str) {
    for line in block.lines().filter(|line| !line.is_empty()) {
        let ran = world.sh(line);
        assert_eq!(ran.status, 0, "{line}\n{}\n{}", ran.stdout, ran.stderr);
    }
}

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let text = fs::read_to_string(readme).unwrap();
    let opening = format!("```{language}\n");
    text.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}
