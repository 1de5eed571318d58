//! Whole deployments under a real systemd, on a host of each test's own.

mod adopting;
mod crashes;
mod gateways;
mod hardening;
mod reboots;
mod telling;
mod traffic;
mod watching;

use serde_json::Value;
use tests::host::Host;
use tests::world::World;

/// The units of `dev` that a boot starts.
fn enabled(host: &Host) -> String {
    host.says("cd /etc/systemd/system && ls multi-user.target.wants | grep '^tinyapp-dev@' || true")
}

fn main_pid(host: &Host, unit: &str) -> String {
    host.says(&format!("systemctl show --value --property MainPID {unit}"))
}

/// The unit of the slot that serves.
fn serving_unit(world: &World) -> String {
    let status = world.status("dev");
    format!("tinyapp-dev@{}.service", status["instance"]["slot"].as_str().unwrap())
}

/// A host whose `dev` serves v1, under its systemd; nothing where there can be none.
fn serving() -> Option<(Host, World)> {
    let host = Host::boot()?;
    let world = World::on(&host, "systemd");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    Some((host, world))
}

#[test]
fn each_slot_is_a_unit_of_the_environments_own_account() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.release("v1");
    let first = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(first.details["deploy"]["slot"], "blue");
    assert_eq!(world.get("dev", "/").1, "v1");
    world.run("verify", &["dev"]).ok();
    assert_eq!(enabled(&host), "tinyapp-dev@blue.service");
    let reloads = "journalctl -o cat _PID=1 | grep -c -i '^reloading' || true";
    let before = host.says(reloads);
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(host.says(reloads), before, "the text of the unit stays, so nothing is read again");
    assert_eq!(world.get("dev", "/").1, "v2");
    assert_eq!(world.get("dev", "/write?n=1").0, 404);
    assert_eq!(tests::http::request(world.listen("dev"), "POST", "/write?n=1").unwrap().0, 200);
    assert_eq!(enabled(&host), "tinyapp-dev@green.service");
    let active = host.says("systemctl list-units --state=active --plain --no-legend 'tinyapp-dev@*' | wc -l");
    assert_eq!(active, "2", "the previous instance stays warm");
    let status = world.status("dev");
    assert_eq!((&status["identity"], &status["instance"]["condition"]), (&"new".into(), &"running".into()));
    assert_eq!(status["instance"]["pid"].to_string(), main_pid(&host, "tinyapp-dev@green"));
    assert_eq!(status["gateway_orphaned"], false);
    world.run("status", &["dev"]).ok();
    let user = host.says(&format!("ps -o user:20= -p {}", main_pid(&host, "tinyapp-dev@green")));
    assert_eq!(user, "tinyapp-dev");
    // Warm, then cold.
    world.run("rollback", &["dev", "--last"]).ok();
    assert_eq!(
        (world.get("dev", "/").1.as_str(), enabled(&host).as_str()),
        ("v1", "tinyapp-dev@blue.service")
    );
    host.says("systemctl stop tinyapp-dev@green");
    world.run("rollback", &["dev", "--to-commit", &world.git(&["rev-parse", "HEAD"])]).ok();
    assert_eq!(
        (world.get("dev", "/").1.as_str(), enabled(&host).as_str()),
        ("v2", "tinyapp-dev@green.service")
    );
    assert_eq!(tests::http::request(world.listen("dev"), "POST", "/write?n=2").unwrap(), (200, "2".into()));
}

#[test]
fn a_start_that_fails_shows_its_journal_and_leaves_all_as_it_was() {
    let Some((host, world)) = serving() else { return };
    let before = (world.footprint("dev").serving, world.get("dev", "/"), enabled(&host));
    world.faulty("{\"exit_at_start\": 3}");
    let report = world.run("deploy", &["dev"]).refused("instance-exited");
    let problem = report.problem.unwrap();
    assert!(problem.title.ends_with("exit status 3"), "{problem:?}");
    assert!(problem.detail.unwrap().contains("exiting at start, as behaviour.json says"));
    let hint = problem.hint.unwrap();
    assert_eq!(hint, "journalctl -u tinyapp-dev@green.service -n 50");
    assert!(host.says(&hint).contains("exiting at start"));
    assert_eq!((world.footprint("dev").serving, world.get("dev", "/"), enabled(&host)), before);
    assert_eq!(host.sh("systemctl is-active tinyapp-dev@green").stdout.trim(), "inactive");
    assert_eq!(host.says("systemctl list-units --failed --plain --no-legend 'tinyapp*'"), "");
}

#[test]
fn an_app_that_ignores_sigterm_is_killed_and_the_report_says_so() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.faulty("{\"ignore_sigterm\": true, \"orphan_worker\": true}");
    world.run("deploy", &["dev"]).ok();
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    world.release("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["deploy"]["retired"]["killed"], true);
    assert_eq!(
        report.details["deploy"]["retired"]["kept_port"],
        Value::Array(Vec::new()),
        "no worker outlives it"
    );
    assert_eq!(world.get("dev", "/").1, "v3");
}

