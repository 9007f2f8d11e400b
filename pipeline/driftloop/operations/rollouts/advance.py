"""Advance a rollout by one stage: commit it, wait until it is applied, analyze it on real
traffic.

The release in git holds the progress, so a step that is retried finds what it did before. When
somebody else changes its phase or candidate, the rollout stops and leaves the release as it is.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, assert_never
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from driftloop.contract.approvals import Approval, read_approvers
from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import RolloutLimits
from driftloop.contract.names import Names
from driftloop.contract.outcomes import RunOutcome, read_moment
from driftloop.contract.trees import release_path
from driftloop.errors import GitError, StepError
from driftloop.git.repository import Commit, Repository
from driftloop.operations.commits import applied
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.applied import AppliedCommits
from driftloop.operations.commits.releases import TransitionMessage, TransitionResult
from driftloop.release import judgement, record
from driftloop.release.judgement import Fail, Limits, Measured, Pass, Verdict, Wait
from driftloop.release.record import Release, Version
from driftloop.release.stages import CanaryStage, PromoteStage, ShadowStage, parse_stage
from driftloop.retrain.clocks import SKEW

POLL = 1.0
"""Seconds between two requests to the analysis."""
LOOK = 3.0
"""Seconds between two reads of the repository."""
TOLD_EVERY = 15.0
"""Seconds between two reports of what a stage waits for."""

Report = Callable[[str], None]


class CandidateRejectedError(StepError):
    """The candidate is rejected; `reasons` are written to the commit that ends its rollout."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"the candidate is rejected: {'; '.join(reasons)}", hint="production is unchanged"
        )
        self.reasons = reasons


