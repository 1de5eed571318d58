//! The watch after cutover where systemd keeps the log: it is read from the journal.

use common::report::Outcome;

use super::serving;

/// The unit as it is printed, put where the operator would put it.
#[test]
fn systemd_keeps_the_watch_that_status_prints() {
    let Some((host, world)) = serving() else { return };
    let unit = world.run("status", &["watch", "--unit", "--interval", "1s"]).ok().report();
    let unit = &unit.details["status"]["unit"];
    let (name, text) = (unit["name"].as_str().unwrap(), unit["text"].as_str().unwrap());
    let file = host.dir().join(name);
    std::fs::write(&file, text).unwrap();
    host.says(&format!("systemd-analyze verify {0} && cp {0} /etc/systemd/system/", file.display()));
    host.says(&format!("systemctl daemon-reload && systemctl enable --now {name}"));
    let looks = || world.status("dev")["uptime"]["probes"].as_u64().unwrap_or(0);
    let await_look = |before: u64| {
        let begun = std::time::Instant::now();
        while looks() <= before {
            let journal = format!("journalctl -u {name} | tail -n 20");
            assert!(begun.elapsed().as_secs() < 60, "nobody looks: {}", host.says(&journal));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    await_look(1);
    let pid = host.says(&format!("systemctl show --value --property MainPID {name}"));
    host.says(&format!("kill -9 {pid}"));
    await_look(looks());
    host.says(&format!("systemctl stop {name}"));
    assert_eq!(host.says(&format!("systemctl show --value --property Result {name}")), "success");
}

#[test]
fn errors_in_the_journal_are_counted_once() {
    let Some((_host, world)) = serving() else { return };
    let count = || {
        let report = world.run("status", &["dev", "errors"]).ok().report();
        report.details["status"]["dev"]["errors"][0]["count"].as_u64().unwrap_or(0)
    };
    let complain = |until: u64| {
        world.get("dev", "/complain");
        // The journal takes a moment.
        let begun = std::time::Instant::now();
        while count() < until && begun.elapsed() < std::time::Duration::from_secs(20) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(count(), until);
    };
    complain(1);
    complain(2);
    world.run("status", &["watch", "--once"]).ok();
    world.run("status", &["watch", "--once"]).ok();
    complain(3);
}

#[test]
fn errors_in_the_journal_send_a_watched_release_back() {
    let Some((_host, world)) = serving() else { return };
    world.configure("[environments.dev]\n", "[environments.dev]\nwatch = \"60s\"\n");
    world.release("v2");
    let address = world.listen("dev");
    let visitor = std::thread::spawn(move || {
        let asks =
            |path: &str| tests::http::request(address, "GET", path).map(|(_, text)| text).unwrap_or_default();
        while asks("/") != "v2" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        while asks("/") == "v2" {
            asks("/complain");
        }
    });
    let ran = world.run("deploy", &["dev"]);
    visitor.join().unwrap();
    let report = ran.refused("watch-failed");
    assert_eq!(report.outcome, Outcome::RolledBack);
    let problem = report.problem.unwrap();
    assert!(problem.title.contains("errors into its log"), "{}", problem.title);
    assert_eq!(problem.detail.as_deref(), Some("ERROR a complaint"));
    assert_eq!((world.get("dev", "/").1.as_str(), &world.status("dev")["identity"]), ("v1", &"new".into()));
}
