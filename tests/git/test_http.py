"""Pushing over http with a password, against git's own http-backend."""

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from driftloop.errors import GitError
from driftloop.git.repository import Credentials, Repository, RepositoryChange
from driftloop.operations.commits.guard import refuse_harm

USER, PASSWORD = "driftloop", "pa ss'w$o\"rd%"


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    root: Path

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        env = os.environ | {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": USER,
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=env, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(remote):
    subprocess.run(["git", "-C", remote, "config", "http.receivepack", "true"], check=True)
    handler = type("Here", (Backend,), {"root": remote.parent})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{remote.name}"
    server.shutdown()
    thread.join()
    server.server_close()


def write(tree: object) -> RepositoryChange:
    return RepositoryChange({"a": "a\n"}, "Write")


def test_a_password_opens_the_door_and_stays_out_of_sight(address, tmp_path, git, monkeypatch):
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    real = subprocess.run(
        ["which", "git"], check=True, capture_output=True, text=True
    ).stdout.strip()
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    credentials = Credentials(USER, PASSWORD)
    repository = Repository(
        address, guard=refuse_harm, workdir=tmp_path / "work", credentials=credentials
    )
    commit = repository.change(write)
    assert git("rev-parse", "main") == commit.sha
    assert PASSWORD not in repr(credentials)
    assert "push" in (tmp_path / "argv").read_text()
    assert PASSWORD not in (tmp_path / "argv").read_text()
    for file in (tmp_path / "work").rglob("*"):
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong")])
def test_a_wrong_or_missing_password(address, tmp_path, credentials):
    repository = Repository(
        address, guard=refuse_harm, workdir=tmp_path / "work", credentials=credentials
    )
    with pytest.raises(GitError, match="refuses the credentials") as caught:
        repository.change(write)
    assert "git-password" in caught.value.hint
    assert "wrong" not in str(caught.value)


def test_nobody_there(tmp_path):
    with pytest.raises(GitError, match="can't be reached"):
        Repository("http://127.0.0.1:9/x.git", guard=refuse_harm, workdir=tmp_path).tip()


def test_a_password_in_the_address_is_refused_without_printing_it(tmp_path):
    with pytest.raises(GitError) as caught:
        Repository("https://me:hunter2@git.example.org/x.git", guard=refuse_harm, workdir=tmp_path)
    assert "hunter2" not in str(caught.value)
