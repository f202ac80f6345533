"""A web server on all addresses of this network namespace, and on every address of NET, with one page.

answer_everywhere.py NET PORT ASKED: the addresses that are asked are appended to the file ASKED.
"""

from __future__ import annotations

import http.server
import subprocess
import sys

net, port, asked = sys.argv[1:]
# AnyIP (ip-route(8), type local): the kernel takes each of them for its own.
subprocess.run(["ip", "route", "add", "local", net, "dev", "lo"], check=True)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *words: object) -> None:
        with open(asked, "a") as file:
            file.write(f"{self.connection.getsockname()[0]}\n")


http.server.ThreadingHTTPServer(("", int(port)), Page).serve_forever()
