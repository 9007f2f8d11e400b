"""`driftloop rollback` beside an object store whose objects come and go."""

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract import platform
from driftloop.contract.names import PLATFORM
from driftloop.release import record
from driftloop.release.record import Version
from tests.cli.test_release_commands import WHERE, Person
from tests.pipelines import version
from tests.steps.conftest import BUCKET, KEY, SECRET, s3_url

__all__ = ["s3_url"]


@dataclass
class Shop:
    """A pipeline with three versions, the last of them production, and the store of their files."""

    person: Person
    store: ObjectStore
    versions: tuple[Version, ...]
    environment: dict[str, str]

    def types(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        return self.person.types("rollback", *arguments, *WHERE, code=code, **self.environment)

    def delete(self, version: Version) -> None:
        location = parse_location(version.model)
        for entry in self.store.list_folder(location):
            self.store.delete_object(StoreLocation(location.bucket, entry.key))


@pytest.fixture
def shop(tmp_path: Path, s3_url: str) -> Shop:
    store = ObjectStore.from_endpoint(s3_url, access_key=KEY, secret_key=SECRET)
    store.create_bucket(BUCKET.bucket)
    versions = []
    for run in ("digits-a", "digits-b", "digits-c"):
        stored = version(run)
        model = parse_location(f"s3://{BUCKET.bucket}/runs/{run}/release/model")
        detectors = parse_location(f"s3://{BUCKET.bucket}/runs/{run}/release/detectors")
        store.write_json(model / "model.json", {"run": run})
        store.write_json(detectors / "drift" / "detector.json", {})
        versions.append(
            version(
                run,
                model=str(model),
                model_digest=store.digest_folder(model),
                detectors=str(detectors),
                detector_digests={"drift": store.digest_folder(detectors / "drift")},
                metrics=stored.metrics,
            )
        )
    person = Person(tmp_path)
    person.types("commit", "pipeline.yaml", *WHERE)
    a, b, c = versions
    person.moves(
        lambda release: record.release_first(release, a),
        lambda release: record.start_shadow(release, b),
        record.promote_candidate,
        lambda release: record.start_shadow(release, c),
        record.promote_candidate,
    )
    environment = {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    return Shop(person, store, tuple(versions), environment)


def test_a_release_whose_model_is_gone_is_refused_before_the_commit(shop: Shop) -> None:
    a, b, _ = shop.versions
    shop.delete(b)
    tip = shop.person.git("rev-parse", "main")
    done = shop.types("digits", code=1)
    assert f"`digits` can't go back to {b.id}: its model {b.model} does not exist" in done.stderr
    assert f"with --to, it can go back to: {a.id} (" in done.stderr
    assert shop.person.git("rev-parse", "main") == tip


def test_a_model_that_was_overwritten_is_refused(shop: Shop) -> None:
    _, b, _ = shop.versions
    shop.store.write_json(parse_location(b.model) / "model.json", {"run": "another"})
    assert f"{b.model} has digest sha256:" in shop.types("digits", code=1).stderr


def test_a_detector_that_was_overwritten_is_refused(shop: Shop) -> None:
    _, b, _ = shop.versions
    drift = parse_location(f"{b.detectors}/drift")
    shop.store.write_json(drift / "detector.json", {"kind": "ks"})
    said = shop.types("digits", code=1).stderr
    assert f"its detector {drift} has digest sha256:" in said
    assert f"must be {b.detector_digests['drift']}" in said


def test_nothing_is_left_to_go_back_to(shop: Shop) -> None:
    a, b, _ = shop.versions
    shop.delete(a)
    shop.delete(b)
    done = shop.types("digits", code=1)
    assert "no earlier release can be restored: `driftloop trigger digits` trains" in done.stderr


def test_it_lists_what_it_can_go_back_to_and_goes_there(shop: Shop) -> None:
    a, b, c = shop.versions
    shop.delete(b)
    rows = json.loads(shop.types("digits", "--list", "--output", "json").stdout)
    assert [(row["release"], row["problem"]) for row in rows] == [
        (b.id, f"its model {b.model} does not exist"),
        (a.id, None),
    ]
    assert f"{a.id}  {rows[1]['time']}  can be restored" in shop.types("digits", "--list").stdout
    shop.types("digits", "--to", a.id)
    release = shop.person.release()
    assert (release.production, release.weights) == (a, {a.id: 100})
    # the model that was left comes back only by name
    done = shop.types("digits", code=1)
    assert "no previous version to roll back to" in done.stderr
    assert f"with --to, it can go back to: {c.id} (" in done.stderr
    assert f"{a.id} is production" in shop.types("digits", "--to", a.id, code=1).stderr
    assert (
        "r00000000 was never production" in shop.types("digits", "--to", "r00000000", code=1).stderr
    )


def test_a_store_that_does_not_answer_is_no_reason_to_guess(shop: Shop) -> None:
    _, b, _ = shop.versions
    shop.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    done = shop.types("digits", code=1)
    assert f"can't look whether the model of {b.id} is there" in done.stderr
    shop.types("digits", "--unchecked")
    assert shop.person.release().production == b


def test_without_a_store_it_is_refused_until_nothing_shall_be_checked(shop: Shop) -> None:
    a, b, _ = shop.versions
    shop.environment.clear()
    tip = shop.person.git("rev-parse", "main")
    done = shop.types("digits", code=1)
    assert (
        f"can't look whether the model of {b.id} is there: no object store is named" in done.stderr
    )
    assert "--cluster looks in the store of the cluster" in done.stderr
    assert shop.person.git("rev-parse", "main") == tip
    assert f"{a.id}  " in (listed := shop.types("digits", "--list").stdout)
    assert listed.count("not checked whether its model is there") == 2
    assert f"not checked whether {b.id} is there" in shop.types("digits", "--unchecked").stderr
    assert shop.person.release().production == b


@pytest.fixture
def kubeconfig(shop: Shop, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of an API server that holds the platform's settings of namespace `digits`."""
    base = "/api/v1/namespaces/digits"
    keys = {platform.ACCESS_KEY.key: KEY, platform.SECRET_KEY.key: SECRET}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in keys.items()}
    objects = {
        f"{base}/configmaps/{PLATFORM}": {
            "data": {platform.S3_ENDPOINT.key: shop.environment["AWS_ENDPOINT_URL"]}
        },
        f"{base}/secrets/{PLATFORM}": {"data": encoded},
    }

    class ApiServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(objects.get(self.path, {})).encode()
            self.send_response(200 if self.path in objects else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "eve"}}],
        "clusters": [
            {"name": "one", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "eve", "user": {}}],
    }
    file = tmp_path / "kubeconfig.json"
    file.write_text(json.dumps(config))
    yield file
    server.shutdown()
    server.server_close()


