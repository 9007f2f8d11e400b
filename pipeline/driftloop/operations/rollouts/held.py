"""A candidate whose rollout waits for a person: its limits go on holding, and the wait ends with it.

The wait is a suspended node of the rollout's Workflow, which a person ends by an approval. When the
rollout ends otherwise, the node is ended here: a suspended one would keep the Workflow for ever.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from driftloop.clients.kubernetes import (
    ConflictError,
    KubernetesClient,
    KubernetesUnreachableError,
)
from driftloop.contract.approvals import SUSPEND, Hold, list_approvals, list_holds
from driftloop.contract.times import format_now
from driftloop.errors import GitError, PipelineError, StepError
from driftloop.operations.rollouts.advance import (
    CandidateRejectedError,
    CandidateRollout,
    InterferenceError,
    RolloutAnalysis,
)
from driftloop.release.judgement import Fail, Limits, Pass

POLL = 2.0
"""Seconds between two looks at the Workflow and the analysis."""
TRIES = 30
"""Tries to end a node that others write, too."""


@dataclass
class HeldRollout:
    """A rollout that waits for a person at a node of its Workflow."""

    rollout: CandidateRollout
    api: KubernetesClient
    workflow: str
    step: str
    """Task of the node."""
    _silent: bool = field(default=False, init=False)

    def watch(self, limits: Limits, seconds: float) -> None:
        """Return when the wait has ended: by an approval, or because there is nothing to wait for any more.

        CandidateRejectedError, with the candidate out of its rollout, when a limit breaks or the time is over.
        """
        try:
            self._watch(limits, seconds)
        except InterferenceError as error:
            self.rollout.report(f"superseded: {error.message}")
            self._end("Skipped", error.message)
        except CandidateRejectedError as error:
            self.rollout.reject_candidate(error)
            self._end("Failed", error.message)
            raise
        except PipelineError as error:
            self._end("Failed", error.message)
            raise

    def _watch(self, limits: Limits, seconds: float) -> None:
        analysis: RolloutAnalysis | None = None
        told = False
        while True:
            workflow = self._read_workflow()
            if workflow is not None:
                hold = self._find_hold(workflow)
                if hold is None and _has_node(workflow, self.step):
                    self._report_end(workflow)
                    return
                if hold is not None and not told:
                    self.rollout.report(hold.describe())
                    told = True
                if hold is not None and _measure_age(hold.since) > seconds:
                    raise CandidateRejectedError(
                        (f"nobody approved it within {seconds / 3600:g} h",)
                    )
            release = self.rollout.poll_release()
            if release is not None and self.rollout.is_production(release):
                self._end("Skipped", f"{self.rollout.release} is production already")
                return
            analysis = analysis or self._begin_analysis(limits)
            if analysis is None:
                time.sleep(POLL)
                continue
            verdict = analysis.poll()
            if isinstance(verdict, Fail):
                raise CandidateRejectedError(verdict.reasons)
            if isinstance(verdict, Pass):
                # the next stretch is measured by itself: a long good time must not hide a bad one
                analysis = None
            time.sleep(POLL)

    def _begin_analysis(self, limits: Limits) -> RolloutAnalysis | None:
        """Begin to measure; None while the repository can't be read, or when the candidate is production."""
        try:
            return self.rollout.begin_analysis(limits)
        except GitError as error:
            self.rollout.report(f"waiting: {error.message}")
            return None

    def _read_workflow(self) -> dict[str, Any] | None:
        """Read the Workflow; None while the API does not answer."""
        try:
            workflow = self.api.get_workflow(self.rollout.names.namespace, self.workflow)
        except KubernetesUnreachableError as error:
            if not self._silent:
                self.rollout.report(f"waiting: {error.message}")
            self._silent = True
            return None
        self._silent = False
        if workflow is None:
            raise StepError(f"workflow `{self.workflow}` does not exist any more")
        return workflow

    def _find_hold(self, workflow: Mapping[str, Any]) -> Hold | None:
        return next((hold for hold in list_holds(workflow) if hold.step == self.step), None)

    def _report_end(self, workflow: Mapping[str, Any]) -> None:
        given = [each for each in list_approvals(workflow) if each.step == self.step]
        self.rollout.report(given[-1].text if given else "the wait was ended without an approval")

    def _end(self, phase: str, message: str) -> None:
        """End the node, if it is suspended still; by whoever ends it first."""
        for _ in range(TRIES):
            try:
                workflow = self.api.get_workflow(self.rollout.names.namespace, self.workflow)
                hold = self._find_hold(workflow) if workflow is not None else None
                if workflow is None or hold is None:
                    return
                change = {"phase": phase, "message": message, "finishedAt": format_now()}
                self.api.end_suspended(self.rollout.names.namespace, workflow, hold.node, change)
            except ConflictError:
                continue
            except KubernetesUnreachableError as error:
                self.rollout.report(f"waiting: {error.message}")
                time.sleep(POLL)
            else:
                return
        raise StepError(
            f"the wait of {self.workflow} can't be ended",
            hint=f"`argo node set {self.workflow} --phase Failed --node-field-selector displayName={self.step}` ends it",
        )


def _has_node(workflow: Mapping[str, Any], step: str) -> bool:
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return any(
        node.get("type") == SUSPEND and node.get("displayName") == step for node in nodes.values()
    )


def _measure_age(since: str) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    except ValueError:
        return 0.0
