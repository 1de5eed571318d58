#!/usr/bin/env python3
"""Visitors of an app while it is deployed: they ask all the time, never retry, and count every loss.

usage: load.py HOST:PORT FILE     asks until SIGTERM or SIGINT, then writes what it counted to FILE

Two visitors open a connection for each request, two keep theirs for as long as the server does.
Lost is whatever is not a whole 200 answer that shows the app's own name.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time

PATHS = ("/", "/doc/all/", "/doc/draft/draft-moss-idle-close/")
EXPECTED = b"Draft Viewer"
PAUSE = 0.02
PATIENCE = 15


class Visitor(threading.Thread):
    def __init__(self, address, keeps, stopping):
        super().__init__()
        self.address, self.keeps, self.stopping = address, keeps, stopping
        self.asked, self.losses, self.longest = 0, [], 0.0
        self.connection = None

    def run(self):
        while not self.stopping.is_set():
            begun = time.monotonic()
            try:
                self.ask(PATHS[self.asked % len(PATHS)])
            except (OSError, http.client.HTTPException) as error:
                self.losses.append(f"{type(error).__name__}: {error}")
                self.hang_up()
            self.asked += 1
            self.longest = max(self.longest, time.monotonic() - begun)
            time.sleep(PAUSE)
        self.hang_up()

    def ask(self, path):
        self.connection = self.connection or http.client.HTTPConnection(self.address, timeout=PATIENCE)
        self.connection.request("GET", path, headers={} if self.keeps else {"Connection": "close"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200 or EXPECTED not in body:
            raise http.client.HTTPException(f"GET {path} was answered {answer.status}")
        # Reopening it inside http.client would hide nothing, but each connection should be seen here.
        if not self.keeps or answer.will_close:
            self.hang_up()

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def main():
    address, file = sys.argv[1:]
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    visitors = [Visitor(address, keeps, stopping) for keeps in (False, False, True, True)]
    for visitor in visitors:
        visitor.start()
    stopping.wait()
    for visitor in visitors:
        visitor.join()
    counted = {
        "asked": sum(visitor.asked for visitor in visitors),
        "lost": sum(len(visitor.losses) for visitor in visitors),
        "longest_ms": round(1000 * max(visitor.longest for visitor in visitors)),
        "losses": [loss for visitor in visitors for loss in visitor.losses][:5],
    }
    with open(file + ".new", "w", encoding="utf-8") as out:
        json.dump(counted, out)
    os.rename(file + ".new", file)


if __name__ == "__main__":
    main()
