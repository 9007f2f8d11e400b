"""Bare repositories over smart HTTP, by `git http-backend`: what Flux reads and the release step pushes to."""

import os
import subprocess
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(folder, *, port, user, password, reader, reader_password):
    """Serve `folder` on every address of this machine; the port (a free one for 0) is yielded.

    Two people may come in: one may push, the other may only read, as a deploy key may.
    """
    may_write = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    may_read = "Basic " + b64encode(f"{reader}:{reader_password}".encode()).decode()

    class Backend(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def serve(self):
            path, _, query = self.path.partition("?")
            pushes = "git-receive-pack" in self.path
            given = self.headers.get("Authorization")
            body = read_body(self)
            if given not in ((may_write,) if pushes else (may_write, may_read)):
                self.send_response(403 if given == may_read else 401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            settings = {"http.receivepack": "true", "safe.directory": "*"}
            env = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": user,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": str(len(settings)),
            }
            for number, (key, value) in enumerate(settings.items()):
                env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            result = subprocess.run(
                ["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE, check=True
            )
            head, _, data = result.stdout.partition(b"\r\n\r\n")
            headers = dict(
                line.split(": ", 1) for line in head.decode().splitlines() if ": " in line
            )
            self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = serve

    server = ThreadingHTTPServer(("", port), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def read_body(request):
    """The body of a request to one of these servers, also of one in chunks."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)
