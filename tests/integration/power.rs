//! Power cuts: at each fault point the disk is copied as it is, without what was never synced. Then
//! everything is killed, the copy takes the disk's place, and the next command must find its way:
//! the product's own files are whole, no acknowledged write is missing, and the right commit can be
//! deployed.
//!
//! Here a few of the pictures are come back from; with `SOAK=1` all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::layout::Place;
use common::{backups, config};
use serde_json::{Value, json};
use tests::disk::{Disk, with_own_mounts};
use tests::keepers;
use tests::world::World;

use crate::faults::scenario::Scenario;

/// In the short form, how many pictures there are for each that is come back from.
const STRIDE: usize = 8;

const NEXT: [(&str, &[&str]); 5] = [
    ("backup", &["dev", "create", "--wait", "60"]),
    ("deploy", &["dev", "--wait", "60"]),
    ("migrate", &["dev", "up", "--wait", "60"]),
    ("rollback", &["dev", "--wait", "60"]),
    ("verify", &["dev"]),
];

/// Runs at each point, while the tool waits: has a write acknowledged if it is to, and copies the
/// image when anything has reached it since the last time.
const PHOTOGRAPHER: &str = r#"
cd "$(dirname "$0")"
if [ -n "$WRITES" ]; then
    number=$(($(wc -l < acknowledged) + 1))
    python3 -S -E - "$LISTEN" "$number" <<'END' && echo "$number" >> acknowledged
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=2)
connection.request("POST", f"/write?n={sys.argv[2]}")
sys.exit(connection.getresponse().status != 200)
END
fi
now=$(stat --format=%y image)
[ "$now" = "$(cat last 2>/dev/null)" ] && exit
echo "$now" > last
number=$(printf %03d "$(wc -l < pictures)")
cp --sparse=always image "$number.image"
echo "$number $(wc -l < acknowledged) $POINT" >> pictures
"#;

/// What the disk held at one point.
struct Picture {
    image: PathBuf,
    acknowledged: i64,
    point: String,
}

struct Studio {
    world: World,
    disk: Disk,
}

impl Studio {
    fn new() -> Self {
        let disk = Disk::image(224);
        Self { world: World::within(&disk.mount()), disk }
    }

    /// Runs the scenario's command and copies the disk at each point.
    fn photograph(&self, scenario: &mut Scenario, writes: bool) -> Vec<Picture> {
        let dir = self.disk.beside();
        let script = dir.join("photographer");
        fs::write(&script, PHOTOGRAPHER).unwrap();
        for empty in ["acknowledged", "pictures"] {
            fs::write(dir.join(empty), "").unwrap();
        }
        scenario.prepare(&self.world);
        // In the default mode SQLite may take back its last commit: the journal's removal is not synced.
        let db = rusqlite::Connection::open(self.world.database("dev")).unwrap();
        db.pragma_update(None, "journal_mode", if writes { "WAL" } else { "DELETE" }).unwrap();
        drop(db);
        self.disk.sync();
        let writes = if writes { "yes" } else { "" };
        let listen = self.world.listen("dev");
        let line = format!("*=run:WRITES={writes} LISTEN={listen} sh {}", script.display());
        scenario.act().run(&self.world, Some(&line));
        let list = fs::read_to_string(dir.join("pictures")).unwrap();
        list.lines().map(|line| picture(dir, line)).collect()
    }

    /// Everything is gone at once; what the disk held then is all there is.
    fn come_back_to(&self, picture: &Picture) {
        keepers::end_below(&self.world.state());
        keepers::await_end_below(&self.world.state());
        self.disk.replace(&picture.image);
    }

    fn assert_recovered_by(&self, (tool, args): (&str, &[&str]), picture: &Picture) {
        let (world, point) = (&self.world, &picture.point);
        let down = world.run("status", &["dev"]);
        assert_eq!(down.status, 1, "{point}: {down:?}");
        let next = world.run(tool, args);
        let was_unfinished = down.report().details["status"]["dev"]["unfinished"] != json!([]);
        if tool == "verify" && !was_unfinished {
            // Nothing was cut off, the service is down: a proof says so and starts nothing.
            next.ended_with_any(&["instance-stopped", "instance-exited"]);
        } else {
            assert_eq!(next.status, 0, "{point}, then {tool}: {next:?}");
            assert_eq!(world.get("dev", "/healthz").0, 200, "{point}");
            self.assert_whole(picture);
        }
        world.run("deploy", &["dev", "--wait", "60"]).ok();
        let revision = world.git(&["rev-parse", "HEAD"]);
        assert_eq!(self.assert_whole(picture)["revision"], revision.as_str(), "{point}");
    }

