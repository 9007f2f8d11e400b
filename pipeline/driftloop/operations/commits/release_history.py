"""All releases of a pipeline, from the history of its release.yaml: when, why, of what, and how each
ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from driftloop.contract.outcomes import OutcomeKind
from driftloop.contract.times import format_time
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import PipelineError
from driftloop.git.head import ROLLED_BACK_TRAILER, TAKEN_BACK_TRAILER
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.operations.commits import releases
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.spec import load_spec

MOST_COMMITS = 100_000
"""Commits of release.yaml that are read: only their messages."""

MARKS = ("production", "previous", "candidate")


@dataclass(frozen=True)
class ReleaseEntry:
    """One release: a trained version that had traffic, or a copy of it."""

    id: str
    run: str
    cause: str
    author: str
    """Who committed it: the loop, or a person."""
    time: str
    """When it was committed first."""
    commit: str
    """That commit."""
    data_digest: str
    model_digest: str
    recipe_digest: str | None = None
    forced: bool = False
    marks: tuple[str, ...] = ()
    """What it is now: `production`, `previous`, `candidate`; nothing for one that is replaced."""
    promoted: str | None = None
    """When it became production first; None when it never did."""
    outcome: OutcomeKind | None = None
    """How its run ended; None while its rollout goes on."""
    reason: str = ""
    taken_back: str | None = None
    """When a person took it back last; None when none did."""
    left: str | None = None
    """When the loop itself went back from it last, because of alarms; None when it never did."""
    metrics: dict[str, float] = field(default_factory=dict)
    """On the held-out rows; empty when it is not known."""
    signed: bool = False
    """release.yaml has a signature of it; `rollback` checks it."""

    def to_json(self) -> dict[str, Any]:
        """Return the release as plain data."""
        return {
            "release": self.id,
            "marks": list(self.marks),
            "time": self.time,
            "promoted": self.promoted,
            "outcome": self.outcome,
            "reason": self.reason,
            "takenBack": self.taken_back,
            "rolledBack": self.left,
            "cause": self.cause,
            "author": self.author,
            "forced": self.forced,
            "run": self.run,
            "commit": self.commit,
            "dataDigest": self.data_digest,
            "modelDigest": self.model_digest,
            "recipeDigest": self.recipe_digest,
            "metrics": self.metrics,
            "signed": self.signed,
        }


@dataclass(frozen=True)
class ReleaseHistory:
    """The releases of a pipeline, the newest first."""

    pipeline: str
    phase: str
    gates: tuple[str, ...]
    """Metrics that the spec's gates look at now."""
    entries: tuple[ReleaseEntry, ...]


def read_history(
    repository: Repository, pipeline: str, *, most: int | None = None
) -> ReleaseHistory:
    """Read the newest releases, `most` of them, or all; GitError when the pipeline does not exist."""
    tip = repository.tip()
    committed = releases.read_pipeline(repository.tree(tip), pipeline)
    entries = list_entries(repository, tip, pipeline)[:most]
    gates = load_spec(committed.spec, path=spec_path(pipeline)).spec.evaluate.gates
    return ReleaseHistory(
        pipeline,
        committed.release.phase,
        tuple(dict.fromkeys(gate.metric for gate in gates)),
        tuple(complete_entry(repository, committed.release, entry) for entry in entries),
    )


def list_entries(
    repository: Repository, tip: str | None, pipeline: str
) -> tuple[ReleaseEntry, ...]:
    """Return the releases that commits name, the newest first; also of a pipeline that is removed."""
    commits = repository.history(tip, release_path(pipeline), MOST_COMMITS) if tip else ()
    return tuple(_read_entries(commits, pipeline))[::-1]


def _read_entries(commits: tuple[LoggedCommit, ...], pipeline: str) -> Iterator[ReleaseEntry]:
    """Yield the releases that the trailers of commits name, in the order in which they came."""
    entries: dict[str, ReleaseEntry] = {}
    for commit in reversed(commits):
        trailers, time = commit.trailers, format_time(datetime.fromtimestamp(commit.at, UTC))
        id = trailers.get("Driftloop-Release")
        if trailers.get("Driftloop-Pipeline") != pipeline or not id:
            continue
        entry = entries.get(id) or _begin_entry(commit, id, time)
        if (ended := releases.read_outcome_trailers(commit)) is not None:
            kind, reason = ended
            promoted = entry.promoted or (time if kind == "released" else None)
            entry = replace(entry, outcome=kind, reason=reason, promoted=promoted)
        entries[id] = entry
        if (back := trailers.get(TAKEN_BACK_TRAILER)) in entries:
            entries[back] = replace(entries[back], taken_back=time)
        if (left := trailers.get(ROLLED_BACK_TRAILER)) in entries:
            entries[left] = replace(entries[left], left=time)
    yield from entries.values()


def _begin_entry(commit: LoggedCommit, id: str, time: str) -> ReleaseEntry:
    trailers = commit.trailers
    return ReleaseEntry(
        id=id,
        run=trailers.get("Driftloop-Run", ""),
        cause=trailers.get("Driftloop-Cause", ""),
        author=commit.author,
        time=time,
        commit=commit.commit.sha,
        data_digest=trailers.get("Driftloop-Data-Digest", ""),
        model_digest=trailers.get("Driftloop-Model-Digest", ""),
        recipe_digest=trailers.get("Driftloop-Recipe-Digest") or None,
        forced=trailers.get("Driftloop-Forced") == "true",
    )


def complete_entry(repository: Repository, now: Release, entry: ReleaseEntry) -> ReleaseEntry:
    """Add what the release is now, and what release.yaml said of it when it was committed."""
    roles: Mapping[str, Version | None] = {
        "production": now.production,
        "previous": now.previous,
        "candidate": now.candidate,
    }
    marks = tuple(mark for mark in MARKS if (of := roles[mark]) is not None and of.id == entry.id)
    version = find_version(repository, entry.commit, now.name, entry.id)
    if version is None:
        return replace(entry, marks=marks)
    metrics, signed = dict(version.metrics), version.signature is not None
    return replace(entry, marks=marks, metrics=metrics, signed=signed)


def read_release(repository: Repository, commit: str, pipeline: str) -> Release | None:
    """Return the release of a pipeline as a commit has it; None when it has none, or when another
    version of driftloop wrote it."""
    path = release_path(pipeline)
    text = repository.tree(commit).get(path)
    try:
        return record.load_release(text, path=path) if text else None
    except PipelineError:
        return None


def find_version(repository: Repository, commit: str, pipeline: str, id: str) -> Version | None:
    """Return a version as release.yaml has it in a commit; None when it has not, or when another
    version of driftloop wrote it."""
    release = read_release(repository, commit, pipeline)
    if release is None:
        return None
    versions = (release.candidate, release.production, release.previous)
    return next((each for each in versions if each is not None and each.id == id), None)
