"""How long `verify` takes on a site of forty pages with a script, a style sheet and a picture each.

Not a ratio to a floor: nothing else does the same. Bars are those of the plan, for a quiet machine.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PAGES = 40
SETTLE_MS = 50
PAGE = """<!doctype html><title>Page {number}</title><link rel=stylesheet href=/style.css>
<h1>Page {number}</h1><img src=/icon.svg alt=icon><p>{text}</p><a href=/{next}>next</a>
<script src=/script.js></script>"""


def git(home, *arguments):
    subprocess.run(["git", "-c", "user.name=bench", "-c", "user.email=bench@example.invalid", *arguments],
                   cwd=home, check=True, **QUIET)


def make_site(home, port):
    site = home / "site"
    site.mkdir()
    for number in range(PAGES):
        page = PAGE.format(number=number, next=f"{(number + 1) % PAGES}.html", text="word " * 200)
        (site / f"{number}.html").write_text(page)
    (site / "style.css").write_text("body { font: 16px sans-serif; max-width: 40rem; margin: auto }")
    (site / "script.js").write_text("document.body.dataset.ready = 1")
    (site / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'><circle r='32' cx='32' cy='32'/></svg>")
    names = [f"/{number}.html" for number in range(PAGES)]
    (home / "verify.toml").write_text(
        "[routes]\n" + "".join(f'"{name}" = "200 Page"\n' for name in names)
        + f'[browser]\npages = {json.dumps(names)}\nsettle = "{SETTLE_MS}ms"\nrequired = true\n[regressions]\n')
    (home / "deploy.toml").write_text(
        'state = "../state"\nlog_dir = "../logs"\n[app]\nname = "bench"\nhealth = "/0.html"\n'
        'run = "exec python3 -m http.server --directory site --bind 127.0.0.1 $PORT"\n'
        f'[environments.dev]\nbranches = ["main"]\nlisten = "127.0.0.1:{port}"\n')


def measure(programs, count, port):
    if not shutil.which("chromium"):
        raise SystemExit("browser: chromium is missing; run scripts/setup")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = pathlib.Path(directory) / "checkout"
        home.mkdir()
        make_site(home, port)
        git(home, "init", "--initial-branch=main")
        git(home, "add", "--all")
        git(home, "commit", "--message", "site")
        try:
            for message in ("first", "second"):
                git(home, "commit", "--allow-empty", "--message", message)
                subprocess.run([programs / "deploy", "dev", "--quiet"], cwd=home, check=True, **QUIET)
            return [one_run(programs, home) for _ in range(count)]
        finally:
            for record in pathlib.Path(directory).glob("state/**/keeper.json"):
                os.kill(json.loads(record.read_text())["pid"], 15)


def stages(programs, home, *options):
    command = [programs / "verify", "dev", "--json", "--quiet", *options]
    report = json.loads(subprocess.run(command, cwd=home, check=True, capture_output=True, text=True).stdout)
    return {stage["name"]: stage["duration_ms"] for stage in report["details"]["verify"]["stages"]}


def one_run(programs, home):
    """Pages are opened side by side: what one of them costs is what all take beyond the first, shared."""
    first = stages(programs, home, "--explain", "browser.GET /0.html")["browser"]
    whole = stages(programs, home)
    others = sum(took for stage, took in whole.items() if stage != "browser")
    return {"page": (whole["browser"] - first) / (PAGES - 1), "start": first,
            "identity": whole["identity"], "others": others}


def compare(programs, count, port, judge):
    runs = measure(programs, count, port)
    figure = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    judge("browser, a page / 100 ms", figure["page"] / 100, 1.0, f"{figure['page']:.0f} ms, each watched for {SETTLE_MS} ms beside others")
    judge("browser, start and first page / 1 s", figure["start"] / 1000, 1.0, f"{figure['start']:.0f} ms")
    judge("identity / 100 ms", figure["identity"] / 100, 1.0, f"{figure['identity']:.0f} ms")
    judge("all stages but the browser / 3 s", figure["others"] / 3000, 1.0, f"{figure['others']:.0f} ms for {PAGES} routes")
