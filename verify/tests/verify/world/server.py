"""A small app with a login, and a server that misbehaves in every way below /fault/.

Says its port on stdout and lives until its stdin ends. A file site.json in its directory adds pages:
"METHOD target", or the target alone, and a body, {status, headers, body}, or a list of answers in turn.
What is asked of a site is written to the file asked.
"""
import gzip
import json
import os
import socket
import struct
import sys
import threading
import time
from urllib.parse import parse_qs

TOKEN, SESSION = "token-7", "session-7"


def answer(status, body, *headers):
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    if not any(line.lower().startswith("content-type") for line in headers):
        lines.append("Content-Type: text/html; charset=utf-8")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def of_site(method, target, headers, body):
    with open("asked", "a") as file:
        file.write(f"{method} {target} {headers.get('cookie', '')} {body}".strip() + "\n")
    plain = target.split("?")[0]
    names = [f"{method} {target}", f"{method} {plain}", *([target, plain] if method in ("GET", "HEAD") else [])]
    found = next((SITE[name] for name in names if name in SITE), None)
    if isinstance(found, list):
        found = found.pop(0) if len(found) > 1 else found[0]
    if isinstance(found, str):
        found = {"body": found}
    if found and "cookie" in found and found["cookie"] not in headers.get("cookie", ""):
        found = found["else"]
    if not found:
        return None
    whole = answer(found.get("status", 200), found.get("body", "") * found.get("times", 1), *found.get("headers", []))
    return in_chunks(whole) if found.get("chunked") else whole


def in_chunks(whole):
    """The same, without saying how long it is."""
    head, body = whole.split(b"\r\n\r\n", 1)
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    return b"%s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (head, len(body), body)


def page(method, path, headers, body):
    cookies = headers.get("cookie", "")
    if path == "/":
        return answer(200, "<h1>Welcome</h1><p>Tom &amp; Jerry</p>")
    if path == "/where/":
        return answer(200, headers.get("host", ""))
    if path == "/whole/":
        return answer(200, "<table id=docs><tr><td>3 rows</td></tr></table>", "X-Frame-Options: DENY")
    if path.startswith("/browser/"):
        return browser_page(method, path[len("/browser/"):], cookies, body)
    if path.startswith("/doc/"):
        return answer(200, "document " + path)
    if path == "/old/":
        return answer(301, "", "Location: /new/")
    if path == "/broken-page/":
        return answer(200, "<pre>Traceback (most recent call last)</pre>")
    if path == "/account/":
        if SESSION in cookies:
            return answer(200, "Log out")
        return answer(302, "", "Location: /login/")
    if path == "/login/":
        form = f"<form method=post><input type=hidden name=token value={TOKEN}><input name=user><input name=password></form>"
        if method == "GET":
            return answer(200, form, "Set-Cookie: pre=1; Path=/")
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        if sent.get("token") != TOKEN or "pre=1" not in cookies:
            return answer(400, "the form token is missing")
        if sent.get("password") != "sentinel-password":
            return answer(200, "wrong password " + sent.get("password", "") + form)
        return answer(302, "", "Location: /", f"Set-Cookie: session={SESSION}; HttpOnly")
    if path == "/login-renamed/":
        return answer(200, "<form method=post><input name=username></form>")
    if path == "/login-elsewhere/":
        return answer(200, "<form method=post action=/elsewhere/><input name=user></form>")
    if path == "/login-without-cookie/":
        return answer(302, "", "Location: /") if method == "POST" else answer(405, "")
    if path == "/written/" and method == "POST":
        with open("written", "a") as file:
            file.write(body + "\n")
        return answer(200, "written")
    return answer(404, "Page not found")


def browser_page(method, name, cookies, body):
    """Pages with one fault each, for a browser."""
    scripts = {
        "sound": "document.body.dataset.ok = 1; console.log('fine'); Promise.reject(1).catch(() => 0)",
        "throw": "undefinedFunction()",
        "late": "setTimeout(() => { throw new Error('late one') }, 10)",
        "reject": "Promise.reject(new Error('nobody cares'))",
        "console": "console.error('cannot reach the list', {a: 1})",
        "beacon": "navigator.sendBeacon('/browser/written', 'x'); fetch('/browser/written', {method: 'POST', body: 'y'}).catch(() => 0)",
        "away": "location.replace('/browser/sound')",
        "dialog": "alert('stop'); confirm('really?')",
        "hang": "while (true) {}",
        "front": "if (document.hidden || !document.hasFocus()) throw new Error('behind another page')",
        "drawn": "requestAnimationFrame(() => requestAnimationFrame(() => { throw new Error('when drawn') }))",
        "clean": "for (const store of [localStorage, sessionStorage]) { if (store.mark) throw new Error('used store'); store.mark = 1 }"
                 "if (document.cookie.includes('mark')) throw new Error('used cookie'); document.cookie = 'mark=1'",
        "lingering": "fetch('/browser/late-cookie', {keepalive: true}).catch(() => 0)",
        "deferred": "if (self.fetchLater) fetchLater('/browser/late-cookie', {activateAfter: 0})",
        "working": "const line = `fetch('${location.origin}/browser/late-cookie').catch(() => 0)`; new Worker(URL.createObjectURL(new Blob([line])))",
        "framed": "document.body.append(Object.assign(document.createElement('iframe'), {src: '/browser/lingering'}))",
        "leaving": "addEventListener('pagehide', () => { document.cookie = 'mark=1'; localStorage.mark = 1 })",
    }
    if name == "written":
        if method == "POST":
            with open("written", "a") as file:
                file.write(body + "\n")
        return answer(200, "")
    if name == "late-cookie":
        with open("asked", "a") as file:
            file.write("GET /browser/late-cookie\n")
        after_asked.wait()
        return answer(200, "", "Set-Cookie: mark=late; Path=/")
    if name == "after":
        after_asked.set()
        check = "addEventListener('load', () => { if (document.cookie.includes('mark')) throw new Error('used cookie') })"
        return answer(200, f"<h1>after</h1><script>{check}</script><img src=/browser/after.svg>")
    if name == "after.svg":
        late_sent.wait(5)
        return answer(200, "<svg xmlns='http://www.w3.org/2000/svg'/>", "Content-Type: image/svg+xml")
    if name == "script":
        return answer(200, "<h1>asset</h1><script src=/browser/none.js></script>")
    if name == "icon":
        return answer(200, "<h1>none</h1>", "Content-Security-Policy: default-src 'self'")
    if name == "style":
        return answer(200, "<link rel=stylesheet href=http://127.0.0.1:1/gone.css><h1>style</h1>")
    if name == "error":
        return answer(500, "<h1>Internal Server Error</h1>")
    if name == "endless":
        return answer(200, "<h1>waits</h1><img src=/fault/silent>")
    if name == "slow":
        return answer(200, "<h1>slow</h1><img src=/fault/slow>")
    if name == "whose":
        return answer(200, "<h1>yours</h1>") if SESSION in cookies else answer(302, "", "Location: /login/")
    if name == "colour":
        with open("colour") as file:
            return answer(200, f"<body style='margin:0;background:{file.read()}'></body>")
    if name not in scripts:
        return answer(404, "Page not found")
    return answer(200, f"<title>{name}</title><h1>{name}</h1><script>{scripts[name]}</script>")


