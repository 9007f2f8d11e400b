"""The stand-ins support what the golden trees have, and the reference page and `up --explain` say so."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from driftloop.cli.up import command
from driftloop.errors import PipelineError
from driftloop.local.flux import supported
from driftloop.local.istio.login import is_login
from driftloop.local.seldon import serving
from tests.golden.trees import NAMES, documents, tree

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "local.md"
BLOCK = re.compile(
    r"(?<=<!-- driftloop up --explain -->\n```text\n).*?(?=```\n<!-- end -->)", re.DOTALL
)

ELSEWHERE = {
    "Deployment spec.template.spec runtimeClassName": "a python server with a GPU profile",
    "Deployment spec.template.spec.volumes[].emptyDir medium": "its shared memory",
    "Deployment spec.template.spec.volumes[].emptyDir sizeLimit": "its shared memory",
    "Deployment spec.template.spec.containers[].livenessProbe tcpSocket": "a tree of version 0.1",
    "Deployment spec.template.spec.containers[].livenessProbe.tcpSocket port": "a tree of version 0.1",
    "EventSource spec.template serviceAccountName": "the model that it shares with Sensor",
    "EventSource spec.template.container.securityContext runAsGroup": "the model of all containers",
    "Sensor spec.template.container.securityContext runAsGroup": "the model of all containers",
    "EventSource spec.template.container.securityContext readOnlyRootFilesystem": "the model of all containers",
    "Sensor spec.template.container.securityContext readOnlyRootFilesystem": "the model of all containers",
    "EventSource spec.template.container.securityContext.capabilities add": "the model of all pods",
    "EventSource spec.template.container.securityContext.seccompProfile localhostProfile": "the model of all pods",
    "EventSource spec.template.securityContext.seccompProfile localhostProfile": "the model of all pods",
    "EventSource spec.template.securityContext supplementalGroups": "the model of all pods",
    "Sensor spec.template.container.securityContext.capabilities add": "the model of all pods",
    "Sensor spec.template.container.securityContext.seccompProfile localhostProfile": "the model of all pods",
    "Sensor spec.template.securityContext.seccompProfile localhostProfile": "the model of all pods",
    "Sensor spec.template.securityContext supplementalGroups": "the model of all pods",
    "AuthorizationPolicy spec.rules[].when[] values": "gRPC, which the operator's servers alone speak",
    "RequestAuthentication spec.jwtRules[] forwardOriginalToken": "`forward: true`",
    "WorkflowTemplate spec workflowTemplateRef": "the Workflow that a Sensor creates",
    "WorkflowTemplate spec shutdown": "the Workflow that `driftloop cancel` stops",
    "WorkflowTemplate spec.workflowTemplateRef name": "the Workflow that a Sensor creates",
    "WorkflowTemplate spec.templates[].dag.tasks[].arguments.parameters[] description": "a Workflow's own",
}
"""Field that no golden tree has -> what has it."""


def objects() -> Iterator[dict[str, Any]]:
    for name in NAMES:
        operated = False
        for _, item in documents(tree(name)):
            if item["kind"] == "SeldonDeployment":
                try:
                    yield from serving.expand_object(item)
                except PipelineError:
                    # a server or graph that only Seldon's operator runs, and the copies to it
                    operated = True
            if item["kind"] == "AuthorizationPolicy" and not is_login(item):
                continue  # a mesh's, without effect here
            if not (operated and item["kind"] == "VirtualService"):
                yield item


def join_containers(place: str) -> str:
    """The place of a container for one of its sidecars, which have the same model."""
    return place.replace(".sidecars[]", ".container")


def rendered() -> dict[str, set[str]]:
    """`<kind> <place>` -> the keys that are there in some golden tree."""
    keys: dict[str, set[str]] = defaultdict(set)

    def walk(place: str, value: object) -> None:
        match value:
            case dict():
                keys[join_containers(place)] |= set(value)
                for key, inner in value.items():
                    walk(f"{place}.{key}", inner)
                    walk(f"{place}.<name>", inner)
            case list():
                for inner in value:
                    walk(f"{place}[]", inner)

    for item in objects():
        walk(f"{item['kind']} spec", item.get("spec"))
    return keys


def test_every_supported_field_is_in_a_rendered_tree() -> None:
    keys = rendered()
    unused = {
        f"{kind} {place} {name}"
        for kind, places in supported.list_supported().items()
        for place, names in places.items()
        for name in names
        if name not in keys[join_containers(f"{kind} {place}")]
    }
    assert unused == set(ELSEWHERE)


def test_every_rendered_field_is_supported() -> None:
    keys = rendered()
    refused = {
        f"{kind} {place} {name}"
        for kind, places in supported.list_supported().items()
        for place, names in places.items()
        for name in keys[f"{kind} {place}"] - set(names)
    }
    assert refused == set()


def test_the_page_and_the_command_list_them(update: bool) -> None:
    shown = CliRunner().invoke(command, ["--explain"]).output
    fields = supported.explain_fields() + "\n"
    assert shown.endswith(fields)
    page = BLOCK.sub(lambda _: fields, PAGE.read_text())
    if update:
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "run `pytest tests/local/test_supported.py --update`"
