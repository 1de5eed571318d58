"""`backup` beside cp, the sqlite3 program and restic: the same database, on disk, in paired rounds.

What each number contains:
  cp                  the file's bytes in the page cache, neither consistent nor synced
  zstd                the file compressed on two threads, nothing else: no backup is faster
  zstd + check        the same beside `PRAGMA integrity_check`, both by the programs themselves: no checked one is
  snapshot            our copy of all pages at one moment, with its SHA-256; a part of `create`
  backup              until it counts: snapshot, integrity and foreign key check, SHA-256 over all rows beside
                      zstd, each frame unpacked again, SHA-256 of both sides, syncs; a part of `create`
  create              all of it: then the SQL export, loading and comparing that
  restic              a new repository with this one file: chunks, SHA-256, zstd, encryption; no check
  restore             until the app has its database back: hashes, unpacking, a copy of what is there, comparing rows,
                      the change on disk, comparing pages; every row of the largest table has changed
  small restore       the same where a thousand rows have changed
  restore, complete   all of it: then checks and compression of the copy
"""

import json
import os
import pathlib
import random
import select
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from migrate import CONFIG, Bench, put, run

SCHEMA = """PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
CREATE TABLE users(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, email TEXT, secret BLOB);
CREATE TABLE documents(id INTEGER PRIMARY KEY, owner INTEGER REFERENCES users(id), slug TEXT UNIQUE, body TEXT, rev INTEGER);
CREATE TABLE comments(id INTEGER PRIMARY KEY, doc INTEGER REFERENCES documents(id), author INTEGER REFERENCES users(id), body TEXT);
CREATE TABLE events(id INTEGER PRIMARY KEY, kind TEXT, doc INTEGER, at INTEGER, token BLOB);
CREATE TABLE sessions(sid TEXT, user INTEGER, data BLOB);
CREATE INDEX comments_doc ON comments(doc); CREATE INDEX events_at ON events(at);"""
WRITER = """
import json, select, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=float(sys.argv[2]), isolation_level=None)
commits = []
print('x', flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    begun, refused = time.monotonic(), False
    try:
        db.execute("UPDATE documents SET rev = rev + 1 WHERE id = ?", (len(commits) % 1000 + 1,))
    except sqlite3.OperationalError:
        refused = True
    commits.append((begun, time.monotonic() - begun, refused))
json.dump(commits, sys.stdout)
"""


