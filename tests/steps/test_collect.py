"""collect, look and snapshot over sources: an HTTPS server with a certificate, another S3 store, files of the machine."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.web import FileServer, serve_files

from driftloop.clients import downloads
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.records import Snapshot
from driftloop.contract.sources import SourceSettings
from driftloop.contract.trees import kept_key
from driftloop.operations.ground.source_files import SourceReader, fetch_sources
from driftloop.operations.runs.contents import find_unused_contents
from driftloop.operations.runs.run_store import RunPlace
from driftloop.operations.traces.reproduce import fetch_batches
from tests.steps.conftest import BUCKET, DATA, KEY, SECRET, World

PENGUINS = b"species,mass\nadelie,3700\n"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FileServer]:
    with serve_files(tmp_path) as server:
        server.files["/penguins.csv"] = PENGUINS
        yield server


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def collect(
    world: World, *sources: dict[str, Any], more: tuple[str, ...] = (), code: int = 0, **env: str
) -> tuple[dict[str, Any], str]:
    """Run the step; its list of files, and what it said."""
    out = world.folder / "collected"
    shutil.rmtree(out, ignore_errors=True)
    words = ("--pipeline", "digits", "--sources", json.dumps(sources), "--out", str(out), *more)
    done = world.step("collect", *words, code=code, **env)
    file = out / "sources" / "sources.json"
    return json.loads(file.read_text()) if file.exists() else {}, done.stderr


def snapshot(world: World, run: str, code: int = 0) -> tuple[Path, str]:
    out = world.folder / run
    words = ("--pipeline", "digits", "--run", run, "--uri", str(DATA), "--out", str(out))
    listed = ("--sources", str(world.folder / "collected" / "sources" / "sources.json"))
    return out, world.step("snapshot", *words, *listed, code=code).stderr


def test_a_file_over_https_is_copied_once_and_again_when_it_changes(
    world: World, web: FileServer
) -> None:
    source = {"name": "birds", "urls": [f"{web.url}/penguins.csv"]}
    trust = {
        "DRIFTLOOP_SOURCE_BIRDS_AUTHORITY": web.certificate.read_text().split("-----BEGIN PRIVATE")[
            0
        ]
    }
    found, said = collect(world, source, **trust)
    assert f"1 of 1 files are new or changed: {web.url}/penguins.csv" in said
    assert [(each["key"], each["sha256"]) for each in found["files"]] == [
        ("birds/penguins.csv", sha256(PENGUINS))
    ]
    assert world.store.read_object(BUCKET / kept_key("digits", sha256(PENGUINS))) == PENGUINS
    # the server is asked whether it has changed, and answers that it has not
    again, said = collect(world, source, **trust)
    assert again == found
    assert "0 of 1 files are new or changed" in said
    assert web.asked[-1][1]["if-none-match"]
    # one that says nothing is read again, and stored once
    web.tags = False
    assert collect(world, source, **trust)[0]["files"][0]["sha256"] == sha256(PENGUINS)
    web.files["/penguins.csv"] = PENGUINS + b"gentoo,5000\n"
    _, said = collect(world, source, **trust)
    assert "1 of 1 files are new or changed" in said
    kept = world.store.list_folder(BUCKET / kept_key("digits", ""))
    assert len(kept) == 2


def test_a_run_reads_what_was_collected_and_can_be_run_again(world: World, web: FileServer) -> None:
    trust = {
        "DRIFTLOOP_SOURCE_BIRDS_AUTHORITY": web.certificate.read_text().split("-----BEGIN PRIVATE")[
            0
        ]
    }
    source = {"name": "birds", "urls": [f"{web.url}/penguins.csv"]}
    look = ("--pipeline", "digits", "--uri", str(DATA), "--sources", json.dumps([source]))
    out = world.folder / "look"
    said = world.step("look", *look, "--out", str(out), **trust).stderr
    assert "1 of 1 batches are new: birds/penguins.csv" in said
    collect(world, source, **trust)
    folder, _ = snapshot(world, "digits-a")
    first = Snapshot.read(json.loads((folder / "snapshot" / "snapshot.json").read_text()))
    assert [(each.key, each.source) for each in first.batches] == [
        ("birds/penguins.csv", f"{web.url}/penguins.csv")
    ]
    assert (folder / "data" / "recent" / "birds" / "penguins.csv").read_bytes() == PENGUINS
    world.step("look", *look, "--out", str(out), **trust)
    assert (out / "new").read_text() == "false"
    # changed there: a new batch; what the first run saw is kept
    web.files["/penguins.csv"] = PENGUINS + b"gentoo,5000\n"
    world.step("look", *look, "--out", str(out), **trust)
    assert (out / "new").read_text() == "true"
    place = RunPlace(world.store, BUCKET, "digits", lambda run: None, lambda run: {})
    fetch_batches(place, "digits", first, world.folder / "again")
    batch = world.folder / "again" / "recent" / "birds" / "penguins.csv"
    assert batch.read_bytes() == PENGUINS
    # what is neither there now nor in a run that stays may go
    now = time.time() + 10 * 86_400
    assert not find_unused_contents(place, "digits", ["digits-a"], time.time())
    world.store.put_folder(folder / "snapshot", BUCKET / "runs/digits-a/snapshot")
    assert not find_unused_contents(place, "digits", ["digits-a"], now)
    (unused,) = find_unused_contents(place, "digits", (), now)
    assert unused.key == kept_key("digits", sha256(PENGUINS))
    # gone there: no batch any more, and told
    other = {"name": "birds", "urls": [f"{web.url}/other.csv"]}
    web.files["/other.csv"] = b"species,mass\nchinstrap,3800\n"
    found, said = collect(world, other, **trust)
    assert found["gone"] == [f"{web.url}/penguins.csv"]
    assert "1 files are gone at their sources" in said


def test_what_a_bucket_of_another_store_has(world: World, s3_url: str, tmp_path: Path) -> None:
    store = ObjectStore.from_endpoint(s3_url, access_key=KEY, secret_key=SECRET)
    store.create_bucket("exports")
    for entry in store.list_objects(StoreLocation("exports")):
        store.delete_object(StoreLocation("exports", entry.key))
    store.write_object(StoreLocation("exports", "daily/1.csv"), b"a\n1\n")
    store.write_object(StoreLocation("exports", "daily/2026/2.csv"), b"a\n2\n")
    store.write_object(StoreLocation("exports", "daily-old/3.csv"), b"a\n3\n")
    source = {"name": "clinic", "urls": ["s3://exports/daily"], "endpoint": s3_url}
    keys = {
        "DRIFTLOOP_SOURCE_CLINIC_ACCESS_KEY": KEY,
        "DRIFTLOOP_SOURCE_CLINIC_SECRET_KEY": SECRET,
    }
    found, said = collect(world, source, **keys)
    assert [(each["key"], each["url"]) for each in found["files"]] == [
        ("clinic/1.csv", "s3://exports/daily/1.csv"),
        ("clinic/2026/2.csv", "s3://exports/daily/2026/2.csv"),
    ]
    store.delete_object(StoreLocation("exports", "daily/1.csv"))
    found, said = collect(world, source, **keys)
    assert found["gone"] == ["s3://exports/daily/1.csv"]
    assert "0 of 1 files are new or changed" in said
    one = source | {"urls": ["s3://exports/daily/2026/2.csv"]}
    assert [each["key"] for each in collect(world, one, **keys)[0]["files"]] == ["clinic/2.csv"]
    # the platform's own keys are in the environment, too: they open nothing of others
    _, said = collect(world, source, code=1)
    assert "s3://exports/daily: daily: the store refuses the request (400 Bad Request" in said
    assert "it may not be public: name a Secret's keys" in said
    _, said = collect(world, source, code=1, **keys | {"DRIFTLOOP_SOURCE_CLINIC_SECRET_KEY": "x"})
    assert "(403 Forbidden SignatureDoesNotMatch)" in said
    assert "check the Secret's keys that `credentials` of the source names" in said
    _, said = collect(world, source | {"urls": ["s3://exports/nothing"]}, code=1, **keys)
    assert "s3://exports/nothing: nothing does not exist (404 Not Found)" in said
    _, said = collect(world, source | {"endpoint": "http://127.0.0.1:1"}, code=1, **keys)
    assert "can't be reached: Connection refused" in said
    _, said = collect(world, source, more=("--max-bytes", "3"), code=1, **keys)
    assert "raise `data.maxSize`" in said


def test_files_of_the_machine(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    (folder / "2026").mkdir(parents=True)
    (folder / "2026" / "a.csv").write_bytes(b"a\n1\n")
    source = {"name": "mine", "urls": [f"file://{folder}"]}
    found, _ = collect(world, source)
    assert [each["key"] for each in found["files"]] == ["mine/2026/a.csv"]
    # as a try of a project reads them, without any store
    reader = SourceReader({}, print)
    fetch_sources([SourceSettings.read(source)], reader, tmp_path / "tried", 100)
    assert (tmp_path / "tried" / "mine" / "2026" / "a.csv").read_bytes() == b"a\n1\n"
    world.store.write_object(DATA / "mine/2026/a.csv", b"a\n2\n")
    assert "has a batch mine/2026/a.csv, and source mine has, too" in snapshot(world, "b", 1)[1]
    _, said = collect(world, source, code=1, KUBERNETES_SERVICE_HOST="10.0.0.1")
    assert "is a path of one machine, and this is a pod" in said
    assert "driftloop data put" in said


def test_what_is_not_right_names_the_address_and_what_to_do(
    world: World, web: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    url = f"{web.url}/penguins.csv"
    source, trust = (
        {"name": "birds", "urls": [url]},
        {
            "DRIFTLOOP_SOURCE_BIRDS_AUTHORITY": web.certificate.read_text().split(
                "-----BEGIN PRIVATE"
            )[0]
        },
    )

    def refused(change: dict[str, Any] | None = None, **env: str) -> str:
        return collect(world, source | (change or {}), code=1, **trust | env)[1]

    assert "the server's certificate is not trusted" in refused(DRIFTLOOP_SOURCE_BIRDS_AUTHORITY="")
    assert "is no certificate" in refused(DRIFTLOOP_SOURCE_BIRDS_AUTHORITY="x")
    assert "the server answers 404 Not Found" in refused({"urls": [f"{web.url}/none.csv"]})
    assert f"`sha256` of source birds is {'0' * 64}" in refused({"sha256": "0" * 64})
    web.failures["/penguins.csv"] = [503, 503, 503]
    assert "the server answers 503" in refused()
    web.redirects["/moved.csv"] = "https://objects.example.org/penguins.csv"
    said = refused({"urls": [f"{web.url}/moved.csv"]})
    assert "name it: `redirects: [objects.example.org]`" in said
    web.redirects["/plain.csv"] = "http://localhost/penguins.csv"
    assert "must be https" in refused({"urls": [f"{web.url}/plain.csv"]})
    web.headers["/penguins.csv"] = {"Content-Type": "text/html; charset=utf-8"}
    assert "answers with a web page in the place of penguins.csv" in refused()
    web.headers.clear()
    web.authorization = "Bearer t0k3n"
    assert "name a Secret's keys in `credentials` of the source" in refused()
    said = refused(DRIFTLOOP_SOURCE_BIRDS_TOKEN="wrong")
    assert "it refuses the credentials" in said
    assert "wrong" not in said
    web.redirects["/here.csv"] = "/penguins.csv"
    here = {"name": "birds", "urls": [f"{web.url}/here.csv"]}
    right = {"DRIFTLOOP_SOURCE_BIRDS_TOKEN": "t0k3n"}
    # no credential goes on with a redirect
    assert "the server answers 401" in collect(world, here, code=1, **trust | right)[1]
    # an answer that is cut off is asked for again
    web.cut = True
    found, said = collect(world, source, **trust | right)
    assert "bytes; again in 0 s" in said
    assert found["files"][0]["sha256"] == sha256(PENGUINS)
    web.files["/penguins.csv"] = b"x" * 100
    _, said = collect(world, source, more=("--max-bytes", "99"), code=1, **trust | right)
    assert "has 100 bytes, at most 99 more are read" in said
