"""Damaged files of a state folder: each command says what is wrong and the way out; `up` starts, or says why not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.processes import PATIENCE

from driftloop.local.ground.state import StateFolder
from tests.fuzz import damage, world
from tests.fuzz.commands import run_command
from tests.fuzz.conftest import HostileInputs
from tests.local.conftest import Git, Up, eventually

UP_EVERY = 30
"""Damages that only commands see, for each one that `up` has to start with."""
START, STOPPED = PATIENCE, 130
"""Seconds until `up` must run, and its exit code after Ctrl-C."""

COMMANDS = (
    ("status",),
    ("status", "--output", "json"),
    ("env",),
    ("logs", "timeline"),
    ("logs", "broker"),
    ("why", "digits"),
    ("trigger", "digits"),
    ("halt", "digits"),
    ("cancel", "digits-1"),
    ("rollback", "digits"),
    ("remove", "digits"),
    ("down",),
)
"""What is tried on each damage, one of them in turn, with `--state`."""

pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Instance:
    """A state folder that has been used and stopped, and a copy of it to damage."""

    template: Path
    state: StateFolder


@pytest.fixture
def instance(
    state: StateFolder, tmp_path: Path, envs: Path, git: Git, start: Callable[..., Up]
) -> Instance:
    world.register_subscriber(state, tmp_path / "subscriber", envs)
    up = start().wait_up()
    up.wait_applied(git.commit(world.build_files(), "Add every door"))
    up.stop()
    template = tmp_path / "template"
    damage.copy_folder(state.root, template)
    return Instance(template, state)


def test_hostile_state_files(
    instance: Instance, hostile: HostileInputs, start: Callable[..., Up]
) -> None:
    root = instance.state.root
    faults: list[str] = []
    ends: Counter[str] = Counter()
    for number in range(hostile.count("state")):
        random = hostile.random(number)
        damage.copy_folder(instance.template, root)
        file = root / random.choice(_choose_folder(random.random(), damage.list_files(root)))
        done = damage.damage_file(random, root, file)
        if number % UP_EVERY:
            command = COMMANDS[number % len(COMMANDS)]
            finished = run_command(*command, "--state", str(root))
            ends[f"exit code {finished.code}"] += 1
            fault = finished.fault
        else:
            command = ("up",)
            fault = _start(start)
            ends["up"] += 1
        if fault is not None:
            label = f"{file.relative_to(root)} {done}"
            faults.append(f"{number}: {' '.join(command)} after {label}: {fault}")
    print(f"state files: {sum(ends.values())} damaged, {dict(ends)}")
    assert not faults, "\n".join(faults)


def _choose_folder(chance: float, files: list[Path]) -> list[Path]:
    """The files of one folder of the state, so that git's many objects don't hide the rest."""
    folders = sorted({file.parts[0] for file in files})
    folder = folders[int(chance * len(folders))]
    return [file for file in files if file.parts[0] == folder]


def _start(start: Callable[..., Up]) -> str | None:
    """Start `up` on the damaged folder; what was wrong with how it took that."""
    up = start()
    log_before = up.log.stat().st_size
    marker = up.state.run / "up"
    try:
        eventually(
            lambda: (
                marker.exists() or up.process.poll() is not None or _tells_of_end(up, log_before)
            ),
            START,
            "up",
        )
        if up.process.poll() is None:
            eventually(
                lambda: _tells_of_end(up, log_before) or _tells(up),
                START,
                "all applied, or a reason why not",
            )
            up.stop()
    except AssertionError as error:
        up.process.kill()
        up.process.wait()
        return str(error).splitlines()[0]
    code = up.process.returncode
    text = up.log.read_bytes()[log_before:].decode(errors="replace")
    if code not in (STOPPED, 1) or (code == 1 and "error: " not in text):
        return f"exit code {code}: {text[-300:]}"
    return "; ".join(world.list_faults(up.state, text)) or None


def _tells_of_end(up: Up, log_before: int) -> bool:
    """Whether it says that a pod's program ended, which it waits for before it says that it is up."""
    return b"ended with exit code" in up.log.read_bytes()[log_before:]


def _tells(up: Up) -> bool:
    """Whether all is applied and ready, or the status says what is not."""
    status = up.status()
    if not status:
        return up.process.poll() is not None
    ready = all(process["phase"] == "ready" for process in status["processes"])
    whole = status["applied"] == status["tip"] and ready and not status["waiting"]
    return bool(whole or status["refused"] or status["stuck"])
