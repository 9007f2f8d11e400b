"""A registry of the kit's images that asks for a password, under a host name of its own."""

import base64
import http.client
import json
import os
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "registry.acme.test"
BEHIND = ("127.0.0.1", 5000)
"""The kit's registry, which has every image under any host name."""
CERTS = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/cluster")) / "certs.d" / HOST
"""Where the node's containerd reads how it reaches a host's registry."""


@contextmanager
def serving_registry(user, password):
    """Serve the kit's images as those of HOST, to this user only; yields the list of refused requests."""
    wanted = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    refused = []

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.headers.get("Authorization") != wanted:
                refused.append(self.path)
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="acme"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            given = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("authorization", "host", "connection")
            }
            connection = http.client.HTTPConnection(*BEHIND, timeout=60)
            connection.request(self.command, self.path, headers=given)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)
            connection.close()

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    CERTS.mkdir(parents=True, exist_ok=True)
    (CERTS / "hosts.toml").write_text(
        f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
    )
    try:
        yield refused
    finally:
        shutil.rmtree(CERTS)
        server.shutdown()
        server.server_close()


def pull_secret(name, namespace, user, password):
    """The Secret that the kubelet pulls images of HOST with."""
    config = {"auths": {HOST: {"username": user, "password": password}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {".dockerconfigjson": json.dumps(config)},
    }
