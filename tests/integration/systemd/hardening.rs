//! What an instance may not do, and how its secrets come to it.

use tests::host::Host;
use tests::world::World;

use super::main_pid;

/// Run by the app before it serves; what it says lies in the shared directory.
const PROBE: &str = r#"run = '''
probe() { "$@" >/dev/null 2>&1 && echo "$1: allowed" || echo "$1: refused"; }
cd_state=$(cd ../../.. && pwd)
{
    id -un
    ls "$cd_state" "$cd_state/dev" | tr '\n' ' '; echo
    echo "release: $(touch here 2>/dev/null && echo written || echo refused)"
    echo "ledger: $(cat "$cd_state/ledger.db" 2>/dev/null | wc -c)"
    echo "etc: $(touch /etc/here 2>/dev/null && echo written || echo refused)"
    echo "others: $(ls -d /proc/1 2>/dev/null)"
    echo "privileges: $(sed -n 's/^NoNewPrivs:[^0-9]*//p' /proc/self/status)"
} > instance/probe 2>&1
[ -z "$NOTIFY_SOCKET" ] || systemd-notify --ready
exec python3 -S -E app.py'''"#;

#[test]
fn an_instance_sees_its_releases_and_what_is_shared_and_no_more() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.configure("run = \"python3 -S -E app.py\"", PROBE);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let probe = world.state().join("dev/shared/instance/probe");
    let told = std::fs::read_to_string(&probe).unwrap();
    let lines: Vec<&str> = told.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines[0], "tinyapp-dev", "{told}");
    assert!(!told.contains("ledger.db") && !told.contains("backups") && !told.contains("lock"), "{told}");
    for line in ["release: refused", "ledger: 0", "etc: refused", "others: ", "privileges: 1"] {
        assert!(lines.contains(&line.trim_end()) || lines.contains(&line), "{line}: {told}");
    }
    let mode = host.says(&format!("stat -c %a {}", world.state().display()));
    assert_eq!(mode, "700");
    let outsider =
        format!("setpriv --reuid tinyapp-dev --clear-groups cat {}/ledger.db", world.state().display());
    assert_ne!(host.sh(&outsider).status, 0);
    // Each switch can be turned off.
    let off = "no_new_privileges = false, protect_system = false, private_tmp = false, protect_proc = false, \
               private_devices = false, protect_kernel = false, restrict = false, protect_home = false";
    world.configure(
        "supervisor = \"systemd\"",
        &format!("supervisor = \"systemd\"\nsystemd = {{ user = \"root\", type = \"notify\", private_state = false, {off} }}"),
    );
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    let told = std::fs::read_to_string(&probe).unwrap();
    for line in ["root", "others: /proc/1", "privileges: 0", "etc: written"] {
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
    }
    let user = host.says(&format!("ps -o user= -p {}", main_pid(&host, "tinyapp-dev@green")));
    assert_eq!(user, "root");
    let state = host.says("systemctl show -p Type,ActiveState --value tinyapp-dev@green | tr '\\n' ' '");
    assert_eq!(state, "notify active");
}

#[test]
fn secrets_come_through_unchanged_and_are_nowhere_else() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    let values = [
        ("A", r#"sentinel "b" 'c' $d ${e} $$ %n %% %i \ \n \\ \" `f` #g ;h"#),
        ("B", "sentinel é 🦀 \u{1}\u{7f}\ttab = ="),
        ("C", "  sentinel spaces  "),
        ("D", r"sentinel ends in \"),
        ("E", "-sentinel"),
        ("F", ""),
    ];
    let lines = values.iter().map(|(name, value)| format!("{name}=\"{value}\"\n"));
    world.write_secrets("../dev.env", &lines.collect::<String>());
    world.configure("ready_timeout", "env_file = \"../dev.env\"\nready_timeout");
    world.release("v1");
    let odd = "two\nlines \"$x\" \\";
    let ran = world.command("deploy", &["dev"]).env("TZ", odd).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    for (name, value) in values.into_iter().chain([("TZ", odd)]) {
        assert_eq!(world.get("dev", &format!("/leak/{name}")).1, value, "{name}");
    }
    assert_eq!(world.get("dev", "/leak/USER").1, "tinyapp-dev");
    for place in [
        "cat /etc/systemd/system/*.service /etc/systemd/system/*.socket",
        "cat /proc/*/cmdline",
        "journalctl",
    ] {
        assert!(!host.sh(place).stdout.contains("sentinel"), "{place}");
    }
    let file = world.state().join("dev/slots/blue/environment");
    assert_eq!(host.says(&format!("stat -c '%a %U' {}", file.display())), "600 root");
}
