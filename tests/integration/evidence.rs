//! What lets a tree into production: the ledger, a signed report of another host, or a reason that
//! is never forgotten. Everything else is refused and changes nothing.

use std::fs;
use std::path::PathBuf;

use common::evidence::{NAMESPACE, Signed, Statement};
use common::report::{Outcome, Report, VERSION, now};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::ssh;
use tests::world::{World, steps};

/// Holds until somebody writes a row.
const CHECKS: &str = "[routes]\n\"/\" = \"200 v\"\n[database]\nqueries = { \"no rows\" = \"select count(*) = 0 from acked\" }\n";

/// v1 serves in dev, with a check that a test can let fail.
fn checked() -> World {
    let world = World::new();
    world.write("verify.toml", CHECKS);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

fn fill(world: &World, environment: &str, sql: &str) {
    rusqlite::Connection::open(world.database(environment)).unwrap().execute_batch(sql).unwrap();
}

fn ledger(world: &World, sql: &str) {
    rusqlite::Connection::open(world.state().join("ledger.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_merge_commit_with_the_same_tree_passes_and_a_changed_line_does_not() {
    let world = World::new();
    world.configure("promote_from = \"dev\"\n", "promote_from = \"dev\"\nmerge = \"merge\"\n");
    let dev = world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.git(&["checkout", "--quiet", "main"]);
    world.publish("says nothing");
    world.git(&["checkout", "--quiet", "dev"]);
    let report = world.run("deploy", &["prod", "--promote"]).ok().report();
    assert_ne!(report.serving, Some(dev.clone()));
    let evidence = &report.details["deploy"]["evidence"];
    assert_eq!((&evidence["source"], &evidence["revision"]), (&json!("ledger"), &json!(dev)));
    world.git(&["checkout", "--quiet", "main"]);
    world.write("NOTES", "one line");
    world.publish("says something");
    world.git(&["checkout", "--quiet", "dev"]);
    let before = world.footprint("prod");
    for args in
        [["prod", "--promote"].as_slice(), &["prod", "--promote", "--plan"], &["prod", "--branch", "main"]]
    {
        let problem = world.run("deploy", args).refused("no-evidence").problem.unwrap();
        assert!(problem.title.contains("never verified in 'dev'"), "{problem}");
    }
    assert_eq!(world.footprint("prod"), before);
}

#[test]
fn the_newest_verification_of_the_tree_decides() {
    let world = checked();
    world.run("deploy", &["prod", "--promote", "--plan"]).ok();
    fill(&world, "dev", "INSERT INTO acked VALUES (1)");
    world.run("verify", &["dev"]).refused("query-false");
    let problem = world.run("deploy", &["prod", "--promote"]).refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("failed"), "{problem}");
    // A part of the checks proves nothing, whatever it finds.
    world.run("verify", &["dev", "--only", "routes"]).ok();
    world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    fill(&world, "dev", "DELETE FROM acked");
    world.run("verify", &["dev"]).ok();
    ledger(&world, "UPDATE verifications SET at_ms = at_ms - 8 * 24 * 3600 * 1000");
    let problem = world.run("deploy", &["prod", "--promote"]).refused("no-evidence").problem.unwrap();
    assert!(problem.title.ends_with("is 8 days old"), "{problem}");
    world.run("verify", &["dev"]).ok();
    ledger(&world, "UPDATE deployments SET confirm_by_ms = 1");
    let problem = world.run("deploy", &["prod", "--promote"]).refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("to be confirmed"), "{problem}");
    ledger(&world, "UPDATE deployments SET confirm_by_ms = NULL");
    world.run("deploy", &["prod", "--promote"]).ok();
    assert_eq!(world.get("prod", "/").1, "v1");
}

#[test]
fn a_verification_that_a_rollback_withdrew_is_no_evidence() {
    let world = checked();
    world.release("v2");
    let deployed = world.run("deploy", &["dev"]).ok().stdout.clone();
    fs::write(world.path().join("deployed"), deployed).unwrap();
    fill(&world, "dev", "INSERT INTO acked VALUES (1)");
    let ran = world.sh("verify --only database < ../deployed | rollback");
    assert_eq!(ran.report().outcome, Outcome::RolledBack, "{}", ran.stdout);
    let problem = world.run("deploy", &["prod", "--promote"]).refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("withdrawn"), "{problem}");
    fill(&world, "dev", "DELETE FROM acked");
    world.run("deploy", &["dev"]).ok();
    world.run("deploy", &["prod", "--promote"]).ok();
}

