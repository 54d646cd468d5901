"""Serves its version, and stops as a server behind a load balancer has to."""

import http.server
import os
import signal
import threading
import time

BEGUN = time.monotonic()
# What it takes to be ready.
WARMS_UP_FOR = 0.5
# How long an answer takes, so that there are always some on their way.
ANSWERS_AFTER = 0.03
# How long it goes on accepting: longer than balancers take to look elsewhere.
DRAINS_FOR = 2.0

is_ending = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/ready":
            is_warm = time.monotonic() - BEGUN >= WARMS_UP_FOR
            self.answer(200 if is_warm and not is_ending.is_set() else 503, "")
        else:
            time.sleep(ANSWERS_AFTER)
            self.answer(200, os.environ["VERSION"])

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # Closing it waits for the requests that are open.
    daemon_threads = False
    request_queue_size = 64


server = Server(("127.0.0.1", int(os.environ["PORT0"])), Handler)


def drain():
    time.sleep(DRAINS_FOR)
    server.shutdown()


def end(*_):
    is_ending.set()
    threading.Thread(target=drain).start()


signal.signal(signal.SIGTERM, end)
server.serve_forever(poll_interval=0.05)
server.server_close()
