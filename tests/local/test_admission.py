"""Objects are admitted whole or refused by name: every rendered one is admitted, any other key is refused."""

import pytest

from driftloop.errors import LocalError
from driftloop.local.flux import admission
from driftloop.local.ground import kinds
from tests.golden.trees import NAMES, documents, tree


def broken(kind: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "namespace": "n"},
        "spec": spec,
    }


@pytest.mark.parametrize("name", NAMES)
def test_rendered_objects_are_admitted(name: str) -> None:
    names = set()
    for _, item in documents(tree(name)):
        kind = item["kind"]
        # what copies to a server of the operator's over gRPC is refused with its SeldonDeployment
        operated = kind == "SeldonDeployment" or (kind == "VirtualService" and "server-" in name)
        if kinds.object_kind(item) in kinds.ACTS_ON and not operated:
            admission.validate_object(item)
            names.add(item["kind"])
    assert {"WorkflowTemplate", "EventSource", "Sensor", "EventBus", "Service"} <= names


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (
            broken(
                "WorkflowTemplate",
                entrypoint="main",
                templates=[
                    {
                        "name": "main",
                        "container": {"image": "i", "command": ["c"]},
                        "initContainers": [],
                    }
                ],
            ),
            "`spec.templates.0.initContainers`",
        ),
        (
            broken(
                "CronWorkflow", schedules=["nonsense"], concurrencyPolicy="Forbid", workflowSpec={}
            ),
            "schedule `nonsense` must be",
        ),
        (
            broken(
                "CronWorkflow",
                schedules=["0 3 31 2 *"],
                concurrencyPolicy="Forbid",
                workflowSpec={},
            ),
            "schedule `0 3 31 2 *` must name",
        ),
        (
            broken(
                "CronWorkflow",
                schedules=["0 * * * *"],
                concurrencyPolicy="Forbid",
                workflowSpec={},
                timezone="Mars",
            ),
            "`Mars` does not exist",
        ),
        (broken("EventSource", calendar={}), "`spec.calendar` is not supported"),
        (broken("Sensor", dependencies=[], triggers=[]), "`spec.dependencies`"),
    ],
)
def test_refusals_name_file_object_and_field(manifest: dict[str, object], words: str) -> None:
    with pytest.raises(LocalError) as raised:
        admission.admit_object(manifest, "a/b.yaml")
    assert words in raised.value.message
    assert raised.value.message.startswith(f"a/b.yaml: {manifest['kind']} n/x: ")


def test_every_kind_that_is_acted_on_has_a_validator() -> None:
    assert set(admission._VALIDATORS) == set(kinds.ACTS_ON)


def test_objects_without_effect_are_not_validated() -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "x"},
        "anything": 1,
    }
    assert admission.admit_object(manifest, "x.yaml") == "everything runs as you"
