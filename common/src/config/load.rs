//! Finds `deploy.toml` (`--config`, `DEPLOY_CONFIG`, then upward from here) and reads it; errors
//! name file, line and the nearest known key.

use std::env;
use std::path::{Path, PathBuf};

use super::{Config, nearest, validate};
use crate::report::{OrProblem, Problem, quoted};

/// Reads and validates the configuration.
///
/// # Errors
/// Configuration problems (exit 2): no file, not readable, not TOML, an unknown key, a bad value.
pub fn load(explicit: Option<&Path>) -> Result<Config, Problem> {
    let file = find(explicit)?;
    let text = std::fs::read_to_string(&file)
        .or_problem("configuration", || format!("cannot read {}", file.display()))?;
    let mut config = parse(&text, &file)?;
    config.file = file;
    config.lead_nginx_to_status();
    validate::validate(&config)?;
    Ok(config)
}

fn find(explicit: Option<&Path>) -> Result<PathBuf, Problem> {
    let named = explicit.map(Path::to_path_buf).or_else(|| env::var_os("DEPLOY_CONFIG").map(PathBuf::from));
    let here =
        env::current_dir().or_problem("configuration", || "cannot tell the current directory".into())?;
    if let Some(path) = named {
        return std::path::absolute(here.join(&path))
            .or_problem("configuration", || format!("cannot resolve {}", path.display()));
    }
    here.ancestors().map(|dir| dir.join("deploy.toml")).find(|file| file.is_file()).ok_or_else(|| {
        Problem::configuration("no deploy.toml here or in any directory above")
            .detail(format!("looked from {} upward", here.display()))
            .hint("deploy init")
    })
}

fn parse(text: &str, file: &Path) -> Result<Config, Problem> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let problem =
            Problem::configuration(format!("{}:{line}: {}", file.display(), first_line(error.message())));
        match suggestion(error.message()) {
            Some(key) => {
                problem.hint(format!("sed -n {line}p {}   # did you mean '{key}'?", quoted(file.display())))
            }
            None => problem.hint(format!("sed -n {line}p {}", quoted(file.display()))),
        }
    })
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// The nearest of the names that an "unknown field" message lists in backticks.
fn suggestion(message: &str) -> Option<&str> {
    if !message.starts_with("unknown") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[app]\nname = \"x\"\nrun = \"true\"\n[environments.dev]\nbranches = [\"dev\"]\nlisten = \"127.0.0.1:8001\"\n";

    fn refused(text: &str) -> Problem {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deploy.toml");
        std::fs::write(&file, text).unwrap();
        load(Some(&file)).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
        let problem = refused(&GOOD.replace("listen", "lisen"));
        assert!(problem.title.contains("deploy.toml:6"), "{problem}");
        assert!(problem.hint.as_deref().unwrap().contains("'listen'"), "{problem:?}");
        assert!(problem.is_usage());
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let problem = refused(&GOOD.replace("127.0.0.1:8001", "localhost"));
        assert!(problem.title.contains(":6") && problem.title.contains("ADDRESS:PORT"), "{problem}");
    }

    #[test]
    fn whom_nobody_could_tell_is_refused() {
        let notify = |list: &str| refused(&format!("{GOOD}notify = {list}\n"));
        for (list, why) in [
            ("['http://example.com/']", "notify[0] is none of"),
            ("['command true', 'mailto:a b']", "notify[1] has no plain mail address"),
            ("['https://x/$TOKEN']", "notify[0] takes a $NAME"),
        ] {
            let problem = notify(list);
            assert!(problem.is_usage() && problem.title.contains(why), "{problem}");
        }
    }

    #[test]
    fn every_key_of_the_contract_is_read() {
        let text = include_str!("every_key.toml");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deploy.toml");
        std::fs::write(&file, text).unwrap();
        let config = parse(text, &file).unwrap();
        assert_eq!(config.environments["prod"].kept_backups(), 10);
        assert_eq!(config.environments["dev"].kept_backups(), 5);
    }
}
