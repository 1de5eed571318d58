//! The operator's nginx, as a program: testing its configuration, printing all of it, and telling
//! the one that runs to load it again. Says what nginx says, in nginx's own words.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{Finished, Program};
use crate::process::to_pid;
use crate::report::Problem;

const LIMIT: Duration = Duration::from_secs(60);
const NOT_FOUND: i32 = 127;
const FILE: &str = "# configuration file ";

/// The command that starts nginx with its configuration.
#[derive(Debug, Clone)]
pub(super) struct Nginx {
    pub(super) command: String,
}

/// The whole configuration as nginx would load it now.
#[derive(Debug)]
pub(super) struct Dump {
    text: String,
}

impl Nginx {
    /// Tests the configuration on disk, and prints it.
    ///
    /// # Errors
    /// `nginx-missing`, `nginx-refuses`.
    pub(super) fn dump(&self) -> Result<Dump, Problem> {
        let finished = self.run("-T")?;
        Ok(Dump { text: String::from_utf8_lossy(&finished.stdout).into_owned() })
    }

    /// Tests the configuration on disk.
    ///
    /// # Errors
    /// `nginx-missing`, `nginx-refuses`.
    pub(super) fn test(&self) -> Result<(), Problem> {
        self.run("-t").map(drop)
    }

    /// Tells the master process to load its configuration again; it has not done so when this returns.
    ///
    /// # Errors
    /// `nginx-missing`, `nginx-refuses`.
    pub(super) fn reload(&self) -> Result<(), Problem> {
        self.run("-s reload").map(drop)
    }

    /// Whether this nginx is of the version or a later one.
    pub(super) fn is_at_least(&self, wanted: (u32, u32, u32)) -> bool {
        let words = self.run("-v").map(|finished| finished.tail).unwrap_or_default();
        let version = words.split_once("nginx/").map_or("", |(_, version)| version);
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next()) >= wanted
    }

    /// Whether its master process lives, by the pid file that its configuration names.
    pub(super) fn runs(&self, dump: &Dump) -> bool {
        let built_in = || {
            let words = self.run("-V").map(|finished| finished.tail).unwrap_or_default();
            let path = words.split_once("--pid-path=")?.1.split_ascii_whitespace().next()?.to_owned();
            Some(PathBuf::from(path))
        };
        let Some(file) = dump.pid_file().or_else(built_in) else { return false };
        let pid = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).and_then(to_pid);
        pid.is_some_and(|pid| Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists())
    }

    fn run(&self, option: &str) -> Result<Finished, Problem> {
        let line = format!("{} {option}", self.command);
        let finished = Program::shell(&line).limit(LIMIT).run()?;
        match finished.status.code() {
            Some(0) => Ok(finished),
            Some(NOT_FOUND) => {
                Err(Problem::new("nginx-missing", "nginx is not installed, or not to be found")
                    .detail(format!("{line}: {}", finished.tail))
                    .hint("apt-get install nginx   # or name yours: nginx.command in deploy.toml"))
            }
            _ => Err(Problem::new("nginx-refuses", "nginx refuses its configuration")
                .detail(complaints(&finished.tail))
                .hint(format!("{} -t", self.command))),
        }
    }
}

impl Dump {
    /// Whether it holds the file.
    pub(super) fn includes(&self, file: &Path) -> bool {
        let wanted = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let named = self.text.lines().filter_map(|line| line.strip_prefix(FILE)?.strip_suffix(':'));
        named.map(Path::new).any(|path| path.canonicalize().is_ok_and(|path| path == wanted))
    }

    /// What the main block names; a relative path is nginx's own business.
    fn pid_file(&self) -> Option<PathBuf> {
        let path = self.text.lines().find_map(|line| line.trim().strip_prefix("pid ")?.split(';').next())?;
        Some(PathBuf::from(path.trim().trim_matches(['"', '\'']))).filter(|path| path.is_absolute())
    }
}

/// What is wrong, without what nginx always says.
fn complaints(words: &str) -> String {
    let lines: Vec<&str> = words.lines().filter(|line| !line.ends_with("test failed")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_tells_its_files_and_the_pid_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a b.conf"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let text = format!("{FILE}/etc/nginx.conf:\npid  /run/x.pid; \n{FILE}{}:\n", link.display());
        let dump = Dump { text };
        assert!(dump.includes(&file) && !dump.includes(dir.path()));
        assert_eq!(dump.pid_file(), Some(PathBuf::from("/run/x.pid")));
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_refuses() {
        let problem = |command: &str| Nginx { command: command.into() }.test().unwrap_err().kind;
        assert_eq!(problem("/nowhere/nginx"), "nginx-missing");
        assert_eq!(problem("false"), "nginx-refuses");
        assert!(!Nginx { command: "echo nginx/1.22.1 >&2; true".into() }.is_at_least((1, 27, 4)));
        assert!(Nginx { command: "echo nginx/1.31.3 >&2; true".into() }.is_at_least((1, 27, 4)));
    }
}
