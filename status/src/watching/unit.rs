//! `status watch --unit`: the unit by which systemd keeps the watch running. It is printed, not
//! written: whose manager runs it is the operator's to say.

use std::time::Duration;

use common::cli::Run;
use common::config::Config;
use common::exec::companion;
use common::report::Problem;
use common::supervisor::watch_unit;
use serde_json::json;

/// Prints the unit for these environments.
///
/// # Errors
/// `configuration`, when the program cannot be found.
pub(super) fn print(
    run: &mut Run,
    config: &Config,
    environment: Option<&str>,
    interval: Duration,
) -> Result<(), Problem> {
    let program = companion("status")?;
    let mut words = vec![String::from("watch"), format!("--interval={}s", interval.as_secs())];
    if let Some(name) = environment {
        words.insert(0, name.to_owned());
    }
    let text = watch_unit(config, &program, &words);
    let name = format!("{}-watch.service", config.app.name);
    run.tell(format!("# {name}: put this into /etc/systemd/system, then systemctl enable --now {name}"));
    text.lines().for_each(|line| run.tell(line));
    run.detail("unit", json!({"name": name, "text": text}));
    Ok(())
}
