//! Where secrets come from: the operator's env file, and the command that prints one.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::Secrets;
use crate::config::{Config, Environment};
use crate::exec::{Beyond, Program, Streams};
use crate::ownership;
use crate::report::{OrProblem, Problem, quoted};

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(30);
/// More than an environment may hold, in bytes.
const LONGEST: usize = 1024 * 1024;

impl Secrets {
    /// An environment's secrets: those of its env file, and above them what its command prints.
    ///
    /// # Errors
    /// `env-file`, `env-command`, `interrupted`; no value is ever quoted.
    pub fn of(config: &Config, settings: &Environment) -> Result<Self, Problem> {
        let mut secrets = match &settings.env_file {
            Some(file) => Self::read(&config.root().join(file))?,
            None => Self::default(),
        };
        if let Some(line) = &settings.env_command {
            let printed = run(line, config)?;
            let printed = Self::parse(&printed).map_err(|number| {
                refuse(config, format!("line {number} of what env_command printed is not NAME=value"))
            })?;
            secrets.merge(&printed);
        }
        Ok(secrets)
    }

    /// Reads an env file, which only its owner may have access to.
    ///
    /// # Errors
    /// `env-file`: not readable, open to others, or a line without a name.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let unreadable = || format!("cannot read the env file {}", file.display());
        let hint = || format!("ls -l {}", quoted(file.display()));
        let mut open = File::open(file).or_problem("env-file", unreadable).map_err(|p| p.hint(hint()))?;
        let meta = open.metadata().or_problem("env-file", unreadable)?;
        ownership::check_secret(file, &meta)?;
        let mut text = String::new();
        open.read_to_string(&mut text).or_problem("env-file", unreadable).map_err(|p| p.hint(hint()))?;
        Self::parse(&text).map_err(|number| {
            Problem::new("env-file", format!("line {number} of {} is not NAME=value", file.display()))
                .hint(format!("sed -n {number}p {}", quoted(file.display())))
        })
    }
}

/// What the command prints. Its errors are not shown either: they may quote what it read.
fn run(line: &str, config: &Config) -> Result<String, Problem> {
    let failed = |why: &str| refuse(config, format!("the env_command {why}"));
    let program = Program::shell(line).dir(config.root()).limit(LIMIT);
    let (finished, printed) = program.record(Streams::Stdout, LONGEST, Beyond::Refused);
    let finished = finished.map_err(|problem| match problem.kind.as_str() {
        "interrupted" => problem,
        "time-limit" => failed(&format!("did not end within {} s", LIMIT.as_secs())),
        _ => failed("could not be run"),
    })?;
    if printed.is_open {
        return Err(failed("left something running that holds its output open"));
    }
    if printed.is_cut {
        return Err(failed("printed more than 1 MiB"));
    }
    if !finished.status.success() {
        return Err(failed(&format!("ended with {}", finished.ending())));
    }
    String::from_utf8(printed.bytes).map_err(|_| failed("printed something that is not UTF-8"))
}

fn refuse(config: &Config, title: String) -> Problem {
    Problem::new("env-command", title)
        .detail("what it printed is not shown; run it by hand to see")
        .hint(format!("grep -n env_command {}", quoted(config.file.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    fn secrets_of(keys: &str, env: Option<&str>) -> Result<Secrets, Problem> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = env {
            fs::write(dir.path().join("dev.env"), text).unwrap();
            fs::set_permissions(dir.path().join("dev.env"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = dir.path().join("deploy.toml");
        let text = format!(
            "[app]\nname = 'x'\nrun = 'true'\n[environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n{keys}\n"
        );
        fs::write(&file, text).unwrap();
        let config = crate::config::load(Some(&file)).unwrap();
        Secrets::of(&config, &config.environments["dev"])
    }

    #[test]
    fn the_command_goes_above_the_file() {
        let keys = "env_file = 'dev.env'\nenv_command = 'cat dev.env | sed s/file/command/; echo C=3'";
        let secrets = secrets_of(keys, Some("A=file\nB=2\n")).unwrap();
        assert_eq!(secrets.pairs().collect::<Vec<_>>(), [("A", "command"), ("B", "2"), ("C", "3")]);
        assert_eq!(secrets_of("env_command = 'echo A=1'", None).unwrap().get("A"), Some("1"));
    }

    #[test]
    fn a_command_that_fails_is_told_without_what_it_printed() {
        for (line, why) in [
            ("echo A=sentinel; echo sentinel >&2; exit 3", "exit status 3"),
            ("echo A=1; echo sentinel", "line 2"),
            ("echo A=sentinel; kill -9 $$", "signal 9"),
            ("printf 'A=sentinel\\\\377'", "UTF-8"),
            ("yes sentinel", "1 MiB"),
        ] {
            let problem = secrets_of(&format!("env_command = \"{line}\""), None).unwrap_err();
            assert_eq!(problem.kind, "env-command");
            assert!(problem.title.contains(why), "{problem}");
            assert!(!format!("{problem:?}").contains("sentinel"), "{problem:?}");
        }
    }

    #[test]
    fn a_child_that_goes_on_does_not_keep_us() {
        let begun = Instant::now();
        let line = "(setsid sh -c 'touch ready; sleep 5' &); until test -e ready; do sleep 0.01; done";
        let problem = secrets_of(&format!("env_command = \"\"\"{line}\"\"\""), None).unwrap_err();
        assert!(problem.title.contains("left something running"), "{problem}");
        assert!(begun.elapsed() < Duration::from_millis(4500));
    }

    #[test]
    fn an_env_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dev.env");
        fs::write(&file, "A=1\nhunter2\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let problem = Secrets::read(&file).unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some(format!("chmod 600 {}", file.display()).as_str()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let problem = Secrets::read(&file).unwrap_err();
        assert!(problem.title.contains("line 2") && !format!("{problem:?}").contains("hunter2"));
    }
}
