"""The app that all of them deploy: it answers the revision of the code that runs, read once at its start.

usage: app.py PORT|fd:NUMBER, or app:application for a WSGI server
On SIGTERM it accepts no more, finishes what it was asked, and ends.
"""
import os
import pathlib


def own_revision():
    return os.environ.get("REVISION") or pathlib.Path(__file__).resolve().with_name("REVISION").read_text()


BODY = (own_revision().strip() + "\n").encode()


def application(_environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


def serve(where):
    import http.server
    import select
    import signal
    import socket
    import socketserver

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *arguments):
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        request_queue_size = 128
        timeout = 0

        def server_bind(self):
            socketserver.TCPServer.server_bind(self)  # without asking for the host's name

    inherited = where.startswith("fd:")
    server = Server(("127.0.0.1", 0 if inherited else int(where)), Handler, bind_and_activate=not inherited)
    if inherited:
        server.socket.close()
        server.socket = socket.socket(fileno=int(where[3:]))
    server.socket.setblocking(False)  # another process may be quicker to accept
    told, tell = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(tell, b"."))
    while told not in select.select([server, told], [], [])[0]:
        server.handle_request()
    server.server_close()


if __name__ == "__main__":
    import sys

    serve(sys.argv[1])