#[test]
fn a_forced_release_says_so_as_long_as_it_serves() {
    let world = World::new();
    world.release("v1");
    let reason = "the shop is down; $(touch x) \"quoted\"";
    let force = ["prod", "--promote", "--force-unverified", "--reason", reason];
    let planned = world.run("deploy", &[&force[..], &["--plan"]].concat()).ok().report();
    assert_eq!(planned.details["deploy"]["forced"], true);
    assert!(world.status("prod")["forced"].is_null());
    let ran = world.run("deploy", &force);
    let report = ran.ok().report();
    assert!(ran.stderr.contains("no evidence"), "{}", ran.stderr);
    let gate = steps(&report, "gate.evidence")[0];
    assert!(gate.problem.as_ref().unwrap().title.starts_with("forced although"), "{gate:?}");
    assert_eq!(report.details["deploy"]["forced_reason"], reason);
    let forced = |world: &World| world.status("prod")["forced"].clone();
    let id = report.deployment.unwrap();
    assert_eq!((&forced(&world)["reason"], &forced(&world)["deployment"]), (&json!(reason), &json!(id)));
    let events = fs::read_to_string(world.state().join("deployments.log")).unwrap();
    let event: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(event["forced_reason"], reason);
    // A release that was let in with evidence takes the mark away; the way back brings it again.
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    let report = world.run("deploy", &["prod", "--promote"]).ok().report();
    assert_eq!(report.details["deploy"].get("forced"), None);
    assert!(forced(&world).is_null());
    world.run("rollback", &["prod"]).ok();
    assert_eq!((world.get("prod", "/").1.as_str(), &forced(&world)["reason"]), ("v1", &json!(reason)));
    let shown = world.sh("script -qec 'status prod' /dev/null");
    assert!(
        shown
            .stdout
            .contains(&format!("forced without evidence by {}", forced(&world)["who"].as_str().unwrap()))
    );
    assert!(shown.stdout.contains(reason), "{}", shown.stdout);
    let history = world.run("status", &["prod", "history"]).ok().report();
    let marked = history.details["status"]["prod"].as_array().unwrap();
    assert_eq!(marked.iter().filter(|row| row["forced_reason"] == reason).count(), 1);
}

#[test]
fn force_needs_a_reason_and_only_opens_the_evidence_gate() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    for args in [
        ["prod", "--force-unverified"].as_slice(),
        &["prod", "--reason", "because"],
        &["prod", "--force-unverified", "--reason", ""],
        &["prod", "--force-unverified", "--reason", " \t"],
        &["prod", "--force-unverified", "--reason", "two\nlines"],
        &["prod", "--force-unverified", "--reason", "both", "--evidence", "-"],
        &["dev", "--force-unverified", "--reason", "nothing to force"],
        &["dev", "--evidence", "-"],
    ] {
        world.run("deploy", args).ended_with(2, "usage");
    }
    let problem = world.run("deploy", &["prod", "--evidence", "-"]).ended_with(2, "configuration").problem;
    assert!(problem.unwrap().detail.unwrap().contains(NAMESPACE));
    let force = ["prod", "--promote", "--force-unverified", "--reason", "in a hurry"];
    let ran = world.run("deploy", &force);
    assert_eq!(ran.ok().report().details["deploy"]["forced"], false);
    assert!(ran.stderr.contains("not needed"), "{}", ran.stderr);
    assert!(world.status("prod")["forced"].is_null());
    world.write("VERSION", "uncommitted");
    world.run("deploy", &[&force[..], &["--again"]].concat()).refused("dirty-tree");
}

