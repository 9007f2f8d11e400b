"""An address outside the cluster that keeps what is posted to it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster.git_server import read_body
from cluster.kube import node_facing_address


class Listener:
    """Every JSON that came, in order."""

    def __init__(self):
        self.heard = heard = []

        class Ear(BaseHTTPRequestHandler):
            def do_POST(self):
                heard.append(json.loads(read_body(self)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer((node_facing_address(), 0), Ear)
        host, port = self._server.server_address
        self.address = f"http://{host}:{port}/told"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
