"""Damaged files of a state folder: `up`, `status` and `down` end, without a traceback, and name
what they met and what takes its place."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.processes import PATIENCE

from driftloop.local.ground.state import StateFolder
from driftloop.local.up.history_record import HistoryRecord
from tests.local.conftest import (
    REF,
    Git,
    Start,
    deployment,
    eventually,
    get,
    kustomization,
    service,
    virtual_service,
)

BASE = {
    "cluster/dev/pipelines/shop.yaml": [kustomization("shop", "deployments/shop")],
    "deployments/shop/a.yaml": [deployment("a"), service("a")],
    "deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 100}),
}
MODEL = "/seldon/shop/model/predict"

MADE_ANEW = {
    "run/ports.json": "ports are chosen anew",
    "run/objects.json": "what the branch holds is applied anew",
    "run/addresses.json": "what the branch holds is applied anew",
    "run/platform.json": "the settings are written anew",
    "run/applied.json": "what the branch holds is applied anew",
    "run/history.json": "read again from the streams",
    "secrets/nats-password": "a new secret is made",
    "secrets/signing-key": "releases are signed with a new key",
    "secrets/signing-keys": "releases that other keys than the present one have signed are refused",
    "secrets/s3-access": "a new secret is made",
    "secrets/s3-secret": "a new secret is made",
    "secrets/webhook-token": "a new secret is made",
    "images/DRIFTLOOP/image.json": "registers the image again",
    "git/cluster.git/HEAD": "it names `main` again",
    "git/cluster.git/config": "it is written anew",
}
"""What `up` says of a damaged file, and goes on."""

NAMED = {
    "version": "version is damaged",
    "images/ECHO/image.json": f"image `{REF}` is not registered here",
    "git/cluster.git/refs/heads/main": "which is not a commit",
}
"""What keeps something from running until a person mends it."""

WRITTEN_EACH_TIME = {
    "run/lock": "",
    "run/console-key": "",
    "run/last.json": "",
    "run/broker.json": "",
    "run/broker-troubles.json": "",
    "run/nats.conf": "",
    "run/up": "",
    "timeline.jsonl": "",
    ".gitignore": "",
}
"""What no program reads before it is written anew, or any content of is right."""


def null_fields(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return "null"
    return json.dumps(dict.fromkeys(document) if isinstance(document, dict) else None)


DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[: min(len(content) // 2, 5)],
    "garbage": lambda _: b"\xff\xfe\x00garbage\x80" * 3,
    "wrong type": lambda _: b"[[1]]\n",
    "null fields": lambda content: null_fields(content.decode(errors="replace")).encode(),
}


SOME = [
    pytest.param(damage, marks=() if damage == "garbage" else pytest.mark.slow)
    for damage in DAMAGES
]
"""Each costs a start of the platform: the quick suite has one kind of damage."""


def resolve(state: StateFolder, name: str) -> Path:
    """The file of a name; images are told apart by what they are registered by."""
    for part, ref in (("DRIFTLOOP", "driftloop"), ("ECHO", REF)):
        if part in name:
            return next(
                file
                for file in state.images.glob("*/image.json")
                if ref in file.read_text() and (part == "ECHO") == (REF in file.read_text())
            )
    return state.root / name


def run(state: StateFolder, command: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", command, "--state", str(state.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=180,
        check=False,
        text=True,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.fixture
def stopped(start: Start, git: Git, state: StateFolder) -> StateFolder:
    """A state folder in which something ran, and was stopped."""
    sha = git.commit(BASE)
    up = start().wait_up()
    up.wait_applied(sha)
    eventually(lambda: get(up.url(MODEL))[0] == 200)
    assert up.stop() == 130
    up.log.unlink()
    HistoryRecord(
        cursors={"KV_driftloop-retrain": 3},
        phases={},
        verdicts={"shop/shop/drift": {"release": "r1", "window": 2, "alarm": False}},
        unjudged={},
        runs={"shop/shop-train": {"name": "shop-1", "phase": "Succeeded"}},
        decisions={"shop.shop": "idle"},
        loops={},
    ).save(state.history)
    return state


def list_kept(state: StateFolder) -> set[str]:
    """The files of a state folder, but for those of its stores, and what is made of them."""
    kept = set()
    for folder, folders, names in os.walk(state.root):
        where = Path(folder).relative_to(state.root).as_posix()
        if where in ("s3", "nats", "envs", "logs", "work", "tree", "run/envoy") or where.startswith(
            ("git/cluster.git/objects", "git/cluster.git/hooks", "git/cluster.git/info")
        ):
            folders.clear()
            continue
        if where.startswith("images/") and where.count("/") > 1:
            continue
        kept |= {f"{where}/{name}".removeprefix("./") for name in names}
    return kept


def test_every_file_that_is_kept_has_its_place_in_this_test(stopped: StateFolder) -> None:
    listed = {
        resolve(stopped, name).relative_to(stopped.root).as_posix()
        for name in (*MADE_ANEW, *NAMED, *WRITTEN_EACH_TIME)
    }
    described = {"git/cluster.git/description"}
    assert list_kept(stopped) - described <= listed


@pytest.mark.parametrize("damage", SOME)
def test_what_can_be_derived_is_made_anew_and_said(
    damage: str, stopped: StateFolder, start: Start
) -> None:
    """All of them at once, as a disk leaves them."""
    files = {name: resolve(stopped, name) for name in (*MADE_ANEW, *WRITTEN_EACH_TIME)}
    for file in files.values():
        # run/up exists only while all is up
        if file.exists():
            file.write_bytes(DAMAGES[damage](file.read_bytes()))
    broken = {
        name: words
        for name, words in MADE_ANEW.items()
        # five characters of it are what it was, or what a person may have written
        if not (damage == "truncated" and name.endswith("HEAD"))
    }
    code, text = run(stopped, "status")
    assert (code, "nothing runs in" in text) == (1, True)
    assert run(stopped, "down")[0] == 0
    up = start().wait_up()
    eventually(lambda: get(up.url(MODEL))[0] == 200, what="the model answers")
    eventually(lambda: up.status().get("applied"), what="the commit is applied")
    text = up.log.read_text()
    for name, words in broken.items():
        lines = [line for line in text.splitlines() if str(files[name]) in line]
        assert any(words in line for line in lines), f"{name}: {words}\n{text}"
    assert "Traceback" not in text
    code, text = run(stopped, "status")
    assert (code, "applied" in text) == (0, True)
    code, text = run(stopped, "down")
    assert (code, "stopping process" in text) == (0, True)
    assert "Traceback" not in up.log.read_text()


@pytest.mark.parametrize("damage", SOME)
@pytest.mark.parametrize("name", NAMED)
def test_the_rest_is_named(name: str, damage: str, stopped: StateFolder, start: Start) -> None:
    file = resolve(stopped, name)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    if name == "version" and file.read_bytes().strip() == b"1":
        return
    up = start()
    eventually(lambda: NAMED[name] in up.log.read_text(), what=NAMED[name])
    assert "Traceback" not in up.log.read_text()
    if name == "version":
        assert up.process.wait(PATIENCE) == 1
    assert run(stopped, "status")[0] in (0, 1)
    assert run(stopped, "down")[0] == 0
    assert up.process.wait(PATIENCE) is not None


@pytest.mark.parametrize("damage", SOME)
def test_a_running_instance_mends_what_programs_read(
    damage: str, start: Start, git: Git, state: StateFolder
) -> None:
    sha = git.commit(BASE)
    up = start().wait_up()
    up.wait_applied(sha)
    files = [state.ports_file, state.platform, state.objects, state.addresses, state.run / "lock"]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for file, content in zip(files[:4], before, strict=False):
        eventually(lambda file=file, content=content: file.read_bytes() == content, what=file.name)
        told = f"{file} was changed by another program"
        eventually(lambda told=told: told in up.log.read_text(), what=told)
    code, text = run(state, "status")
    assert (code, sha[:12] in text) == (0, True)
    code, text = run(state, "down")
    assert (code, f"stopping process {up.process.pid}" in text) == (0, True)
    assert up.process.wait(PATIENCE) == 0
    assert "Traceback" not in up.log.read_text()
