//! The command line of the gateway, parsed by hand: three options.

use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "usage: deploy-gateway --dir DIR [--listen ADDR] [--upstream-timeout-ms N]";
const DEFAULT_UPSTREAM_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Options {
    /// Holds `control.sock` and `gateway.json`.
    pub(crate) dir: PathBuf,
    /// Used when no listener is inherited.
    pub(crate) listen: Option<String>,
    /// From the end of the request to the head of the response.
    pub(crate) upstream_timeout: Duration,
}

impl Options {
    /// Parses the arguments after the program's own name. The error is a
    /// lowercase fragment that ends in the usage line.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut dir, mut listen) = (None, None);
        let mut upstream_timeout = DEFAULT_UPSTREAM_TIMEOUT;
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value; {USAGE}"))?;
            match name.as_str() {
                "--dir" => dir = Some(PathBuf::from(value)),
                "--listen" => listen = Some(value),
                "--upstream-timeout-ms" => {
                    upstream_timeout = value
                        .parse()
                        .map(Duration::from_millis)
                        .map_err(|_| format!("--upstream-timeout-ms takes a whole number; {USAGE}"))?;
                }
                _ => return Err(format!("unknown option {name}; {USAGE}")),
            }
        }
        Ok(Self { dir: dir.ok_or_else(|| format!("--dir is missing; {USAGE}"))?, listen, upstream_timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn the_directory_is_required_and_the_rest_has_defaults() {
        let options = parse("--dir d").unwrap();
        assert_eq!(options.listen, None);
        assert_eq!(options.upstream_timeout, Duration::from_secs(300));
        assert!(parse("--listen 127.0.0.1:0").unwrap_err().contains("--dir"));
    }

    #[test]
    fn unknown_options_and_bad_values_are_named() {
        assert!(parse("--dir d --port 1").unwrap_err().contains("--port"));
        assert!(parse("--dir d --listen").unwrap_err().contains("--listen"));
        assert!(parse("--dir d --upstream-timeout-ms 1s").unwrap_err().contains("whole number"));
    }
}
