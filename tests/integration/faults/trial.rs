//! One command, broken once, and everything that must hold afterwards.

use serde_json::{Value, json};
use tests::disk::Disk;
use tests::fault::{Kind, deployment_of};
use tests::ran::Ran;
use tests::world::World;

use crate::faults::scenario::Scenario;

/// Commands that find what the broken one left; each must recover within its own run.
const NEXT: [(&str, &[&str]); 5] = [
    ("deploy", &["dev", "--wait", "60"]),
    ("backup", &["dev", "create", "--wait", "60"]),
    ("migrate", &["dev", "up", "--wait", "60"]),
    ("rollback", &["dev", "--wait", "60"]),
    ("verify", &["dev"]),
];

pub(super) struct Trial<'a> {
    pub(super) world: &'a World,
    pub(super) point: &'a str,
    pub(super) kind: Kind,
    /// The disk of the world, when it is to be filled.
    pub(super) disk: Option<&'a Disk>,
    /// Chooses the next command.
    pub(super) number: usize,
}

impl Trial<'_> {
    /// Breaks the scenario's command; gives the state that it had reached in the end.
    pub(super) fn run(&self, scenario: &mut Scenario) -> String {
        let revision = scenario.prepare(self.world);
        let full = self.disk.map(Disk::fill_command).unwrap_or_default();
        let (ran, passed) = scenario.act().run(self.world, Some(&self.kind.at(self.point, &full)));
        if !passed.iter().any(|point| point == self.point) {
            return "not reached".to_owned();
        }
        self.assert_honest(&ran);
        assert_eq!(self.world.get("dev", "/healthz").0, 200, "{self}");
        if let Some(disk) = self.disk {
            disk.empty();
        }
        let id = scenario.killed.clone().or_else(|| deployment_of(&ran));
        self.assert_told(id.as_deref());
        let (tool, args) = NEXT[self.number % NEXT.len()];
        let next = self.world.run(tool, args);
        let problem = next.report().problem.map(|problem| problem.kind);
        // True of a migration that was broken before it did anything.
        let is_true = tool == "verify" && problem.as_deref() == Some("migrations-pending");
        assert!(
            next.status == 0 || (is_true && ran.status != 0),
            "{self}, then {tool}:\n{}\n{}\n{ran:?}",
            next.stdout,
            next.stderr
        );
        self.assert_whole();
        if tool != "deploy" {
            self.world.run("deploy", &["dev", "--wait", "60"]).ok();
        }
        assert_eq!(self.assert_whole()["revision"], revision.as_str(), "{self}");
        self.assert_database_whole();
        self.state_of(id.as_deref())
    }

    /// A report is whole and agrees with the exit; a failure has a reason and a command that helps.
    fn assert_honest(&self, ran: &Ran) {
        let Ok(report) = serde_json::from_str::<Value>(&ran.stdout) else {
            assert_eq!((self.kind, ran.status), (Kind::Abort, -1), "{self}: {ran:?}");
            return;
        };
        assert_eq!(report["success"] == true, ran.status == 0, "{self}: {ran:?}");
        assert_eq!(report["success"] == true, report["outcome"] == "succeeded", "{self}: {ran:?}");
        if ran.status == 0 {
            return;
        }
        assert_ne!(ran.status, 2, "{self}: {ran:?}");
        assert!(report["problem"]["title"].is_string(), "{self}: {ran:?}");
        // What was interrupted and could be undone has nothing to do with the disk.
        let was_undone = report["problem"]["type"] == "interrupted" && report["outcome"] != "broken";
        if let Some(disk) = self.disk.filter(|_| !was_undone) {
            let steps = report["steps"].as_array().into_iter().flatten();
            let problems = steps.map(|step| &step["problem"]).chain([&report["problem"]]);
            let mut hints = problems.filter_map(|problem| problem["hint"].as_str());
            let command = format!("df -h {}", disk.mount().display());
            assert!(hints.any(|hint| hint.starts_with(&command)), "{self}: {ran:?}");
        }
    }

    /// `status` names what is left to do, or how the run ended.
    fn assert_told(&self, id: Option<&str>) {
        let ran = self.world.run("status", &["dev"]);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let facts = &report["details"]["status"]["dev"];
        let unfinished = facts["unfinished"].as_array().unwrap();
        if unfinished.is_empty() {
            let Some(id) = id else { return };
            let ended = facts["last"].as_array().unwrap().iter().find(|row| row["id"] == id);
            // A run that was broken before its first entry, or one that has none of its own.
            let Some(ended) = ended else { return };
            assert!(ended["outcome"].is_string(), "{self}: {facts}");
            return;
        }
        if let Some(who) = facts["lock"]["what"].as_str() {
            assert!(who.starts_with("the guard of"), "{self}: {facts}");
            return;
        }
        assert_eq!(ran.status, 1, "{self}: {report}");
        let told = report["problem"]["title"].as_str().unwrap();
        let names = unfinished.iter().any(|id| told.contains(id.as_str().unwrap()));
        assert!(names || told.contains("elsewhere") || told.contains("answer"), "{self}: {told}");
    }

    /// Nothing is left to do, and ledger, gateway and processes agree.
    fn assert_whole(&self) -> Value {
        let status = self.world.status("dev");
        assert_eq!(status["unfinished"], json!([]), "{self}: {status}");
        assert_eq!(status["identity"], "new", "{self}: {status}");
        assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "{self}: {status}");
        assert!(status["lock"].is_null(), "{self}: {status}");
        status
    }

    fn assert_database_whole(&self) {
        let db = rusqlite::Connection::open(self.world.database("dev")).unwrap();
        let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "{self}");
    }

    fn state_of(&self, id: Option<&str>) -> String {
        let history = self.world.run("status", &["dev", "history", "--limit", "30"]).report();
        let rows = history.details["status"]["dev"].as_array().unwrap();
        let row = rows.iter().find(|row| Some(row["id"].as_str().unwrap()) == id);
        row.map_or("no entry", |row| row["state"].as_str().unwrap()).to_owned()
    }
}

impl std::fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.kind, self.point)
    }
}
