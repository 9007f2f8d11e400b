"""Files of a registered model, from a server that is not trusted."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from driftloop.clients.mlflow import MlflowClient
from driftloop.clients.s3 import ObjectStore, folder_digest
from driftloop.errors import PipelineError
from driftloop.operations.rollouts.given_models import fetch_registered

NOWHERE = ObjectStore.from_endpoint(
    "http://127.0.0.1:9", access_key="a", secret_key="b", attempts=1
)


class Registry:
    """A server with one model, `digits` 7, whose files are `files`."""

    def __init__(self) -> None:
        self.place = "mlflow-artifacts:/1/models/m-1/artifacts"
        self.files: dict[str, bytes] = {"MLmodel": b"flavors: {}", "data/model.pkl": b"bytes"}
        self.sizes: dict[str, int] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, body = outer.answer(parts.path, query)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.client = MlflowClient(f"http://127.0.0.1:{self.http.server_port}")

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        missing = 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"}'
        if path.endswith("registered-models/alias"):
            version = {"model_version": {"version": "7"}}
            return (200, json.dumps(version).encode()) if query["alias"] == "champion" else missing
        if path.endswith("get-download-uri"):
            known = (query["name"], query["version"]) == ("digits", "7")
            return (200, json.dumps({"artifact_uri": self.place}).encode()) if known else missing
        if path.endswith("/artifacts"):
            return 200, json.dumps({"files": self.list(query["path"])}).encode()
        name = path.partition("/1/models/m-1/artifacts/")[2]
        return 200, self.files.get(name, b"")

    def list(self, path: str) -> list[dict[str, Any]]:
        folder = path.removeprefix("1/models/m-1/artifacts").strip("/")
        inside = [name.removeprefix(f"{folder}/") for name in self.files if name.startswith(folder)]
        return [
            {"path": name, "is_dir": False, "file_size": self.sizes.get(name, 0)}
            for name in inside
            if "/" not in name or ".." in name
        ] + [
            {"path": name, "is_dir": True}
            for name in {
                each.partition("/")[0] for each in inside if "/" in each and ".." not in each
            }
        ]


@pytest.fixture
def registry() -> Iterator[Registry]:
    it = Registry()
    thread = threading.Thread(target=it.http.serve_forever, args=(0.02,))
    thread.start()
    yield it
    it.http.shutdown()
    thread.join()
    it.http.server_close()


@pytest.mark.parametrize("uri", ["models:/digits/7", "models:/digits@champion"])
def test_files_are_fetched_as_they_are(registry: Registry, tmp_path: Path, uri: str) -> None:
    given = fetch_registered(registry.client, NOWHERE, uri, tmp_path / "model")
    assert (given.uri, given.files) == ("models:/digits/7", 2)
    assert given.digest == folder_digest(tmp_path / "model")
    assert (tmp_path / "model" / "data" / "model.pkl").read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("digits/7", "must be models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("models:/digits", "must be models:/NAME/VERSION"),
        ("models:/di{gits/7", "must be models:/NAME/VERSION"),
        ("models:/digits/8", "has no `models:/digits/8`"),
        ("models:/digits@nobody", "has no `models:/digits@nobody`"),
    ],
)
def test_what_is_no_model_is_named(registry: Registry, tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        fetch_registered(registry.client, NOWHERE, uri, tmp_path / "model")


def test_a_name_that_leads_out_of_the_folder_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.files = {"../../outside": b"x"}
    with pytest.raises(PipelineError, match="is not a path inside a folder"):
        fetch_registered(registry.client, NOWHERE, "models:/digits/7", tmp_path / "model")
    assert not (tmp_path.parent / "outside").exists()


def test_a_file_that_came_in_part_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.sizes = {"MLmodel": 12}
    with pytest.raises(PipelineError, match="has 12 bytes, 11 came"):
        fetch_registered(registry.client, NOWHERE, "models:/digits/7", tmp_path / "model")


def test_files_that_are_elsewhere_are_named(registry: Registry, tmp_path: Path) -> None:
    registry.place = "/home/eve/mlruns/1"
    with pytest.raises(PipelineError, match="are at /home/eve/mlruns/1, from where they can't"):
        fetch_registered(registry.client, NOWHERE, "models:/digits/7", tmp_path / "model")
