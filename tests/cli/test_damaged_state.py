"""Commands in a state folder whose own files are damaged: each names the file and the way out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import PATIENCE

from driftloop.local.ground.state import StateFolder
from driftloop.local.up import prepare


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder.open_folder(tmp_path / "state")
    folder.create_folders()
    prepare.prepare_repository(folder)
    return folder


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftloop.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"configMap": {', "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"configMap": {}}', "has no key `secret`"),
        ('{"configMap": {}, "secret": {"accesskey": 3}}', "must be an object of texts"),
        ('{"configMap": {}, "secret": {}}', "`s3-endpoint` is not among the settings"),
    ],
)
def test_settings(state: StateFolder, text: str, problem: str) -> None:
    state.platform.write_text(text)
    done = run_command("env", "--state", str(state.root))
    assert done.returncode == 1
    assert problem in done.stderr
    assert "driftloop up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"api": "x"}', '{"api": 0}'])
def test_ports(state: StateFolder, text: str) -> None:
    state.ports_file.write_text(text)
    done = run_command("remove", "digits", "--state", str(state.root))
    assert done.returncode == 1
    assert f"the ports in {state.ports_file}" in done.stderr
    assert "an `up` that runs writes the file anew within seconds" in done.stderr


def test_a_line_of_the_timeline(state: StateFolder) -> None:
    good = {"time": "2026-01-31T09:30:00Z", "kind": "run", "what": "digits-1: started"}
    state.timeline.write_text(f'{json.dumps(good)}\n{{"time": 3}}\nhalf a li\n')
    done = run_command("logs", "timeline", "--state", str(state.root))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].endswith("run      digits-1: started")
    assert lines[1].startswith('{"time": 3}  (the line of the timeline: `time` is `3`')
    assert lines[2].startswith("half a li  (the line of the timeline is not JSON")
