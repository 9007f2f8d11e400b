"""commit, promote, rollback, remove: a person's commits, run as the command they are typed as."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.commands import type_command

from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release import record
from tests.pipelines import SPEC, version

A, B = version("digits-a"), version("digits-b")


class Person:
    """A person at a terminal, in a folder with a spec and beside an empty cluster repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote = folder, folder / "cluster.git"
        subprocess.run(
            ["git", "init", "-q", "--bare", "--initial-branch=main", self.remote], check=True
        )
        (folder / "pipeline.yaml").write_text(SPEC)
        (folder / ".gitconfig").write_text("[user]\n\tname = Eve\n\temail = eve@example.org\n")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLOOP_")}
        self.environment |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}

    def types(
        self, *arguments: str, code: int = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return type_command(
            *arguments,
            folder=self.folder,
            environment=self.environment | environment,
            code=code,
        )

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", self.remote, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.rstrip("\n")

    @property
    def repository(self) -> Repository:
        return Repository(str(self.remote), guard=refuse_harm, workdir=self.folder / "cache")

    def release(self) -> record.Release:
        return pipelines.read_pipeline(
            self.repository.tree(self.repository.tip()), "digits"
        ).release

    def moves(self, *steps) -> None:
        for step in steps:
            pipelines.commit_transition(
                self.repository,
                "digits",
                step,
                lambda before, after: TransitionMessage("Move", after.candidate or A, "x"),
            )


@pytest.fixture
def person(tmp_path):
    return Person(tmp_path)


WHERE = ("--repository", "cluster.git")


def test_commit(person):
    done = person.types("commit", "pipeline.yaml", *WHERE)
    assert done.stdout.strip() == person.git("rev-parse", "main")
    assert (
        person.git("log", "-1", "--format=%an <%ae>|%s", "main")
        == "Eve <eve@example.org>|Add pipeline digits"
    )
    assert "Driftloop-Cause: person Eve" in person.git("log", "-1", "--format=%B", "main")
    done = person.types("commit", "pipeline.yaml", *WHERE)
    assert (done.stdout, "nothing to change" in done.stderr) == ("", True)
    done = person.types("commit", "pipeline.yaml", *WHERE, "--output", "json")
    assert json.loads(done.stdout) == {
        "pipeline": "digits", "commit": None, "unfitted": None,
        "repository": f"file://{person.remote}", "branch": "main",
    }  # fmt: skip


def test_a_surprise_is_refused_until_it_is_allowed(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    person.moves(lambda release: record.release_first(release, A))
    tip = person.git("rev-parse", "main")
    (person.folder / "pipeline.yaml").write_text(SPEC[: SPEC.index("  monitors:")])
    said = f"error: the drift detector of production {A.id} goes away"
    for command in ("plan", "commit"):
        done = person.types(command, "pipeline.yaml", *WHERE, code=1)
        assert said in done.stderr
        assert "hint: to allow it: --allow detector-removed" in done.stderr
    assert person.git("rev-parse", "main") == tip
    done = person.types("commit", "pipeline.yaml", *WHERE, "--allow", "detectors", code=2)
    assert (
        "`detectors` is not defined, must be one of: detector-removed, jetstream-full, predictor-removed, rollout-left"
        in done.stderr
    )
    person.types("plan", "pipeline.yaml", *WHERE, "--allow", "detector-removed")
    person.types("commit", "pipeline.yaml", *WHERE, "--allow", "detector-removed")
    assert person.git("rev-parse", "main^") == tip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("commit", "none.yaml", *WHERE), "none.yaml can't be read: No such file"),
        (("commit", "pipeline.yaml"), "no cluster repository"),
        (
            ("commit", "pipeline.yaml", "--repository", "nowhere.git"),
            "the repository does not exist",
        ),
        (
            ("promote", "digits", *WHERE),
            "the cluster repository has no pipeline `digits`, it has: none",
        ),
        (
            ("remove", "digits", *WHERE),
            "the cluster repository has no pipeline `digits`, it has: none",
        ),
        (("trigger", "digits"), "nothing runs in"),
        (
            ("trigger", "digits", "--url", "http://127.0.0.1:9/retrain"),
            "DRIFTLOOP_WEBHOOK_TOKEN is not set",
        ),
    ],
)
def test_what_is_missing_is_said(person, arguments, said):
    done = person.types(*arguments, code=1)
    assert said in done.stderr
    assert "hint:" in done.stderr or arguments[0] == "remove"


