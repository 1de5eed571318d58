"""`status serve`: how many it answers, how soon its dashboard is painted, and what fifty streams of
events cost, while deployments happen.

The server has one core and wrk another, where taskset can say so. SOAK=3600 keeps the streams open for
an hour with a deployment every minute; without it three deployments are enough to see that each stream
gets every step.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from status import Lab

STREAMS = 50
PER_SECOND = 5000
MIB = 30
PAINT_MS = 200
SOAK = int(os.environ.get("SOAK", "0"))
HERE = pathlib.Path(__file__).resolve().parent


class Server:
    """One that the lab's tools start by hand, on the first core."""

    def __init__(self, lab):
        pin = ["taskset", "--cpu-list", "0"] if shutil.which("taskset") and os.cpu_count() > 1 else []
        self.process = subprocess.Popen([*pin, lab.bin / "status", "serve", "--listen", "127.0.0.1:0"], cwd=lab.work,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", self.process.stderr.readline()).group(1))

    def mebibytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Stream(threading.Thread):
    """Reads events until the server ends, and counts deployments that it saw end."""

    def __init__(self, port):
        super().__init__(daemon=True)
        # Ids, since a deployment that has ended may turn into another state.
        self.over, self.steps = set(), 0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(f"GET /_deploy/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        self.lines = self.socket.makefile("r")
        while self.lines.readline().strip():
            pass
        self.start()

    def run(self):
        kind = ""
        for line in self.lines:
            if line.startswith("event: "):
                kind = line[7:].strip()
            elif line.startswith("data: ") and kind == "step":
                self.steps += 1
            elif line.startswith("data: "):
                told = json.loads(line[6:])["deployment"]
                if told["outcome"] is not None:
                    self.over.add(told["id"])


class Chromium:
    """Headless, told what to do through pipes."""

    def __init__(self, program, home):
        theirs, self.to = os.pipe()
        self.of, back = os.pipe()
        for wanted, fd in ((3, theirs), (4, back)):
            os.set_inheritable(fd, True)
        shell = f"exec {program} --headless --no-sandbox --disable-gpu --user-data-dir={home} --remote-debugging-pipe 3<&{theirs} 4>&{back}"
        self.process = subprocess.Popen(["bash", "-c", shell], pass_fds=(theirs, back), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs), os.close(back)
        self.lines, self.number = os.fdopen(self.of, "rb"), 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, session=None, **params):
        self.number += 1
        words = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.to, json.dumps(words).encode() + b"\0")
        text = b""
        while True:
            text += self.lines.read(1)
            if not text.endswith(b"\0"):
                continue
            told, text = json.loads(text[:-1]), b""
            if told.get("id") == self.number:
                return told["result"]

    def first_paint(self, url):
        """Milliseconds from the start of the navigation to the first content on the screen."""
        self.call("Page.navigate", self.session, url=url)
        find = """new Promise(found => new PerformanceObserver(list => list.getEntriesByName('first-contentful-paint')
            .forEach(paint => found(paint.startTime))).observe({type: 'paint', buffered: true}))"""
        return self.call("Runtime.evaluate", self.session, expression=find, awaitPromise=True)["result"]["value"]

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def paint(server, home, judge):
    program = shutil.which("chromium")
    if not program:
        print("paint: chromium is not on the PATH; scripts/setup installs it", flush=True)
        return
    browser = Chromium(program, home)
    try:
        for name, path in (("dashboard", "/_deploy/"), ("environment", "/_deploy/view/e0")):
            took = [browser.first_paint(f"http://127.0.0.1:{server.port}{path}") for _ in range(10)]
            first, later = took[0], statistics.median(took[1:])
            judge(f"{name}: first paint / {PAINT_MS} ms", later / PAINT_MS, 1.0, f"{later:.0f} ms; in a new browser {first:.0f} ms")
    finally:
        browser.close()


def requests_per_second(port, path):
    pin = ["taskset", "--cpu-list", "1"] if shutil.which("taskset") and os.cpu_count() > 1 else []
    run = subprocess.run([*pin, "wrk", "-t1", "-c32", "-d3s", "-s", HERE / "p99.lua", f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True, check=True)
    facts = json.loads(run.stdout.strip().splitlines()[-1])
    if facts["errors"]:
        raise SystemExit(f"serve: {facts['errors']} requests failed")
    return facts["per_second"], facts["p99_ms"]


def compare(bin_dir, free_port, judge):
    if not shutil.which("wrk"):
        raise SystemExit("serve: wrk is missing; run scripts/setup --bench")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        lab = Lab(home, bin_dir, free_port)
        server = Server(lab)
        try:
            rate, p99 = requests_per_second(server.port, "/_deploy/e0/health")
            judge(f"{PER_SECOND}/s / health", PER_SECOND / rate, 1.0, f"{rate:.0f}/s, p99 {p99:.1f} ms")
            rate, p99 = requests_per_second(server.port, "/_deploy/e0/status")
            print(f"status: {rate:.0f}/s, p99 {p99:.1f} ms", flush=True)
            paint(server, pathlib.Path(home) / "browser", judge)
            watch(lab, server, judge)
        finally:
            server.close()
            lab.close()


def watch(lab, server, judge):
    streams = [Stream(server.port) for _ in range(STREAMS)]
    begun, deployments, most = time.monotonic(), 0, 0.0
    while deployments < 3 or time.monotonic() - begun < SOAK:
        lab.run("deploy", lab.names[deployments % len(lab.names)], "--again")
        deployments += 1
        most = max(most, server.mebibytes())
        if SOAK:
            time.sleep(60)
    limit = time.monotonic() + 10
    while any(len(stream.over) < deployments for stream in streams) and time.monotonic() < limit:
        time.sleep(0.05)
    seen = {(len(stream.over), stream.steps) for stream in streams}
    if seen != {(deployments, streams[0].steps)}:
        raise SystemExit(f"serve: of {deployments} deployments the streams saw {seen}")
    judge(f"{STREAMS} streams / {MIB} MiB", most / MIB, 1.0,
          f"{most:.1f} MiB, {deployments} deployments, {streams[0].steps} steps each, {time.monotonic() - begun:.0f} s")
