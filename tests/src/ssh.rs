//! Keys, and a private sshd: the real one, started for each connection by the client itself, so
//! that no port is taken and no server outlives its test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Absolute: sshd starts itself again by its own path.
const SSHD: &str = "/usr/sbin/sshd";

/// Makes a key without a passphrase; gives the private one's file, the public one is `.pub`.
///
/// # Panics
/// When ssh-keygen is missing.
pub fn make_key(dir: &Path, name: &str) -> PathBuf {
    let key = dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&key)
        .status()
        .expect("ssh-keygen");
    assert!(made.success(), "no key {}", key.display());
    key
}

/// The public half of a key, one line.
///
/// # Panics
/// When there is none.
pub fn public(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).expect("a public key");
    text.trim().to_owned()
}

/// A host named `lab` that ssh reaches with [`Lab::client`].
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// None, loudly, where there is no sshd.
    ///
    /// # Panics
    /// When the machine cannot give what a test needs.
    pub fn open() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            crate::skipped("a second host needs sshd: scripts/setup");
            return None;
        }
        // sshd that runs as root wants it; the service makes it when it starts.
        let _ = fs::create_dir_all("/run/sshd");
        let dir = tempfile::Builder::new().prefix("deploy-lab-").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
        let lab = Self { dir };
        let host = make_key(lab.dir.path(), "host");
        let user = make_key(lab.dir.path(), "user");
        lab.write("authorized_keys", &public(&user));
        lab.write("known_hosts", &format!("lab {}", public(&host)));
        lab.write("sshd_config", &lab.server(&host));
        lab.write("ssh_config", &lab.settings(&user));
        Some(lab)
    }

    /// The client's command line up to the name of the host.
    pub fn client(&self) -> String {
        format!("ssh -F {}", self.file("ssh_config"))
    }

    fn server(&self, host: &Path) -> String {
        format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            host.display(),
            self.file("authorized_keys")
        )
    }

    fn settings(&self, user: &Path) -> String {
        format!(
            "Host lab\n  ProxyCommand {SSHD} -i -f {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n",
            self.file("sshd_config"),
            user.display(),
            self.file("known_hosts")
        )
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), format!("{text}\n")).expect("a file of the lab");
    }
}