def test_a_broken_spec_says_where(person):
    (person.folder / "pipeline.yaml").write_text(SPEC.replace("evaluate:", "evalute:"))
    assert "pipeline.yaml:10:" in person.types("commit", "pipeline.yaml", *WHERE, code=1).stderr


def test_promote_and_back(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    assert "needs phase" in person.types("promote", "digits", *WHERE, code=1).stderr
    person.moves(
        lambda release: record.release_first(release, A),
        lambda release: record.start_shadow(release, B),
    )
    done = person.types("promote", "digits", *WHERE, "--output", "json")
    assert json.loads(done.stdout)["repository"] == f"file://{person.remote}"
    assert json.loads(done.stdout)["production"] == B.id
    assert json.loads(done.stdout)["commit"] == person.git("rev-parse", "main")
    assert person.git("log", "-2", "--format=%s", "main").splitlines() == [
        f"Promote {B.id} of digits",
        f"End the rollout of {B.id} of digits: accepted",
    ]
    # its detectors were not listening in the shadow
    assert (
        f"Promoted straight from its shadow: what {B.id} is asked until its detectors have followed"
        in " ".join(person.git("log", "-1", "--format=%b", "main").split())
    )
    assert person.release().previous == A
    done = person.types("rollback", "digits", "--unchecked", *WHERE)
    assert f"committed to branch main of file://{person.remote}" in done.stderr
    assert done.stdout.strip() == person.git("rev-parse", "main")
    assert person.git("log", "-1", "--format=%s", "main") == f"Roll digits back to {A.id}"
    assert (person.release().production, person.release().weights) == (A, {A.id: 100})
    assert "no previous version" in person.types("rollback", "digits", *WHERE, code=1).stderr


def test_promoted_from_a_canary_its_detectors_miss_nothing(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    person.moves(
        lambda release: record.release_first(release, A),
        lambda release: record.start_shadow(release, B),
    )
    trigger = "monitors/digits/drift.trigger.yaml"
    assert f"endpoint: {A.id}" in person.git("show", f"main:{trigger}")
    person.moves(lambda release: record.set_canary(release, 10))
    assert "endpoint:" not in person.git("show", f"main:{trigger}")
    person.types("promote", "digits", *WHERE)
    assert "straight from its shadow" not in person.git("log", "-1", "--format=%b", "main")


def test_rollback_during_a_rollout_takes_the_candidate_out(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    person.moves(
        lambda release: record.release_first(release, A),
        lambda release: record.start_shadow(release, B),
        lambda release: record.set_canary(release, 10),
    )
    person.types("rollback", "digits", *WHERE)
    assert (
        person.git("log", "-1", "--format=%s", "main")
        == f"Take {B.id} of digits out of its rollout"
    )
    assert person.release().weights == {A.id: 100}


def test_remove_without_a_runtime_goes_one_commit_at_a_time(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    subjects = []
    for n in range(2):
        done = json.loads(person.types("remove", "digits", *WHERE, "--output", "json").stdout)
        assert done["done"] is (n == 1)
        subjects.append(person.git("log", "-1", "--format=%s", "main"))
    assert subjects == ["Remove digits from Flux", "Remove the files of digits"]
    assert person.git("ls-tree", "-r", "--name-only", "main") == "cluster/dev/.gitkeep"
    person.types("remove", "digits", *WHERE, code=1)


def test_remove_waits_until_flux_has_removed_the_pipeline(person):
    person.types("commit", "pipeline.yaml", *WHERE)
    asked = []

    class Flux(BaseHTTPRequestHandler):
        """Prunes at the second look what is no longer named."""

        def do_GET(self) -> None:
            asked.append(self.path)
            known = self.path.rpartition("/")[2] in (
                "digits-workflows",
                "digits-deployments",
                "digits-monitors",
            )
            named = person.git(
                "ls-tree", "-r", "--name-only", "main", "cluster/dev/pipelines/digits.yaml"
            )
            there = known and (bool(named) or asked.count(self.path) < 2)
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(b'{"status": {}}')

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Flux)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        done = person.types("remove", "digits", *WHERE, DRIFTLOOP_KUBERNETES_URL=url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert person.git("ls-tree", "-r", "--name-only", "main") == "cluster/dev/.gitkeep"
    assert int(person.git("rev-list", "--count", "main")) == 3
    assert "Kustomizations not removed yet: monitors, deployments, workflows" in done.stderr
    assert done.stderr.count("applied after") == 1
    assert any(path.endswith("/kustomizations/digits-monitors") for path in asked)
