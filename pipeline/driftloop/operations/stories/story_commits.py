"""Story of a time by the commits of a pipeline: who had the traffic, which rollouts there were and how far
they came, and each commit in a sentence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import assert_never

from driftloop.contract.approvals import APPROVED_BY_TRAILER
from driftloop.contract.trees import release_path, spec_path
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.local.ground.sentences import describe_cause
from driftloop.operations.commits.commit_kinds import ReleaseStand, find_commit_kind
from driftloop.operations.commits.release_history import read_release
from driftloop.operations.commits.releases import read_outcome_trailers, was_applied
from driftloop.pages.figures import (
    CommitKind,
    CommitTick,
    LimitFigure,
    RolloutStage,
    StageState,
    TimeSpan,
    TrafficSplit,
)
from driftloop.pages.reports import RolloutSummary, StoryLine
from driftloop.release.record import Release
from driftloop.spec.rollout import Rollout

MOST_COMMITS = 300
"""Newest commits of a release.yaml that a story reads: each one's file."""
_MEASURED = re.compile(r"Measured in the stage before: (.+?)\.?$", re.MULTILINE)
_FIGURES = {
    "requests": re.compile(r"(\d+) requests"),
    "error rate": re.compile(r"error rate ([\d.]+)%"),
    "p99": re.compile(r"p99 (\d+) ms"),
    "agreement": re.compile(r"([\d.]+)% of \d+ answers like"),
}


@dataclass(frozen=True)
class StoryCommit:
    """A commit that changed a pipeline's release or spec, and the release after it."""

    logged: LoggedCommit
    kind: CommitKind
    release: Release | None
    """None after a change of the spec, and where release.yaml can't be read."""
    about: str = ""
    """Release id that it is about."""

    @property
    def at(self) -> datetime:
        """Time of the commit."""
        return datetime.fromtimestamp(self.logged.at, UTC)

    @property
    def cause(self) -> str:
        """Why, in words; empty when its trailers don't say."""
        return describe_cause(self.logged.trailers.get("Driftloop-Cause", ""))


@dataclass(frozen=True)
class CommitStory:
    """The commits of a time, the oldest first."""

    commits: tuple[StoryCommit, ...]
    before: Release | None = None
    """The release at the beginning; None: there was none, or it can't be read."""
    notes: tuple[str, ...] = field(default=())


def read_commits(
    repository: Repository, tip: str | None, pipeline: str, since: datetime | None
) -> CommitStory:
    """Read the commits of a pipeline's release and spec since a time; GitError."""
    if tip is None:
        return CommitStory(())
    logged = repository.history(tip, release_path(pipeline), MOST_COMMITS + 1)
    edits = {
        commit.commit.sha: commit
        for commit in repository.history(tip, spec_path(pipeline), MOST_COMMITS)
    }
    earliest = since.timestamp() if since is not None else 0.0
    inside = [commit for commit in logged[:MOST_COMMITS] if commit.at >= earliest]
    notes: tuple[str, ...] = ()
    if len(inside) == MOST_COMMITS < len(logged):
        notes = (f"commits before the newest {MOST_COMMITS} are left out",)
    below = logged[len(inside)] if len(inside) < len(logged) else None
    before = read_release(repository, below.commit.sha, pipeline) if below is not None else None
    commits = list(_read_releases(repository, pipeline, inside[::-1], before))
    known = {commit.logged.commit.sha for commit in commits}
    commits += [
        StoryCommit(commit, "spec", None)
        for sha, commit in edits.items()
        if sha not in known and commit.at >= earliest
    ]
    return CommitStory(tuple(sorted(commits, key=lambda commit: commit.logged.at)), before, notes)


def _read_releases(
    repository: Repository, pipeline: str, logged: Sequence[LoggedCommit], before: Release | None
) -> Iterator[StoryCommit]:
    for commit in logged:
        if not was_applied(commit):
            continue
        after = read_release(repository, commit.commit.sha, pipeline)
        kind, about = find_commit_kind(
            commit.trailers, ReleaseStand.of(before), ReleaseStand.of(after)
        )
        about = commit.trailers.get("Driftloop-Release") or about
        yield StoryCommit(commit, kind, after, about)
        before = after or before


def list_ticks(story: CommitStory) -> tuple[CommitTick, ...]:
    """Return the commits as charts mark them."""
    return tuple(
        CommitTick(each.at, each.logged.commit.sha, each.logged.commit.subject, each.kind, each.cause)
        for each in story.commits
    )  # fmt: skip


def list_splits(story: CommitStory, began: datetime) -> tuple[TrafficSplit, ...]:
    """Return how the traffic was split from the beginning of a time on."""
    splits = [] if story.before is None else [_split(began, story.before)]
    splits += [_split(each.at, each.release) for each in story.commits if each.release is not None]
    return tuple(split for split in splits if split.weights)


def _split(at: datetime, release: Release) -> TrafficSplit:
    candidate = release.candidate.id if release.candidate is not None else None
    return TrafficSplit(at, release.weights, candidate if release.phase == "shadow" else None)


