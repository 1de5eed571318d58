//! What a slot runs under systemd, in two files of the slot: its variables, and the line of shell
//! that it is started with. Units name these files, and so need not change with a release.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Start;
use crate::address::Address;
use crate::config::can_name;
use crate::durable;
use crate::layout::{Place, Slot};
use crate::report::{OrProblem, Problem, quoted};
use crate::systemd::sandbox::Views;
use crate::systemd::syntax::{environment_file, plain, shell_word, word};

/// Variables that tell of the one who deploys, which systemd sets for the account.
const OPERATORS: [&str; 5] = ["HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"];

/// The slots' directory, as units write it; `name` below is a slot's or `%i`.
pub(super) struct Slots(String);

impl Slots {
    pub(super) fn of(place: &Place) -> Self {
        Self(plain(&place.root().join("slots")))
    }

    /// One word.
    pub(super) fn run(&self, name: &str) -> String {
        format!("\"{}/{name}/run\"", self.0)
    }

    pub(super) fn environment(&self, name: &str) -> String {
        format!("{}/{name}/environment", self.0)
    }

    /// What an account that is not ours has to see of the state.
    pub(super) fn views(&self, place: &Place, name: &str, start: &Start<'_>) -> Views {
        let mut views = Views {
            readable: vec![word(&place.releases()), self.run(name)],
            writable: vec![word(&place.shared())],
        };
        let outside = start.database.as_deref().filter(|path| !path.starts_with(place.shared()));
        views.writable.extend(outside.and_then(Path::parent).map(word));
        views.writable.extend(sockets(start.address, name));
        views
    }
}

/// The directory of a slot's socket; its name has no character that means anything to systemd.
pub(super) fn sockets(address: &Address, name: &str) -> Option<String> {
    let Address::Unix(socket) = address else { return None };
    Some(format!("{}/{name}", socket.parent()?.parent()?.display()))
}

/// Refuses a state directory that no unit can name.
pub(super) fn check_state(place: &Place) -> Result<(), Problem> {
    if can_name(place.state()) {
        return Ok(());
    }
    Err(Problem::new("unit-foreign", "the path of the state directory cannot stand in a unit")
        .detail("it may hold no ':', '\"', '\\' or control character")
        .hint(format!("ls -ld {}", quoted(place.state().display()))))
}

/// The file with a slot's variables; its time is that of the last start.
pub(super) fn variables(place: &Place, slot: Slot) -> PathBuf {
    place.slot(slot).join("environment")
}

/// What the slot runs from now on. The variables come last: their time is that of the start.
pub(super) fn write(place: &Place, start: Start<'_>, has_account: bool) -> Result<(), Problem> {
    let dir = place.slot(start.slot);
    let line = format!(
        "cd {} && unset OLDPWD && exec /bin/sh -c {}\n",
        shell_word(&start.dir.to_string_lossy()),
        shell_word(start.run)
    );
    let mut environment = start.environment;
    for name in OPERATORS.into_iter().filter(|_| has_account).map(OsStr::new) {
        if environment.get(name) == std::env::var_os(name).as_ref() {
            environment.remove(name);
        }
    }
    let text = environment_file(&environment)?;
    durable::write_readable(&dir.join("run"), line.as_bytes())
        .and_then(|()| durable::write(&variables(place, start.slot), text.as_bytes()))
        .or_problem("state-unwritable", || format!("cannot write to {}", dir.display()))?;
    // What a keeper left there is of another time.
    let _ = std::fs::remove_file(dir.join("keeper.json"));
    Ok(())
}
