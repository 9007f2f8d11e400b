"""Twenty writers in twenty processes, one bare repository, a server that refuses at random: nothing is lost."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release import record
from tests.pipelines import SPEC, version

WRITERS = 20

# Adds a pipeline of its own, then gives the shared one's candidate one more percent. A refusal by the server's rules
# is an error of the command, not a race, so whoever called it calls again, as a person or a workflow's retry does.
WRITER = """
import sys
from pathlib import Path
from driftloop.errors import GitError
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.git.repository import Repository
from driftloop.operations.commits.guard import refuse_harm
from driftloop.release import record

url, workdir, spec, own = sys.argv[1:]
repository = Repository(url, guard=refuse_harm, workdir=Path(workdir))
said = []

def until_accepted(call):
    while True:
        try:
            return call()
        except GitError as error:
            if "refuses the push by its rules" not in str(error):
                raise
            said.append("refused")

def more(release):
    return record.set_canary(release, release.weights[release.candidate.id] + 1)

def why(before, after):
    return TransitionMessage(f"{own} adds a percent", after.candidate, f"person {own}")

until_accepted(lambda: pipelines.commit_spec(repository, spec, cause=f"person {own}"))
until_accepted(lambda: pipelines.commit_transition(repository, "digits", more, why))
print(len(said))
"""

HOOK = """#!{python}
import random, sys
if random.random() < 0.25:
    sys.exit("protected branch hook declined")
"""


@contextmanager
def started_writers() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """Collect writers, each leading a session, and kill those still running with their gits.

    Writers are registered as they start, so an interrupt among the starts reaches the earlier ones.
    """
    writers: dict[str, subprocess.Popen[str]] = {}
    try:
        yield writers
    finally:
        for writer in writers.values():
            if writer.poll() is None:
                os.killpg(writer.pid, signal.SIGKILL)
        for writer in writers.values():
            writer.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_writers_lose_nothing(remote, repository, git, tmp_path):
    pipelines.commit_spec(repository, SPEC)

    def moved(step):
        pipelines.commit_transition(
            repository,
            "digits",
            step,
            lambda _, after: TransitionMessage("Move", after.candidate or after.production),
        )

    moved(lambda release: record.release_first(release, version("digits-a")))
    moved(lambda release: record.set_canary(record.start_shadow(release, version("digits-b")), 10))
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable))
    hook.chmod(0o755)
    base = git("rev-parse", "main")

    names = [f"own-{number}" for number in range(WRITERS)]
    specs = {name: SPEC.replace("name: digits", f"name: {name}", 1) for name in names}
    random.Random(7).shuffle(names)
    refused = 0
    with started_writers() as writers:
        for name in names:
            arguments = [f"file://{remote}", str(tmp_path / name), specs[name], name]
            writers[name] = subprocess.Popen(
                [sys.executable, "-c", WRITER, *arguments],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        for name, writer in writers.items():
            out, err = writer.communicate(timeout=800)
            assert writer.returncode == 0, (name, err)
            refused += int(out)
    assert refused > 0, "the server refused nobody, so nothing was shown"

    assert git("rev-list", "--min-parents=2", "main") == "", "the history is linear"
    assert git("merge-base", base, "main") == base, "nothing was pushed over"
    subjects = Counter(git("log", "--format=%s", f"{base}..main").splitlines())
    assert subjects == Counter(
        [f"Add pipeline {n}" for n in names] + [f"{n} adds a percent" for n in names]
    )
    fresh = Repository(f"file://{remote}", guard=refuse_harm, workdir=tmp_path / "reader")
    tree = fresh.tree(fresh.tip())
    release = pipelines.read_pipeline(tree, "digits").release
    assert release.weights[version("digits-b").id] == 10 + WRITERS
    for name in ("digits", *names):
        pipelines.check_rendered(
            pipelines.read_pipeline(tree, name)
        )  # every file is what spec and release render to
    for path in tree:
        list(yaml.safe_load_all(tree[path]))
