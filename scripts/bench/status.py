"""`status` with ten environments that serve, beside a ledger of ten deployments and one of 100,000.

Both ledgers are the same but for their rows and change places between two runs, A B A B; each time is
that of a whole process, start included. The app is the bench's own, so that its answers cost little.
"""

import json
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time

ENVIRONMENTS = 10
ROWS = int(os.environ.get("ROWS", "100000"))
STEPS = 5
REPORT = json.dumps({"version": 1, "tool": "deploy", "steps": [], "details": {"filler": "x" * 1500}})
HERE = pathlib.Path(__file__).resolve().parent


class Lab:
    """One app in ten environments, deployed by our tools."""

    def __init__(self, home, bin_dir, free_port, table=""):
        self.home, self.bin = pathlib.Path(home), bin_dir
        self.work, self.state = self.home / "work", self.home / "state"
        self.names = [f"e{number}" for number in range(ENVIRONMENTS)]
        self.work.mkdir()
        shutil.copy(HERE / "app.py", self.work)
        environments = "".join(
            f'[environments.{name}]\nbranches = ["main"]\nlisten = "127.0.0.1:{free_port()}"\n' for name in self.names)
        (self.work / "deploy.toml").write_text(
            f'state = "{self.state}"\nlog_dir = "{self.home}/logs"\n[app]\nname = "bench"\n'
            f'run = "exec python3 -S -E app.py $PORT"\n{table}{environments}')
        for words in (["init", "--quiet", "--initial-branch=main"], ["config", "user.name", "bench"],
                      ["config", "user.email", "bench@example.invalid"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
            subprocess.run(["git", *words], cwd=self.work, check=True)
        for name in self.names:
            self.run("deploy", name)

    def run(self, tool, *words, check=True):
        return subprocess.run([self.bin / tool, *words, "--quiet", "--json"], cwd=self.work, check=check,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def timed(self, *words):
        begun = time.monotonic()
        self.run("status", *words)
        return time.monotonic() - begun

    def close(self):
        for record in self.state.glob("**/keeper.json"):
            try:
                os.kill(json.loads(record.read_text())["pid"], 15)
            except ProcessLookupError:
                pass


def fill(ledger, names):
    """So many rows as years of deployments leave, in turn of all environments."""
    db = sqlite3.connect(ledger)
    first = db.execute("SELECT max(number) FROM deployments").fetchone()[0] + 1
    at = int(time.time() * 1000) - ROWS * 60_000
    states = ["superseded"] * 8 + ["failed", "rolled_back"]
    ids = [f"20200101T000000Z-{number:07x}" for number in range(ROWS)]
    name = lambda number: names[number % len(names)]
    db.executemany(
        "INSERT INTO deployments(number, id, environment, kind, state, revision, branch, who, started_ms, ended_ms, outcome, report)"
        " VALUES (?, ?, ?, 'deploy', ?, ?, 'main', 'bench', ?, ?, ?, ?)",
        ((first + number, ids[number], name(number), states[number // len(names) % 10], f"{number:040x}", at + number * 60_000,
          at + number * 60_000 + 2000, "failed" if states[number // len(names) % 10] == "failed" else "succeeded", REPORT)
         for number in range(ROWS)))
    db.executemany(
        "INSERT INTO steps(deployment, number, tool, name, status, duration_ms) VALUES (?, ?, 'deploy', 'step', 'passed', 7)",
        ((id, step + 1) for id in ids for step in range(STEPS)))
    db.executemany(
        "INSERT INTO verifications(environment, deployment, revision, passed, at_ms, duration_ms, host) VALUES (?, ?, 'x', 1, 0, 9, 'bench')",
        ((name(number), ids[number]) for number in range(ROWS)))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return ids[ROWS // 2]


class Ledgers:
    """The short and the long one, of which one is in use."""

    def __init__(self, lab):
        self.file = lab.state / "ledger.db"
        db = sqlite3.connect(self.file)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        self.short, self.long = lab.home / "short.db", lab.home / "long.db"
        shutil.copy(self.file, self.short)
        shutil.copy(self.file, self.long)
        self.known = fill(self.long, lab.names)

    def use(self, which):
        for ending in ("-wal", "-shm"):
            self.file.with_name(self.file.name + ending).unlink(missing_ok=True)
        self.file.unlink()
        os.link(which, self.file)


def compare(bin_dir, pairs, free_port, judge):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        lab = Lab(home, bin_dir, free_port)
        try:
            ledgers = Ledgers(lab)
            questions = {
                "status all": ["all"],
                "history of one": ["e0", "history"],
                "history, failed of one": ["e0", "history", "--state", "failed"],
                "history since a day ago of one": ["e0", "history", "--since", "1d"],
            }
            for name, words in questions.items():
                both = rounds(lab, ledgers, words, pairs)
                short, long = (statistics.median(side) for side in zip(*both))
                judge(f"{name}, {ROWS} / {ENVIRONMENTS} rows", statistics.median(b / a for a, b in both), 1.5,
                      f"{long * 1000:.1f} ms, {short * 1000:.1f} ms")
                if words == ["all"]:
                    judge("status of ten / 50 ms", long / 0.05, 1.0)
            shown = statistics.median(lab.timed("show", ledgers.known) for _ in range(pairs))
            judge("show one of many / 50 ms", shown / 0.05, 1.0, f"{shown * 1000:.1f} ms")
        finally:
            lab.close()


def rounds(lab, ledgers, words, count):
    def ask(which):
        ledgers.use(which)
        lab.timed(*words)
        return lab.timed(*words)
    return [(ask(ledgers.short), ask(ledgers.long)) for _ in range(count)]
