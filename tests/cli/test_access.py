"""`driftloop access`: keys are printed once, and a spec keeps what tells them."""

import json
from pathlib import Path

import pytest
from support.commands import type_command

from driftloop.contract.keys import decode_part
from tests.pipelines import SPEC


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    return tmp_path


def test_a_key_says_whose_it_is_and_the_spec_who_made_it(folder: Path) -> None:
    words = ("access", "add", "acme", "--to", "pipeline.yaml", "--expires", "90d", "-o", "json")
    made = json.loads(type_command(*words, folder=folder).stdout)
    claims = json.loads(decode_part(made["key"].split(".")[1]))
    assert (claims["iss"], claims["sub"]) == ("driftloop:digits:digits", "acme")
    assert claims["exp"] - claims["iat"] == 90 * 24 * 3600
    text = (folder / "pipeline.yaml").read_text()
    assert made["key"].rpartition(".")[2] not in text
    assert text.startswith(SPEC)
    listed = type_command("access", "list", "pipeline.yaml", "-o", "json", folder=folder).stdout
    (key,) = json.loads(listed)["keys"]
    assert key["name"] == "acme"
    assert key["expires"] == made["expires"]
    assert key["by"]
    shown = type_command("access", "list", "pipeline.yaml", folder=folder)
    assert shown.stdout.splitlines()[0].split() == ["NAME", "MADE", "BY", "EXPIRES"]
    assert "1 key in pipeline.yaml" in shown.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "acme", "--to", "pipeline.yaml"), "there is a key `acme` already, made 2"),
        (("add", "Acme!", "--to", "pipeline.yaml"), "`Acme!` must be at most 40 lower-case letters"),
        (("revoke", "acne", "--from", "pipeline.yaml"), "there is no key `acne`, did you mean `acme`?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(folder: Path, words: tuple[str, ...], said: str) -> None:
    type_command("access", "add", "acme", "--to", "pipeline.yaml", folder=folder)
    before = (folder / "pipeline.yaml").read_text()
    assert said in type_command("access", *words, folder=folder, code=1).stderr
    assert (folder / "pipeline.yaml").read_text() == before


def test_the_last_key_that_goes_leaves_the_pipeline_closed(folder: Path) -> None:
    type_command("access", "add", "acme", "--to", "pipeline.yaml", folder=folder)
    done = type_command("access", "revoke", "acme", "--from", "pipeline.yaml", folder=folder)
    assert "no key left, so nobody gets in by one" in done.stderr
    assert "    apiKeys: {}\n" in (folder / "pipeline.yaml").read_text()
