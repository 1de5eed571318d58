"""The app under gunicorn, as it is deployed, and a browser without a screen to visit it."""

import os
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """One answer: `status`, `url` after redirects, `text`, `links` and `forms` (action and fields)."""

    def __init__(self, answer):
        super().__init__()
        self.status, self.url, self.text = answer.status, answer.url, answer.read().decode()
        self.links, self.forms = [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("a", "link"):
            self.links.append(urljoin(self.url, attributes["href"]))
        elif tag == "form":
            self.forms.append((urljoin(self.url, attributes["action"]), {}))
        elif tag in ("input", "textarea"):
            self.forms[-1][1][attributes["name"]] = attributes.get("value", "")


class Browser:
    def __init__(self, base):
        self.base = base
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def visit(self, path, fields=None):
        data = None if fields is None else urlencode(fields).encode()
        try:
            answer = self.opener.open(urljoin(self.base, path), data, timeout=10)
        except HTTPError as error:
            answer = error
        with answer:
            return Page(answer)

    def submit(self, page, **fields):
        """Send the first form of a page with these fields filled in."""
        action, hidden = page.forms[0]
        return self.visit(action, {**hidden, **fields})

    def log_in(self):
        return self.submit(self.visit("/login/"), user="demo", password="quiet-harbour")


@pytest.fixture(scope="session")
def server(tmp_path_factory, migrated):
    """The address of a running gunicorn."""
    path = shutil.copy(migrated, tmp_path_factory.mktemp("e2e") / "app.db")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-B", "-m", "gunicorn", "--threads", "4", "--log-level", "warning",
             "--bind", f"fd://{listener.fileno()}", "wsgi:app"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_PATH": str(path), "SECRET_KEY": "only for tests"},
            pass_fds=[listener.fileno()],
        )
    yield address
    process.terminate()
    assert process.wait(timeout=10) == 0


@pytest.fixture
def browser(server):
    return Browser(server)