def test_it_looks_in_the_store_of_a_cluster_and_tells_that_nothing_was_started(
    shop: Shop, kubeconfig: Path
) -> None:
    a, b, _ = shop.versions
    shop.environment.clear()
    where = ("--cluster", "--kubeconfig", str(kubeconfig))
    shop.delete(b)
    tip = shop.person.git("rev-parse", "main")
    done = shop.types("digits", *where, code=1)
    assert f"`digits` can't go back to {b.id}: its model {b.model} does not exist" in done.stderr
    assert f"with --to, it can go back to: {a.id} (" in done.stderr
    assert shop.person.git("rev-parse", "main") == tip
    assert f"{a.id}  " in shop.types("digits", "--list", *where).stdout
    done = shop.types("digits", "--to", a.id, *where)
    assert f"not asked whether {a.id} answers: its server was not started" in done.stderr
    assert "`driftloop status --cluster -n digits`" in done.stderr
    assert shop.person.release().production == a


def test_a_namespace_without_the_platform_s_settings_is_no_store(
    shop: Shop, kubeconfig: Path
) -> None:
    shop.environment.clear()
    where = ("--cluster", "--kubeconfig", str(kubeconfig), "-n", "other")
    done = shop.types("digits", *where, code=1)
    assert "namespace `other` has no ConfigMap driftloop-platform" in done.stderr
    assert "need --cluster" in shop.types("digits", "-n", "digits", code=2).stderr
