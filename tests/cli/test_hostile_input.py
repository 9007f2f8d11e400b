"""Addresses, folders and locks that are not what they seem: refused by name, with nothing run,
copied or signalled."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import PATIENCE

from driftloop.local.ground.state import StateFolder
from tests.cli.test_place import Projects
from tests.pipelines import SPEC
from tests.spec.specs import MINIMAL

TRAINER = {
    "Dockerfile": "FROM python:3.11-slim\n",
    "requirements.txt": "",
    "train.py": "def train(data, out):\n    return {'version': 1}\n",
    "evaluate.py": "def evaluate(model, data):\n    return {'accuracy': 0.9}\n",
}


def types(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Exit code and output of a command, which must end."""
    done = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.mark.parametrize("option", ["--upload-pack", "--receive-pack", "--exec"])
def test_an_address_that_is_an_option_runs_nothing(tmp_path: Path, option: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    marker = tmp_path / "ran"
    address = f"{option}=touch {marker}; true file://"
    code, text = types("commit", "pipeline.yaml", f"--repository={address}", cwd=tmp_path)
    assert code == 1
    assert "is not an address of a repository: it begins with `-`" in text
    assert not marker.exists()


def test_a_branch_that_is_an_option_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    words = ("commit", "pipeline.yaml", "--repository", "file:///nowhere", "--branch=--output=ran")
    code, text = types(*words, cwd=tmp_path)
    assert code == 1
    assert "`--output=ran` is not a branch name" in text
    assert not (tmp_path / "ran").exists()


def test_a_revision_that_is_an_option_is_refused(tmp_path: Path) -> None:
    projects = Projects(tmp_path)
    projects.start("a")
    projects.types("a", "commit", "pipeline.yaml")
    code, text = types("rollback", "digits", "--to=--output=ran", cwd=tmp_path / "a")
    assert code in (1, 2)
    assert not list(tmp_path.rglob("ran"))
    assert text


@pytest.mark.parametrize("uri", ["s3://driftloop/batches", "s3://driftloop"])
def test_the_platform_s_own_bucket_holds_no_batches(tmp_path: Path, uri: str) -> None:
    before = next(line for line in MINIMAL.splitlines() if "s3://" in line)
    old = next(word.strip("{},") for word in before.split() if "s3://" in word)
    (tmp_path / "pipeline.yaml").write_text(MINIMAL.replace(old, uri))
    number = MINIMAL.splitlines().index(before) + 1
    code, text = types("validate", "pipeline.yaml", cwd=tmp_path)
    assert code == 1
    assert f"pipeline.yaml:{number}:" in text
    assert f"spec.data.uri is `{uri}`, must be in a bucket of your own" in text


@pytest.fixture
def project(tmp_path: Path) -> Projects:
    projects = Projects(tmp_path)
    folder = tmp_path / "a"
    text = MINIMAL.replace("trainer:1.0.0}", "trainer:1.0.0, context: trainer}")
    (folder / "pipeline.yaml").write_text(text)
    (folder / "trainer").mkdir()
    for name, content in TRAINER.items():
        (folder / "trainer" / name).write_text(content)
    projects.start("a")
    return projects


Plant = Callable[[Path, Path], object]


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (
            lambda code, secret: (code / "x.txt").symlink_to(secret),
            "x.txt is a link to `{secret}`, must name a file inside",
        ),
        (
            lambda code, secret: (code / "keys").symlink_to(secret.parent),
            "keys is a link to `{secret.parent}`, must name a file inside",
        ),
        (
            lambda code, secret: (code / "up").symlink_to("../../outside/secret.txt"),
            "up is a link to `../../outside/secret.txt`, must name a file inside",
        ),
        (
            lambda code, secret: (code / "gone").symlink_to("nothing"),
            "gone is a link to `nothing`, which does not exist",
        ),
        (
            lambda code, secret: (code / "round").symlink_to("round"),
            "round is a link to `round`, which does not exist",
        ),
        (lambda code, secret: os.mkfifo(code / "pipe"), "pipe is a named pipe, not a plain file"),
    ],
    ids=["file", "folder", "upwards", "broken", "circle", "pipe"],
)
def test_an_image_folder_holds_its_own_files_only(
    project: Projects, tmp_path: Path, plant: Plant, words: str
) -> None:
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "secret.txt"
    secret.write_text("do not copy me")
    plant(tmp_path / "a" / "trainer", secret)
    code, text = types("commit", "pipeline.yaml", cwd=tmp_path / "a")
    assert code == 1
    assert words.format(secret=secret) in text
    images = project.start("a").images
    assert not any(
        "do not copy me" in file.read_text(errors="replace")
        for file in images.rglob("*")
        if file.is_file()
    )


def test_a_link_inside_is_part_of_the_image_and_of_its_digest(
    project: Projects, tmp_path: Path
) -> None:
    code = tmp_path / "a" / "trainer"
    (code / "shared").mkdir()
    (code / "shared" / "one.py").write_text("ONE = 1\n")
    (code / "one.py").symlink_to("shared/one.py")
    (code / "common").symlink_to("shared")
    project.types("a", "commit", "pipeline.yaml")
    apps = [link for link in project.start("a").images.rglob("common") if link.is_symlink()]
    assert [os.readlink(link) for link in apps] == ["shared"]
    assert (apps[0].parent / "one.py").read_text() == "ONE = 1\n"
    (code / "one.py").unlink()
    (code / "one.py").symlink_to("train.py")
    changed = project.types("a", "plan", "pipeline.yaml", code=1)
    assert "has changed" in changed.stdout


def test_a_pipe_is_no_batch(project: Projects, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a" / "rows.csv")
    state = project.start("a")
    code, text = types(
        "data", "put", "rows.csv", "--to", "digits", "--state", str(state.root), cwd=tmp_path / "a"
    )
    assert code in (1, 2)
    assert "rows.csv" in text or "does not run" in text


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has nothing to do with a state folder."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    yield process
    process.kill()
    process.wait()


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(3600)
"""


def test_down_signals_the_process_that_holds_the_lock_only(
    tmp_path: Path, bystander: "subprocess.Popen[bytes]"
) -> None:
    """The number in the file is of another process: after a damage, or since numbers come again."""
    state = StateFolder.open_folder(tmp_path / "state")
    state.create_folders()
    lock = state.run / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock.write_text(str(bystander.pid))
        code, text = types("down", "--state", str(state.root), cwd=tmp_path)
        assert (code, f"stopping process {holder.pid}" in text) == (0, True)
        assert holder.wait(PATIENCE) != 0
    time.sleep(0.2)
    assert bystander.poll() is None
    lock.write_text(str(bystander.pid))
    code, text = types("down", "--state", str(state.root), cwd=tmp_path)
    assert (code, "nothing was running" in text) == (0, True)
    assert bystander.poll() is None