#[test]
fn a_secret_in_a_reason_is_shown_nowhere() {
    let world = World::new();
    world.configure("promote_from = \"dev\"\n", "promote_from = \"dev\"\nenv_file = \"../env\"\n");
    world.write_secrets("../env", "TOKEN=sentinel-1234\n");
    let force = ["prod", "--promote", "--force-unverified", "--reason", "token sentinel-1234 leaked"];
    let planned = world.run("deploy", &[&force[..], &["--plan"]].concat());
    assert!(!(planned.ok().stdout.clone() + &planned.stderr).contains("leaked"), "{}", planned.stdout);
    let runs = [
        world.run("deploy", &force),
        world.run("status", &["prod"]),
        world.run("status", &["prod", "history"]),
    ];
    for ran in runs {
        assert!(!ran.ok().stdout.contains("sentinel-1234") && ran.stdout.contains("token $TOKEN leaked"));
        assert!(!ran.stderr.contains("sentinel-1234"), "{}", ran.stderr);
    }
    for file in ["deployments.log", "ledger.db", "ledger.db-wal"] {
        let bytes = fs::read(world.state().join(file)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("sentinel-1234"), "{file}");
    }
}

/// A dev host and a prod host with nothing but the remote in common, and a key.
struct Hosts {
    dev: World,
    prod: World,
    key: PathBuf,
}

impl Hosts {
    /// v1 serves in dev on one and in prod on the other; v2 is verified in dev.
    fn new() -> Self {
        let dev = World::new();
        dev.configure(
            "promote_from = \"dev\"\n",
            "promote_from = \"dev\"\nevidence = { allowed_signers = \"../signers\" }\n",
        );
        dev.release("v1");
        dev.git(&["push", "--quiet", "origin", "dev:main"]);
        let prod = dev.twin();
        let key = ssh::make_key(dev.path(), "key");
        let line = format!("builder@dev namespaces=\"{NAMESPACE}\" {}\n", ssh::public(&key));
        fs::write(prod.path().join("signers"), line).unwrap();
        prod.run("deploy", &["prod", "--force-unverified", "--reason", "the first one"]).ok();
        dev.release("v2");
        dev.run("deploy", &["dev"]).ok();
        Self { dev, prod, key }
    }

    fn verify(&self) -> Report {
        self.dev.run("verify", &["dev", "--sign", self.key.to_str().unwrap()]).ok().report()
    }