def fault(name, connection):
    def send(data):
        connection.sendall(data)

    if name == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif name == "silent":
        stop.wait()
    elif name == "drip":
        send(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        while True:
            send(b"x")
            time.sleep(0.05)
    elif name == "stall":
        send(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\nx")
        stop.wait()
    elif name == "endless":
        send(b"HTTP/1.1 200 X\r\n\r\n")
        while True:
            send(b"x" * 65536)
    elif name == "endless-page":
        send(b"HTTP/1.1 200 X\r\nContent-Type: text/html\r\n\r\n")
        while True:
            send(b"<p>more</p>" * 6000)
    elif name == "drip-page":
        send(b"HTTP/1.1 200 X\r\nContent-Type: text/html\r\n\r\n")
        while True:
            send(b"<b>")
            time.sleep(0.05)
    elif name == "huge":
        send(b"HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(1600):
            send(b"<i>" * 21845 + b" ")
    elif name == "deep":
        send(answer(200, "<div>" * 500000 + "<a href=/fault/close>x</a>"))
    elif name == "bomb":
        body = gzip.compress(bytes(50 * 1024 * 1024))
        send(answer(200, body, "Content-Encoding: gzip"))
    elif name == "events":
        send(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            send(b"data: x\n\n")
            time.sleep(0.05)
    elif name.startswith("maze"):
        send(answer(200, "".join(f"<a href=/fault/{name}{side}>{side}</a>" for side in ("x", "y"))))
    elif name == "cut":
        send(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\nshort")
    elif name == "chunk":
        send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx")
    elif name == "garbage":
        send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    elif name == "head":
        send(b"HTTP/1.1 200 X\r\n" + b"X-Long: " + b"x" * 2000000 + b"\r\n\r\n")
    elif name == "error":
        send(answer(500, "<h1>Internal Server Error</h1>"))
    elif name == "charset":
        send(answer(200, "café".encode("latin-1"), "Content-Type: text/html; charset=utf-8"))
    elif name == "gzip":
        send(answer(200, b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"))
    elif name == "nowhere":
        send(answer(302, ""))
    elif name == "gone":
        send(answer(200, "kept open, it seems"))
    elif name == "announce":
        open("announced", "w").close()
        time.sleep(0.3)
        send(answer(200, "announced"))
    elif name == "slow":
        time.sleep(0.3)
        send(answer(200, "late"))
    # "close" answers nothing at all.


def serve(connection):
    try:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            while len(data) < length:
                data += connection.recv(65536)
            body, data = data[:length].decode(), data[length:]
            path = target.split("?")[0]
            own = SITE and of_site(method, target, headers, body)
            if own:
                connection.sendall(own[:own.index(b"\r\n\r\n") + 4] if method == "HEAD" else own)
                continue
            if path.startswith("/fault/"):
                fault(path[len("/fault/"):], connection)
                return
            try:
                connection.sendall(page(method, path, headers, body))
            finally:
                if path == "/browser/late-cookie":
                    late_sent.set()
    except OSError:
        pass
    finally:
        connection.close()


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


SITE = {}
if os.path.exists("site.json"):
    with open("site.json") as file:
        SITE = json.load(file)
stop, after_asked, late_sent = threading.Event(), threading.Event(), threading.Event()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
if len(sys.argv) > 1:
    import sqlite3

    database = sqlite3.connect(sys.argv[1])
    database.execute("CREATE TABLE IF NOT EXISTS t(a)")
    database.commit()
    if "close" in sys.argv:
        database.close()
print(listener.getsockname()[1], flush=True)
threading.Thread(target=lambda: (os.read(0, 1), stop.set()), daemon=True).start()
stop.wait()
os._exit(0)
