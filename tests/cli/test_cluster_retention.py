"""What pipelines of a cluster keep: the platform file's values and bounds, by the commands of who commits a spec."""

import json
from pathlib import Path

import pytest
import yaml
from support.commands import type_command

from driftloop.errors import PipelineError
from driftloop.operations.runs.prune import read_policy
from driftloop.platform import parse_platform
from driftloop.render import render_tree
from driftloop.spec import load_spec
from tests.cli.test_clusters import WHERE, Engineer
from tests.golden.trees import spec_text

PLATFORM = """\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {name: prod}
spec:
  path: clusters/prod
  retention:
    runs: {default: 14d, longest: 30d}
    logs: {longest: 7d}
    traffic: {longest: 10d}
    streams: {broker: {most: 64Mi}, recorder: {default: 16Mi}}
    schedule: 0 2 * * *
"""
CAPTURE = "  capture: {}\n"
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "copy/driftloop/prod/platform.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(PLATFORM)
    (tmp_path / "copy/clusters/prod").mkdir(parents=True)
    (tmp_path / "copy/clusters/prod/apps.yaml").write_text("# of others\n")
    return tmp_path


def type_plan(folder: Path, more: str, *words: str, code: int = 0):
    (folder / "pipeline.yaml").write_text(spec_text("minimal").rstrip() + "\n" + more)
    return type_command("plan", "pipeline.yaml", "--into", "copy", *words, folder=folder, code=code)


def test_plan_says_whose_value_holds(folder: Path) -> None:
    done = type_plan(folder, "  capture: {}\n  retention: {releases: 60d}\n")
    assert done.stdout.partition("kept on this cluster\n")[2].splitlines()[:9] == [
        "  retention.trials: 30d (default)",
        "  retention.runs: 14d (platform file)",
        "  retention.releases: 60d (spec)",
        "  retention.logs: 7d (bound of the platform file)",
        "  capture.keep: 10d (bound of the platform file)",
        "  events.broker: 64Mi (bound of the platform file)",
        "  events.detector: 96Mi (default)",
        "  events.recorder: 16Mi (platform file)",
        "  retention.schedule: 0 2 * * * (platform file)",
    ]
    done = type_plan(folder, CAPTURE, "-o", "json")
    (runs,) = (each for each in json.loads(done.stdout)["kept"] if each["path"] == "retention.runs")
    assert runs == {
        "path": "retention.runs", "value": "14d", "holder": "platform file", "asked": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("  retention: {runs: 90d}\n", "spec.retention.runs is 90d, must be at most 30d on cluster `prod`"),
        ("  capture: {keep: null}\n", "spec.capture.keep is for ever, must be at most 10d on cluster `prod`"),
        ("  events: {broker: 1Gi}\n", "spec.events.broker is 1Gi, must be at most 64Mi on cluster `prod`"),
        ("  retention: {schedule: null}\n", "spec.retention.schedule is null, must be given or left out"),
    ],
)  # fmt: skip
def test_a_spec_beyond_a_bound_is_refused_at_its_place(folder: Path, more: str, says: str) -> None:
    done = type_plan(folder, more, code=1)
    line = len(spec_text("minimal").rstrip().splitlines()) + 1
    assert f"pipeline.yaml:{line}:" in done.stderr
    assert says in done.stderr
    assert "driftloop/prod/platform.yaml says so for all pipelines of `prod`" in done.stderr
    words = ("render", "pipeline.yaml", "--into", "copy")
    assert says in type_command(*words, folder=folder, code=1).stderr


def test_a_commit_beyond_a_bound_is_refused(tmp_path: Path) -> None:
    engineer = Engineer(tmp_path)
    text = PLATFORM.replace("name: prod", "name: staging").replace(
        "clusters/prod", "clusters/staging"
    )
    engineer.writes("driftloop/staging/platform.yaml", text)
    engineer.pushes()
    spec = engineer.folder / "pipeline.yaml"
    good = spec.read_text()
    spec.write_text(good.rstrip() + "\n  retention: {logs: 30d}\n")
    done = engineer.types("commit", "pipeline.yaml", *WHERE, code=1)
    assert "spec.retention.logs is 30d, must be at most 7d on cluster `staging`" in done.stderr
    spec.write_text(good)
    engineer.types("commit", "pipeline.yaml", *WHERE)


def test_objects_and_steps_have_what_holds() -> None:
    ground = parse_platform(PLATFORM, path="driftloop/prod/platform.yaml")
    text = spec_text("minimal").rstrip() + "\n  capture: {keep: 20d}\n  retention: {runs: 90d}\n"
    tree = render_tree(text, None, platform=ground)
    recorder = tree["monitors/minimal/recorder.deployment.yaml"]
    assert f'"keep":{10 * DAY}'.replace(" ", "") in recorder.replace(" ", "")
    assert str(16 * 1024 * 1024) in recorder
    cron = yaml.safe_load(tree["workflows/minimal/prune.cronworkflow.yaml"])
    assert cron["spec"]["schedules"] == ["0 2 * * *"]
    # committed before the bound was there
    policy = read_policy(load_spec(text, path="pipeline.yaml").spec, ground)
    assert (policy.runs, policy.logs, policy.trials) == (30 * DAY, 7 * DAY, 30 * DAY)


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ("runs: {default: 60d, longest: 30d}", "`default` must be at most `longest`"),
        ("streams: {broker: {default: 2Gi, most: 1Gi}}", "`default` must be at most `most`"),
        ("forever: {}", "spec.retention.forever is not a known key"),
    ],
)
def test_a_platform_file_contradicts_itself_nowhere(bound: str, says: str) -> None:
    text = PLATFORM[: PLATFORM.index("    runs:")] + f"    {bound}\n"
    with pytest.raises(PipelineError) as error:
        parse_platform(text, path="driftloop/prod/platform.yaml")
    assert says in str(error.value)