@dataclass
class CandidateRollout:
    """The rollout of one candidate; `report` gets its progress."""

    names: Names
    run: str
    release: str
    repository: Repository
    report: Report
    approval: Approval | None = None
    """What a person has approved, of a promotion that waited for it."""
    looked: float = 0.0
    """Time of the last read of the repository, by the monotonic clock."""

    def commit_stage(self, to: str) -> str | None:
        """Commit the stage and return the commit to wait for; None when the candidate is
        production already."""
        stage = parse_stage(to)
        if stage is None:
            raise StepError(f"--to is `{to}`, must be one of: shadow, promote, a percentage")
        production = self._read_release().production
        measured = self._build_client(production).describe_last() if production is not None else ""

        def apply_stage(release: Release) -> Release:
            if self.is_production(release):
                return release
            self._require_candidate(release)
            match stage:
                case ShadowStage():
                    return release
                case CanaryStage(percent=percent):
                    return record.set_canary(release, percent)
                case PromoteStage():
                    return record.promote_candidate(release)
                case _:
                    assert_never(stage)

        moved = pipelines.commit_transition(
            self.repository, self.names.pipeline, apply_stage, self._build_message(measured)
        )
        if moved.release.candidate is None and not isinstance(stage, PromoteStage):
            self.report(f"{self.release} is production already")
            return None
        commit = moved.commit.sha if moved.commit is not None else self._find_last_commit(moved)
        self.report(f"{self.release}: {to}, commit {commit}")
        return commit

    def wait_until_applied(self, look: AppliedCommits, commit: str, deadline: float) -> None:
        """Wait until a commit is applied; RejectedError when it is not by the deadline."""

        def describe_missing() -> str:
            self.poll_release()
            return look.describe_missing(commit, releases=(self.release,))

        try:
            for reason in applied.wait_until_applied(
                describe_missing, seconds=max(0.0, deadline - time.monotonic()), what=commit[:12]
            ):
                self.report(f"waiting: {reason}")
        except InterferenceError:
            raise
        except StepError as error:
            if self.is_production(self._read_release()):
                raise
            raise CandidateRejectedError((error.message,)) from error

    def begin_analysis(self, limits: Limits) -> "RolloutAnalysis | None":
        """Begin to measure the candidate; None when it is production already."""
        release = self._read_release()
        if self.is_production(release):
            return None
        production = release.production
        if production is None:
            raise StepError(
                f"pipeline `{self.names.pipeline}` has no production version to compare with"
            )
        limits = limits.expecting(self._require_candidate(release), production.id)
        return RolloutAnalysis(self._build_client(production), limits, self.report)

    def wait_until_analyzed(self, limits: Limits, deadline: float) -> None:
        """Wait until the measured numbers pass; RejectedError when they fail, or by the
        deadline."""
        analysis = self.begin_analysis(limits)
        if analysis is None:
            return
        if analysis.limits.auto is not None and analysis.limits.agreement is None:
            self.report(
                f"agreement is not measured: release.yaml has no `{limits.auto}` of both on recent rows, "
                "and no rehearsal of numbers beside production"
            )
        while True:
            verdict = analysis.poll()
            if isinstance(verdict, Fail):
                raise CandidateRejectedError(verdict.reasons)
            if isinstance(verdict, Pass):
                return
            if time.monotonic() > deadline:
                last = analysis.last
                reasons = last.reasons if last is not None else ("the analysis did not answer",)
                raise CandidateRejectedError(("out of time", *reasons))
            time.sleep(POLL)
            release = self.poll_release()
            if release is not None and self.is_production(release):
                return

    def reject_candidate(self, error: CandidateRejectedError) -> None:
        """Commit that production has all traffic again, unless somebody else has changed the
        release."""
        self._read_release()

        def apply_rejection(release: Release) -> Release:
            self._require_candidate(release)
            return record.reject_candidate(release)

        def write_message(before: Release, after: Release) -> TransitionMessage:
            subject = f"Reject {self.release} of {self.names.pipeline}"
            return TransitionMessage(
                subject,
                self._require_candidate(before),
                self._read_cause(),
                "\n".join(error.reasons),
                RunOutcome.now("rejected", "; ".join(error.reasons)),
            )

        pipelines.commit_transition(
            self.repository, self.names.pipeline, apply_rejection, write_message
        )

    def _read_release(self) -> Release:
        """Read the release at the tip; InterferenceError when somebody else has changed it."""
        tip = self.repository.tip()
        if tip is None:
            raise StepError(f"{self.repository.url} is empty")
        foreign = pipelines.find_interference(self.repository, tip, self.names.pipeline, self.run)
        release = pipelines.read_pipeline(self.repository.tree(tip), self.names.pipeline).release
        if self.is_production(release):
            return release
        if foreign is None and (release.candidate is None or release.candidate.id != self.release):
            # a person's promote or rollback carries this run's trailer too
            foreign = self.repository.last_touching(tip, release_path(self.names.pipeline))
        if foreign is not None:
            raise InterferenceError(self.release, foreign)
        return release

    def poll_release(self) -> Release | None:
        """Read the release every few seconds; a repository that can't be reached is read again
        later. InterferenceError when somebody else has changed it."""
        if time.monotonic() - self.looked < LOOK:
            return None
        self.looked = time.monotonic()
        try:
            return self._read_release()
        except GitError as error:
            self.report(f"waiting: {error.message}")
            return None

    def is_production(self, release: Release) -> bool:
        """Return True if the candidate is production."""
        return release.production is not None and release.production.id == self.release

    def _require_candidate(self, release: Release) -> Version:
        if release.candidate is None or release.candidate.id != self.release:
            raise StepError(
                f"{self.release} is no longer the candidate of {self.names.pipeline}",
                hint="somebody else changed the release; see `git log` of its release.yaml",
            )
        return release.candidate

    def _find_last_commit(self, moved: TransitionResult) -> str:
        """Return the commit of a stage that was committed before: the last that changed the
        release."""
        tip = self.repository.tip()
        commit = (
            self.repository.last_touching(tip, release_path(moved.release.name)) if tip else None
        )
        if commit is None:
            raise StepError(f"release.yaml of {moved.release.name} is not in any commit")
        return commit.sha

    def _build_message(self, measured: str) -> Callable[[Release, Release], TransitionMessage]:
        numbers = f"Measured in the stage before: {measured}." if measured else ""

        def write_message(before: Release, after: Release) -> TransitionMessage:
            version = self._require_candidate(before)
            name = self.names.pipeline
            promoted = after.phase == "stable"
            subject = (
                f"Promote {version.id}"
                if promoted
                else f"Send {after.weights[version.id]} % to {version.id}"
            )
            outcome = RunOutcome.now("released", self._describe_end()) if promoted else None
            unheard = pipelines.describe_unheard(before) if promoted else ""
            approval = self.approval if promoted else None
            told = f"{_capitalize(approval.text)}." if approval is not None else ""
            body = "\n".join(text for text in (numbers, told, unheard) if text)
            return TransitionMessage(
                f"{subject} of {name}",
                version,
                self._read_cause(),
                body,
                outcome,
                approved_by=approval.who if approval is not None else "",
            )

        return write_message

    def _describe_end(self) -> str:
        if self.approval is None:
            return "the rollout ended"
        return f"the rollout ended, {self.approval.text}"

    def _read_cause(self) -> str:
        tip = self.repository.tip()
        newest = self.repository.find(tip, "Driftloop-Run", self.run) if tip is not None else None
        return newest.trailers.get("Driftloop-Cause", "") if newest is not None else ""

    def _build_client(self, production: Version) -> "AnalysisClient":
        return AnalysisClient(self.names.judge_url, production.id, self.release)


