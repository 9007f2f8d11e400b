"""What pages load: files of ours, and files of others as their registry has them."""

import hashlib
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from driftloop.console.application import ASSETS

FOLDER = Path(__file__).parents[2] / "pipeline" / "driftloop" / "console" / "assets"
VENDORED = json.loads((FOLDER / "vendored.json").read_text())["assets"]


@pytest.mark.parametrize("asset", VENDORED, ids=lambda asset: asset["package"])
def test_a_file_of_others_is_the_one_that_was_looked_at(asset: dict[str, str]) -> None:
    content = (FOLDER / asset["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == asset["sha256"]
    assert asset["license"] in ("0BSD", "MIT")
    assert "Permission to use, copy, modify" in (FOLDER / asset["licenseFile"]).read_text()
    assert asset["version"]


def test_each_file_is_ours_or_in_the_list_of_others() -> None:
    listed = {asset[key] for asset in VENDORED for key in ("file", "licenseFile")}
    ours = {"console.js", "console.css", "icon.svg", "vendored.json"}
    assert {file.name for file in FOLDER.iterdir()} == listed | ours


def test_pages_load_nothing_but_files_of_this_console(stranger: TestClient) -> None:
    for name, kind in ASSETS.items():
        answer = stranger.get(f"/assets/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    assert stranger.get("/assets/vendored.json").status_code == 404
    assert stranger.get("/assets/..%2fapplication.py").status_code == 404
    for name in ("console.js", "console.css", "style.css"):
        assert "//" not in stranger.get(f"/assets/{name}").text.replace("// ", "")
