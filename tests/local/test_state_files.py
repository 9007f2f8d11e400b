"""Whatever is in the place of a file of a state folder: no command waits at it, follows it out of the
folder or shows a traceback; each says which file, what it is, and the way out."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.processes import free_port

from driftloop.errors import LocalError
from driftloop.local.ground import files, logs
from driftloop.local.ground.state import LAYOUT, StateFolder
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up import repair
from tests.fuzz.commands import run_command

CONTENT = "[]"


def put_pipe(file: Path) -> None:
    os.mkfifo(file)


def put_link(file: Path) -> None:
    target = file.with_name("elsewhere")
    target.write_text(CONTENT)
    file.symlink_to(target)


def put_bytes(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x80" * 20)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a symbolic link": put_link,
    "a named pipe": put_pipe,
    "bytes": put_bytes,
}
COMMANDS = (
    ("status", "--output", "json"),
    ("env",),
    ("halt", "digits"),
    ("why", "digits"),
    ("logs", "timeline"),
    ("rollback", "digits"),
    ("down",),
)
NAMES = (
    "version",
    "timeline.jsonl",
    *(f"run/{name}.json" for name in ("ports", "objects", "addresses", "platform", "applied")),
    *(
        f"run/{name}"
        for name in ("history.json", "last.json", "broker-troubles.json", "lock", "up")
    ),
    *(f"secrets/{name}" for name in ("nats-password", "webhook-token")),
    "images/0/image.json",
    *(
        f"git/cluster.git/{name}"
        for name in ("HEAD", "config", "packed-refs", "refs/heads/main", "objects/5d/b2a4")
    ),
)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder.open_folder(tmp_path / "state")
    folder.create_folders()
    (folder.images / "0").mkdir()
    (folder.repository / "refs" / "heads").mkdir(parents=True)
    (folder.repository / "objects" / "5d").mkdir(parents=True)
    folder.choose_ports({"api": free_port()})
    for name in NAMES:
        if not (file := folder.root / name).exists():
            file.write_text(CONTENT)
    assert (folder.root / "version").read_text().strip() == LAYOUT
    return folder


def replace(file: Path, kind: str) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    KINDS[kind](file)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_no_command_waits_or_breaks(name: str, kind: str, state: StateFolder) -> None:
    file = state.root / name
    replace(file, kind)
    for command in COMMANDS:
        finished = run_command(*command, "--state", str(state.root))
        assert finished.fault is None, (command, finished)
        assert finished.code in (0, 1), (command, finished)
    if kind != "bytes":
        with pytest.raises(LocalError, match=rf"{kind}, must be a regular file") as error:
            files.read_file(file)
        assert error.value.hint
    assert not (link := file.with_name("elsewhere")).exists() or link.read_text() == CONTENT


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bytes"])
def test_up_sets_aside_what_is_no_file_and_says_so(kind: str, state: StateFolder) -> None:
    put = [name for name in NAMES if name not in ("version", "run/lock") and "refs/" not in name and "objects" not in name]  # fmt: skip
    for name in put:
        replace(state.root / name, kind)
    told: list[str] = []
    repair.repair_state(state, EventTimeline(state.timeline, lambda entry: told.append(entry.what)))
    for name in put:
        assert files.describe_irregular(state.root / name) is None
        assert any(str(state.root / name) in line for line in told), (name, told)
    assert all("set aside" in line or "again" in line or "anew" in line for line in told)
    count = len(told)
    repair.repair_state(state, EventTimeline(state.timeline, lambda entry: told.append(entry.what)))
    assert told[count:] == []


@pytest.mark.parametrize("name", ["refs/heads/main", "objects/5d/b2a4", "refs/tags"])
def test_git_is_not_asked_where_it_would_wait(name: str, state: StateFolder) -> None:
    file = state.repository / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    for ask in (
        state.require_repository,
        lambda: repair.repair_state(state, EventTimeline(state.timeline)),
    ):
        with pytest.raises(LocalError, match=f"{file} is a named pipe") as error:
            ask()
        assert error.value.hint


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bytes"])
def test_a_log_that_is_no_file_makes_place(kind: str, state: StateFolder) -> None:
    log = state.logs / "part.log"
    KINDS[kind](log)
    logs.bound_log(log)
    with logs.open_log(log) as stream:
        stream.write(b"a line\n")
    assert (log.read_text(), logs.last_line(log)) == ("a line\n", "a line")
    log.write_text("error: it is too long\n\nhint: write less\n")
    assert logs.last_line(log) == "error: it is too long (write less)"


def test_text_that_is_none_is_named_by_its_first_byte(state: StateFolder) -> None:
    (state.secrets / "webhook-token").write_bytes(b"abc\xff")
    with pytest.raises(LocalError, match=r"is not UTF-8 text: byte 4 is 0xff"):
        state.ensure_secret("webhook-token")
    assert state.timeline.exists()