class InterferenceError(StepError):
    """Somebody else changed the release; the rollout leaves it as it is."""

    def __init__(self, release: str, commit: Commit) -> None:
        super().__init__(
            f"the rollout of {release} ended by commit {commit.sha[:12]} ({commit.subject})",
            hint="the release is left as it is; `driftloop promote` and `driftloop rollback` end a rollout by hand",
        )


@dataclass
class RolloutAnalysis:
    """Measurement of a candidate since a time; `report` gets each new verdict, and now and then what it waits for."""

    client: "AnalysisClient"
    limits: Limits
    report: Report
    last: Verdict | None = None
    """The last verdict."""
    _since: float | None = None
    _told: float = -math.inf
    """Time of the last report."""

    def poll(self) -> Verdict | None:
        """Return the verdict on what was measured so far; None when the analysis does not answer."""
        began = self._since
        verdict, self._since = self.client.fetch_verdict(self.limits, self._since)
        if began is not None and self._since is None:
            self.report("the clock of the analysis was set back: it measures from now on")
        if verdict is not None and verdict != self.last:
            goes_on = isinstance(verdict, Wait) and isinstance(self.last, Wait)
            if not goes_on or time.monotonic() - self._told >= TOLD_EVERY:
                self.report(f"{type(verdict).__name__.lower()}: {'; '.join(verdict.reasons)}")
                self._told = time.monotonic()
            self.last = verdict
        return verdict


@dataclass(frozen=True)
class AnalysisClient:
    """Client of the analysis service, for two versions of a pipeline."""

    url: str
    production: str
    candidate: str

    def fetch_verdict(
        self, limits: Limits, since: float | None
    ) -> tuple[Verdict | None, float | None]:
        """Return the verdict on the traffic since then, and the service's time; without `since`
        only that time.

        The verdict is None when the service does not answer: it may be restarting. The time is
        None when it lies in the service's future: its clock was set back.
        """
        traffic = judgement.StageTraffic.of(limits)
        asked = {name: repr(value) for name, value in asdict(traffic).items()}
        if limits.tolerance is not None:
            asked["tolerance"] = repr(limits.tolerance)
        if limits.quality is not None:
            asked |= {"metric": limits.quality.metric, "labels": str(limits.quality.labels)}
        numbers = self._fetch_numbers({} if since is None else {"since": repr(since), **asked})
        if numbers is None:
            return None, since
        if since is None:
            return None, float(numbers["now"])
        if float(numbers["now"]) < since - SKEW:
            return None, None
        return judgement.analyze_step(Measured.from_json(numbers), limits), since

    def describe_last(self) -> str:
        """Return the last measured numbers in words; empty without an answer or numbers."""
        numbers = (self._fetch_numbers({}) or {}).get("last")
        return Measured.from_json(numbers).said if numbers else ""

    def _fetch_numbers(self, more: dict[str, str]) -> dict[str, Any] | None:
        query = {"production": self.production, "candidate": self.candidate, **more}
        try:
            with urlopen(f"{self.url}/judgement?{urlencode(query)}", timeout=10) as response:  # noqa: S310
                numbers: dict[str, Any] = json.load(response)
        except HTTPError as error:
            if error.code < 500 and error.code != 404:
                raise StepError(
                    f"the analysis answered {error.code}: {error.read(200)!r}"
                ) from error
            return None
        except (URLError, OSError, ValueError):
            return None
        return numbers


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def read_approval(who: str, when: str, reason: str, approvers: str) -> Approval:
    """Read what a person has supplied; StepError for somebody who may not approve: Argo lets everybody
    end a wait who may patch its workflows."""
    allowed = read_approvers(approvers)
    if not who or (allowed and who not in allowed):
        raise StepError(
            f"`{who}` may not approve it, must be one of: {', '.join(allowed) or 'a name'}",
            hint="`driftloop approve` asks who may",
        )
    return Approval(step="approval", who=who, when=read_moment(when), reason=reason)


def parse_limits(text: str) -> Limits:
    """Parse the limits of an analysis; StepError unless they are what a stage takes."""
    try:
        return Limits.of(RolloutLimits.parse(text))
    except DocumentError as error:
        raise StepError(f"--limits can't be read: {error.message}") from error
