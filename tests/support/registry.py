"""Image registries for tests: Debian's, on a free port, and a small one of our own that asks for tokens."""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import yaml
from support.processes import Process, free_port

BINARY = shutil.which("docker-registry") or shutil.which("registry")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def distribution(folder: Path, users: Path | None = None) -> Iterator[str]:
    """Debian's docker-registry with an empty store, for all or for the users of a file; yields host:port."""
    assert BINARY is not None
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
                "http": {"addr": f"127.0.0.1:{port}"},
                "log": {"level": "warn"},
                **({"auth": {"htpasswd": {"realm": "it", "path": str(users)}}} if users else {}),
            }
        )
    )
    process = Process([BINARY, "serve", str(config)], folder / "registry.log", port, health="/")
    process.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()


@dataclass(frozen=True)
class Pusher:
    """Puts the smallest possible images into a registry."""

    host: str

    def image(self, repository: str, tag: str, content: str) -> str:
        """An image of one platform; its digest."""
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **self._blob(repository, content.encode()),
        }
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
        return self._put(repository, tag, MANIFEST, manifest)

    def index(self, repository: str, tag: str, *contents: str) -> str:
        """An image for several platforms; the digest of its index."""
        members = []
        for number, content in enumerate(contents):
            digest = self.image(repository, f"{tag}-{number}", content)
            size = len(self._get(f"{repository}/manifests/{digest}"))
            platform = {"os": "linux", "architecture": ("amd64", "arm64")[number]}
            members.append(
                {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform}
            )
        return self._put(
            repository, tag, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": members}
        )

    def _put(self, repository: str, tag: str, kind: str, document: Mapping[str, object]) -> str:
        content = json.dumps(document).encode()
        self._send(
            "PUT",
            f"http://{self.host}/v2/{repository}/manifests/{tag}",
            content,
            {"Content-Type": kind},
        )
        return digest_of(content)

    def _blob(self, repository: str, content: bytes) -> dict[str, object]:
        place = self._send("POST", f"http://{self.host}/v2/{repository}/blobs/uploads/", b"", {})
        sep = "&" if "?" in place else "?"
        octets = {"Content-Type": "application/octet-stream"}
        self._send("PUT", f"{place}{sep}digest={digest_of(content)}", content, octets)
        return {"digest": digest_of(content), "size": len(content)}

    def _get(self, path: str) -> bytes:
        request = Request(f"http://{self.host}/v2/{path}", headers={"Accept": MANIFEST})
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return bytes(answer.read())

    def _send(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> str:
        request = Request(url, data=content, method=method, headers=dict(headers))
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return str(answer.headers.get("Location", ""))


@dataclass
class Small:
    """A registry that speaks the part of the protocol that `--pin` uses, and what may go wrong with it."""

    images: dict[str, bytes] = field(default_factory=dict)
    """`repository:tag` to manifest."""
    auth: str = "none"
    """none | basic | bearer"""
    users: dict[str, str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    """Repositories that only users may see."""
    refresh: str = ""
    """An identity token that is good for tokens."""
    silent: bool = False
    """HEAD is not answered, and no digest is said."""
    kind: str = INDEX
    broken: list[int] = field(default_factory=list)
    """Statuses that the next requests get first."""
    elsewhere: str = ""
    """Send manifests' requests on to this URL."""
    tokens_elsewhere: str = ""
    """Send tokens' requests on to this URL."""
    challenge: str = ""
    """WWW-Authenticate of an answer to a request without a token, `{host}` filled in; the usual one when empty."""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Authorization of every request."""
    host: str = ""

    @contextmanager
    def serving(self) -> Iterator["Small"]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(
                    *world._answered("HEAD", self.path, self.headers.get("Authorization", "")),
                    body=False,
                )

            def do_GET(self) -> None:
                self._answer(
                    *world._answered("GET", self.path, self.headers.get("Authorization", ""))
                )

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self._answer(*world._answered("POST", self.path, f"form {form}"))

            def _answer(
                self, status: int, headers: Mapping[str, str], content: bytes, *, body: bool = True
            ) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def _answered(
        self, method: str, target: str, authorization: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        self.seen.append((method, target, authorization))
        url = urlsplit(target)
        if url.path == "/token" and self.tokens_elsewhere:
            return 307, {"Location": f"{self.tokens_elsewhere}/token"}, b""
        if url.path == "/token":
            return self._token(method, parse_qs(url.query), authorization)
        if self.broken:
            return self.broken.pop(0), {}, b""
        repository, _, tag = url.path.removeprefix("/v2/").partition("/manifests/")
        if self.elsewhere:
            return 307, {"Location": f"{self.elsewhere}{target}"}, b""
        challenge = {
            "bearer": f'Bearer realm="http://{self.host}/token",service="small",scope="repository:{repository}:pull"',
            "basic": 'Basic realm="small"',
        }
        if self.auth != "none" and not self._knows(repository, authorization):
            return (
                401,
                {"WWW-Authenticate": self.challenge.format(host=self.host) or challenge[self.auth]},
                b"{}",
            )
        content = self.images.get(f"{repository}:{tag}")
        if content is None:
            return 404, {}, b"{}"
        if self.silent:
            return (
                (405, {}, b"")
                if method == "HEAD" or not content
                else (200, {"Content-Type": self.kind}, content)
            )
        return (
            200,
            {"Content-Type": self.kind, "Docker-Content-Digest": digest_of(content)},
            content,
        )

    def _knows(self, repository: str, authorization: str) -> bool:
        if self.auth == "basic":
            return self._user(authorization) is not None
        return authorization == f"Bearer good-for-{repository.replace('/', '-')}"

    def _token(
        self, method: str, query: Mapping[str, list[str]], authorization: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        if method == "POST":
            form = parse_qs(authorization.removeprefix("form "))
            if form.get("refresh_token") != [self.refresh] or form.get("grant_type") != [
                "refresh_token"
            ]:
                return 401, {}, b"{}"
            query, user = form, "refreshed"
        else:
            user = self._user(authorization) or ""
            if authorization and not user:
                return 401, {}, b"{}"
        _, repository, _ = query["scope"][0].split(":")
        if repository in self.private and not user:
            # as public registries do: a token that is good for nothing
            return 200, {}, b'{"token": "good-for-nothing"}'
        return (
            200,
            {},
            json.dumps({"access_token": f"good-for-{repository.replace('/', '-')}"}).encode(),
        )

    def _user(self, authorization: str) -> str | None:
        if not authorization.startswith("Basic "):
            return None
        user, _, password = (
            base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        )
        return user if user and self.users.get(user) == password else None
