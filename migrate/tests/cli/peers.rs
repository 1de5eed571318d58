//! The programs of other tools, taking turns with ours on one database: theirs applies, ours goes
//! on, theirs again, ours undoes, theirs applies once more. What is not installed says so loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tests::tell;

use crate::layouts::{BASE, Step, Tool, image, sqlite3, step};
use crate::world::World;

/// Where `scripts/setup --bench` puts programs that no package of the system has.
const OWN_PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench-peers/bin");

struct Peer {
    tool: Tool,
    program: PathBuf,
}

impl Peer {
    fn find(tool: Tool, name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain([PathBuf::from(OWN_PEERS)]);
        let found =
            places.map(|place| place.join(name)).find(|program| program.is_file() && is(tool, program));
        if found.is_none() {
            tell(&format!("NOT RUN: {name} is not installed; nothing was proved beside {}", tool.word()));
        }
        Some(Self { tool, program: found? })
    }

    /// Lets it apply everything.
    #[track_caller]
    fn apply(&self, world: &World) {
        let dir = world.path().join("migrations").display().to_string();
        let database = world.database().display().to_string();
        let file = |name: &str, text: &str| {
            std::fs::write(world.path().join(name), text).unwrap();
            world.path().join(name).display().to_string()
        };
        let url = format!("sqlite:{database}");
        let words: Vec<String> = match self.tool {
            Tool::Dbmate => {
                ["--url", &url, "--migrations-dir", &dir, "--no-dump-schema", "up"].map(Into::into).into()
            }
            Tool::Sqlx => ["migrate", "run", "--source", &dir, "--database-url", &url].map(Into::into).into(),
            Tool::Diesel => {
                let config = file("diesel.toml", "");
                [
                    "migration",
                    "run",
                    "--migration-dir",
                    &dir,
                    "--database-url",
                    &database,
                    "--config-file",
                    &config,
                ]
                .map(Into::into)
                .into()
            }
            Tool::Refinery => {
                let config = file(
                    "refinery.toml",
                    &format!("[main]\ndb_type = \"Sqlite\"\ndb_path = \"{database}\"\n"),
                );
                ["migrate", "-c", &config, "-p", &dir].map(Into::into).into()
            }
            Tool::Goose => ["-dir", &dir, "sqlite3", &database, "up"].map(Into::into).into(),
            Tool::GolangMigrate => {
                ["-path", &dir, "-database", &format!("sqlite3://{database}"), "up"].map(Into::into).into()
            }
            Tool::Flyway => [
                format!("-url=jdbc:sqlite:{database}"),
                format!("-locations=filesystem:{dir}"),
                "migrate".into(),
            ]
            .into(),
            Tool::Own | Tool::Plain => unreachable!("no program of its own"),
        };
        let output = Command::new(&self.program).args(&words).current_dir(world.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}: {}", self.program.display(), String::from_utf8_lossy(&said));
    }
}

/// golang-migrate's program has the name of ours.
fn is(tool: Tool, program: &Path) -> bool {
    tool != Tool::GolangMigrate
        || Command::new(program).arg("-help").output().is_ok_and(|output| {
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).contains("-source")
        })
}

fn take_turns(tool: Tool, name: &str) {
    let Some(peer) = Peer::find(tool, name) else { return };
    let world = World::new();
    let expected = world.path().join("expected.db");
    world.script(BASE);
    sqlite3(&expected, BASE);
    if matches!(tool, Tool::Refinery | Tool::Flyway) {
        let named = format!("layout = \"{}\"\n", tool.word());
        std::fs::write(world.path().join("migrate.toml"), named).unwrap();
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut write = |kinds: &[u8]| {
        for kind in kinds {
            let one = step(*kind, steps.len() + 1);
            sqlite3(&expected, &one.0);
            tool.write(&world, steps.len() + 1, &one);
            steps.push(one);
        }
    };
    write(&[1, 0]);
    peer.apply(&world);
    write(&[3, 4, 1]);
    let applied = world.run(&["dev", "up"]).good().details()["applied"].clone();
    assert_eq!(applied.as_array().unwrap().len(), 3, "{applied}");
    write(&[2, 0]);
    peer.apply(&world);
    assert_eq!(image(&world.database()), image(&expected), "{name}");
    let status = world.run(&["dev", "status"]).good();
    assert_eq!(
        (&status.details()["standing"], &status.details()["pending"]),
        (&json!("current"), &json!([]))
    );
    if tool.goes_back() {
        world.run(&["dev", "down", "--steps", "4"]).good();
        peer.apply(&world);
    }
    assert_eq!(image(&world.database()), image(&expected), "{name}");
    assert_eq!(world.run(&["dev", "up"]).good().details()["applied"], json!([]));
}

#[test]
fn dbmate_and_we_take_turns() {
    take_turns(Tool::Dbmate, "dbmate");
}

#[test]
fn sqlx_and_we_take_turns() {
    take_turns(Tool::Sqlx, "sqlx");
}

#[test]
fn diesel_and_we_take_turns() {
    take_turns(Tool::Diesel, "diesel");
}

#[test]
fn refinery_and_we_take_turns() {
    take_turns(Tool::Refinery, "refinery");
}

#[test]
fn goose_and_we_take_turns() {
    take_turns(Tool::Goose, "goose");
}

#[test]
fn golang_migrate_and_we_take_turns() {
    take_turns(Tool::GolangMigrate, "migrate");
}

#[test]
fn flyway_and_we_take_turns() {
    take_turns(Tool::Flyway, "flyway");
}
