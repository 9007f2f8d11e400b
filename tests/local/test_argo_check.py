"""Everything that is rendered is understood."""

import pytest

from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_run.check import KINDS, check
from tests.golden.trees import NAMES, documents, tree


@pytest.mark.parametrize("name", NAMES)
def test_rendered_objects_are_understood(name: str) -> None:
    kinds = set()
    for _, item in documents(tree(name)):
        if item["kind"] in KINDS:
            check(item)
            kinds.add(item["kind"])
    assert {"WorkflowTemplate", "EventSource", "Sensor"} <= kinds


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
