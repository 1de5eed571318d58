//! `status serve`, kept beside the gateways of a state directory: started where deploy.toml has a
//! `[status]` table, and again when its program or its address is another; ended when the table is
//! gone. A unit keeps it where any environment has systemd, else a keeper.
//!
//! What it answers is the work of the tool `status`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::socket_within;
use crate::config::{Config, SupervisorKind};
use crate::exec::{companion, tail};
use crate::instance::base_environment;
use crate::layout::{Place, create_private_dir};
use crate::report::{Problem, quoted};
use crate::secrets::Secrets;
use crate::supervisor::{KeeperRecord, keeper_command, keeper_lives, start_keeper, stop_keeper};
use crate::systemd::syntax::command_word;
use crate::systemd::unit::order;
use crate::systemd::{Manager, UnitFile};

/// The name of its socket in [`Place::of_status_server`].
pub const SOCKET: &str = "status.sock";
/// It has nothing to finish.
const GRACE: Duration = Duration::from_secs(5);
const FAILED: &str = "status-server-failed";
/// One that cannot serve ends at once.
const START: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// A shorter one could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Starts it when it does not run as it should, ends it when it should not run; false when nothing
/// had to be done.
///
/// # Errors
/// `status-server-failed`, also when it does not begin to answer; `state-unwritable`; those of
/// [`token`]; for a unit also as the supervisor's check.
pub fn ensure(config: &Config) -> Result<bool, Problem> {
    let wanted = config.status.as_ref().is_some_and(|status| status.serve);
    let server = Server { config, place: Place::of_status_server(config) };
    if !wanted {
        return Ok(server.stop_keeper()? | server.stop_unit()?);
    }
    token(config)?;
    let changed = match server.manager() {
        None => server.stop_unit()? | server.keep()?,
        Some(manager) => server.stop_keeper()? | server.run_unit(manager)?,
    };
    if changed {
        server.await_answer()?;
    }
    Ok(changed)
}

/// The token that opens everything; none where deploy.toml names none.
///
/// # Errors
/// `env-file`; configuration (exit 2) for a token that is missing there, or too short.
pub fn token(config: &Config) -> Result<Option<String>, Problem> {
    let Some(status) = &config.status else { return Ok(None) };
    let (Some(token), Some(file)) = (&status.token, &status.env_file) else { return Ok(None) };
    let path = config.resolve(file);
    let value = Secrets::read(&path)?.get(token.trim_start_matches('$')).map(str::to_owned);
    match value {
        Some(value) if value.len() >= SHORTEST_TOKEN => Ok(Some(value)),
        Some(_) => Err(Problem::configuration(format!("the value of status.token {token} is too short"))
            .detail(format!("it needs {SHORTEST_TOKEN} bytes"))
            .hint("openssl rand -hex 32")),
        None => Err(Problem::configuration(format!("{} has no {}", path.display(), &token[1..]))
            .hint(format!("ls -l {}", quoted(path.display())))),
    }
}

struct Server<'a> {
    config: &'a Config,
    place: Place,
}