    /// The statement in a report.
    fn statement(report: &Report) -> Statement {
        let text = report.details["verify"]["evidence"]["statement"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    }

    /// `report` with another signed statement in it.
    fn with(report: &Report, signed: &Signed) -> String {
        let mut other = report.clone();
        other.details.get_mut("verify").unwrap()["evidence"] = json!(signed);
        serde_json::to_string(&other).unwrap()
    }

    /// Lets prod see a document; gives what deploy said.
    fn present(&self, document: &str, more: &str) -> tests::ran::Ran {
        fs::write(self.prod.path().join("document"), document).unwrap();
        self.prod.sh(&format!("deploy prod --promote --evidence - {more} < ../document"))
    }
}

#[test]
fn a_signed_report_of_another_host_lets_its_tree_in() {
    let hosts = Hosts::new();
    hosts.prod.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    let report = hosts.verify();
    let document = serde_json::to_string(&report).unwrap();
    let planned = hosts.present(&document, "--plan").ok().report();
    assert_eq!(planned.details["deploy"]["evidence"]["source"], "report");
    assert_eq!(hosts.prod.get("prod", "/").1, "v1");
    let accepted = hosts.present(&document, "").ok().report();
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
    let statement = Hosts::statement(&report);
    let evidence = &accepted.details["deploy"]["evidence"];
    assert_eq!(evidence["source"], "report");
    assert_eq!(evidence["signer"], "builder@dev");
    assert_eq!(evidence["host"], statement.host);
    assert_eq!(evidence["at"], statement.verified_at.to_string());
    assert_eq!(evidence["deployment"], hosts.dev.status("dev")["deployment"]);
    let kept: String = rusqlite::Connection::open(hosts.prod.state().join("ledger.db"))
        .unwrap()
        .query_row("SELECT report FROM deployments WHERE id = ?1", [accepted.deployment.unwrap()], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(kept.contains("builder@dev"));
    // The same again proves the same, and there is nothing left to do.
    hosts.prod.git(&["pull", "--quiet", "--ff-only"]);
    let again = hosts.present(&document, "").ok().report();
    assert!(!again.changed);
}

#[test]
fn a_file_can_be_evidence_and_prod_needs_no_promotion_for_it() {
    let hosts = Hosts::new();
    fs::write(hosts.prod.path().join("report.json"), serde_json::to_string(&hosts.verify()).unwrap())
        .unwrap();
    hosts.dev.git(&["push", "--quiet", "origin", "dev:main"]);
    hosts.prod.git(&["pull", "--quiet", "--ff-only"]);
    hosts.prod.run("deploy", &["prod", "--evidence", "../report.json"]).ok();
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
    hosts.prod.run("deploy", &["prod", "--again", "--evidence", "../nowhere"]).ended_with(2, "usage");
    hosts.prod.run("deploy", &["prod", "--again", "--evidence", ".."]).ended_with(2, "usage");
    hosts.prod.run("deploy", &["prod", "--again", "--evidence", "VERSION"]).ended_with(2, "usage");
}

#[test]
fn what_is_signed_must_be_about_this_very_tree_app_environment_and_time() {
    let hosts = Hosts::new();
    let report = hosts.verify();
    let good = Hosts::statement(&report);
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let minutes = SignedDuration::from_mins;
    let other_tree = hosts.dev.git(&["rev-parse", "HEAD~1^{tree}"]);
    let before = hosts.prod.footprint("prod");
    let cases = [
        (Statement { tree: other_tree, ..good.clone() }, "is to be deployed"),
        (Statement { app: "another".into(), ..good.clone() }, "about app 'another'"),
        (Statement { environment: "prod".into(), ..good.clone() }, "about environment 'prod'"),
        (Statement { outcome: Outcome::Failed, ..good.clone() }, "failed"),
        (Statement { verified_at: now() - days(8), ..good.clone() }, "8 days old"),
        (Statement { verified_at: now() + minutes(6), ..good.clone() }, "in the future"),
        (Statement { version: VERSION + 1, ..good.clone() }, "contract version 2"),
    ];
    for (statement, words) in cases {
        let document = Hosts::with(&report, &statement.sign(&hosts.key).unwrap());
        for more in ["--plan", ""] {
            let refused = hosts.present(&document, more).refused("no-evidence");
            let title = refused.problem.unwrap().title;
            assert!(title.contains(words) && !refused.changed, "{title}");
        }
    }
    assert_eq!(hosts.prod.footprint("prod"), before);
    // A clock that is a little ahead is no reason to refuse.
    let ahead = Statement { verified_at: now() + minutes(4), ..good };
    hosts.present(&Hosts::with(&report, &ahead.sign(&hosts.key).unwrap()), "").ok();
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
}

#[test]
fn what_nobody_allowed_signed_is_refused_whatever_the_report_says() {
    let hosts = Hosts::new();
    let report = hosts.verify();
    let good = Hosts::statement(&report);
    let before = hosts.prod.footprint("prod");
    let stranger = ssh::make_key(hosts.dev.path(), "stranger");
    let strange = Hosts::with(&report, &good.sign(&stranger).unwrap());
    let whole = serde_json::to_string(&report).unwrap();
    let tampered = whole.replace(&good.tree, &good.tree.chars().rev().collect::<String>());
    let signers = hosts.prod.path().join("signers");
    for document in [&strange, &tampered] {
        hosts.present(document, "").refused("signature-refused");
        hosts.present(document, "--plan").refused("signature-refused");
    }
    // The rest of the report is nobody's word: it may lie as it likes and changes nothing.
    let mut lying = report.clone();
    lying.details.get_mut("verify").unwrap().as_object_mut().unwrap().remove("evidence");
    lying.details.insert("evidence".into(), json!({"passed": true}));
    hosts.present(&serde_json::to_string(&lying).unwrap(), "").refused("no-evidence");
    let allowed = fs::read_to_string(&signers).unwrap();
    for options in ["namespaces=\"git\"", "valid-before=\"20200101\""] {
        fs::write(&signers, format!("builder@dev {options} {}\n", ssh::public(&hosts.key))).unwrap();
        hosts.present(&whole, "").refused("signature-refused");
    }
    fs::remove_file(&signers).unwrap();
    hosts.present(&whole, "").ended_with(2, "configuration");
    assert_eq!(hosts.prod.footprint("prod"), before);
    fs::write(&signers, allowed).unwrap();
    let mut liar = report;
    liar.environment = Some("prod".into());
    liar.release = None;
    liar.serving = Some("0".repeat(40));
    hosts.present(&serde_json::to_string(&liar).unwrap(), "").ok();
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
}

#[test]
fn a_failed_cut_off_or_foreign_report_is_no_evidence() {
    let hosts = Hosts::new();
    let before = hosts.prod.footprint("prod");
    let good = hosts.dev.run("verify", &["dev", "--sign", hosts.key.to_str().unwrap()]).stdout;
    let first_line = good.lines().next().unwrap();
    for document in ["", "hello", "[1,2]", "{\"version\":9,\"tool\":\"verify\"}", &first_line[..20]] {
        let problem = hosts.present(document, "").ended_with(2, "usage").problem.unwrap();
        assert!(problem.hint.unwrap().contains("--evidence -"));
    }
    let ran = hosts.prod.sh("script -qec 'deploy prod --evidence - --json --quiet' /dev/null");
    assert_eq!(ran.status, 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("that is a terminal"), "{}", ran.stdout);
    let cut = &good[..good.len() - 20];
    let problem = hosts.present(cut, "").refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("cut off"), "{problem}");
    let unsigned = hosts.dev.run("verify", &["dev"]).ok().stdout.clone();
    let problem = hosts.present(&unsigned, "").refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("no signed statement"), "{problem}");
    let mut failed: Report = serde_json::from_str(&good).unwrap();
    failed.conclude(Outcome::Failed);
    hosts.present(&serde_json::to_string(&failed).unwrap(), "").refused("no-evidence");
    assert_eq!(hosts.prod.footprint("prod"), before);
}

