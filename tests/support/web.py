"""A server of files over HTTPS, with a certificate of its own authority."""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from support.tokens import write_certificate


@dataclass
class FileServer:
    """Its files and answers can be set, its requests are kept."""

    url: str = ""
    certificate: Path = Path()
    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> content."""
    redirects: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    """Path -> statuses that it answers first."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    authorization: str | None = None
    """What every request must have."""
    tags: bool = True
    """It says ETags and keeps to them."""
    cut: bool = False
    """It hangs up in the middle of the next answer."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serve_files(folder: Path) -> Iterator[FileServer]:
    """Serve on a free port of `localhost`."""
    world = FileServer(certificate=write_certificate(folder / "authority.pem"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            world.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            path = self.path
            if world.failures.get(path):
                self.answer(world.failures[path].pop(0), {"Retry-After": "0"})
            elif path in world.redirects:
                self.answer(302, {"Location": world.redirects[path]})
            elif world.authorization not in (None, self.headers.get("Authorization")):
                self.answer(401, {})
            elif path not in world.files:
                self.answer(404, {})
            else:
                self.answer_file(world.files[path])

        def answer_file(self, content: bytes) -> None:
            tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            if world.tags and self.headers.get("If-None-Match") == tag:
                self.answer(304, {})
                return
            more = {"ETag": tag} if world.tags else {}
            self.answer(200, more | world.headers.get(self.path, {}), content)

        def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if world.cut and body:
                world.cut, self.close_connection = False, True
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    world.url = f"https://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield world
    server.shutdown()
    thread.join()
    server.server_close()
