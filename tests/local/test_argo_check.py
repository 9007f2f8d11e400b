"""Everything that is rendered is understood."""

from pathlib import Path

import pytest
import yaml

from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_run.check import KINDS, check

GOLDEN = Path(__file__).parents[1] / "golden"
TREES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "expected").is_dir())


@pytest.mark.parametrize("tree", TREES)
def test_rendered_objects_are_understood(tree: str) -> None:
    found = []
    for file in sorted((GOLDEN / tree / "expected").rglob("*.yaml")):
        for item in yaml.safe_load_all(file.read_text()):
            if isinstance(item, dict) and item.get("kind") in KINDS:
                check(item)
                found.append(item["kind"])
    assert {"WorkflowTemplate", "EventSource", "Sensor"} <= set(found)


def test_what_is_not_understood_has_a_name() -> None:
    def broken(kind: str, **spec: object) -> dict[str, object]:
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": "x", "namespace": "n"},
            "spec": spec,
        }

    step = {"name": "main", "container": {"image": "i", "command": ["c"]}}
    for manifest, said in (
        (broken("WorkflowTemplate", entrypoint="main", templates=[{**step, "sidecars": []}]), "`templates.0.sidecars`"),
        (broken("CronWorkflow", schedules=["nonsense"], workflowSpec={}), "schedule `nonsense` is not understood"),
        (broken("CronWorkflow", schedules=["0 3 31 2 *"], workflowSpec={}), "schedule `0 3 31 2 *` is not understood"),
        (broken("CronWorkflow", schedules=["0 * * * *"], workflowSpec={}, timezone="Mars"), "no time zone `Mars`"),
        (broken("EventSource", calendar={}), "`calendar` is not understood"),
        (broken("Sensor", dependencies=[], triggers=[]), "`dependencies`"),
    ):
        with pytest.raises(NotUnderstoodError) as raised:
            check(manifest)
        assert said in raised.value.message
    check(broken("ConfigMap", anything=1))
