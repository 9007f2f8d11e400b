"""Code beside a spec counts: `plan`, `commit` and `up` know what is registered under its tag."""

import json
import os
from pathlib import Path

import pytest

from driftloop.local.kubelet import images
from tests.cli.test_place import Projects, pipelines_in
from tests.spec.specs import MINIMAL

TRAIN = "VERSION = 1\n\n\ndef train(data, out):\n    return {'version': VERSION}\n"
EVALUATE = "def evaluate(model, data):\n    return {'accuracy': 0.9}\n"
TRAINER = "ghcr.io/acme/digits-trainer"


@pytest.fixture
def project(tmp_path: Path) -> Projects:
    projects = Projects(tmp_path)
    folder = tmp_path / "a"
    text = MINIMAL.replace("trainer:1.0.0}", "trainer:1.0.0, context: trainer}")
    (folder / "pipeline.yaml").write_text(text)
    (folder / "trainer").mkdir()
    (folder / "trainer" / "Dockerfile").write_text("FROM python:3.11-slim\n")
    (folder / "trainer" / "requirements.txt").write_text("")
    (folder / "trainer" / "train.py").write_text(TRAIN)
    (folder / "trainer" / "evaluate.py").write_text(EVALUATE)
    projects.start("a")
    return projects


def registered(projects: Projects) -> list[str]:
    return [image.ref for image in images.list_registered(projects.start("a"))]


def test_a_commit_registers_what_its_runs_need(project: Projects) -> None:
    done = project.types("a", "plan", "pipeline.yaml")
    assert "the code of images.trainer is registered as" in done.stdout
    assert registered(project) == []
    project.types("a", "commit", "pipeline.yaml")
    [ref] = registered(project)
    assert ref.endswith("trainer:1.0.0")
    assert "images.trainer" not in project.types("a", "plan", "pipeline.yaml").stdout


def test_code_that_changed_without_a_new_tag_is_no_commit(project: Projects) -> None:
    project.types("a", "commit", "pipeline.yaml")
    spec = project.home / "a" / "pipeline.yaml"
    (project.home / "a" / "trainer" / "train.py").write_text(TRAIN.replace("1", "2"))
    plan = project.types("a", "plan", "pipeline.yaml", "--output", "json", code=1)
    [effect] = json.loads(plan.stdout)["effects"]
    assert "the code of images.trainer in" in effect
    assert "has changed" in effect
    before = spec.read_text()
    refused = project.types("a", "commit", "pipeline.yaml", code=1)
    assert "has changed, and `" in refused.stderr
    assert "trainer:1.0.1` in the spec, or let --bump do it" in refused.stderr
    assert spec.read_text() == before
    done = project.types("a", "commit", "pipeline.yaml", "--bump")
    assert spec.read_text() == before.replace("trainer:1.0.0", "trainer:1.0.1")
    assert "images.trainer is `" in done.stderr
    assert [ref.rpartition(":")[2] for ref in registered(project)] == ["1.0.0", "1.0.1"]
    assert "nothing to change" in project.types("a", "commit", "pipeline.yaml", "--bump").stderr


def test_code_that_can_not_be_registered_is_told_before_the_commit(project: Projects) -> None:
    (project.home / "a" / "trainer" / "Dockerfile").unlink()
    done = project.types("a", "commit", "pipeline.yaml", code=1)
    assert "spec.images.trainer.context is `trainer`, must hold Dockerfile" in done.stderr
    assert "nothing to compare" not in done.stderr


def test_another_repository_does_not_tell_what_was_built(project: Projects) -> None:
    done = project.types(
        "a", "commit", "pipeline.yaml", "--bump", "--repository", "elsewhere.git", code=2
    )
    assert "--bump needs a state folder" in done.stderr


def test_a_server_that_can_not_run_here_is_no_commit(project: Projects) -> None:
    spec = project.home / "a" / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("{model: Digits}", "{server: sklearn}"))
    for command in ("commit", "plan"):
        refused = project.types("a", command, "pipeline.yaml", code=1)
        assert "spec.serve.server is `sklearn`, which only Seldon's operator can" in refused.stderr
    assert registered(project) == []
    assert pipelines_in(project.start("a").repository) == []


def test_a_column_that_the_batches_lack_is_no_commit(project: Projects) -> None:
    state = project.start("a")
    folder = state.s3 / "digits" / "batches"
    folder.mkdir(parents=True)
    (folder / "old.csv").write_text("other,y\n1,0\n")
    os.utime(folder / "old.csv", (1, 1))
    (folder / "new.csv").write_text("bill,flipper,y\n1,2,0\n")
    spec = project.home / "a" / "pipeline.yaml"
    good = spec.read_text().replace("digits/batches}", 'digits/batches, features: "bill,flipper"}')
    spec.write_text(good.replace("bill,flipper", "bil,flipper"))
    for command in ("commit", "plan"):
        refused = project.types("a", command, "pipeline.yaml", code=1)
        assert refused.stderr.count("new.csv has no column `bil`, which `data.features` names") == 1
        assert "its columns: `bill`, `flipper`, `y`\n" in refused.stderr
        assert "hint: did you mean `bill`?" in refused.stderr
    assert pipelines_in(state.repository) == []
    (folder / "new.csv").write_text("bill,flipper,y\n" + "".join(f"{n},2,0\n" for n in range(101)))
    spec.write_text(good + "  monitors: {drift: {detector: chi2}}\n")
    refused = project.types("a", "commit", "pipeline.yaml", code=1)
    assert "new.csv: column `bill` has more than 100 different values" in refused.stderr
    assert pipelines_in(state.repository) == []
    spec.write_text(good)
    project.types("a", "commit", "pipeline.yaml")
