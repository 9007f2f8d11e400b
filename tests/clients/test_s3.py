"""The S3 client against a real S3 server (rclone's)."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.processes import PATIENCE, free_port

from driftloop.clients.s3 import (
    MissingObjectError,
    ObjectStore,
    StoppedError,
    StoreLocation,
    file_digest,
    files_below,
    folder_digest,
    parse_location,
)
from driftloop.errors import StoreError

RCLONE = Path(sys.executable).parent / "rclone"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    command = [RCLONE, "serve", "s3", f"--addr=127.0.0.1:{port}", "--auth-key=user,secret", folder]
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null"},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            assert time.monotonic() < deadline, "rclone did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def store(endpoint: str) -> ObjectStore:
    made = ObjectStore.from_endpoint(endpoint, access_key="user", secret_key="secret")
    made.create_bucket("models")
    made.create_bucket("models")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a" * 10)
    (root / "deep" / "er" / "b ü.bin").write_bytes(os.urandom(100_000))
    (root / "empty").write_bytes(b"")
    return root


def test_a_folder_comes_back_as_it_went(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    at = StoreLocation("models", "runs/one/model")
    assert store.put_folder(folder, at) == 3
    assert store.get_folder(at, tmp_path / "back") == 3
    assert folder_digest(tmp_path / "back") == folder_digest(folder) == store.digest_folder(at)
    assert {o.key for o in store.list_folder(at)} == {
        f"runs/one/model/{n}" for n in ("a.txt", "deep/er/b ü.bin", "empty")
    }


def test_a_neighbour_that_starts_alike_is_not_in_the_folder(
    store: ObjectStore, folder: Path
) -> None:
    store.put_folder(folder, StoreLocation("models", "alike/trial/1"))
    store.write_object(StoreLocation("models", "alike/trial/10/x"), b"other")
    assert len(store.list_folder(StoreLocation("models", "alike/trial/1"))) == 3


def test_folders_are_listed_by_their_names(store: ObjectStore) -> None:
    at = StoreLocation("models")
    for key in ("kinds/b/1", "kinds/a/2/3", "kinds/a/4", "kinds/file", "kinds-more/c/5"):
        store.write_object(at / key, b"")
    assert store.list_folders(at / "kinds") == ("a", "b")
    assert store.list_folders(at / "none") == ()


def test_mirror_removes_what_an_earlier_try_left(store: ObjectStore, folder: Path) -> None:
    at = StoreLocation("models", "mirror")
    store.put_folder(folder, at)
    (folder / "a.txt").unlink()
    store.put_folder(folder, at, mirror=True)
    assert store.digest_folder(at) == folder_digest(folder)


def test_many_objects_need_several_pages(store: ObjectStore) -> None:
    for number in range(1010):
        store.client.put_object(Bucket="models", Key=f"many/{number:04}", Body=b"x")
    assert [o.key for o in store.list_objects(StoreLocation("models", "many/"))] == [
        f"many/{n:04}" for n in range(1010)
    ]


def test_copies_inside_the_store(store: ObjectStore, folder: Path) -> None:
    store.put_folder(folder, StoreLocation("models", "from"))
    assert store.copy_folder(StoreLocation("models", "from"), StoreLocation("models", "to")) == 3
    assert store.digest_folder(StoreLocation("models", "to")) == folder_digest(folder)


def test_what_is_not_there(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(MissingObjectError, match="s3://models/none does not exist"):
        store.read_object(StoreLocation("models", "none"))
    with pytest.raises(MissingObjectError, match="s3://models/none does not exist"):
        store.get_file(StoreLocation("models", "none"), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingObjectError, match="s3://models/none/ contains no objects"):
        store.get_folder(StoreLocation("models", "none"), tmp_path / "none")
    with pytest.raises(MissingObjectError, match="no-bucket"):
        store.list_folder(StoreLocation("no-bucket", "x"))
    with pytest.raises(MissingObjectError):
        store.put_folder(Path(__file__).parent, StoreLocation("no-bucket", "x"))
    assert not store.has_object(StoreLocation("models", "none"))


def test_files_and_digests(store: ObjectStore, tmp_path: Path) -> None:
    content = os.urandom(9 * 1024 * 1024)
    (tmp_path / "large").write_bytes(content)
    at = StoreLocation("models", "large")
    store.put_file(tmp_path / "large", at)
    assert store.has_object(at)
    assert (
        store.digest_object(at)
        == hashlib.sha256(content).hexdigest()
        == file_digest(tmp_path / "large")
    )
    assert store.get_file(at, tmp_path / "x" / "back") == hashlib.sha256(content).hexdigest()
    with pytest.raises(StoreError, match="must be at most 1000"):
        store.read_object(at, limit=1000)


def test_json(store: ObjectStore) -> None:
    store.write_json(StoreLocation("models", "j.json"), {"b": 1, "a": [None, "ü"]})
    assert store.read_json(StoreLocation("models", "j.json")) == {"b": 1, "a": [None, "ü"]}
    store.write_object(StoreLocation("models", "j.json"), b"{")
    with pytest.raises(StoreError, match=r"s3://models/j.json is not JSON"):
        store.read_json(StoreLocation("models", "j.json"))


def test_a_wrong_key_and_no_server_say_so(endpoint: str) -> None:
    with pytest.raises(StoreError, match="denies access"):
        ObjectStore.from_endpoint(endpoint, access_key="user", secret_key="wrong").read_object(
            StoreLocation("models", "x")
        )
    with pytest.raises(StoreError, match="no answer from S3"):
        ObjectStore.from_endpoint(
            "http://127.0.0.1:9", access_key="u", secret_key="s", attempts=1
        ).read_object(StoreLocation("models", "x"))


def test_addresses() -> None:
    assert parse_location("s3://digits/batches/x") == StoreLocation("digits", "batches/x")
    assert parse_location("s3://digits") / "x" == StoreLocation("digits", "x")
    assert str(StoreLocation("b", "k/") / "x") == "s3://b/k/x"
    with pytest.raises(StoreError, match="is not an S3 URI"):
        parse_location("gs://x/y")


def test_from_environment() -> None:
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set"):
        ObjectStore.from_environment({"AWS_ENDPOINT_URL": "http://x"})


def test_a_key_that_climbs_out_is_refused() -> None:
    from driftloop.clients import s3

    with pytest.raises(StoreError, match="is not a path inside a folder"):
        s3._relative_path("a/../../x", StoreLocation("models", "x"))


def test_a_large_transfer_stops_when_nobody_wants_it_any_more(
    store: ObjectStore, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    at = StoreLocation("models", "large")
    store.put_file(large, at)
    for work in (
        lambda s: s.get_file(at, tmp_path / "copy"),
        lambda s: s.put_file(large, StoreLocation("models", "again")),
    ):
        stop = Countdown(3)
        with pytest.raises(StoppedError, match="stopped"):
            work(store.until_stopped(stop))
        assert stop.left <= 0
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["large"]
    assert not store.has_object(StoreLocation("models", "again"))
    with pytest.raises(StoppedError):
        store.until_stopped(stop).get_folder(StoreLocation("models"), tmp_path / "folder")


class Countdown(threading.Event):
    """Is set when it has been looked at so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda folder, secret: (folder / "x").symlink_to(secret), "is a link to"),
        (lambda folder, secret: (folder / "x").symlink_to("nothing"), "is a link to `nothing`"),
        (lambda folder, secret: (folder / "x").symlink_to("sub"), "is a link to a folder"),
        (lambda folder, secret: os.mkfifo(folder / "x"), "is a named pipe"),
    ],
    ids=["outside", "broken", "folder", "pipe"],
)
def test_a_folder_that_is_stored_holds_its_own_files_only(
    tmp_path: Path, plant: Callable[[Path, Path], object], words: str
) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_text("do not store me")
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("a")
    (folder / "b").symlink_to("sub/a")
    assert files_below(folder) == ["b", "sub/a"]
    plant(folder, secret)
    with pytest.raises(StoreError, match=words):
        folder_digest(folder)


class _Cloud(BaseHTTPRequestHandler):
    """A token service that takes a pod's token for a role, and a store that lists for its key."""

    TOKEN = "token-of-the-pod"
    ANSWER = (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAOFTHEROLE</AccessKeyId>"
        "<SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken>"
        "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(200 if f"WebIdentityToken={self.TOKEN}" in asked else 403, self.ANSWER)

    def do_GET(self) -> None:
        known = "Credential=ASIAOFTHEROLE/" in self.headers["Authorization"]
        listed = (
            "<ListBucketResult><Contents><Key>a/b</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        )
        listed += "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
        self._answer(200 if known else 403, listed)

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


def test_a_pod_with_an_identity_needs_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(_Cloud.TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Cloud) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ENDPOINT_URL_STS": url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/driftloop",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        found = ObjectStore.from_environment(environment).list_objects(StoreLocation("bucket"))
        assert [each.key for each in found] == ["a/b"]
        server.shutdown()
