"""Facts of a run in its Workflow: cause, steps with times, trials, options of its templates."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import read_digests
from driftloop.contract.names import ON_NEW_DATA
from driftloop.contract.outcomes import clean_reason, read_moment
from driftloop.contract.runs import RunStep
from driftloop.contract.trees import trials_key
from driftloop.contract.workflow_steps import name_step, read_progress

Json = Mapping[str, Any]

TRAIN, PICK, ADOPT, STORE, REHEARSE, MAIN = "train", "pick", "adopt", "store", "rehearse", "main"
"""Templates of a training Workflow that say something of the run."""


@dataclass(frozen=True)
class TrialNode:
    """A trial as the Workflow shows it."""

    trial: str
    home: str
    """Folder of the bucket that keeps it."""
    parameters: dict[str, Any]
    metrics: dict[str, float] | None
    """None for one that has not succeeded."""
    failed: str = ""


@dataclass(frozen=True)
class WorkflowFacts:
    """A Workflow, as far as its run is concerned; what it does not say is None or empty."""

    name: str
    parameters: dict[str, str]
    started: str | None
    steps: tuple[RunStep, ...]
    trials: tuple[TrialNode, ...]
    chosen: str | None
    """Folder of the trial that was picked."""
    options: dict[str, dict[str, str]]
    """Template to the options of its program."""
    images: dict[str, str]
    """Template to its image."""
    digests: dict[str, str]
    """`model` and `data`, as the run computed them."""
    detectors: dict[str, str]
    records: dict[str, str]

    @classmethod
    def of(cls, workflow: Json, run: str) -> "WorkflowFacts":
        """Read a Workflow of a run."""
        status = workflow.get("status") or {}
        nodes: dict[str, Json] = status.get("nodes") or {}
        name = str((workflow.get("metadata") or {}).get("name") or run)
        stored = status.get("storedWorkflowTemplateSpec") or {}
        outputs = {
            str(node.get("templateName")): _read_values(node, "outputs")
            for node in _list_pods(nodes)
        }
        left = outputs.get(STORE, {})
        picked = outputs.get(PICK) or outputs.get(ADOPT, {})
        chosen = picked.get("home") or (
            trials_key(run, picked["trial"]) if picked.get("trial") else None
        )
        digests = {
            "model": left.get("model-digest") or outputs.get(REHEARSE, {}).get("model-digest", ""),
            "data": left.get("data-digest", ""),
        }
        return cls(
            name=name,
            parameters=_read_arguments(stored) | _read_arguments(workflow.get("spec") or {}),
            started=read_moment(status.get("startedAt")),
            steps=tuple(read_step(node, nodes, name) for node in _list_pods(nodes)),
            trials=tuple(_list_trials(nodes, run)),
            chosen=chosen,
            options={
                str(template.get("name")): read_options(template)
                for template in stored.get("templates") or ()
                if template.get("container")
            },
            images=_list_images(stored),
            digests={key: value for key, value in digests.items() if value},
            detectors=_read_pairs(left.get("detector-digests", "")),
            records=_read_pairs(left.get("record-digests", "")),
        )


def _list_images(stored: Json) -> dict[str, str]:
    """Return the image of each template with a container, and of each that runs beside it."""
    images: dict[str, str] = {}
    for template in stored.get("templates") or ():
        name = str(template.get("name"))
        if template.get("container"):
            images[name] = str(template["container"].get("image", ""))
        for sidecar in template.get("sidecars") or ():
            images[f"{name}/{sidecar.get('name')}"] = str(sidecar.get("image", ""))
    return images


def is_idle_look(workflow: Json) -> bool:
    """Return True for a Workflow that looked for new data and found none: it is no run."""
    if (workflow.get("spec") or {}).get("entrypoint") != ON_NEW_DATA:
        return False
    nodes = ((workflow.get("status") or {}).get("nodes") or {}).values()
    return not any(node.get("templateName") == MAIN and node.get("type") == "DAG" for node in nodes)


def read_options(step: Json) -> dict[str, str]:
    """Return each argument of a template's container with the one after it."""
    container = step.get("container") or {}
    arguments = [*(container.get("command") or ()), *(container.get("args") or ())]
    return {str(name): str(value) for name, value in itertools.pairwise(arguments)}


def _list_pods(nodes: Mapping[str, Json]) -> list[Json]:
    """Return the pods in the order in which they started, without the last step, which is still on."""
    pods = [
        (str(node.get("startedAt") or ""), id, node)
        for id, node in nodes.items()
        if node.get("type") == "Pod" and ".onExit" not in str(node.get("name", ""))
    ]
    return [node for _, _, node in sorted(pods, key=lambda item: item[:2])]


def read_step(node: Json, nodes: Mapping[str, Json], workflow: str) -> RunStep:
    """Return the attempt of a step that a pod's node is."""
    bad = node.get("phase") in ("Failed", "Error")
    return RunStep(
        workflow=workflow,
        name=name_step(node, nodes),
        phase=str(node.get("phase") or "Pending"),
        started=read_moment(node.get("startedAt")),
        finished=read_moment(node.get("finishedAt")),
        message=clean_reason(str(node.get("message") or "")) if bad else "",
        reused=bool((node.get("memoizationStatus") or {}).get("hit")),
        progress=read_progress(node),
    )


def _list_trials(nodes: Mapping[str, Json], run: str) -> Iterator[TrialNode]:
    """Yield the trials by number; of the attempts of one the last."""
    attempts: dict[str, Json] = {}
    for node in _list_pods(nodes):
        if node.get("templateName") == TRAIN:
            attempts[_read_values(node, "inputs").get("trial", "0")] = node
    for trial in sorted(attempts, key=lambda text: (len(text), text)):
        node = attempts[trial]
        given, left = _read_values(node, "inputs"), _read_values(node, "outputs")
        ended = node.get("phase") in ("Failed", "Error")
        yield TrialNode(
            trial=trial,
            home=left.get("home") or trials_key(run, trial),
            parameters=_read_object(given.get("parameters", "")) or {},
            metrics=_read_object(left.get("metrics", "")),
            failed=clean_reason(str(node.get("message") or node.get("phase"))) if ended else "",
        )


def _read_values(node: Json, side: str) -> dict[str, str]:
    return {
        str(item.get("name")): str(item.get("value") or "")
        for item in (node.get(side) or {}).get("parameters") or ()
    }


def _read_arguments(spec: Json) -> dict[str, str]:
    return {
        str(item.get("name")): str(item["value"])
        for item in (spec.get("arguments") or {}).get("parameters") or ()
        if item.get("value") is not None
    }


def _read_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_pairs(text: str) -> dict[str, str]:
    try:
        return dict(read_digests(text))
    except DocumentError:
        return {}
