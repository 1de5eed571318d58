//! Programs of the release, run beside its instance: in its directory, with its environment and its
//! own interpreter first on the path, as the account that the instance runs as.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::address::Address;
use common::exec::Program;
use common::identity;
use common::report::Problem;

use crate::subject::Subject;

/// Where a release may keep its programs.
const OWN_PROGRAMS: [&str; 4] = [".venv/bin", "venv/bin", "node_modules/.bin", "bin"];
/// Changes the directory where the release may only be seen from inside of the instance's own mounts.
const WITHIN: &str = r#"cd -- "$1" && exec /bin/sh -c "$2""#;

/// A line of shell, to be ended with its whole process group after `limit`, or with us.
///
/// # Errors
/// `unverified` when the app has an account of its own and nobody runs as it.
pub(crate) fn of_release<'a>(subject: &Subject, line: &str, limit: Duration) -> Result<Program<'a>, Problem> {
    let program = match account(&subject.instance.address)? {
        None => Program::shell(line).dir(&subject.release),
        Some(account) => account.program(&subject.release, line),
    };
    Ok(program.only_env(environment(subject)).limit(limit).tied())
}

/// What an instance has, and where it is asked.
fn environment(subject: &Subject) -> BTreeMap<OsString, OsString> {
    let mut variables = subject.environment.clone();
    let instance = &subject.instance;
    let mut set = |name: &str, value: &str| variables.insert(name.into(), value.into());
    set("BASE_URL", &subject.address.url());
    set("DEPLOY_ENVIRONMENT", subject.place.environment());
    set("DEPLOY_DEPLOYMENT", &instance.deployment);
    set("DEPLOY_RELEASE", &instance.release);
    set("DEPLOY_REVISION", &instance.revision);
    if let Some(slot) = subject.slot {
        set("DEPLOY_SLOT", slot.name());
    }
    if let Address::Unix(socket) = &subject.address {
        set("BASE_SOCKET", &socket.to_string_lossy());
    }
    let path = variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let own = OWN_PROGRAMS.iter().map(|dir| subject.release.join(dir)).filter(|dir| dir.is_dir());
    if let Ok(path) = env::join_paths(own.chain(env::split_paths(&path))) {
        variables.insert("PATH".into(), path);
    }
    variables
}

/// Another account than ours, by a process that has it.
struct Account {
    pid: u32,
    uid: u32,
    gid: u32,
}

/// As whom the app runs, when that is not who runs us. Only root can become somebody else.
fn account(address: &Address) -> Result<Option<Account>, Problem> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let owners = identity::owners(address)?;
    if owners.visible.is_empty() {
        return Err(Problem::unverified("nobody listens whose account the release's programs could have")
            .hint(address.listeners_hint()));
    }
    let other = owners.visible.iter().find(|owner| owner.uid != 0);
    Ok(other.and_then(|owner| {
        let gid = fs::metadata(format!("/proc/{}", owner.pid)).ok()?.gid();
        Some(Account { pid: owner.pid, uid: owner.uid, gid })
    }))
}

impl Account {
    /// Inside of the mounts that the instance has: a unit may hide the rest of the host from it.
    fn program<'a>(&self, dir: &Path, line: &str) -> Program<'a> {
        let (pid, uid, gid) = (self.pid.to_string(), self.uid.to_string(), self.gid.to_string());
        let words = ["--target", &pid, "--mount", "--setuid", &uid, "--setgid", &gid, "--", "/bin/sh", "-c"];
        Program::new("nsenter").args(words).args([WITHIN, "sh"]).args([dir]).args([line])
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command};

    use super::*;

    /// A process that holds the listener alone, as another account when `words` make it one.
    fn holder(words: &[&str], listener: TcpListener) -> (Child, Address) {
        let address = listener.local_addr().unwrap().into();
        let mut command = Command::new(words[0]);
        let child =
            command.args(&words[1..]).args(["sleep", "60"]).stdin(OwnedFd::from(listener)).spawn().unwrap();
        (child, address)
    }

    #[test]
    fn programs_run_as_the_account_of_the_instance() {
        if !rustix::process::geteuid().is_root() {
            return ::tests::skipped("only root can run something as another account");
        }
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let (mut child, address) = holder(&words, TcpListener::bind("127.0.0.1:0").unwrap());
        let account =
            std::iter::repeat_with(|| account(&address).unwrap()).find_map(|account| account).unwrap();
        let finished = account.program(Path::new("/usr"), "id -u; id -g; pwd; echo \"$0\"").run().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&finished.stdout),
            "65534\n65534\n/usr\n/bin/sh\n",
            "{}",
            finished.tail
        );
    }

    #[test]
    fn programs_run_as_ourselves_where_the_instance_does() {
        let (mut child, address) = holder(&["env"], TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(account(&address).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
