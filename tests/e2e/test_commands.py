"""Commands typed one after the other beside a running platform: each finds the state by its spec or by the folder."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import starter
from support.browser import Visitor, open_browser, watch_running
from support.loops import processes_of

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Shell:
    """A person in some folder; what `up` started is stopped at the end."""

    def __init__(self, home: Path, envs: Path) -> None:
        self.home, self.envs = home, envs
        self.started: list[Path] = []

    def types(self, where: str, *arguments: str, code: int = 0, key: str | None = None) -> str:
        own = ("DRIFTLOOP_", "AWS_")
        login = {} if key is None else {"DRIFTLOOP_API_KEY": key}
        done = subprocess.run(
            [sys.executable, "-m", "driftloop.cli", *arguments],
            cwd=self.home / where,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(own)},
                **login,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def up(self, where: str, *arguments: str) -> Path:
        """Start the platform; its state folder is made where it is typed."""
        self.started.append(self.home / where)
        self.types(where, "up", *arguments, "--detach", "--envs", str(self.envs))
        return self.home / where / ".driftloop"


@pytest.fixture
def shell(tmp_path: Path, envs: Path) -> Iterator[Shell]:
    it = Shell(tmp_path, envs)
    yield it
    for folder in it.started:
        it.types(str(folder.relative_to(tmp_path)), "down")
        assert processes_of(folder / ".driftloop") == []


def test_the_pair_of_the_readme(shell: Shell) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(DIGITS, shell.home / "clone" / "examples" / "digits", ignore=ignored)
    state = shell.up("clone", "examples/digits/pipeline.yaml")
    assert (state / ".gitignore").read_text().strip() == "*"
    for where in ("clone", "clone/examples/digits", "clone/examples/digits/trainer"):
        status = shell.types(where, "status")
        assert f"state    {state}" in status
        assert "release  digits: empty; production none" in status
    plan = shell.types("clone", "plan", "examples/digits/pipeline.yaml")
    assert "is new" not in plan
    assert "nothing changes" in plan


def _check_runs(shell: Shell) -> str:
    """The one run is listed and shown whole; its id."""
    name = starter.NAME
    (listed,) = json.loads(shell.types(name, "runs", name, "-o", "json"))
    assert (listed["phase"], listed["trigger"]) == ("released", "person")
    shown = json.loads(shell.types(name, "runs", "show", listed["run"], "-o", "json"))
    assert shown["notes"] == []
    steps = [step["name"] for step in shown["steps"]]
    assert steps[:2] == ["claim", "snapshot"]
    assert all(step["startedAt"] and step["finishedAt"] for step in shown["steps"])
    assert shown["trials"][0]["rank"] == 1
    assert shown["trials"][0]["chosen"]
    assert shown["gates"]["passed"]
    assert shown["metrics"]["candidate"]["all"]
    assert shown["environment"]["libraries"]
    for digest in ("data", "recipe", "code", "model", "images"):
        assert shown["digests"][digest], digest
    assert "same model   sha256:" in shell.types(name, "reproduce", listed["run"])
    (release,) = json.loads(shell.types(name, "releases", name, "-o", "json"))
    assert (release["release"], release["marks"]) == (shown["release"], ["production"])
    assert release["modelDigest"] == shown["digests"]["model"]
    return str(listed["run"])


def _ask_model(shell: Shell, batch: Path) -> None:
    """Rows of its own data are answered right, and the request is found by its id."""
    name = starter.NAME
    with np.load(batch) as arrays:
        rows, labels = arrays["x"][:20].tolist(), arrays["y"][:20].tolist()
    (shell.home / name / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    said = json.loads(
        shell.types(name, "predict", name, "--file", "rows.jsonl", "--most", "20", "-o", "json")
    )
    right = [int(np.argmax(a)) == label for a, label in zip(said["answers"], labels, strict=True)]
    assert sum(right) >= 19
    refused = shell.types(name, "predict", name, "--row", "[1, 2]", code=1)
    assert f"the model of `{name}` answered" in refused
    assert said["request"] in shell.types(name, "trace", said["request"])


def test_up_takes_the_spec_of_its_folder_and_plan_knows_what_serves(shell: Shell) -> None:
    spec = starter.project(shell.home)
    state = shell.up(starter.NAME)
    batch = starter.batch(shell.home / "a.npz")
    shell.types(starter.NAME, "data", "put", str(batch), "--to", starter.NAME)
    assert "released" in shell.types(starter.NAME, "trigger", starter.NAME, "--wait")
    status = shell.types(starter.NAME, "status")
    assert "release  mine: stable; production r" in status
    _ask_model(shell, batch)
    run = _check_runs(shell)
    assert run.startswith(f"{starter.NAME}-")
    # found by the spec, from a folder that has no state
    plan = shell.types("", "plan", str(spec))
    assert "nothing changes" in plan
    text = spec.read_text()
    spec.write_text(text.replace("budget: 4/day", "budget: 5/day"))
    plan = shell.types("", "plan", str(spec.relative_to(shell.home)))
    assert "is new" not in plan
    assert 'retrain.budget: "4/day" -> "5/day"' in plan
    committed = shell.types("", "commit", str(spec))
    assert str(state / "git" / "cluster.git") in committed
    _close_to_callers(shell, spec, state)
    _look_at_console(shell, run)


def _close_to_callers(shell: Shell, spec: Path, state: Path) -> None:
    """With a first key callers need one; it is in no file of what runs."""
    name = starter.NAME
    key, *said = shell.types(name, "access", "add", "me", "--to", spec.name).splitlines()
    assert said[-1] == f"it is the first one: callers of {name} without a key will be refused"
    assert "callers must log in" in shell.types(name, "plan", spec.name)
    shell.types(name, "commit", spec.name)
    tip = _read_tip(state)
    until = time.monotonic() + 300
    while json.loads(shell.types(name, "status", "-o", "json"))["applied"] != tip:
        assert time.monotonic() < until, "the commit is not applied"
    ask = ("predict", name, "--file", "rows.jsonl", "--most", "1")
    refused = shell.types(name, *ask, code=1)
    assert f"the model of `{name}` answered 401" in refused
    assert "DRIFTLOOP_API_KEY" in refused
    assert "request " in shell.types(name, *ask, key=key)
    status = shell.types(name, "status")
    assert f"callers  {name}: refused 1 request without a login" in status
    signature = key.rpartition(".")[2].encode()
    holding = [file for file in state.rglob("*") if file.is_file() and signature in _read(file)]
    assert holding == []


def _read_tip(state: Path) -> str:
    """The commit that the cluster repository is at."""
    git = ("git", "--git-dir", str(state / "git" / "cluster.git"), "rev-parse", "main")
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def _read(file: Path) -> bytes:
    """What is in a file of what runs, which may go meanwhile."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _look_at_console(shell: Shell, run: str) -> None:
    """Every page of the running platform in a browser, and its actions to their end."""
    said = shell.types(starter.NAME, "console").splitlines()
    (address,) = [line for line in said if line.startswith("http")]
    with open_browser() as browser:
        visitor = Visitor(browser, address)
        watch_running(visitor, starter.NAME, run, pictures=os.environ.get("DRIFTLOOP_PICTURES"))
        assert visitor.complaints == []
