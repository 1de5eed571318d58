//! diesel: a directory for each migration, `VERSION_name/{up.sql,down.sql,metadata.toml}`.

use std::path::Path;

use serde::Deserialize;

use super::{Text, migration};
use crate::migrations::Migration;
use crate::migrations::directory::{Reading, number, read_text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default = "yes")]
    run_in_transaction: bool,
}

fn yes() -> bool {
    true
}

pub(super) fn read(dir: &Path, names: &[String], reading: &mut Reading) {
    for name in names {
        if name.starts_with('.') || !dir.join(name).is_dir() {
            reading.ignored.push(name.clone());
            continue;
        }
        reading.take(read_one(dir, name).map_err(|reason| format!("{name}: {reason}")));
    }
}

fn read_one(dir: &Path, directory: &str) -> Result<Migration, String> {
    let (version, name) = directory.split_once('_').unwrap_or((directory, ""));
    let label = version.replace('-', "");
    if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its name does not begin with a number and an underscore; rename or move it".into());
    }
    let file = |name: &str| format!("{directory}/{name}");
    let up = read_text(&dir.join(file("up.sql"))).map_err(|reason| format!("up.sql {reason}"))?;
    let down_path = dir.join(file("down.sql"));
    let down = if down_path.exists() {
        // An empty one is diesel's template: there is no way back.
        read_text(&down_path).ok().map(|text| Text { file: file("down.sql"), text })
    } else {
        None
    };
    let original = Text { file: file("up.sql"), text: up.clone() };
    let mut made = migration((number(&label)?, label, name), original, up, down)?;
    made.directives.no_transaction |= !in_transaction(&dir.join(file("metadata.toml")))?;
    Ok(made)
}

fn in_transaction(file: &Path) -> Result<bool, String> {
    if !file.exists() {
        return Ok(true);
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("metadata.toml: {error}"))?;
    let read: Result<Metadata, _> = toml::from_str(&text);
    read.map(|found| found.run_in_transaction).map_err(|error| format!("metadata.toml: {}", error.message()))
}