def fill(database, mebibytes):
    """Tables as a small web app has them; the same bytes each time."""
    chance = random.Random(42)
    words = ["".join(chance.choices("abcdefghilmnoprstu", k=chance.randint(2, 9))) for _ in range(20000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    sums = [sum(weights[:1])]
    for weight in weights[1:]:
        sums.append(sums[-1] + weight)
    text = lambda count: " ".join(chance.choices(words, cum_weights=sums, k=count))
    db = sqlite3.connect(database, isolation_level=None)
    db.executescript(SCHEMA)
    users = documents = 0
    while db.execute("PRAGMA page_count").fetchone()[0] * 4096 < mebibytes << 20:
        db.execute("BEGIN")
        for users in range(users + 1, users + 201):
            db.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (users, f"user{users}", f"u{users}@example.org", chance.randbytes(32)))
        for documents in range(documents + 1, documents + 1501):
            db.execute("INSERT INTO documents VALUES (?, ?, ?, ?, 1)", (documents, chance.randint(1, users), f"draft-{documents:07d}", text(280)))
        db.executemany("INSERT INTO comments(doc, author, body) VALUES (?, ?, ?)",
                       [(chance.randint(1, documents), chance.randint(1, users), text(30)) for _ in range(1500)])
        db.executemany("INSERT INTO events(kind, doc, at, token) VALUES (?, ?, ?, ?)",
                       [(chance.choice(("view", "edit", "login")), chance.randint(1, documents), 1700000000 + at, chance.randbytes(16)) for at in range(5000)])
        db.executemany("INSERT INTO sessions VALUES (?, ?, ?)", [(chance.randbytes(16).hex(), chance.randint(1, users), chance.randbytes(60)) for _ in range(300)])
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


class Place:
    """One project, its database, and copies of it by other programs."""

    def __init__(self, bench):
        self.bench, self.home = bench, bench.home
        self.copies = self.home / "copies"
        self.copies.mkdir()
        self.details, self.steps = {}, []
        # Peak MiB of each run of ours, by its verb.
        self.peaks = {}
        put(self.home / "own/deploy.toml", CONFIG.format(database=bench.database) + "backups = { keep = 1 }\n")
        self.restic = ["restic", "--quiet", "--no-cache", "--repo", str(self.copies / "repository")]
        os.environ["RESTIC_PASSWORD"] = "bench"

    def ours(self, *arguments):
        """The run; notes the report's details and the peak, which `time` sees without what Python has."""
        report, peak = self.home / "report.json", self.home / "peak"
        line = f'exec /usr/bin/time -f %M -o {peak} "$0" dev {" ".join(arguments)} --quiet > {report}'
        found = run(["sh", "-c", line, self.bench.tool], cwd=self.home / "own")
        told = json.loads(report.read_text())
        self.details, self.steps = told["details"]["backup"], told["steps"]
        self.peaks.setdefault(arguments[0], []).append(int(peak.read_text()) / 1024)
        return found

    def part(self, *names):
        """Seconds of some parts of the last creation."""
        return sum(self.details["duration_parts_ms"].get(name, 0) for name in names) / 1000

    def until_it_counts(self):
        """Seconds of the last creation without the export, which follows; `compress` runs beside `check`."""
        return max(self.part("check"), self.part("compress")) + self.part("space", "snapshot", "collect", "settings", "publish")

    def before(self, name):
        """Seconds of the steps before the one of that name in the last run."""
        names = [step["name"] for step in self.steps]
        return sum(step["duration_ms"] for step in self.steps[:names.index(name)]) / 1000

    def manifest(self):
        return json.loads((pathlib.Path(self.details["directory"]) / "manifest.json").read_text())

    def forget(self):
        shutil.rmtree(self.copies)
        self.copies.mkdir()

    def restic_create(self):
        created, kept = run([*self.restic, "init"]), run([*self.restic, "backup", self.bench.database])
        return created[0] + kept[0], created[1] + kept[1]


def create(place, judge):
    parts = {"snapshot": [], "backup": []}

    def ours():
        found = place.ours("create")
        parts["snapshot"].append(place.part("snapshot"))
        parts["backup"].append(place.until_it_counts())
        return found
    database = place.bench.database
    sides = {
        "create": (place.forget, ours),
        "cp": (place.forget, lambda: run(["cp", database, place.copies / "cp.db"])),
        "zstd": (place.forget, lambda: run(["zstd", "-q", "-3", "-T2", database, "-o", place.copies / "copy.zst"])),
        "zstd + check": (place.forget, lambda: run(["sh", "-c", f'sqlite3 "{database}" "PRAGMA integrity_check" & zstd -q -3 -T2 "{database}" -o "{place.copies}/copy.zst"; wait'])),
        "sqlite3 .backup": (place.forget, lambda: run(["sqlite3", database, f".backup {place.copies}/copy.db"])),
    }
    if shutil.which("restic"):
        sides["restic"] = (place.forget, place.restic_create)
    medians = place.bench.paired(sides)
    tell(place.bench, "create", medians)
    print(f"parts of the last creation, ms: {place.details['duration_parts_ms']}", flush=True)

    def compare(part, side, bar):
        pairs = zip(parts[part][1:], place.bench.samples[side])
        judge(f"backup: {part} / {side}", statistics.median(ours / theirs[0] for ours, theirs in pairs), bar)
    compare("snapshot", "cp", 2.5)
    compare("snapshot", "sqlite3 .backup", 1.0)
    compare("backup", "cp", 4.0)
    compare("backup", "zstd + check", 1.5)
    if "restic" in sides:
        compare("backup", "restic", 0.5)
        ours = sum(facts["size"] for name, facts in place.manifest()["files"].items() if name.endswith(".db.zst"))
        place.forget()
        place.restic_create()
        theirs = sum(path.stat().st_size for path in (place.copies / "repository").rglob("*") if path.is_file())
        judge("backup: size / restic's", ours / theirs, 1.0)
    judge("backup: peak memory of create / 24 MiB", max(place.peaks["create"]) / 24, 1.0)


def restore(place, judge):
    place.ours("create", "--protect")
    identity = place.details["id"]
    database = place.bench.database
    shutil.copy(database, place.home / "kept.db")

    def change(condition="true"):
        place.forget()
        for path in (place.home / "own/.deploy/backups/dev").iterdir():
            if path.is_dir() and path.name != identity:
                shutil.rmtree(path)
        db = sqlite3.connect(database)
        db.execute(f"UPDATE documents SET rev = rev + 1 WHERE {condition}")
        db.commit()
        db.close()
    complete = []

    def ours():
        found = place.ours("restore", identity, "--discard-writes")
        complete.append(found[0])
        return place.before("backup.complete"), found[1]
    sides = {
        "restore": (change, ours),
        "small restore": (lambda: change("id <= 1000"), ours),
        "cp": (lambda: None, lambda: run(["cp", place.home / "kept.db", place.home / "back.db"])),
    }
    if shutil.which("restic"):
        def prepared():
            place.forget()
            place.restic_create()
        sides["restic"] = (prepared, lambda: run([*place.restic, "restore", "latest", "--target", place.copies / "back"]))
    medians = place.bench.paired(sides)
    tell(place.bench, "restore", medians)
    print(f"restore, complete: {statistics.median(complete):.2f} s", flush=True)
    judge("backup: restore / cp", place.bench.ratio("restore", "cp"), 3)
    change()
    commits = writing(place, lambda _: ours(), patience=5)
    longest = max(took for _, took, _ in commits)
    judge("backup: refused writes beside a restore", sum(refused for _, _, refused in commits), 0)
    judge("backup: a writer's longest wait in it / 5 s", longest / 5, 1.0, f"{longest * 1000:.0f} ms")
    judge("backup: peak memory of restore / 24 MiB", max(place.peaks["restore"]) / 24, 1.0)


def writing(place, during, patience=0):
    """
    Commits one after the other while `during` runs, each with so many seconds of patience: when each began,
    how long it took, both in seconds, and whether it was refused.
    """
    writer = subprocess.Popen([sys.executable, "-c", WRITER, place.bench.database, str(patience)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writer.stdout.readline()
    during(writer)
    return json.loads(writer.communicate("")[0])


def p99(commits):
    """In milliseconds."""
    return sorted(took for _, took, _ in commits)[len(commits) * 99 // 100] * 1000


def beside_a_writer(place, judge):
    """Until the backup counts, and with the export that follows; each round first alone for 10 s."""
    rounds, refused, written = [], 0, 0
    for _ in range(place.bench.rounds):
        alone = p99(writing(place, lambda writer: select.select([writer.stdout], [], [], 10)))
        begun = []
        commits = writing(place, lambda _: (begun.append(time.monotonic()), place.ours("create")))
        counts = begun[0] + place.until_it_counts()
        rounds.append((alone, p99([commit for commit in commits if commit[0] < counts]), p99(commits)))
        refused, written = refused + sum(commit[2] for commit in commits), written + len(commits)
    judge("backup: refused writes in WAL mode", refused, 0, f"of {written}")
    shown = ", ".join(f"{alone:.1f} {first:.1f} {whole:.1f}" for alone, first, whole in rounds)
    judge("backup: a writer's p99 beside it / alone", statistics.median(first / alone for alone, first, _ in rounds), 2.0,
          f"ms alone, until it counts, and with the export: {shown}")
    judge("the same with the export", statistics.median(whole / alone for alone, _, whole in rounds), 2.0)


def tell(bench, what, medians):
    for name, wall in sorted(medians.items(), key=lambda item: item[1]):
        cpu = statistics.median(sample[1] for sample in bench.samples[name])
        print(f"{what:<8} {name:<16} {wall:7.2f} s   CPU {cpu:6.2f} s", flush=True)


def compare(tool, rounds, judge):
    mebibytes = int(os.environ.get("MIB", "256"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as home:
        bench = Bench(home, tool, rounds)
        fill(bench.database, mebibytes)
        print(f"database of {pathlib.Path(bench.database).stat().st_size >> 20} MiB; restic {'' if shutil.which('restic') else 'not '}on the PATH", flush=True)
        place = Place(bench)
        create(place, judge)
        beside_a_writer(place, judge)
        restore(place, judge)
