"""Outcomes of a run: one vocabulary for status, JSON, events, metrics, commits and exit codes.

A run ends once, and its outcome always has a reason and a time. What ends it writes the outcome
into the run's folder (`outcome.json`), into the Workflow's last node and into the event; all other
places read it from there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

from driftloop.contract.documents import DocumentError, document_key, from_json, is_text, to_json
from driftloop.contract.times import format_now

OutcomeKind = Literal[
    "released", "refused", "rejected", "failed", "not-started", "superseded", "cancelled"
]
OUTCOME_KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)

Obstacle = Literal["halted", "held", "stale", "busy", "nothing-new", "too-few-rows"]
OBSTACLES: tuple[Obstacle, ...] = get_args(Obstacle)
DATA_OBSTACLES: tuple[Obstacle, ...] = ("nothing-new", "too-few-rows")
"""Obstacles that new labelled rows remove."""

OUTCOME_TRAILER, REASON_TRAILER = "Driftloop-Outcome", "Driftloop-Reason"
"""Trailers of the commit that ends a rollout."""
OUTCOME_PARAMETER, ROLLOUT_PARAMETER = "outcome", "rollout"
"""Output parameters of a Workflow's last step: the outcome as JSON, or the Workflow in which the
run goes on; the other one is empty."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_WRAPPED = re.compile(
    r"^(?:retryStrategy\.expression evaluated to false|No more retries left|Max duration limit exceeded|"
    r"main|(?:Error|Failed) \(exit code \d+\)|error)(?::\s*|$)"
)


def is_time(value: object) -> bool:
    """Return True for a time in UTC as RFC 3339 writes it."""
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def read_moment(value: object) -> str | None:
    """Return a time as records have it; None for anything else."""
    return str(value) if is_time(value) else None


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """Outcome of a run, its reason and time."""

    kind: OutcomeKind = document_key(
        "outcome", f"one of: {', '.join(OUTCOME_KINDS)}", lambda v: v in OUTCOME_KINDS
    )
    """Kind of the end."""
    reason: str = document_key("reason", "a text that is not empty", is_text)
    """Explanation in one sentence or several, without a full stop."""
    time: str = document_key("time", "a time in UTC, such as 2026-01-31T09:30:00Z", is_time)
    """Time at which it ended."""
    obstacle: Obstacle | None = document_key(
        "obstacle",
        f"one of: {', '.join(OBSTACLES)}; null unless the outcome is not-started, refused or released",
        lambda v: v is None or v in OBSTACLES,
        default=None,
        omits_none=True,
    )
    """What kept a run from starting; `nothing-new` also of one that made the same model again, which is
    refused, or released when only its detectors are new; None for every other kind."""

    @classmethod
    def now(
        cls, kind: OutcomeKind, reason: str, *, obstacle: Obstacle | None = None
    ) -> "RunOutcome":
        """Return an outcome with the current time."""
        time = format_now()
        return cls(kind=kind, reason=reason, time=time, obstacle=obstacle)

    @classmethod
    def read(cls, document: object, *, label: str = "outcome.json") -> "RunOutcome":
        """Read an outcome from plain data; DocumentError names the key that is wrong."""
        outcome = from_json(cls, document, label=label, closed=False)
        needs = outcome.kind == "not-started"
        again = outcome.kind in ("refused", "released") and outcome.obstacle == "nothing-new"
        if not again and needs is not (outcome.obstacle is not None):
            raise DocumentError(
                f"{label}: `obstacle` is {json.dumps(outcome.obstacle)}, must be one of: "
                f"{', '.join(OBSTACLES)} when the outcome is not-started, nothing-new or null when "
                "it is refused or released, and null otherwise"
            )
        return outcome

    @property
    def text(self) -> str:
        """The outcome as people read it."""
        kind = self.kind.replace("-", " ")
        return (
            f"{kind} ({self.obstacle}): {self.reason}"
            if self.obstacle
            else f"{kind}: {self.reason}"
        )


