//! The watch after cutover where systemd keeps the log: it is read from the journal.

use common::report::Outcome;

use super::serving;

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
