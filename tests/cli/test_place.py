"""The state folder and the repository that a command works in: those of the project it is typed
in."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.commands import type_command

from driftloop.local.ground.state import StateFolder
from driftloop.local.up import prepare
from tests.pipelines import SPEC
from tests.spec.specs import MINIMAL


class Projects:
    """Two projects side by side, each with a spec, below the home of a user."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLOOP_")}
        self.environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        for name in ("a", "b"):
            (home / name / "deep").mkdir(parents=True)
            (home / name / "pipeline.yaml").write_text(
                SPEC.replace("name: digits", f"name: {name}")
            )

    def start(self, name: str) -> StateFolder:
        """Make the state folder that `up` makes for a project."""
        state = StateFolder.open_folder(self.home / name / ".driftloop")
        state.create_folders()
        prepare.prepare_repository(state)
        platform = {
            "configMap": {
                "git-url": state.repository_url,
                "s3-endpoint": "http://x",
                "s3-region": "y",
                "gateway-url": "http://127.0.0.1:8080",
            },
            "secret": {"accesskey": "k", "secretkey": "s"},
        }
        state.platform.write_text(json.dumps(platform))
        state.ports_file.write_text(json.dumps({"gateway": 8080}))
        return state

    def types(
        self, where: str, *arguments: str, code: int = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return type_command(
            *arguments,
            folder=self.home / where,
            environment=self.environment | environment,
            code=code,
        )


@pytest.fixture
def projects(tmp_path: Path) -> Projects:
    return Projects(tmp_path)


def pipelines_in(repository: Path) -> list[str]:
    done = subprocess.run(
        ["git", f"--git-dir={repository}", "ls-tree", "--name-only", "main", "workflows/"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


def test_a_variable_of_one_project_does_not_direct_a_commit_of_another(projects: Projects) -> None:
    a, b = projects.start("a"), projects.start("b")
    done = projects.types("b", "commit", "pipeline.yaml", DRIFTLOOP_GIT_URL=a.repository_url)
    assert f"committed to branch main of {b.repository_url}" in done.stderr
    assert "DRIFTLOOP_GIT_URL is not used" in done.stderr
    assert (pipelines_in(a.repository), pipelines_in(b.repository)) == ([], ["workflows/b"])


def test_what_env_exports_directs_no_commit(projects: Projects) -> None:
    a = projects.start("a")
    exported = json.loads(projects.types("a", "env", "--output", "json").stdout)
    assert a.repository_url in exported.values()
    done = projects.types("b", "commit", "pipeline.yaml", code=1, **exported)
    assert "no cluster repository" in done.stderr
    assert pipelines_in(a.repository) == []


def test_an_explicit_option_wins(projects: Projects) -> None:
    a, b = projects.start("a"), projects.start("b")
    projects.types("b", "commit", "pipeline.yaml", "--state", "../a/.driftloop")
    assert (pipelines_in(a.repository), pipelines_in(b.repository)) == (["workflows/b"], [])
    missing = projects.types(
        "b", "commit", "pipeline.yaml", "--state", "none", code=1, DRIFTLOOP_GIT_URL="file:///x"
    )
    assert f"`{projects.home / 'b' / 'none'}` has none" in missing.stderr


def test_a_state_folder_is_looked_for_upwards(projects: Projects) -> None:
    b = projects.start("b")
    projects.types("b/deep", "commit", "../pipeline.yaml")
    assert pipelines_in(b.repository) == ["workflows/b"]
    assert f"nothing runs in {b.root}" in projects.types("b/deep", "status", code=1).stderr


def test_by_the_spec_from_elsewhere(projects: Projects) -> None:
    projects.start("a")
    b = projects.start("b")
    plan = projects.types("a/deep", "plan", "../../b/pipeline.yaml", "--output", "json")
    assert json.loads(plan.stdout)["pipeline"] == "b"
    projects.types("a/deep", "commit", "../../b/pipeline.yaml")
    assert pipelines_in(b.repository) == ["workflows/b"]
    done = projects.types("", "plan", "b/pipeline.yaml")
    assert "0 to change" in done.stderr or "nothing" in done.stdout + done.stderr


def test_a_plan_without_anything_to_compare_with_tells_it(projects: Projects) -> None:
    done = projects.types("b", "plan", "pipeline.yaml")
    assert "nothing to compare with, everything is new" in done.stderr


def test_variables_are_for_where_no_state_folder_is(projects: Projects) -> None:
    a = projects.start("a")
    projects.types("b", "commit", "pipeline.yaml", DRIFTLOOP_STATE=str(a.root))
    assert pipelines_in(a.repository) == ["workflows/b"]
    b = projects.start("b")
    done = projects.types("b", "commit", "pipeline.yaml", DRIFTLOOP_STATE=str(a.root))
    assert "DRIFTLOOP_STATE is not used" in done.stderr
    assert pipelines_in(b.repository) == ["workflows/b"]


def test_continuous_integration_names_the_repository_by_its_variable(projects: Projects) -> None:
    remote = projects.home / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", remote], check=True)
    done = projects.types(
        "b", "commit", "pipeline.yaml", "--output", "json", DRIFTLOOP_GIT_URL=f"file://{remote}"
    )
    document = json.loads(done.stdout)
    assert (document["repository"], document["branch"]) == (f"file://{remote}", "main")
    assert pipelines_in(remote) == ["workflows/b"]


def test_a_state_folder_at_home_is_not_that_of_every_project(projects: Projects) -> None:
    projects.start("")
    done = projects.types("b", "commit", "pipeline.yaml", code=1)
    assert "no cluster repository" in done.stderr


def test_a_state_folder_is_ignored_by_the_repository_of_the_project(projects: Projects) -> None:
    project = projects.home / "b"
    projects.start("b")
    subprocess.run(["git", "init", "-q", project], check=True)
    done = subprocess.run(
        ["git", "-C", project, "status", "--porcelain", "--untracked-files=all"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "?? pipeline.yaml\n"


def test_up_makes_its_state_folder_where_the_next_command_finds_it(projects: Projects) -> None:
    refused = MINIMAL.replace("{model: Digits}", "{server: sklearn}")
    (projects.home / "b" / "pipeline.yaml").write_text(refused)
    projects.types("b/..", "up", "b/pipeline.yaml", code=1)
    assert (projects.home / ".driftloop" / "version").exists()
    assert (
        f"nothing runs in {projects.home / '.driftloop'}"
        in projects.types("", "status", code=1).stderr
    )


def test_up_takes_the_spec_of_its_folder(projects: Projects) -> None:
    refused = MINIMAL.replace("{model: Digits}", "{server: sklearn}")
    (projects.home / "b" / "pipeline.yaml").write_text(refused)
    done = projects.types("b", "up", code=1)
    assert "pipeline.yaml" in done.stderr
    assert "which only Seldon's operator can run" in done.stderr
    assert (projects.home / "b" / ".driftloop" / "version").exists()
