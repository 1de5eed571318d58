//! Disks of a test's own: a small one that can be filled, and one whose true content can be copied
//! at any moment, as a power cut would leave it. Both are mounted in a mount namespace that only the
//! test sees, and that ends with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::skipped;

const INSIDE: &str = "DEPLOY_TEST_OWN_MOUNTS";
/// How long the last user of a disk may take to go.
const RELEASED: Duration = Duration::from_secs(20);

/// Runs the body of the test `name` where it may mount: in a process of its own. Without root it is
/// skipped, and says so.
///
/// # Panics
/// When the test fails there.
pub fn with_own_mounts(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !rustix::process::getuid().is_root() {
        return skipped(&format!("{name} mounts disks, which only root may"));
    }
    let test = std::env::current_exe().expect("the test's path");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(test);
    let ended = command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").status();
    assert!(ended.expect("unshare").success(), "{name} failed in its own mount namespace");
}

/// A mounted disk; unmounted when dropped, so it must outlive what lies on it.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
    is_image: bool,
}

impl Disk {
    /// A disk in memory.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn small(mebibytes: u32) -> Self {
        let disk = Self::unmounted(false);
        let size = format!("size={mebibytes}m,mode=0755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.mount()));
        disk
    }

    /// An ext4 file system in a file. Nothing reaches the file but what is synced: the regular
    /// commit comes after minutes, and a rename does not flush what is renamed.
    ///
    /// # Panics
    /// When it cannot be made or mounted.
    pub fn image(mebibytes: u32) -> Self {
        let disk = Self::unmounted(true);
        run(Command::new("truncate").args(["--size", &format!("{mebibytes}M")]).arg(disk.file()));
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-J", "size=4", "-b", "4096"]).arg(disk.file()));
        disk.attach();
        disk
    }

    fn unmounted(is_image: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("deploy-disk-").tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("mount")).expect("a mount point");
        Self { dir, is_image }
    }

    /// Where it is mounted.
    pub fn mount(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// A place for files of the test itself, beside the disk.
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// The image file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn attach(&self) {
        let options = "loop,commit=300,noauto_da_alloc";
        run(Command::new("mount").args(["-o", options]).arg(self.file()).arg(self.mount()));
    }

    /// A process that is being killed keeps its files open for a moment after it has given up
    /// everything by which it could be known, so the kernel is asked until it agrees.
    fn detach(&self) {
        let begun = Instant::now();
        while let Err(problem) = unmount(self.mount(), UnmountFlags::empty()) {
            let waits = problem == Errno::BUSY && begun.elapsed() < RELEASED;
            assert!(waits, "{}: {problem}; used by {:?}", self.mount().display(), self.users());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Who has something open on the disk, or works in it.
    fn users(&self) -> Vec<String> {
        let leads_there = |link: &Path| std::fs::read_link(link).is_ok_and(|to| to.starts_with(self.mount()));
        let uses = |process: &Path| {
            let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            leads_there(&process.join("cwd")) || open.map(|entry| entry.path()).any(|link| leads_there(&link))
        };
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        processes.filter(|process| uses(process)).map(|process| told(&process)).collect()
    }

    /// Takes the disk away and puts another image in its place, as after a power cut: its own
    /// journal is replayed.
    ///
    /// # Panics
    /// When something still uses the disk.
    pub fn replace(&self, image: &Path) {
        self.detach();
        run(Command::new("cp").arg("--sparse=always").arg(image).arg(self.file()));
        self.attach();
    }

    /// Brings everything to the disk.
    ///
    /// # Panics
    /// When it cannot.
    pub fn sync(&self) {
        run(Command::new("sync").arg("--file-system").arg(self.mount()));
    }

    fn filling(&self) -> PathBuf {
        self.mount().join("filling")
    }

    /// The shell command that fills the disk to the last byte.
    pub fn fill_command(&self) -> String {
        let (mount, filling) = (self.mount(), self.filling());
        let free = format!("$(($(stat --file-system --format='%a * %S' {})))", mount.display());
        let most = format!("fallocate --length {free} {}", filling.display());
        format!("{most}; cat /dev/zero >> {}", filling.display())
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it cannot.
    pub fn empty(&self) {
        if self.filling().exists() {
            std::fs::remove_file(self.filling()).expect("room");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mount()).status();
        if self.is_image {
            let _ = std::fs::remove_file(self.file());
        }
    }
}

/// A process by its number and its command line.
fn told(process: &Path) -> String {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    format!("{}: {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