    fn assert_whole(&self, picture: &Picture) -> Value {
        let point = &picture.point;
        let status = self.world.status("dev");
        assert_eq!(status["unfinished"], json!([]), "{point}: {status}");
        assert_eq!(status["identity"], "new", "{point}: {status}");
        assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "{point}: {status}");
        self.assert_databases_whole(picture);
        self.assert_releases_whole(point);
        self.assert_backups_whole(point);
        let log = fs::read_to_string(self.world.state().join("deployments.log")).unwrap();
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{point}: {line:?}");
        }
        status
    }

    fn assert_databases_whole(&self, picture: &Picture) {
        for file in [self.world.database("dev"), self.world.state().join("ledger.db")] {
            let db = rusqlite::Connection::open(&file).unwrap();
            let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(verdict, "ok", "{}: {}", picture.point, file.display());
        }
        let db = rusqlite::Connection::open(self.world.database("dev")).unwrap();
        let query = "SELECT count(*) FROM acked WHERE n <= ?1";
        let kept: i64 = db.query_row(query, [picture.acknowledged], |row| row.get(0)).unwrap();
        assert_eq!(kept, picture.acknowledged, "{}: acknowledged writes", picture.point);
    }

    /// Every release that is there holds what its revision holds.
    fn assert_releases_whole(&self, point: &str) {
        for release in fs::read_dir(self.world.state().join("dev/releases")).unwrap().flatten() {
            let id = release.file_name().into_string().unwrap();
            let Some(revision) = id.split('-').nth(1) else { continue };
            for file in self.world.git(&["ls-tree", "-r", "--name-only", revision]).lines() {
                let is = fs::read_to_string(release.path().join(file)).unwrap_or_default();
                let should = self.world.git(&["show", &format!("{revision}:{file}")]);
                assert_eq!(is.trim(), should, "{point}: {file} of {id}");
            }
        }
    }

    fn assert_backups_whole(&self, point: &str) {
        let config = config::load(Some(&self.world.checkout().join("deploy.toml"))).unwrap();
        let listing = backups::list(&Place::new(&config, "dev")).unwrap();
        assert!(listing.unreadable.is_empty(), "{point}: {:?}", listing.unreadable);
        for backup in listing.backups {
            self.world.run("backup", &["dev", "verify", &backup.manifest.id]).ok();
        }
    }
}

fn picture(dir: &Path, line: &str) -> Picture {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap();
    let image = dir.join(format!("{}.image", next()));
    Picture { image, acknowledged: next().parse().unwrap(), point: next().to_owned() }
}

fn cut_power(mut scenario: Scenario, writes: bool) {
    let studio = Studio::new();
    let points = scenario.points(&studio.world).len();
    let pictures = studio.photograph(&mut scenario, writes);
    let stride = if std::env::var_os("SOAK").is_some() { 1 } else { STRIDE };
    let mut tried = 0;
    for (number, picture) in pictures.iter().enumerate().step_by(stride) {
        studio.come_back_to(picture);
        studio.assert_recovered_by(NEXT[number % NEXT.len()], picture);
        tried += 1;
    }
    tests::tell(&format!(
        "| {:18} | power cut | {points:4} points | {:4} pictures | {tried:4} come back from | writes {} |",
        scenario.name(),
        pictures.len(),
        pictures.last().map_or(0, |last| last.acknowledged),
    ));
    let Studio { world, disk } = studio;
    drop(world);
    drop(disk);
}

fn with_images(name: &str, body: impl FnOnce()) {
    let has_tools = Command::new("mkfs.ext4").arg("-V").output().is_ok_and(|output| output.status.success());
    if has_tools && Path::new("/dev/loop-control").exists() {
        return with_own_mounts(name, body);
    }
    tests::skipped(&format!("{name} needs mkfs.ext4 and loop devices"));
}

#[test]
fn a_deploy_comes_back_from_a_power_cut_at_any_point() {
    with_images("power::a_deploy_comes_back_from_a_power_cut_at_any_point", || {
        cut_power(Scenario::deploy(), false);
        cut_power(Scenario::deploy(), true);
    });
}

#[test]
fn other_commands_come_back_from_a_power_cut_at_any_point() {
    with_images("power::other_commands_come_back_from_a_power_cut_at_any_point", || {
        for scenario in Scenario::others() {
            cut_power(scenario, false);
        }
    });
}