def exit_code(kind: OutcomeKind) -> int:
    """Return the exit code of a command that waited for the outcome."""
    match kind:
        case "released":
            return 0
        case "refused":
            return 3
        case "rejected":
            return 4
        case "failed":
            return 5
        case "not-started":
            return 6
        case "superseded":
            return 7
        case "cancelled":
            return 8
        case _:
            assert_never(kind)


def describe_kind(kind: OutcomeKind) -> str:
    """Return the meaning of an outcome, for the reference."""
    match kind:
        case "released":
            return "the candidate is production; or its model was, and now its detectors are production's, too"
        case "refused":
            return "the candidate got no traffic: a gate or the rehearsal refused it"
        case "rejected":
            return "the analysis of traffic ended the rollout"
        case "failed":
            return "a step failed, or the Workflow ended without its last step"
        case "not-started":
            return (
                "nothing was trained: the loop is halted, held after a person's commit, another run "
                "is on, the alarms are about a replaced release, there is nothing new, or there are "
                "fewer new labelled rows than `retrain.leastNewRows`"
            )
        case "superseded":
            return "another commit ended the rollout: a person's, or that of a newer run"
        case "cancelled":
            return "a person cancelled the run"
        case _:
            assert_never(kind)


def clean_reason(message: str) -> str:
    """Return the step's own words: without what Argo and the command line put around them."""
    text = message.strip()
    while (rest := _WRAPPED.sub("", text, count=1)) != text and rest:
        text = rest
    return text


def read_outputs(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    """Yield the output parameters of each node of a Workflow."""
    for node in ((workflow.get("status") or {}).get("nodes") or {}).values():
        yield {
            str(item.get("name")): str(item.get("value") or "")
            for item in (node.get("outputs") or {}).get("parameters") or ()
        }


@dataclass(frozen=True)
class WorkflowEnd:
    """Result that the last step of a Workflow left: the outcome, or the Workflow of the rollout."""

    outcome: RunOutcome | None
    rollout: str | None

    @classmethod
    def of(cls, workflow: Mapping[str, Any]) -> "WorkflowEnd | None":
        """Read the outputs of the last step; None when it left none. DocumentError."""
        for parameters in read_outputs(workflow):
            if OUTCOME_PARAMETER in parameters and ROLLOUT_PARAMETER in parameters:
                text = parameters[OUTCOME_PARAMETER]
                outcome = RunOutcome.read(parse_outcome(text)) if text else None
                return cls(outcome, parameters[ROLLOUT_PARAMETER] or None)
        return None


def describe_end(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a status adds for a Workflow that ended: outcome, reason, time, or the
    rollout in which its run goes on."""
    try:
        end = WorkflowEnd.of(workflow)
    except DocumentError as error:
        return {"outcome": None, "reason": error.message}
    if end is None:
        removed = find_removed(workflow)
        return {"outcome": None} if removed is None else {"outcome": None, "message": removed}
    if end.outcome is None:
        return {"outcome": None, "rollout": end.rollout}
    return to_json(end.outcome)


def find_removed(workflow: Mapping[str, Any]) -> str | None:
    """Return what a Workflow that removes what nothing needs says that it has removed; None of another one."""
    nodes = ((workflow.get("status") or {}).get("nodes") or {}).values()
    for node in nodes:
        for parameter in (node.get("outputs") or {}).get("parameters") or ():
            if node.get("templateName") == "prune" and parameter.get("name") == "removed":
                return str(parameter.get("value") or "")
    return None


def parse_outcome(text: str) -> object:
    """Parse the JSON of an outcome; DocumentError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise DocumentError(f"the outcome is not JSON: {error}") from error


def write_outcome(outcome: RunOutcome) -> str:
    """Return the JSON of an outcome in one line."""
    return json.dumps(to_json(outcome))
