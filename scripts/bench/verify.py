"""verify beside hurl (routes) and lychee (a crawl), on one static site behind nginx.

Two runs of one kind in turn, A B A B; CPU and wall time of whole processes, start included, and our
peak of memory. Every page of a crawl has 20 links; 25 lead nowhere, 25 more name a position that is
not there, and both crawlers must find all 50. lychee is given the addresses, since it does not crawl.
"""

import getpass
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from migrate import peak_of

ROUTES = int(os.environ.get("ROUTES", "10000"))
PAGES = int(os.environ.get("PAGES", "5000"))
BROKEN = 25
MEMORY = 20
FILLER = "<p>" + " ".join(["lorem ipsum dolor sit amet consectetur adipiscing elit"] * 12) + "</p>\n"
START = """dir="$BENCH_HOME/nginx-$PORT"
mkdir -p "$dir"
sed "s#@DIR@#$dir#g; s#@PORT@#$PORT#; s#@SITE@#$BENCH_HOME/site#" nginx.conf > "$dir/nginx.conf"
exec nginx -p "$dir" -c "$dir/nginx.conf"
"""
TEMPORARY = " ".join(f"{kind}_temp_path @DIR@/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
NGINX = f"""user {getpass.getuser()}; daemon off; pid @DIR@/pid; worker_processes 1; error_log @DIR@/error.log; events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000; open_file_cache max=20000; types {{ text/html html; }} default_type text/html;
  {TEMPORARY} server {{ listen 127.0.0.1:@PORT@ backlog=4096; root @SITE@; }} }}
"""


def make_site(site):
    """ROUTES pages with a token each, and PAGES that link to each other; the paths of the latter."""
    rnd = random.Random(7)
    (site / "r").mkdir(parents=True)
    (site / "p").mkdir()
    (site / "index.html").write_text('<!doctype html><title>home</title><a href="/p/0000.html">start</a>')
    for n in range(ROUTES):
        (site / "r" / f"{n:05d}.html").write_text(
            f"<!doctype html><title>Route {n}</title>{FILLER}<p>token-{n:05d}-ok</p>{FILLER}")
    dead, lost = (set(rnd.sample(range(PAGES), BROKEN)) for _ in range(2))
    for n in range(PAGES):
        targets = [(n + 1) % PAGES] + [rnd.randrange(PAGES) for _ in range(19)]
        links = [f'<li><a href="/p/{t:04d}.html{"#s2" if k % 5 == 0 else ""}">Page {t}</a>' for k, t in enumerate(targets)]
        links += [f'<li><a href="/p/missing-{n}.html">gone</a>'] * (n in dead)
        links += [f'<li><a href="/p/{(n + 2) % PAGES:04d}.html#nowhere-{n}">lost</a>'] * (n in lost)
        (site / "p" / f"{n:04d}.html").write_text(
            f'<!doctype html><meta charset="utf-8"><title>Page {n}</title>{FILLER}<ul>{"".join(links)}</ul>'
            f'{FILLER}<h2 id="s2">Section</h2>{FILLER}')


class Lab:
    """The site, deployed by our tools, so that verify knows what serves."""

    def __init__(self, home, bin_dir):
        self.home, self.bin = pathlib.Path(home), bin_dir
        self.work = self.home / "work"
        make_site(self.home / "site")
        self.work.mkdir()
        (self.work / "start.sh").write_text(START)
        (self.work / "nginx.conf").write_text(NGINX)
        (self.work / "deploy.toml").write_text(
            f'state = "{home}/state"\nlog_dir = "{home}/logs"\n[app]\nname = "bench"\nrun = "BENCH_HOME={home} sh start.sh"\n'
            '[environments.dev]\nbranches = ["main"]\nlisten = "127.0.0.1:18479"\n')
        for words in (["init", "--quiet", "--initial-branch=main"], ["config", "user.name", "bench"],
                      ["config", "user.email", "bench@example.invalid"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
            subprocess.run(["git", *words], cwd=self.work, check=True)
        subprocess.run([self.bin / "deploy", "dev", "--quiet"], cwd=self.work, check=True, stdout=subprocess.DEVNULL)
        record = json.loads(next(self.home.glob("state/dev/slots/*/instance.json")).read_text())
        self.slot, self.base = record["slot"], f"http://{record['address']}"
        self.release = self.home / "state" / "dev" / "releases" / record["release"]

    def checks(self, text):
        """Gives the release other checks than it was deployed with."""
        self.release.chmod(0o755)
        (self.release / "verify.toml").unlink(missing_ok=True)
        (self.release / "verify.toml").write_text(text)

    def verify(self, stages):
        return [self.bin / "verify", "dev", "--slot", self.slot, "--only", stages, "--quiet"]

    def close(self):
        for record in self.home.glob("state/**/keeper.json"):
            os.kill(json.loads(record.read_text())["pid"], 15)


def measure(command, cwd, expected=0):
    """Wall and CPU seconds of one run."""
    with tempfile.TemporaryFile() as output:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != expected:
            output.seek(0)
            raise SystemExit(f"{command[0]} ended with {process.returncode}: {output.read()[-2000:].decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime


def paired(ours, theirs, count):
    ours(), theirs()
    both = [(ours(), theirs()) for _ in range(count)]
    median = lambda side, part: statistics.median(pair[side][part] for pair in both)
    ratio = lambda part: statistics.median(a[part] / b[part] for a, b in both)
    told = [f"wall {median(side, 0):.3f} s, CPU {median(side, 1):.3f} s" for side in (0, 1)]
    return ratio(1), ratio(0), told


def compare(bin_dir, pairs, judge):
    if not shutil.which("nginx"):
        raise SystemExit("verify: nginx is missing; run scripts/setup")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        lab = Lab(home, bin_dir)
        try:
            compare_routes(lab, pairs, judge)
            compare_crawls(lab, pairs, judge)
        finally:
            lab.close()


def compare_routes(lab, pairs, judge):
    if not shutil.which("hurl"):
        print("routes: hurl is not on the PATH and not compared with; scripts/setup --bench tries to fetch it", flush=True)
        return
    for name, count, bar in (("one route", 1, 0.5), (f"{ROUTES} routes", ROUTES, 0.4)):
        lab.checks("[routes]\n" + "".join(f'"/r/{n:05d}.html" = "200 token-{n:05d}-ok"\n' for n in range(count)))
        files = [lab.home / f"{part}.hurl" for part in range(min(8, count))]
        for part, file in enumerate(files):
            file.write_text("".join(
                f'GET {lab.base}/r/{n:05d}.html\nHTTP 200\n[Asserts]\nbody contains "token-{n:05d}-ok"\n\n'
                for n in range(part, count, len(files))))
        hurl = ["hurl", "--test", "--jobs", "8", *files]
        cpu, wall, told = paired(
            lambda: measure(lab.verify("routes"), lab.work), lambda: measure(hurl, lab.home), pairs)
        judge(f"{name} / hurl, CPU", cpu, bar, f"{told[0]}; hurl {told[1]}")
        judge(f"{name} / hurl, wall", wall, 0.5 if count > 1 else 1.0)
        peak = peak_of(lab.verify("routes"), lab.work)
        judge(f"{name}: peak memory / {MEMORY} MiB", peak / MEMORY, 1.0, f"{peak:.1f} MiB")


def compare_crawls(lab, pairs, judge):
    lab.checks(f"[links]\npages = {2 * PAGES}\n")
    ours = lambda: measure(lab.verify("links"), lab.work, expected=1)
    report = subprocess.run([*lab.verify("links"), "--json"], cwd=lab.work, capture_output=True, check=False)
    facts = json.loads(report.stdout)["details"]["verify"]["links"]
    if facts["findings"] != 2 * BROKEN or facts["pages"] != PAGES + BROKEN + 1:
        raise SystemExit(f"verify: the crawl found {facts}")
    if not shutil.which("lychee"):
        print("crawl: lychee is not on the PATH and not compared with; scripts/setup --bench fetches it", flush=True)
        return
    (lab.home / "pages.txt").write_text("".join(f"{lab.base}/p/{n:04d}.html\n" for n in range(PAGES)))
    lychee = ["lychee", "--no-progress", "--files-from", lab.home / "pages.txt", "--include-fragments",
              "--max-concurrency", "64", "--host-concurrency", "64", "--host-request-interval", "0ms", "--max-retries", "0"]
    cpu, wall, told = paired(ours, lambda: measure(lychee, lab.home, expected=2), pairs)
    judge(f"crawl of {PAGES} pages / lychee, CPU", cpu, 0.35, f"{told[0]}; lychee {told[1]}")
    judge(f"crawl of {PAGES} pages / lychee, wall", wall, 0.35)