#[test]
fn a_foreign_edit_of_the_unit_is_refused_and_a_drop_in_is_respected() {
    let Some((host, world)) = serving() else { return };
    host.says("echo '# mine' >> /etc/systemd/system/tinyapp-dev@.service");
    world.release("v2");
    let plan = world.run("deploy", &["dev", "--plan"]).refused("unit-edited");
    assert!(plan.problem.unwrap().detail.unwrap().contains("systemctl edit tinyapp-dev@.service"));
    let report = world.run("deploy", &["dev"]).refused("unit-edited");
    assert!(!report.changed);
    assert_eq!(world.get("dev", "/").1, "v1");
    host.says(&report.problem.unwrap().hint.unwrap());
    let dropin = "/etc/systemd/system/tinyapp-dev@.service.d";
    host.says(&format!(
        "mkdir {dropin} && printf '[Service]\\nEnvironment=EXTRA=1\\n' > {dropin}/extra.conf"
    ));
    world.run("deploy", &["dev"]).ok();
    assert_eq!((world.get("dev", "/").1.as_str(), world.get("dev", "/env/EXTRA").1.as_str()), ("v2", "set"));
    host.says("echo '[Unit]' > /etc/systemd/system/tinyapp-prod@.service");
    let doctor = world.run("deploy", &["doctor"]);
    let steps = doctor.report().steps;
    let failed = steps.iter().find(|step| step.name == "prod.supervisor").unwrap();
    assert_eq!(failed.problem.as_ref().unwrap().kind, "unit-foreign");
    assert!(steps.iter().any(|step| step.name == "dev.supervisor" && step.problem.is_none()));
}

#[test]
fn a_user_without_root_deploys_into_units_of_its_own() {
    let Some(mut host) = Host::boot() else { return };
    host.says("useradd --create-home dep && touch /var/lib/systemd/linger/dep");
    let mut world = World::on(&host, "systemd-user");
    host.says(&format!("chmod 755 {} {}", host.dir().display(), world.path().display()));
    let publish = |world: &World, version: &str| {
        host.says(&format!("chown -R root: {}", world.path().display()));
        world.release(version);
        host.says(&format!("chown -R dep: {}", world.path().display()));
    };
    world.reenter_as(&host, "dep");
    publish(&world, "v1");
    let refused = world.run("deploy", &["dev"]).refused("systemd-unavailable");
    assert_eq!(refused.problem.unwrap().hint.unwrap(), "loginctl enable-linger");
    host.says("systemctl start user@$(id -u dep)");
    world.run("deploy", &["dev"]).ok();
    publish(&world, "v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
    let user = host.says("ps -o user= -p $(pgrep -f -o 'python3 -S -E app.py')");
    assert_eq!(user, "dep");
    world.run("rollback", &["dev", "--last"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    let doctor = world.run("deploy", &["dev", "doctor"]);
    assert!(doctor.report().steps.iter().any(|step| step.name == "dev.reboot" && step.problem.is_none()));
    host.reboot();
    world.reenter_as(&host, "dep");
    reboots::await_answer(&world, "v1");
    world.run("status", &["dev"]).ok();
    host.says("rm /var/lib/systemd/linger/dep");
    let doctor = world.run("deploy", &["dev", "doctor"]).report();
    let failed = doctor.steps.iter().find(|step| step.name == "dev.reboot").unwrap();
    assert_eq!(failed.problem.as_ref().unwrap().kind, "not-lingering");
}

#[test]
fn odd_names_of_directories_and_commands_do_no_harm() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.configure("state = \"../state\"", "state = \"../it's 100%i ${HOME} $$\"");
    world.configure("run = \"python3", "run = \"A='%n 100%% $$PORT' B=\\\"it's $PORT\\\" exec python3");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let port = world.get("dev", "/leak/PORT").1;
    assert_eq!(world.get("dev", "/leak/A").1, "%n 100%% $$PORT");
    assert_eq!(world.get("dev", "/leak/B").1, format!("it's {port}"));
    world.run("verify", &["dev"]).ok();
    world.run("status", &["dev"]).ok();
}

#[test]
fn without_systemd_it_is_said_before_anything_is_changed() {
    if std::path::Path::new("/run/systemd/system").exists() {
        return tests::skipped("systemd runs here");
    }
    let world = World::new();
    world.configure("ready_timeout", "supervisor = \"systemd\"\nready_timeout");
    world.release("v1");
    let report = world.run("deploy", &["dev"]).refused("systemd-unavailable");
    assert!(!report.changed);
    assert!(!world.path().join("state/dev/slots/blue/run").exists());
    assert_eq!(world.run("deploy", &["dev", "doctor"]).status, 1);
}
