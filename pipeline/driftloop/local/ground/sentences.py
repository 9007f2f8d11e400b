"""The words of the timeline: what happened to a run, a step, a loop or a window, in a sentence each.

Identifiers that nobody types stay out: an alarm is told by what moved, a trial by its number and parameters.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, assert_never

from driftloop.contract.approvals import Approval, Hold
from driftloop.contract.names import ALARM_CAUSE, NEW_DATA_CAUSE, PERSON_CAUSE, SCHEDULE_CAUSE
from driftloop.contract.outcomes import OutcomeKind, RunOutcome
from driftloop.contract.workflow_steps import split_attempt
from driftloop.retrain.state import Phase
from driftloop.text.words import join_some

_ITEM = re.compile(r"([^()]+)\((\d+):(.*)\)", re.DOTALL)
"""Argo's name of one of several: step(NUMBER:KEY:VALUE,KEY:VALUE)."""
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_TRIAL = re.compile(r"(?:^|,)trial:(\d+)")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b:? ?")
_NAMED_ALARM = re.compile(r"\balarm [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
MOST_PARAMETERS = 6


def describe_cause(cause: str) -> str:
    """Return what started a run as a sentence goes on with it; empty without a cause."""
    if cause.startswith(ALARM_CAUSE):
        told = _UUID.sub("", cause.removeprefix(ALARM_CAUSE)).strip()
        return f"because of an alarm: {told}" if told else "because of an alarm"
    if cause.startswith(PERSON_CAUSE):
        person, _, why = cause.removeprefix(PERSON_CAUSE).partition(": ")
        return f"asked for by {person}: {why}" if why else f"asked for by {person}"
    if cause == SCHEDULE_CAUSE:
        return "because it was time to"
    if cause == NEW_DATA_CAUSE:
        return "because of new data"
    return cause


def drop_alarm_ids(text: str) -> str:
    """Return a sentence about an alarm without its id, which nobody types."""
    return _NAMED_ALARM.sub("an alarm", text)


def tell_start(run: str, cause: str) -> tuple[str, str]:
    """Return the sentence for a run that has begun, and why."""
    return f"run {run} began", describe_cause(cause)


def tell_end(run: str, outcome: RunOutcome) -> tuple[str, str]:
    """Return the sentence for a run that has ended, and why so."""
    return f"run {run} {_say_end(outcome.kind)}", outcome.reason


def _say_end(kind: OutcomeKind) -> str:
    match kind:
        case "failed":
            return "failed"
        case "not-started":
            return "trained nothing"
        case "released" | "refused" | "rejected" | "superseded" | "cancelled":
            return f"was {kind}"
        case _:
            assert_never(kind)


def tell_hold(hold: Hold) -> tuple[str, str]:
    """Return the sentence for a run that waits for a person, and who may approve it."""
    who = f"{', '.join(hold.approvers)} may approve it" if hold.approvers else ""
    return f"run {hold.run or hold.workflow} waits for a person: {hold.asks}", who


def tell_approval(approval: Approval) -> tuple[str, str]:
    """Return the sentence for a run that a person has let go on, and why."""
    return f"run {approval.run} was approved by {approval.who}", approval.reason


def tell_phase(
    pipeline: str, phase: Phase, summary: str, cause: str, reason: str
) -> tuple[str, str]:
    """Return the sentence for a loop that is in another phase, and why; `summary` is what it waits for."""
    match phase:
        case "idle":
            return f"the loop of {pipeline} watches for drift again", ""
        case "pending":
            return f"the loop of {pipeline} asks for a run", describe_cause(cause)
        case "running":
            return f"the loop of {pipeline} has its run", describe_cause(cause)
        case "evaluating":
            return f"the loop of {pipeline} has a model to evaluate", ""
        case "rolling-out":
            return f"the loop of {pipeline} rolls its candidate out", ""
        case "cooling":
            return f"the loop of {pipeline} cools down after its run", reason
        case "postponed":
            return f"the loop of {pipeline} keeps an alarm for later", _UUID.sub("", summary)
        case "waiting" | "held" | "halted":
            return f"the loop of {pipeline} is {phase}", _UUID.sub("", summary)
        case _:
            assert_never(phase)


def tell_alarm(
    pipeline: str,
    detector: str,
    release: str,
    window: int,
    *,
    score: str,
    threshold: str,
    changes: str,
) -> tuple[str, str]:
    """Return the sentence for a window that alarms, and what moved."""
    moved = f"{changes}; " if changes else ""
    return (
        f"{detector} of {pipeline} raised an alarm on {release}",
        f"window {window}: {moved}score {score} against {threshold}",
    )


def format_step(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of a pod's node as people say it: a trial with its parameters."""
    name, attempt = split_attempt(node, nodes)
    name = _describe_item(name)
    return f"{name} (try {attempt + 1})" if attempt else name


def describe_step(name: str) -> str:
    """Return a step's name as records have it as people say it: a trial with its parameters."""
    plain, again, attempt = name.partition(" (try ")
    return f"{_describe_item(plain)}{again}{attempt}"


def _describe_item(name: str) -> str:
    """Return the name of a step that is one of several as people say it."""
    match = _ITEM.fullmatch(name)
    if match is None:
        return name
    step, number, items = match.groups()
    trial, found = _TRIAL.search(items), _OBJECT.search(items)
    which = f"trial {trial[1]}" if trial is not None else f"number {int(number) + 1}"
    parameters = _read_parameters(found[0]) if found is not None else {}
    if not parameters:
        return f"{step}, {which}"
    shown = [f"{key} {value}" for key, value in parameters.items()]
    return f"{step}, {which}: {join_some(shown, MOST_PARAMETERS)}"


def _read_parameters(text: str) -> Mapping[str, Any]:
    try:
        parameters = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parameters if isinstance(parameters, dict) else {}
