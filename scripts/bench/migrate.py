"""`migrate` beside the sqlite3 program and other runners: the same SQL, on disk, in paired rounds.

Peers are those of dbmate, diesel, refinery, sqlx that are on the PATH; what is missing is said.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

COUNT, DOWN, ROWS = 1000, 100, 1_000_000
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
CONFIG = """[app]
name = "bench"
run = "true"
[environments.dev]
branches = ["dev"]
listen = "127.0.0.1:8001"
database = "sqlite:{database}"
"""


def small(number):
    table = f"t_{number:04d}"
    up = (f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, v INTEGER DEFAULT 0);\n"
          f"CREATE INDEX ix_{table} ON {table}(name);\nINSERT INTO {table} (id, name, v) VALUES (1, 'a;b', {number});\n")
    return f"create_{table}", up, f"DROP TABLE {table};\n"


def big():
    fill = ("CREATE TABLE big (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, title TEXT NOT NULL, score REAL);\n"
            "CREATE INDEX ix_big_user ON big(user_id);\n"
            "INSERT INTO big SELECT value, value % 9973, 'title of document number ' || value, value * 0.5 FROM (WITH RECURSIVE c(value) AS "
            f"(SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < {ROWS}) SELECT value FROM c);\n")
    rebuild = ("CREATE TABLE new_big (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, title TEXT NOT NULL CHECK (length(title) > 0), level TEXT NOT NULL DEFAULT 'all', score INTEGER);\n"
               "INSERT INTO new_big SELECT id, user_id, title, CASE WHEN id % 2 THEN 'all' ELSE 'none' END, CAST(score AS INTEGER) FROM big;\n"
               "DROP TABLE big;\nALTER TABLE new_big RENAME TO big;\nCREATE INDEX ix_big_user ON big(user_id);\n")
    return [("fill_big", fill, "DROP TABLE big;\n"), ("rebuild_big", rebuild, "DROP TABLE big;\n")]


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write(home, steps):
    """The same steps in every layout."""
    for number, (name, up, down) in enumerate(steps, 1):
        stamp = 20240101000000 + number
        put(home / f"own/migrations/{number:04d}_{name}.up.sql", up)
        put(home / f"own/migrations/{number:04d}_{name}.down.sql", down)
        put(home / f"dbmate/{stamp}_{name}.sql", f"-- migrate:up\n{up}\n-- migrate:down\n{down}")
        put(home / f"sqlx/{stamp}_{name}.up.sql", up)
        put(home / f"sqlx/{stamp}_{name}.down.sql", down)
        put(home / f"diesel/{stamp}_{name}/up.sql", up)
        put(home / f"diesel/{stamp}_{name}/down.sql", down)
        put(home / f"refinery/V{number}__{name}.sql", up)
    put(home / "diesel.toml", "")


def peers(home, database):
    """Name to the command that applies everything."""
    refinery = home / f"refinery-{pathlib.Path(database).stem}.toml"
    known = {
        "dbmate": ["dbmate", "--url", f"sqlite:{database}", "--migrations-dir", home / "dbmate", "--no-dump-schema", "up"],
        "diesel": ["diesel", "migration", "run", "--migration-dir", home / "diesel", "--database-url", database, "--config-file", home / "diesel.toml"],
        "refinery": ["refinery", "migrate", "-c", refinery, "-p", home / "refinery"],
        "sqlx": ["sqlx", "migrate", "run", "--source", home / "sqlx", "--database-url", f"sqlite:{database}"],
    }
    put(refinery, f'[main]\ndb_type = "Sqlite"\ndb_path = "{database}"\n')
    return {name: command for name, command in known.items() if shutil.which(name)}


def run(command, cwd=None, stdin=None):
    """Wall and own CPU seconds."""
    begun = time.perf_counter()
    options = dict(QUIET, stdin=stdin) if stdin else QUIET
    child = subprocess.Popen(command, cwd=cwd, **options)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command}: exit {child.returncode}: {errors[-500:]}")
    return wall, usage.ru_utime + usage.ru_stime


def peak_of(command, cwd):
    """Peak MiB. A child of this process would count what Python had taken before it became another program."""
    with tempfile.NamedTemporaryFile("r") as noted:
        subprocess.run(["/usr/bin/time", "-f", "%M", "-o", noted.name, *command], cwd=cwd, check=True, **QUIET)
        return int(noted.read()) / 1024


def sqlite(database, script):
    with open(script, "rb") as text:
        return run(["sqlite3", "-bail", database], stdin=text)


def wipe(database, with_state):
    for ending in ("", "-journal", "-wal", "-shm"):
        pathlib.Path(f"{database}{ending}").unlink(missing_ok=True)
    shutil.rmtree(with_state, ignore_errors=True)


def transactions(steps, each, undo=False):
    """What the sqlite3 program does for the same work, with a record of each step."""
    numbered = list(enumerate(steps, 1))
    if undo:
        numbered = numbered[::-1][:DOWN]
    table = "CREATE TABLE IF NOT EXISTS done (version INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);\n"
    parts = [(down + f"DELETE FROM done WHERE version = {n};\n") if undo else (up + f"INSERT INTO done (version) VALUES ({n});\n")
             for n, (_, up, down) in numbered]
    if each:
        return table + "".join(f"BEGIN IMMEDIATE;\n{part}COMMIT;\n" for part in parts)
    return table + "BEGIN IMMEDIATE;\n" + "".join(parts) + "COMMIT;\n"


class Bench:
    def __init__(self, home, tool, rounds):
        self.home, self.tool, self.rounds = pathlib.Path(home), tool, rounds
        self.database = str(self.home / "bench.db")

    def lay_out(self, name, steps, database=None):
        home = self.home / name
        write(home, steps)
        put(home / "own/deploy.toml", CONFIG.format(database=database or self.database))
        return home

    def ours(self, home, *arguments):
        return run([self.tool, "dev", *arguments, "--quiet"], cwd=home / "own")

    def paired(self, sides):
        """Medians of wall and CPU of each side, all of them in turn in each round; the first round only warms up."""
        samples = {name: [] for name in sides}
        for number in range(self.rounds + 1):
            for name, (prepare, act) in sides.items():
                prepare()
                found = act()
                if number:
                    samples[name].append(found)
        self.samples = samples
        return {name: statistics.median(wall for wall, _ in found) for name, found in samples.items()}

    def ratio(self, mine, theirs):
        return statistics.median(a[0] / b[0] for a, b in zip(self.samples[mine], self.samples[theirs]))

    def fresh(self, home):
        return lambda: wipe(self.database, home / "own/.deploy")

    def saved(self, home, make):
        """A preparation that puts back what `make` made, database and state."""
        wipe(self.database, home / "own/.deploy")
        make()
        kept = pathlib.Path(tempfile.mkdtemp(dir=self.home))
        shutil.copy(self.database, kept / "bench.db")
        state = home / "own/.deploy"
        if state.exists():
            shutil.copytree(state, kept / "state")

        def put_back():
            wipe(self.database, state)
            shutil.copy(kept / "bench.db", self.database)
            if (kept / "state").exists():
                shutil.copytree(kept / "state", state)
        return put_back


def compare(tool, rounds, judge):
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as home:
        bench = Bench(home, tool, rounds)
        missing = [name for name in ("dbmate", "diesel", "refinery", "sqlx") if not shutil.which(name)]
        print(f"not installed here and so not compared: {', '.join(missing) or 'none'}; goose, golang-migrate and flyway never are", flush=True)
        steps = [small(number) for number in range(1, COUNT + 1)]
        home = bench.lay_out("small", steps)
        apply(bench, home, steps, judge)
        again(bench, home, judge)
        unchanged(bench, steps, judge)
        undo(bench, home, steps, judge)
        rebuild(bench, judge)
        wipe(bench.database, home / "own/.deploy")
        peak = peak_of([tool, "dev", "up", "--quiet"], home / "own")
        judge("migrate, apply 1,000: peak / 15 MiB", peak / 15, 1.0, f"{peak:.1f} MiB")
        cpu = statistics.median(run([tool, "--version"])[1] for _ in range(20))
        judge("migrate --version: CPU / 3 ms", cpu * 1000 / 3, 1.0, f"{cpu * 1000:.2f} ms")


def tell(bench, what, medians):
    shown = ", ".join(f"{name} {wall * 1000:.0f} ms" for name, wall in sorted(medians.items(), key=lambda item: item[1]))
    print(f"{what}: {shown}", flush=True)


def apply(bench, home, steps, judge):
    put(home / "one.sql", transactions(steps, each=False))
    put(home / "each.sql", transactions(steps, each=True))
    fresh = bench.fresh(home)
    touch = lambda: (fresh(), pathlib.Path(bench.database).touch())
    sides = {
        "ours": (fresh, lambda: bench.ours(home, "up")),
        "sqlite3, one": (fresh, lambda: sqlite(bench.database, home / "one.sql")),
        "ours --each": (fresh, lambda: bench.ours(home, "up", "--each")),
        "sqlite3, each": (fresh, lambda: sqlite(bench.database, home / "each.sql")),
    }
    for name, command in peers(home, bench.database).items():
        sides[name] = (touch if name in ("refinery", "sqlx") else fresh, lambda command=command: run(command))
    medians = bench.paired(sides)
    tell(bench, f"apply {COUNT}", medians)
    judge("apply 1,000 / sqlite3, one transaction", bench.ratio("ours", "sqlite3, one"), 1.3)
    judge("apply 1,000 --each / sqlite3, each", bench.ratio("ours --each", "sqlite3, each"), 1.0)
    if "dbmate" in sides:
        judge("apply 1,000 / dbmate", bench.ratio("ours", "dbmate"), 0.2)


def again(bench, home, judge):
    """Nothing is pending, and files and database are new to whoever looks; each peer has its own database."""
    put_back = bench.saved(home, lambda: bench.ours(home, "up"))
    # What it costs to open a database with so many tables, whoever does it.
    count = ["sqlite3", bench.database, "SELECT count(*) FROM migrations"]
    sides = {"ours": (put_back, lambda: bench.ours(home, "up")), "sqlite3, one query": (put_back, lambda: run(count))}
    for name, command in peers(home, bench.database).items():
        def make(command=command):
            pathlib.Path(bench.database).touch()
            run(command)
        sides[name] = (bench.saved(home, make), lambda command=command: run(command))
    beside_peers(bench, "nothing to do, changed before", sides, judge)


def unchanged(bench, steps, judge):
    """The same, and everything is as the last one left it: each side keeps a database of its own."""
    home = bench.lay_out("kept", steps, bench.home / "kept.db")
    acts = {"ours": lambda: bench.ours(home, "up")}
    for name in peers(home, bench.database):
        database = bench.home / f"kept-{name}.db"
        database.touch()
        acts[name] = lambda command=peers(home, database)[name]: run(command)
    for act in acts.values():
        act()
    # What is younger than two seconds is read again.
    time.sleep(2.5)
    medians = beside_peers(bench, "nothing to do", {name: (lambda: None, act) for name, act in acts.items()}, judge)
    judge("nothing to do / 10 ms", medians["ours"] / 0.010, 1.0, f"{medians['ours'] * 1000:.1f} ms")


def beside_peers(bench, what, sides, judge):
    medians = bench.paired(sides)
    tell(bench, what, medians)
    for name in sides:
        if name not in ("ours", "sqlite3, one query"):
            judge(f"{what} / {name}", bench.ratio("ours", name), 1.0)
    return medians


def undo(bench, home, steps, judge):
    put(home / "undo.sql", transactions(steps, each=False, undo=True))
    sides = {
        "ours": (bench.saved(home, lambda: bench.ours(home, "up")), lambda: bench.ours(home, "down", "--steps", str(DOWN))),
        "sqlite3": (bench.saved(home, lambda: sqlite(bench.database, home / "one.sql")), lambda: sqlite(bench.database, home / "undo.sql")),
    }
    tell(bench, f"undo {DOWN}", bench.paired(sides))
    judge("undo 100 / sqlite3", bench.ratio("ours", "sqlite3"), 1.2)


def rebuild(bench, judge):
    """The first migration fills the table, before the clock runs; the second one rebuilds it."""
    steps = big()
    first, both = bench.lay_out("first", steps[:1]), bench.lay_out("both", steps)
    state = both / "own/.deploy"

    def filled():
        bench.ours(first, "up")
        shutil.copytree(first / "own/.deploy", state)
    sides = {"ours": (bench.saved(both, filled), lambda: bench.ours(both, "up"))}
    shutil.rmtree(first / "own/.deploy", ignore_errors=True)
    put(both / "fill.sql", transactions(steps[:1], each=False))
    put(both / "rebuild.sql", "BEGIN IMMEDIATE;\n" + steps[1][1] + "COMMIT;\n")
    sides["sqlite3"] = (bench.saved(both, lambda: sqlite(bench.database, both / "fill.sql")), lambda: sqlite(bench.database, both / "rebuild.sql"))
    later = peers(both, bench.database)
    for name, command in peers(first, bench.database).items():
        def make(command=command):
            pathlib.Path(bench.database).touch()
            run(command)
        sides[name] = (bench.saved(both, make), lambda command=later[name]: run(command))
    medians = bench.paired(sides)
    tell(bench, f"rebuild {ROWS} rows", medians)
    best = min((name for name in sides if name not in ("ours", "sqlite3")), key=medians.get, default="sqlite3")
    judge(f"rebuild 1,000,000 rows / {best}", bench.ratio("ours", best), 1.05)
