"""How long a run may take, and what it needs of the platform."""

from pathlib import Path

import pytest
import yaml

from driftloop.plan import make_plan
from driftloop.resources.serving.rehearsal import rehearsed_servers
from driftloop.resources.workflows import refusing, training
from driftloop.resources.workflows.steps import WorkflowStep
from driftloop.spec import load_spec
from tests.spec.specs import changed

HOUR = 3600
INSTALLS = "driftloop.dev/installs"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("train", "hours"),
    [
        ("", 1),
        (", retries: {limit: 2, wait: 30m}", 3 + 1.5),
        # 1, 2, 4, … 32 minutes, then an hour before each of the last 14
        (", retries: {limit: 20, wait: 1m}", 21 + 63 / 60 + 14),
        (
            ", parameters: {a: 1}, search: {over: {a: [1, 2, 3]}, best: {metric: m}}, retries: {limit: 1, wait: 1h}",
            9,
        ),
    ],
)
def test_a_run_has_time_for_all_tries_and_the_waits_between_them(train: str, hours: float) -> None:
    spec = load_spec(changed('"train:train"', f'"train:train"{train}'), path="p.yaml")
    found = training.training_outline(make_plan(spec), ()).deadline
    evaluation = HOUR
    rehearsal = 600 + refusing.ASKING
    assert found == hours * HOUR + evaluation + rehearsal + training.QUEUEING


def test_a_monitor_of_answers_is_fitted_on_those_of_the_rehearsal() -> None:
    monitors = "  monitors: {drift: {on: response}, outlier: {}}\n  serve:"
    plan = make_plan(load_spec(changed("  serve:", monitors), path="p.yaml"))
    outline = training.training_outline(plan, rehearsed_servers(plan))
    steps = {node.name: node for node in outline.nodes if isinstance(node, WorkflowStep)}
    assert steps["fit-drift"].needs == ("rehearse",)
    assert steps["fit-drift"].when == steps["store"].when == refusing.REHEARSED
    assert steps["store"].needs == ("rehearse", "fit-drift")
    assert steps["fit-outlier"].needs == ("split",)
    assert steps["train"].needs == ("fit-outlier",)
    words = steps["fit-drift"].arguments
    assert words[words.index("--answers") + 1] == "/work/in/rehearsal/answers.jsonl"
    assert "--features" not in words
    asked = steps["evaluate"].arguments
    assert asked[asked.index("--rows") + 1] == "2000"


@pytest.mark.parametrize(
    ("monitors", "rows", "named"),
    [
        ("{drift: {}}", "500", True),
        ("{drift: {on: response}}\n  rehearse: {rows: 100}", "100", False),
        ("{drift: {on: response, detector: tabular}}", "2000", False),
    ],
)
def test_only_monitors_of_requests_look_at_the_columns(
    monitors: str, rows: str, named: bool
) -> None:
    spec = changed("  serve:", f"  monitors: {monitors}\n  serve:")
    plan = make_plan(load_spec(spec, path="p.yaml"))
    outline = training.training_outline(plan, rehearsed_servers(plan))
    steps = {node.name: node for node in outline.nodes if isinstance(node, WorkflowStep)}
    asked = steps["evaluate"].arguments
    assert asked[asked.index("--rows") + 1] == rows
    assert ("--features" in steps["split"].arguments) is named
    assert ("--features" in steps["snapshot"].arguments) is named


def test_the_platform_forgets_outputs_before_their_configmap_is_full() -> None:
    text = (ROOT / "cluster/infrastructure/controllers/argo-workflows.yaml").read_text()
    documents = list(yaml.safe_load_all(text))
    (installed,) = (
        one for one in documents if one.get("metadata", {}).get("annotations", {}).get(INSTALLS)
    )
    given = {
        operation["value"]["name"]: operation["value"]["value"]
        for patch in installed["spec"]["patches"]
        for operation in yaml.safe_load(patch["patch"])
        if operation["path"].endswith("/env/-")
    }
    assert given == {"CACHE_GC_PERIOD": "1h", "CACHE_GC_AFTER_NOT_HIT_DURATION": "168h"}
    (role,) = (one for one in documents if one["kind"] == "Role")
    assert "delete" in role["rules"][0]["verbs"], "the last entry goes with its ConfigMap"