impl Server<'_> {
    /// Who keeps it; none for a keeper.
    fn manager(&self) -> Option<Manager> {
        let has = |kind| self.config.environments.values().any(|environment| environment.supervisor == kind);
        match (has(SupervisorKind::Systemd), has(SupervisorKind::SystemdUser)) {
            (true, _) => Some(Manager::System),
            (false, true) => Some(Manager::User),
            (false, false) => None,
        }
    }

    fn words(&self) -> Result<Vec<OsString>, Problem> {
        let mut words: Vec<OsString> = vec![companion("status")?.into(), "serve".into(), "--quiet".into()];
        words.extend(["--config".into(), self.config.file.clone().into()]);
        if let Some(listen) = self.config.status.as_ref().and_then(|status| status.listen) {
            words.extend(["--listen".into(), listen.0.to_string().into()]);
        }
        Ok(words)
    }

    /// Whether a process runs the program of now with the words of now.
    fn is_current(&self, pid: u32) -> bool {
        let Ok(words) = self.words() else { return false };
        let told = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let said: Vec<&[u8]> = told.split(|byte| *byte == 0).skip(1).collect();
        let wanted: Vec<&[u8]> = words.iter().skip(1).map(|word| word.as_bytes()).chain([&[][..]]).collect();
        let file = |path: PathBuf| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let runs = file(format!("/proc/{pid}/exe").into());
        said == wanted && runs.is_some() && runs == file(PathBuf::from(&words[0]))
    }

    fn keep(&self) -> Result<bool, Problem> {
        let dir = self.place.root();
        if keeper_lives(&dir) {
            let child = KeeperRecord::read(&dir).and_then(|record| record.child);
            if child.is_some_and(|pid| self.is_current(pid)) {
                return Ok(false);
            }
            self.stop_keeper()?;
        }
        create_private_dir(&dir)?;
        let mut command = keeper_command(&dir, "status.log", GRACE)?;
        command.arg("--").args(self.words()?);
        command.current_dir(&dir).env_clear().envs(base_environment());
        match start_keeper(&dir, command, Stdio::null()) {
            // Of two commands that start it at once one has done it.
            Err(_) if keeper_lives(&dir) => Ok(true),
            started => started.map(|_| true),
        }
    }

    fn stop_keeper(&self) -> Result<bool, Problem> {
        Ok(stop_keeper(&self.place.root(), GRACE)?.is_some())
    }

    fn unit(&self, body: String) -> UnitFile {
        UnitFile::new(&self.place, format!("{}-status.service", self.place.app()), body)
    }

    fn run_unit(&self, manager: Manager) -> Result<bool, Problem> {
        manager.check()?;
        create_private_dir(&self.place.root())?;
        let unit = self.unit(self.unit_body(manager)?);
        unit.install(manager)?;
        unit.enable(manager, manager.boot_target(), &unit.name, true)?;
        let shown = manager.show(&[&unit.name], "NeedDaemonReload,ActiveState,MainPID");
        if shown.iter().any(|found| found.get("NeedDaemonReload") == "yes") {
            manager.reload()?;
        }
        let running = shown.first().filter(|found| found.get("ActiveState") == "active");
        let pid = running.and_then(|found| u32::try_from(found.number("MainPID")).ok());
        if pid.is_some_and(|pid| self.is_current(pid)) {
            return Ok(false);
        }
        order(manager, FAILED, &["restart", &unit.name]).map(|()| true)
    }

    /// One of that name that somebody else wrote is none of ours, and stays.
    fn stop_unit(&self) -> Result<bool, Problem> {
        let unit = self.unit(String::new());
        for manager in [Manager::System, Manager::User] {
            if !unit.path(manager).exists() || manager.check().is_err() {
                continue;
            }
            match unit.check(manager) {
                Err(problem) if problem.kind == "unit-foreign" => continue,
                checked => checked?,
            }
            order(manager, FAILED, &["stop", &unit.name])?;
            unit.enable(manager, manager.boot_target(), &unit.name, false)?;
            return unit.remove(manager).map(|()| true);
        }
        Ok(false)
    }

    /// What was started may end at once: its port is taken, say.
    fn await_answer(&self) -> Result<(), Problem> {
        let begun = Instant::now();
        while !self.accepts() {
            if begun.elapsed() > START {
                let log = self.place.root().join("status.log");
                let hint = match self.manager() {
                    None => format!("tail {}", quoted(log.display())),
                    Some(_) => format!("journalctl -n 20 -u {}-status", self.place.app()),
                };
                let problem = Problem::new(FAILED, "the status server was started and does not answer");
                return Err(problem.detail(tail(&log, 0)).hint(hint));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn accepts(&self) -> bool {
        File::open(self.place.root()).and_then(|dir| UnixStream::connect(socket_within(&dir, SOCKET))).is_ok()
    }

    /// It reads what only its owner may read, and writes no more than its socket.
    fn unit_body(&self, manager: Manager) -> Result<String, Problem> {
        let words = self.words()?;
        let line: Vec<String> = words.iter().map(|word| command_word(&PathBuf::from(word))).collect();
        Ok(format!(
            "[Unit]\nDescription=Status server of {}\nStartLimitIntervalSec=0\n\n[Service]\nType=exec\n\
             ExecStart={}\nRestart=always\nRestartSec=1s\nNoNewPrivileges=yes\nProtectSystem=full\n\
             SyslogIdentifier={}-status\n\n[Install]\nWantedBy={}\n",
            self.place.app(),
            line.join(" "),
            self.place.app(),
            manager.boot_target()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::config;

    fn configured(dir: &std::path::Path) -> Config {
        let text = "[app]\nname = 'x'\nrun = 'true'\n[status]\ntoken = '$T'\nenv_file = 'status.env'\n\
                    [environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n";
        fs::write(dir.join("deploy.toml"), text).unwrap();
        config::load(Some(&dir.join("deploy.toml"))).unwrap()
    }

    #[test]
    fn a_token_that_is_missing_or_short_is_said_before_anything_starts() {
        let dir = tempfile::tempdir().unwrap();
        let config = configured(dir.path());
        let (file, write) = (dir.path().join("status.env"), |text: &str| {
            fs::write(dir.path().join("status.env"), text).unwrap();
        });
        assert!(ensure(&config).is_err(), "no file");
        write("T=0123456789abcdef\n");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(token(&config), Ok(Some("0123456789abcdef".to_owned())));
        for text in ["T=0123456789abcde\n", "OTHER=0123456789abcdef\n"] {
            write(text);
            assert_eq!(ensure(&config).unwrap_err().kind, "configuration", "{text}");
        }
    }

    #[test]
    fn a_socket_without_a_server_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let config = configured(dir.path());
        let server = Server { config: &config, place: Place::of_status_server(&config) };
        assert!(!server.accepts());
        fs::create_dir_all(server.place.root()).unwrap();
        let listener = UnixListener::bind(server.place.root().join(SOCKET)).unwrap();
        assert_eq!(server.await_answer(), Ok(()));
        drop(listener);
        assert!(!server.accepts());
    }
}
