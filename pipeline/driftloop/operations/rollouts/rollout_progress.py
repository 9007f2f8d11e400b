"""Progress of a rollout on this machine: its stages, and what its traffic measures now beside the limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import RolloutLimits
from driftloop.contract.names import SERVICE_PORT
from driftloop.contract.outcomes import read_moment
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints
from driftloop.operations.ground.runtime import find_runtime
from driftloop.operations.rollouts.analyses import ask_analysis
from driftloop.operations.runs.run_workflows import Json, read_options
from driftloop.release.judgement import Fail, Limits, Measured, Verdict, analyze_step
from driftloop.release.record import Release

PATIENCE = 3.0
"""Seconds that the analysis may take to answer."""


@dataclass(frozen=True)
class StageProgress:
    """A stage of a rollout: `shadow`, a percentage, `approval` or `promote`."""

    to: str
    limits: RolloutLimits
    phase: str
    """Argo's phase of its step; empty for one that has not begun."""
    started: str | None
    finished: str | None


@dataclass(frozen=True)
class RolloutProgress:
    """A rollout as it stands."""

    workflow: str
    stages: tuple[StageProgress, ...]
    measured: Measured | None
    """Both releases in the stage that is on; None before its first measurement."""
    verdict: Verdict | None
    """What these figures say by the limits of that stage."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """The verdict in words."""
        return self.verdict.reasons if self.verdict is not None else ()

    @property
    def fails(self) -> bool:
        """Return True when a limit is broken."""
        return isinstance(self.verdict, Fail)


def read_progress(
    state: StateFolder, environment: Mapping[str, str], workflow: str, release: Release
) -> RolloutProgress:
    """Read the Workflow of a rollout, and ask the analysis what it measured last; LocalError when the
    runtime does not answer, or the Workflow is gone."""
    api = find_runtime(state, environment, repository=state.repository_url)
    found = api.get_workflow(release.namespace, workflow) if api is not None else None
    if found is None:
        raise LocalError(f"rollout `{workflow}` is not kept any more")
    stages = list_stages(found)
    current = next((stage for stage in stages if stage.phase == "Running"), None)
    measured = _ask_analysis(state, release)
    verdict = None
    if measured is not None and current is not None and release.candidate is not None:
        production = release.production.id if release.production is not None else ""
        limits = Limits.of(current.limits).expecting(release.candidate, production)
        verdict = analyze_step(measured, limits)
    return RolloutProgress(workflow, stages, measured, verdict)


def list_stages(workflow: Json) -> tuple[StageProgress, ...]:
    """Return the stages of a rollout's Workflow in their order."""
    status = workflow.get("status") or {}
    templates = (status.get("storedWorkflowTemplateSpec") or {}).get("templates") or ()
    nodes: dict[str, Json] = {}
    for node in (status.get("nodes") or {}).values():
        name = str(node.get("templateName"))
        if node.get("type") == "Pod" and _begin(node) >= _begin(nodes.get(name, {})):
            nodes[name] = node
    stages = []
    for template in templates:
        options = read_options(template)
        # what watches a candidate that waits for a person is a stage of its own
        to = options.get("--to") or options.get("--hold")
        if to is None or "--limits" not in options:
            continue
        node = nodes.get(str(template.get("name")), {})
        stages.append(
            StageProgress(
                to,
                _read_limits(options["--limits"]),
                str(node.get("phase") or ""),
                read_moment(node.get("startedAt")),
                read_moment(node.get("finishedAt")),
            )
        )
    return tuple(stages)


def _begin(node: Json) -> str:
    return str(node.get("startedAt") or "")


def _read_limits(text: str) -> RolloutLimits:
    try:
        return RolloutLimits.parse(text)
    except DocumentError:
        return RolloutLimits()


def _ask_analysis(state: StateFolder, release: Release) -> Measured | None:
    """Return what the analysis measured last; None when it does not answer, or has nothing."""
    if release.candidate is None or release.production is None:
        return None
    pair = {"production": release.production.id, "candidate": release.candidate.id}
    try:
        place = endpoints.find_endpoint(state, release.name, suffix="-judge", port=SERVICE_PORT)
    except (LocalError, OSError, ValueError):
        return None
    return ask_analysis(place.address, pair, PATIENCE)
