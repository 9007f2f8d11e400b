"""Runs, decisions and verdicts, written to the timeline from three streams.

Each stream is followed from a stored sequence.

Messages are fetched one by one by sequence: that survives restarts of NATS without a consumer to
look after.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.contract.approvals import Hold, describe_hold, list_approvals, list_holds
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.names import ON_NEW_DATA
from driftloop.contract.outcomes import WorkflowEnd, clean_reason, describe_end, find_removed
from driftloop.contract.quality import describe_quality
from driftloop.contract.streams import DECISIONS, UNJUDGED, VERDICTS, WORKFLOWS
from driftloop.contract.verdicts import (
    UnjudgedRecord,
    WindowRecord,
    describe_changes,
    describe_verdict,
    read_changes,
    read_failure,
    read_lasting,
)
from driftloop.contract.workflow_steps import describe_steps, find_pipeline
from driftloop.errors import LocalError, PipelineError, StoreError
from driftloop.local.ground import sentences
from driftloop.local.ground.files import find_set_aside
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up.history_record import HistoryRecord
from driftloop.local.up.notices import Notice, NoticeKind
from driftloop.retrain.explanation import explain_state
from driftloop.retrain.state import RetrainState

POLL = 0.5
MOST_SHOWN = 5
"""Columns of an alarm."""

_ENDED = ("Succeeded", "Failed", "Error")


class RunHistory:
    """Follows the streams and remembers the last verdict of each detector, the last run and the
    decision's state.
    """

    def __init__(
        self, record: Path, timeline: EventTimeline, notify: Callable[[Notice], None] | None = None
    ) -> None:
        self._record = record
        self._notify = notify
        self._timeline = timeline
        self._cursors: dict[str, int] = {}
        self._phases: dict[str, dict[str, str]] = {}
        self._halts: dict[str, str | None] = {}
        self.verdicts: dict[str, dict[str, Any]] = {}
        """`<namespace>/<pipeline>/<detector>` -> its last verdict."""
        self.unjudged: dict[str, dict[str, Any]] = {}
        """`<namespace>/<pipeline>/<detector>` -> its windows that were not judged."""
        self.runs: dict[str, dict[str, Any]] = {}
        """`<namespace>/<pipeline or workflow template>` -> its last run."""
        self.decisions: dict[str, str] = {}
        """`<namespace>.<pipeline>` -> the phase of its retrain decision."""
        self.loops: dict[str, str] = {}
        """`<namespace>.<pipeline>` -> what its loop waits for."""
        self._clocks: dict[str, str] = {}
        kept = HistoryRecord.load(record)
        self._rebuilds = kept is None and find_set_aside(record).exists()
        """True until the streams were read once: the timeline has what is in them already."""
        if kept is not None:
            self._cursors, self._phases = kept.cursors, kept.phases
            self.verdicts, self.unjudged, self.runs = kept.verdicts, kept.unjudged, kept.runs
            self.decisions, self.loops = kept.decisions, kept.loops

    async def follow_streams(self, js: JetStreamContext) -> None:
        """Follow until cancelled."""
        while True:
            news = await self._read_news(js)
            self._rebuilds = False
            if news:
                # when the disk is full, the next news saves it
                with contextlib.suppress(LocalError):
                    self._save_record()
            await asyncio.sleep(POLL)

    async def _read_news(self, js: JetStreamContext) -> bool:
        """Read all new messages of the streams; False when there is none."""
        news = False
        for stream, tell in (
            (DECISIONS.stream, self._record_decision),
            (WORKFLOWS.stream, self._record_workflow),
            (VERDICTS.name, self._record_verdict),
        ):
            while (
                message := await _fetch_next(js, stream, self._cursors.get(stream, 0) + 1)
            ) is not None:
                sequence, subject, payload = message
                try:
                    tell(subject, payload)
                except PipelineError as error:
                    self._add_unread(stream, sequence, error.message)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    self._add_unread(stream, sequence, f"{type(error).__name__}: {error}")
                self._cursors[stream] = sequence
                news = True
        return news

    def _save_record(self) -> None:
        HistoryRecord(
            cursors=self._cursors,
            phases=self._phases,
            verdicts=self.verdicts,
            unjudged=self.unjudged,
            runs=self.runs,
            decisions=self.decisions,
            loops=self.loops,
        ).save(self._record)

    def _add_entry(self, kind: str, what: str, why: str = "") -> None:
        if not self._rebuilds:
            self._timeline.add_entry(kind, what, why)

    def _add_notice(self, notice: Notice) -> None:
        if self._notify is not None and not self._rebuilds:
            self._notify(notice)

    def _add_unread(self, stream: str, sequence: int, why: str) -> None:
        self._add_entry("platform", f"message {sequence} of {stream} can't be read", why)

    def _record_decision(self, subject: str, payload: bytes) -> None:
        key = subject.removeprefix(DECISIONS.prefix)
        if not payload:
            return
        state, pipeline = RetrainState.parse(payload), key.partition(".")[2]
        explained = explain_state(state, pipeline, time.time())
        self.loops[key] = explained.summary
        if state.clock and self._clocks.get(key) != state.clock:
            self._add_entry("decision", f"{pipeline}: {state.clock}")
            self._clocks[key] = state.clock
        # a halt that goes on because of something else: a rollback that has ended
        halted_anew = self._halts.get(key, state.halt) != state.halt and state.phase == "halted"
        self._halts[key] = state.halt
        if self.decisions.get(key) != state.phase or halted_anew:
            told = sentences.tell_phase(
                pipeline, state.phase, explained.summary, state.cause or "", state.reason or ""
            )
            self._add_entry("decision", *told)
            self.decisions[key] = state.phase

    def _record_verdict(self, subject: str, payload: bytes) -> None:
        if subject.endswith(f".{UNJUDGED}"):
            self._record_unjudged(subject.removesuffix(f".{UNJUDGED}"), payload)
            return
        namespace, pipeline, detector, release = subject.split(".")[-4:]
        verdict = WindowRecord.read(parse_json(payload, label=f"the verdict of {subject}"))
        self.verdicts[f"{namespace}/{pipeline}/{detector}"] = {
            "release": verdict.release,
            "window": verdict.window,
            "size": verdict.size,
            "full": verdict.details.get("full", verdict.size),
            "last": verdict.last,
            "alarm": verdict.alarm,
            "score": verdict.score,
            "threshold": verdict.threshold,
            "time": verdict.time,
            "rejected": verdict.details.get("rejected", 0),
            "repeated": verdict.details.get("repeated", 0),
            "failure": read_failure(verdict.details),
            "changes": describe_verdict(verdict.details, MOST_SHOWN),
            "lasting": _describe_lasting(verdict),
            "quality": describe_quality(verdict.details),
        }
        # its windows that waited for this detector are judged now
        if self.unjudged.get(f"{namespace}/{pipeline}/{detector}", {}).get("release") == release:
            del self.unjudged[f"{namespace}/{pipeline}/{detector}"]
        if failure := read_failure(verdict.details):
            what = f"{detector} of {pipeline} could not judge window {verdict.window} of {release}"
            self._add_entry("verdict", what, failure)
        if verdict.alarm:
            changes = describe_changes(read_changes(verdict.details), MOST_SHOWN)
            told = sentences.tell_alarm(
                pipeline,
                detector,
                release,
                verdict.window,
                score=_format_number(verdict.score),
                threshold=_format_number(verdict.threshold),
                changes=changes,
            )
            self._add_entry("verdict", *told)
            self._add_notice(Notice("alarm", namespace, pipeline, *told))

    def _record_unjudged(self, subject: str, payload: bytes) -> None:
        namespace, pipeline, detector, _ = subject.split(".")[-4:]
        record = UnjudgedRecord.read(parse_json(payload, label=f"the window of {subject}"))
        key = f"{namespace}/{pipeline}/{detector}"
        pair = {"reference": record.reference, "release": record.release}
        before = self.unjudged.get(key, {})
        same = pair.items() <= before.items()
        if not same:
            self._add_entry("verdict", f"windows of {detector} of {pipeline} are {record.text}")
        windows = before["windows"] + 1 if same else 1
        self.unjudged[key] = {
            **pair,
            "windows": windows,
            "time": record.time,
            "rows": record.size,
            "reason": record.reason,
        }

    def _record_workflow(self, subject: str, payload: bytes) -> None:
        key = subject.removeprefix(WORKFLOWS.prefix)
        namespace, _, name = key.partition(".")
        if not payload:
            for run in self.runs.values():
                if run["name"] == name:
                    run.pop("hold", None)
            if key in self._phases:
                self._add_entry("run", f"the workflow of {name} was deleted")
                del self._phases[key]
            return
        workflow = json.loads(payload)
        status = workflow.get("status") or {}
        phase = status.get("phase") or "Pending"
        if _is_idle_poll(workflow, phase):
            return
        template = (workflow["spec"].get("workflowTemplateRef") or {}).get("name", "")
        told = {
            "name": name,
            "phase": phase,
            "startedAt": status.get("startedAt"),
            "finishedAt": status.get("finishedAt"),
            "message": clean_reason(status.get("message", "")),
            **describe_end(workflow),
            **describe_hold(workflow),
            **describe_steps(workflow),
        }
        place = f"{namespace}/{template or name}"
        last = self.runs.get(place, {})
        # one that waits for a person stays: those that find it busy end at once
        if not last.get("hold") or last["name"] == name:
            self.runs[place] = told
        before = self._phases.get(key)
        if before is None:
            cause = next(
                (
                    parameter.get("value", "")
                    for parameter in (workflow["spec"].get("arguments") or {}).get("parameters")
                    or ()
                    if parameter["name"] == "cause"
                ),
                "",
            )
            self._add_entry("run", *sentences.tell_start(name, cause))
            before = self._phases[key] = {}
        nodes = status.get("nodes") or {}
        self._tell_holds(workflow, before)
        for identifier, node in nodes.items():
            now = node.get("phase")
            if (
                node.get("type") != "Pod"
                or before.get(identifier) == now
                or now not in (*_ENDED, "Running")
            ):
                continue
            before[identifier] = now
            if now != "Running":
                ending = "is done" if now == "Succeeded" else "failed"
                self._add_entry(
                    "step",
                    f"{name}: {sentences.format_step(node, nodes)} {ending}",
                    clean_reason(node.get("message", "")),
                )
        if phase in _ENDED and before.get("") != phase:
            what, why = _tell_end(name, workflow, phase)
            self._add_entry("run", what, why)
            if (kind := _find_end_kind(workflow, phase)) is not None:
                self._add_notice(Notice(kind, namespace, find_pipeline(workflow), what, why, name))
            self._phases[key] = {"": phase}

    def _tell_holds(self, workflow: Mapping[str, Any], before: dict[str, str]) -> None:
        """Tell what waits for a person, and what was approved, each once."""
        for hold in list_holds(workflow):
            if before.get(hold.node) != "Running":
                before[hold.node] = "Running"
                self._add_entry("run", *sentences.tell_hold(hold))
                self._add_notice(_describe_wait(workflow, hold))
        for approval in list_approvals(workflow):
            if before.get(f"approved {approval.step}") is None:
                before[f"approved {approval.step}"] = "Succeeded"
                self._add_entry("run", *sentences.tell_approval(approval))


def _is_idle_poll(workflow: Mapping[str, Any], phase: str) -> bool:
    """Return True for a run that looked for new data and has not found any: too frequent to log."""
    nodes = ((workflow.get("status") or {}).get("nodes") or {}).values()
    trains = any(node.get("type") == "DAG" and node.get("templateName") == "main" for node in nodes)
    return (
        workflow["spec"].get("entrypoint") == ON_NEW_DATA
        and not trains
        and phase not in ("Failed", "Error")
    )


def _tell_end(name: str, workflow: Mapping[str, Any], phase: str) -> tuple[str, str]:
    """Return how a Workflow ended, in the words of its outcome, and why."""
    try:
        end = WorkflowEnd.of(workflow)
    except DocumentError as error:
        return f"run {name} ended as {phase.lower()}", error.message
    if end is not None and end.outcome is not None:
        return sentences.tell_end(name, end.outcome)
    if end is not None and end.rollout is not None:
        return f"run {name} goes on in {end.rollout}", ""
    removed = find_removed(workflow)
    if removed is not None:
        return f"run {name} has removed what nothing needs", removed
    reason = clean_reason(str((workflow.get("status") or {}).get("message") or ""))
    return f"run {name} ended as {phase.lower()}", reason


def _find_end_kind(workflow: Mapping[str, Any], phase: str) -> NoticeKind | None:
    """Return what people hear of the end of a Workflow; None of one that is no news to them."""
    try:
        end = WorkflowEnd.of(workflow)
    except DocumentError:
        end = None
    if end is None or (end.outcome is None and end.rollout is None):
        return "failure" if phase in ("Failed", "Error") else None
    match end.outcome.kind if end.outcome is not None else None:
        case "released":
            return "promotion"
        case "refused" | "rejected":
            return "refusal"
        case "failed":
            return "failure"
        case _:
            return None


def _describe_wait(workflow: Mapping[str, Any], hold: Hold) -> Notice:
    text, why = sentences.tell_hold(hold)
    namespace = str((workflow.get("metadata") or {}).get("namespace") or "")
    return Notice("waiting", namespace, find_pipeline(workflow), text, why, hold.run or None)


def _describe_lasting(verdict: WindowRecord) -> str:
    """Say what earlier windows showed together and lasts; empty when it is the verdict itself, or nothing."""
    lasting = read_lasting(verdict.details)
    if lasting is None or not lasting.alarm or lasting.window == verdict.window:
        return ""
    return lasting.describe(MOST_SHOWN)


def _format_number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


async def _fetch_next(
    js: JetStreamContext, stream: str, sequence: int
) -> tuple[int, str, bytes] | None:
    """The first message from `sequence` on, or None when it, the stream or NATS is not there."""
    request = json.dumps({"seq": sequence, "next_by_subj": ">"}).encode()
    try:
        answer = await js._nc.request(f"$JS.API.STREAM.MSG.GET.{stream}", request, timeout=2)
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError, StoreError):
        return None
    message = json.loads(answer.data).get("message")
    if message is None:
        return None
    # a deletion in a KV bucket has headers and no data
    return message["seq"], message["subject"], base64.b64decode(message.get("data") or "")
