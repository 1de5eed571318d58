//! The unit of `status watch`.

use std::path::Path;

use super::syntax::{command_word, plain};
use crate::config::Config;
use crate::lock::account_name;

/// A unit that runs `program WORDS…` as this user and starts it again whenever it ends.
pub fn watch_unit(config: &Config, program: &Path, words: &[String]) -> String {
    let user = account_name(rustix::process::geteuid().as_raw());
    let (program, file) = (command_word(program), command_word(&config.file));
    let root = plain(config.root());
    format!(
        "[Unit]\nDescription=Watches {}\nAfter=network.target\nStartLimitIntervalSec=0\n\n\
         [Service]\nUser={user}\nWorkingDirectory={root}\n\
         ExecStart={program} {} --json --config {file}\n\
         StandardOutput=null\nRestart=always\nRestartSec=5\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        config.app.name,
        words.join(" "),
    )
}
