"""The workflows in examples/ci and our own: pinned, least rights, and every command in them exists."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from driftloop.cli.root import root

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "ci").glob("*.yaml"))
OWN = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
FILES = [*EXAMPLES, *OWN]
RIGHTS = {
    "contents": {"read"}, "packages": {"write"}, "pull-requests": {"write"}, "id-token": {"write"},
    "attestations": {"write"},
}  # fmt: skip
WRITES = {
    "images": {"packages", "id-token", "attestations"}, "publish": {"id-token", "attestations"}, "announce": {"contents"},
}  # fmt: skip
"""Jobs of ours with more rights to write than one, or with one that nothing else has."""
JOB = {
    "runs-on",
    "timeout-minutes",
    "permissions",
    "steps",
    "needs",
    "if",
    "env",
    "name",
    "strategy",
    "environment",
}
STEP = {"uses", "with", "run", "name", "env", "if", "id"}
WORDS = {"$ROLE": "driftloop", "ghcr.io/${GITHUB_REPOSITORY_OWNER,,}": "ghcr.io/acme"}
"""What a runner puts into commands."""


def parsed(file):
    document = yaml.safe_load(file.read_text())
    # YAML 1.1 reads the key `on` as true
    return {"on" if key is True else key: value for key, value in document.items()}


def steps(file):
    return [step for job in parsed(file)["jobs"].values() for step in job["steps"]]


def test_there_are_two_of_each():
    assert [file.stem for file in EXAMPLES] == ["cluster-repository", "model-project"]
    assert [file.stem for file in OWN] == ["ci", "release"]


def test_scripts_that_our_workflows_run_are_there():
    runs = "\n".join(step.get("run", "") for file in OWN for step in steps(file))
    found = set(re.findall(r"^(?:scripts|\.ci)/[a-z-]+", runs, re.MULTILINE))
    assert found >= {".ci/run", "scripts/setup", "scripts/dist", "scripts/try-wheel"}
    for script in found:
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_shape_is_that_of_a_workflow(file):
    document = parsed(file)
    assert set(document) <= {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert set(document["on"]) <= {"push", "pull_request"}
    for name, job in document["jobs"].items():
        assert set(job) <= JOB, name
        assert job.get("needs", name) in document["jobs"]
        assert isinstance(job["timeout-minutes"], int)
        for step in job["steps"]:
            assert set(step) <= STEP
            assert ("uses" in step) != ("run" in step)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_actions_are_pinned_by_commit_and_say_their_tag(file):
    used = [line.strip() for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(r"- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    commits = {}
    for found in FILES:
        for action, commit in re.findall(r"uses: (\S+)@(\S+)", found.read_text()):
            assert commits.setdefault(action, commit) == commit, (
                f"{action} is pinned twice, differently"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_job_has_the_rights_it_names_and_no_others(file):
    document = parsed(file)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        if file in OWN and name in WRITES:
            assert writes == WRITES[name]
            continue
        assert len(writes) <= 1, name
        for right, level in job["permissions"].items():
            assert level in RIGHTS[right], f"{name}: {right}: {level}"
    for step in steps(file):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scripts_are_shell_and_nothing_is_pasted_into_them(file):
    for step in steps(file):
        if "run" in step:
            assert "${{" not in step["run"], (
                "an expression in a script is code of whoever names a branch"
            )
            done = subprocess.run(
                ["bash", "-n"], input=step["run"], text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_command_of_ours_is_understood(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("workflows", "deployments", "monitors", "cluster"):
        Path(path).mkdir()
    Path("pipeline.yaml").touch()
    found = 0
    for step in steps(file):
        for line in step.get("run", "").splitlines():
            if not line.strip().startswith("driftloop "):
                continue
            words = [
                WORDS.get(word, word.replace("$spec", "pipeline.yaml"))
                for word in shlex.split(re.split(" >>? ", line)[0])[1:]
            ]
            command = root.get_command(click.Context(root), words[0])
            assert command is not None, line
            # parsed, not run: an unknown option or a missing argument is an error here
            command.make_context(words[0], words[1:])
            found += 1
    assert found >= (2 if file in EXAMPLES else file.stem == "release")
