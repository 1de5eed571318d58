//! The command line of the keeper, parsed by hand: the binary stays small.
//! Checks shape only; whether the directory or the command exists shows later.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "usage: deploy-keeper --dir DIR --log FILE [--listen ADDR] [--stop-timeout-ms N] [--take-over] -- COMMAND [ARG...]";
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What to keep alive, and where to write about it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) listen: Option<String>,
    pub(crate) stop_timeout: Duration,
    /// A predecessor was killed and its child still serves: the listener comes as stdin.
    pub(crate) take_over: bool,
    /// Program and its arguments; never empty.
    pub(crate) command: Vec<OsString>,
}

impl Options {
    /// Parses the arguments after the program's own name. The error is a
    /// lowercase fragment that ends in the usage line.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut dir, mut log, mut listen) = (None, None, None);
        let mut stop_timeout = DEFAULT_STOP_TIMEOUT;
        let mut take_over = false;
        while let Some(name) = arguments.next() {
            let name = name.to_string_lossy().into_owned();
            if name == "--" {
                break;
            }
            if name == "--take-over" {
                take_over = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value; {USAGE}"))?;
            match name.as_str() {
                "--dir" => dir = Some(PathBuf::from(value)),
                "--log" => log = Some(PathBuf::from(value)),
                "--listen" => listen = Some(value.to_string_lossy().into_owned()),
                "--stop-timeout-ms" => stop_timeout = parse_milliseconds(&value)?,
                _ => return Err(format!("unknown option {name}; {USAGE}")),
            }
        }
        let command: Vec<OsString> = arguments.collect();
        if command.is_empty() {
            return Err(format!("no command after --; {USAGE}"));
        }
        Ok(Self {
            dir: dir.ok_or_else(|| format!("--dir is missing; {USAGE}"))?,
            log: log.ok_or_else(|| format!("--log is missing; {USAGE}"))?,
            listen,
            stop_timeout,
            take_over,
            command,
        })
    }
}

fn parse_milliseconds(value: &OsString) -> Result<Duration, String> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis)
        .ok_or_else(|| format!("--stop-timeout-ms takes a whole number; {USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn everything_after_the_dashes_is_the_command() {
        let options = parse("--dir d --log l --stop-timeout-ms 7 -- app --dir x").unwrap();
        assert_eq!(options.command, ["app", "--dir", "x"]);
        assert_eq!(options.stop_timeout, Duration::from_millis(7));
        assert_eq!(options.listen, None);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert!(parse("--log l -- app").unwrap_err().contains("--dir"));
        assert!(parse("--dir d -- app").unwrap_err().contains("--log"));
        assert!(parse("--dir d --log l").unwrap_err().contains("no command"));
        assert!(parse("--dir d --lag l -- app").unwrap_err().contains("--lag"));
        assert!(parse("--dir d --log l --stop-timeout-ms x -- a").unwrap_err().contains("whole number"));
    }
}
