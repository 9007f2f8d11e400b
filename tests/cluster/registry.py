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

from cluster.git_server import read_body

HOST = "registry.acme.test"
ADDRESS = "127.0.0.9"
"""Where HOST is found on this machine."""
BEHIND = ("127.0.0.1", 5000)
"""The kit's registry, which has every image under any host name."""
HOSTS = Path("/etc/hosts")
KEPT = ("authorization", "connection")
BLOCK = 1 << 20


def let_node_pull():
    """Tell the node's containerd how it reaches HOST; a cluster that is made anew has forgotten it."""
    certs = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/cluster")) / "certs.d" / HOST
    certs.mkdir(parents=True, exist_ok=True)
    (certs / "hosts.toml").write_text(
        f'server = "http://{HOST}"\n[host."http://{HOST}"]\n  capabilities = ["pull", "resolve"]\n'
    )
    return certs


@contextmanager
def serving_registry(user, password):
    """Serve the kit's images as those of HOST, to this user only; yields the list of refused requests."""
    wanted = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    refused = []

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = read_body(self)
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
                if name.lower() not in (*KEPT, "transfer-encoding", "content-length")
            }
            connection = http.client.HTTPConnection(*BEHIND, timeout=300)
            connection.request(self.command, self.path, body, headers=given)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(answer, self.wfile, BLOCK)
            connection.close()

        do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer((ADDRESS, 80), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = HOSTS.read_text()
    HOSTS.write_text(f"{before.rstrip()}\n{ADDRESS} {HOST}\n")
    certs = let_node_pull()
    try:
        yield refused
    finally:
        HOSTS.write_text(before)
        shutil.rmtree(certs, ignore_errors=True)
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
