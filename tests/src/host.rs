//! A host of a test's own: a real systemd as PID 1, booted in less than a second from this machine's
//! root seen through an overlay, so that nothing it does is left. It shares the network, where ports
//! are claimed, and one directory, where a world can lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ran::Ran;
use crate::skipped;

const BOOT: Duration = Duration::from_secs(60);
const POWEROFF: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A booted host; powered off and gone when dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
    dir: TempDir,
    nspawn: Child,
    leader: u32,
}

impl Host {
    /// Boots one; `None` where that cannot be, which is said.
    ///
    /// # Panics
    /// When it does not boot.
    pub fn boot() -> Option<Self> {
        let missing = ["systemd-nspawn", "nsenter", "unshare"].into_iter().find(|program| !is_there(program));
        if !rustix::process::getuid().is_root() {
            skipped("a host of its own needs root");
            return None;
        }
        if let Some(program) = missing {
            skipped(&format!("a host of its own needs {program}: scripts/setup"));
            return None;
        }
        // Not below /tmp, which is another one there.
        let dir =
            tempfile::Builder::new().prefix("deploy-host-").tempdir_in("/var/tmp").expect("a directory");
        let name = format!("dh{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host.sh")).arg(&name).arg(dir.path());
        let console = fs::File::create(dir.path().join("console")).expect("a console");
        let errors = console.try_clone().expect("a console");
        let nspawn = command.stdin(Stdio::null()).stdout(console).stderr(errors).spawn().expect("unshare");
        let mut host = Self { name, dir, nspawn, leader: 0 };
        host.await_boot();
        Some(host)
    }

    /// The directory that it shares with this machine, under the same path.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What makes a command run there: to be put before it.
    pub fn entrance(&self, dir: &Path) -> Vec<String> {
        let leader = self.leader.to_string();
        let dir = format!("--wdns={}", dir.display());
        ["nsenter", "--target", &leader, "--all", &dir, "--"].into_iter().map(str::to_owned).collect()
    }

    /// Runs a line of shell there.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sh(&self, line: &str) -> Ran {
        let words = self.entrance(self.dir.path());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["sh", "-c", line]).stdin(Stdio::null());
        Ran::of(command.output().expect("nsenter"))
    }

    /// What a line of shell prints there; it must end well.
    ///
    /// # Panics
    /// When it does not.
    pub fn says(&self, line: &str) -> String {
        let ran = self.sh(line);
        assert_eq!(ran.status, 0, "{line}: {}{}", ran.stdout, ran.stderr);
        ran.stdout.trim().to_owned()
    }

    /// Reboots it, as a person would.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn reboot(&mut self) {
        self.sh("systemctl reboot");
        let begun = Instant::now();
        while Path::new(&format!("/proc/{}", self.leader)).exists() {
            assert!(begun.elapsed() < BOOT, "{} does not go down: {}", self.name, self.console());
            std::thread::sleep(PAUSE);
        }
        self.await_boot();
    }

    fn await_boot(&mut self) {
        let begun = Instant::now();
        self.leader = loop {
            let found = self.find_leader();
            if let Some(leader) =
                found.filter(|pid| Path::new(&format!("/proc/{pid}/root/run/systemd/private")).exists())
            {
                break leader;
            }
            let ended = self.nspawn.try_wait().expect("nspawn");
            assert!(
                ended.is_none() && begun.elapsed() < BOOT,
                "{} did not boot: {}",
                self.name,
                self.console()
            );
            std::thread::sleep(PAUSE);
        };
        self.sh("systemctl is-system-running --wait");
    }

    /// The only child of nspawn, itself one of the script, in another namespace of processes is
    /// that one's first.
    fn find_leader(&self) -> Option<u32> {
        let own = fs::read_link("/proc/self/ns/pid").ok()?;
        let other = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|space| space != own);
        children(self.nspawn.id()).into_iter().flat_map(children).find(other)
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.path().join("console")).unwrap_or_default()
    }

    fn power_off(&mut self) {
        // All of a host ends with its first process.
        if let Some(leader) = i32::try_from(self.leader).ok().and_then(Pid::from_raw) {
            let _ = kill_process(leader, Signal::KILL);
        }
        let begun = Instant::now();
        while begun.elapsed() < POWEROFF {
            if self.nspawn.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_off();
        let _ = fs::remove_dir(PathBuf::from("/run").join(&self.name));
        for tree in CGROUPS {
            let dir = Path::new(tree).join(&self.name);
            let below = walkdir::WalkDir::new(dir).contents_first(true);
            for entry in below.into_iter().flatten().filter(|entry| entry.file_type().is_dir()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
