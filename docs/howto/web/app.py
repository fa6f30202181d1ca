"""A web server on the listening socket that it is given."""

import os
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    """Says which process answers."""

    def do_GET(self) -> None:
        """Answer every path."""
        body = f"hello from {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


server = HTTPServer(("", 0), Hello, bind_and_activate=False)
server.socket = socket.socket(fileno=3)  # the first of LISTEN_FDS
print("ready", flush=True)
server.serve_forever()
