//! A real nginx of a test's own: own configuration, pid file, temporary paths and port, its workers
//! another user where root runs the tests. Ended by pid with the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::skipped;
use crate::world::World;

const BEGIN: Duration = Duration::from_secs(10);

/// The installed one, or the one that `NGINX` names.
fn program() -> String {
    std::env::var("NGINX").unwrap_or_else(|_| "nginx".to_owned())
}

/// An nginx, running or not.
pub struct Nginx {
    dir: TempDir,
    process: Option<Child>,
}

impl Nginx {
    /// One that serves `dev` of a world, with the server block of `deploy init --nginx` included, and
    /// running. Nothing, and said so, where nginx is not installed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serving(world: &World, switch: &str) -> Option<Self> {
        let mut nginx = Self::configured(world, switch)?;
        world.run("deploy", &["init", "--nginx", "dev"]).ok();
        nginx.include(&world.state().join("dev/gateway/server.conf"));
        nginx.start(world);
        Some(nginx)
    }

    /// The same, which nobody has told of the world yet.
    ///
    /// # Panics
    /// When its directory cannot be made.
    pub fn configured(world: &World, switch: &str) -> Option<Self> {
        if Command::new(program()).arg("-v").stderr(Stdio::null()).status().is_err() {
            skipped("nginx is not installed: scripts/setup");
            return None;
        }
        let beside = world.path().parent().expect("a parent");
        let dir = tempfile::Builder::new().prefix("deploy-nginx-").tempdir_in(beside).expect("a directory");
        // Its workers are another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a chmod");
        let nginx = Self { dir, process: None };
        fs::create_dir(nginx.path().join("conf.d")).expect("a directory");
        fs::write(nginx.path().join("nginx.conf"), nginx.configuration()).expect("its configuration");
        let listen = format!("listen = \"{}\"\n", world.listen("dev"));
        let more = format!(
            "gateway = \"nginx\"\nnginx = {{ command = \"{}\", switch = \"{switch}\", sockets = \"{}\" }}\n",
            nginx.command(),
            nginx.sockets().display()
        );
        world.configure(&listen, &format!("{listen}{more}"));
        Some(nginx)
    }

    fn configuration(&self) -> String {
        let dir = self.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("    {name}_temp_path {dir}/{name};\n"))
            .concat();
        let user = if rustix::process::getuid().is_root() { "user www-data;\n" } else { "" };
        format!(
            "{user}worker_processes 2;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log notice;\n\
             events {{ worker_connections 512; }}\nhttp {{\n    access_log off;\n{temporary}    include {dir}/conf.d/*.conf;\n}}\n"
        )
    }

    /// What `nginx.command` says.
    pub fn command(&self) -> String {
        format!("{} -c {}", program(), self.path().join("nginx.conf").display())
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn sockets(&self) -> PathBuf {
        self.path().join("sockets")
    }

    /// What it has complained about.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.path().join("error.log")).unwrap_or_default()
    }

    /// Lets it include a file.
    ///
    /// # Panics
    /// When it cannot be linked.
    pub fn include(&self, file: &Path) {
        symlink(file, self.path().join("conf.d/dev.conf")).expect("a link");
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&mut self, world: &World) {
        let configuration = self.path().join("nginx.conf").display().to_string();
        let mut command = world.program(&program(), &["-c", &configuration, "-g", "daemon off;"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("nginx"));
        let begun = Instant::now();
        while std::net::TcpStream::connect(world.listen("dev")).is_err() {
            assert!(begun.elapsed() < BEGIN, "nginx does not listen: {}", self.errors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes it load its configuration again, by hand.
    ///
    /// # Panics
    /// When it refuses.
    pub fn reload(&self) {
        let status = Command::new("sh").args(["-c", &format!("{} -s reload", self.command())]).status();
        assert!(status.expect("nginx").success());
    }

    /// The same, and waits until a path is answered so.
    ///
    /// # Panics
    /// When it is not.
    pub fn reload_until(&self, world: &World, path: &str, status: u16) {
        self.reload();
        let begun = Instant::now();
        while world.try_get("dev", path).is_none_or(|(answered, _)| answered != status) {
            assert!(begun.elapsed() < BEGIN, "{path} is not answered by {status}: {}", self.errors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            // TERM makes the master end its workers; they would outlive a KILL.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = process.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}