#[test]
fn a_later_failure_in_the_own_ledger_counts_for_more() {
    let world = checked();
    world.configure(
        "promote_from = \"dev\"\n",
        "promote_from = \"dev\"\nevidence = { allowed_signers = \"../signers\" }\n",
    );
    world.run("deploy", &["dev"]).ok();
    let key = ssh::make_key(world.path(), "key");
    fs::write(world.path().join("signers"), format!("me {}\n", ssh::public(&key))).unwrap();
    let report = world.run("verify", &["dev", "--sign", key.to_str().unwrap()]).ok().stdout.clone();
    fs::write(world.path().join("report"), report).unwrap();
    let promote = ["prod", "--promote", "--evidence", "../report"];
    world.run("deploy", &[&promote[..], &["--plan"]].concat()).ok();
    fill(&world, "dev", "INSERT INTO acked VALUES (1)");
    world.run("verify", &["dev", "--sign", key.to_str().unwrap()]).refused("query-false");
    let problem = world.run("deploy", &promote).refused("no-evidence").problem.unwrap();
    assert!(problem.title.contains("later verification"), "{problem}");
}

#[test]
fn only_a_full_run_that_passed_and_was_recorded_is_signed() {
    let world = checked();
    let key = ssh::make_key(world.path(), "key");
    let key = key.to_str().unwrap();
    for more in [["--only", "routes"], ["--slot", "blue"]] {
        world.run("verify", &[&["dev", "--sign", key][..], &more].concat()).ended_with(2, "usage");
    }
    world.run("verify", &["dev", "--sign", "../nowhere"]).ended_with(2, "usage");
    let signed = world.sh("deploy dev --again | verify --sign ../key").ok().report();
    let statement = Hosts::statement(&signed);
    assert_eq!(statement.deployment, signed.deployment.unwrap());
    assert_eq!(Some(statement.tree), signed.release.unwrap().tree);
    fill(&world, "dev", "INSERT INTO acked VALUES (1)");
    let report = world.run("verify", &["dev", "--sign", key]).refused("query-false");
    assert_eq!(report.details["verify"].get("evidence"), None);
    fill(&world, "dev", "DELETE FROM acked");
    let place = world.state().join("dev/lock");
    let holder = fs::File::open(place).unwrap();
    holder.try_lock().unwrap();
    let report = world.run("verify", &["dev", "--sign", key]).refused("not-signed");
    assert_eq!((report.outcome, report.details["verify"].get("evidence")), (Outcome::Unverified, None));
    drop(holder);
    world.run("verify", &["dev", "--sign", key]).ok();
}

