//! `gateway.json`: the active target, so that a restarted gateway serves the same.
//! Paths are relative: the process lives in its directory.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use common::durable;

use serde::{Deserialize, Serialize};

use crate::target::Description;

const FILE: &str = "gateway.json";

#[derive(Debug, Serialize, Deserialize)]
struct State {
    active: Option<Description>,
}

/// The target that was active last; `None` too when there never was one.
pub(crate) fn load() -> io::Result<Option<Description>> {
    match fs::read(FILE) {
        Ok(text) => Ok(serde_json::from_slice::<State>(&text)?.active),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns when the state would survive a power loss.
pub(crate) fn save(active: Option<Description>) -> io::Result<()> {
    let mut text = serde_json::to_vec(&State { active })?;
    text.push(b'\n');
    durable::write(Path::new(FILE), &text)
}