def tell_commits(story: CommitStory) -> Iterator[StoryLine]:
    """Yield each commit in a sentence."""
    for each in story.commits:
        yield StoryLine(
            each.at, _tell_commit(each), each.logged.commit.sha, _TONES.get(each.kind, "")
        )


_TONES: dict[CommitKind, str] = {
    "first": "good",
    "promote": "good",
    "reject": "bad",
    "rollback": "bad",
}


def _tell_commit(commit: StoryCommit) -> str:
    why = f" ({commit.cause})" if commit.cause else ""
    ended = read_outcome_trailers(commit.logged)
    match commit.kind:
        case "first":
            return f"{commit.about} is the first release and answers all traffic{why}."
        case "shadow":
            return f"{commit.about} gets a copy of the traffic, in shadow{why}."
        case "canary":
            weight = commit.release.weights.get(commit.about, 0) if commit.release else 0
            measured = _read_measured(commit)
            after = f" In the stage before: {measured}." if measured else ""
            return f"{commit.about} answers {weight} % of the traffic.{after}"
        case "promote":
            by = commit.logged.trailers.get(APPROVED_BY_TRAILER, "")
            approved = f", approved by {by}" if by else ""
            return f"{commit.about} is production and answers all traffic{why}{approved}."
        case "reject":
            reason = f": {ended[1]}" if ended is not None else ""
            return f"The rollout of {commit.about} ended, production answers all traffic{reason}."
        case "rollback":
            return f"{commit.about} is production again{why}."
        case "spec":
            return f"{commit.logged.commit.subject}, by {commit.logged.author}."
        case _:
            assert_never(commit.kind)


def _read_measured(commit: StoryCommit) -> str:
    found = _MEASURED.search(commit.logged.body)
    return found[1] if found else ""


def list_rollouts(
    story: CommitStory, rollout: Rollout, now: datetime
) -> tuple[RolloutSummary, ...]:
    """Return the rollouts of a time with their stages, measured figures beside the limits that the spec has now."""
    summaries = []
    for id in dict.fromkeys(each.about for each in story.commits if each.kind in _STAGES):
        own = [
            each for each in story.commits if each.about == id and each.kind in (*_STAGES, *_ENDS)
        ]
        last = own[-1]
        over = last.kind in _ENDS
        span = TimeSpan(own[0].at, last.at if over else now)
        end = _tell_commit(last) if over else f"{id} is in its rollout."
        summaries.append(RolloutSummary(id, span, tuple(_list_stages(own, rollout, id)), end))
    return tuple(summaries)


_STAGES: tuple[CommitKind, ...] = ("shadow", "canary")
_ENDS: tuple[CommitKind, ...] = ("promote", "reject")


def _list_stages(own: Sequence[StoryCommit], rollout: Rollout, id: str) -> Iterator[RolloutStage]:
    last = own[-1].kind
    names = ["shadow", *(f"{percent} %" for percent in rollout.canary.steps)]
    done = {_name_stage(each, id): number for number, each in enumerate(own)}
    for name in dict.fromkeys((*names, *(stage for stage in done if stage not in ("", *names)))):
        number = done.get(name)
        if number is None:
            skipped = last == "promote"
            yield RolloutStage(name, "waiting", "passed over" if skipped else "")
            continue
        following = own[number + 1] if number + 1 < len(own) else None
        state: StageState = "active" if following is None else "passed"
        if following is not None and following.kind == "reject":
            state = "failed"
        measured = _read_measured(following) if following is not None else ""
        ended = read_outcome_trailers(following.logged) if following is not None else None
        why = ended[1] if ended is not None and state == "failed" else ""
        yield RolloutStage(name, state, why, tuple(_list_limits(name, rollout, measured)))
    yield RolloutStage("promotion", "passed" if last == "promote" else "waiting")


def _name_stage(commit: StoryCommit, id: str) -> str:
    if commit.kind == "canary" and commit.release is not None:
        return f"{commit.release.weights.get(id, 0)} %"
    return "shadow" if commit.kind == "shadow" else ""


def _list_limits(stage: str, rollout: Rollout, measured: str) -> Iterator[LimitFigure]:
    figures = {
        name: float(found[1]) for name, form in _FIGURES.items() if (found := form.search(measured))
    }
    shadow, canary = rollout.shadow, rollout.canary
    if not figures:
        return
    requests = shadow.requests if stage == "shadow" else canary.requests
    yield LimitFigure("requests", figures.get("requests"), requests, at_least=True)
    errors = figures.get("error rate")
    yield LimitFigure(
        "failed", None if errors is None else errors / 100, canary.error_rate, at_least=False, unit="share"
    )  # fmt: skip
    if (p99 := figures.get("p99")) is not None:
        bound = canary.p99.total_seconds() if canary.p99 is not None and stage != "shadow" else None
        yield LimitFigure("p99", p99 / 1000, bound, at_least=False, unit="seconds")
    if (agreement := figures.get("agreement")) is not None:
        least = (
            shadow.agreement if isinstance(shadow.agreement, float) and stage == "shadow" else None
        )
        yield LimitFigure("agreement", agreement / 100, least, at_least=True, unit="share")