/// The run passed; for the lack of a key nothing may be undone.
#[test]
fn a_key_that_cannot_sign_fails_the_command_and_undoes_nothing() {
    let world = checked();
    fs::write(world.path().join("key"), "no key").unwrap();
    world.release("v2");
    let ran = world.sh("deploy dev | verify --sign ../key | rollback");
    let report = ran.refused("not-signed");
    assert_eq!(report.outcome, Outcome::Unverified);
    assert_eq!(world.get("dev", "/").1, "v2");
    let problem = report.problem.unwrap();
    assert!(problem.hint.unwrap().starts_with("ssh-keygen -Y sign"));
}

#[test]
fn a_key_in_an_agent_signs_by_its_public_half() {
    let hosts = Hosts::new();
    let document = hosts.prod.path().join("document");
    let line =
        format!("ssh-add -q ../key && rm ../key && verify dev --sign ../key.pub > {}", document.display());
    let ran = hosts.dev.sh(&format!("ssh-agent sh -c '{line}'"));
    ran.ok_shell();
    hosts.prod.sh("deploy prod --promote --evidence - < ../document").ok();
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
}

#[test]
fn evidence_travels_from_one_host_to_another_over_ssh() {
    let Some(lab) = ssh::Lab::open() else { return };
    let hosts = Hosts::new();
    let remote = |command: &str| {
        let programs = tests::binaries::dir();
        format!(
            "{} lab 'cd {} && PATH={}:$PATH && {command}'",
            lab.client(),
            hosts.dev.checkout().display(),
            programs.display()
        )
    };
    let before = hosts.prod.footprint("prod");
    let unsigned = hosts.prod.sh(&format!("{} | deploy prod --promote --evidence -", remote("verify dev")));
    unsigned.refused("no-evidence");
    let nobody = hosts.prod.sh(&format!("{} | deploy prod --promote --evidence -", remote("true")));
    nobody.ended_with(2, "usage");
    assert_eq!(hosts.prod.footprint("prod"), before);
    let signed = remote("verify dev --sign ../key");
    hosts.prod.sh(&format!("{signed} | deploy prod --promote --evidence - --plan")).ok();
    let ran = hosts.prod.sh(&format!("{signed} | deploy prod --promote --evidence - | verify | rollback"));
    let report = ran.ok().report();
    assert_eq!(report.details["deploy"]["evidence"]["signer"], "builder@dev");
    assert_eq!(hosts.prod.get("prod", "/").1, "v2");
    assert_eq!(hosts.dev.get("dev", "/").1, "v2");
    // One line that changed since is another tree.
    hosts.prod.git(&["pull", "--quiet", "--ff-only"]);
    hosts.dev.release("v3");
    let ran = hosts.prod.sh(&format!("{signed} | deploy prod --promote --evidence -"));
    assert!(ran.refused("no-evidence").problem.unwrap().title.contains("is to be deployed"));
}
