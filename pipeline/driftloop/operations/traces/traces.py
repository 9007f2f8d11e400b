"""From one thing to everything that it comes of, and to what came of it: request, release, run,
commit, batch."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.columns import SUFFIXES
from driftloop.contract.documents import DocumentError
from driftloop.contract.records import Snapshot
from driftloop.contract.runs import RunReport, describe_trigger
from driftloop.contract.trees import run_key, snapshot_key
from driftloop.errors import GitError, PipelineError, ReleaseError, StoreError
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.operations.commits import released, releases
from driftloop.operations.commits.release_history import (
    ReleaseEntry,
    complete_entry,
    list_entries,
)
from driftloop.operations.runs.run_store import RunPlace, find_run
from driftloop.operations.traces.kept_requests import read_windows
from driftloop.release.record import Release

Json = Mapping[str, Any]

TraceKind = Literal["request", "release", "run", "commit", "batch"]
TRACE_KINDS: tuple[TraceKind, ...] = get_args(TraceKind)

MOST_BATCHES = 1000
"""Batches of a run that a trace lists one by one."""

_RELEASE = re.compile(r"r[0-9a-f]{8}")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class TraceLink:
    """One thing on the way."""

    kind: str
    id: str
    text: str
    details: Json = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the link as plain data."""
        return {"kind": self.kind, "id": self.id, "text": self.text, **self.details}


@dataclass(frozen=True)
class Trace:
    """Everything on the way from one thing."""

    kind: TraceKind
    id: str
    links: tuple[TraceLink, ...]
    """What it comes of, the nearest first; itself is the first."""
    leads_to: tuple[TraceLink, ...] = ()
    """What came of it."""
    notes: tuple[str, ...] = ()
    """What is not kept any more, or could not be read."""

    def to_json(self) -> dict[str, Any]:
        """Return the trace as plain data."""
        return {
            "kind": self.kind,
            "id": self.id,
            "links": [link.to_json() for link in self.links],
            "leadsTo": [link.to_json() for link in self.leads_to],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class TracePlace:
    """Place that a trace looks in."""

    runs: RunPlace
    repository: Repository
    tip: str | None
    nats_url: str | None = None
    """NATS with verdicts and logged events; None when it is not reachable from here."""

    def list_pipelines(self) -> tuple[str, ...]:
        """Return the pipelines of the cluster repository."""
        return released.list_pipelines(self.repository.tree(self.tip))

    def find_commit(self, trailer: str, value: str) -> LoggedCommit | None:
        """Return the newest commit with a trailer; None when there is none."""
        return self.repository.find(self.tip, trailer, value) if self.tip is not None else None


def guess_kind(place: TracePlace, id: str) -> TraceKind:
    """Return what an id is of: what exists under it, else a request."""
    if _RELEASE.fullmatch(id) and place.find_commit("Driftloop-Release", id) is not None:
        return "release"
    if place.find_commit("Driftloop-Run", id) is not None or _is_run(place, id):
        return "run"
    if _COMMIT.fullmatch(id) and find_commit(place, id) is not None:
        return "commit"
    if id.startswith(("s3://", "sha256:")) or id.endswith(SUFFIXES):
        return "batch"
    return "request"


def trace_release(place: TracePlace, id: str) -> Trace:
    """Trace a release; ReleaseError when git does not know it."""
    builder = _open_release(place, id)
    links = tuple(builder.follow_release(id))
    return Trace("release", id, links, tuple(builder.lead_release(id)), tuple(builder.notes))


def trace_back(place: TracePlace, id: str) -> Trace:
    """Trace a release to what it comes of alone: what came of it is looked for in every stored run."""
    builder = _open_release(place, id)
    return Trace("release", id, tuple(builder.follow_release(id)), (), tuple(builder.notes))


def _open_release(place: TracePlace, id: str) -> "_Builder":
    commit = place.find_commit("Driftloop-Release", id)
    if commit is None:
        raise ReleaseError(
            f"no commit is about a release `{id}`",
            hint="`driftloop releases NAME` lists those of a pipeline",
        )
    return _Builder(place, commit.trailers.get("Driftloop-Pipeline", ""))


def trace_run(place: TracePlace, run: str) -> Trace:
    """Trace a run; StoreError when neither the bucket nor git knows it."""
    found = find_run(place.runs, run)
    commit = place.find_commit("Driftloop-Run", run)
    if found is None and commit is None:
        raise StoreError(
            f"no run `{run}` is stored, and no commit is of it", hint="`driftloop runs` lists runs"
        )
    pipeline = found.report.pipeline if found is not None else ""
    if commit is not None:
        pipeline = commit.trailers.get("Driftloop-Pipeline", pipeline)
    builder = _Builder(place, pipeline)
    entry = next((each for each in builder.entries.values() if each.run == run), None)
    report = found.report if found is not None else None
    links = tuple(builder.follow_run(run, report, entry))
    ahead = (builder.link_release(entry), *builder.lead_release(entry.id)) if entry else ()
    return Trace("run", run, links, ahead, tuple(builder.notes))


def trace_commit(place: TracePlace, revision: str) -> Trace:
    """Trace a commit of the cluster repository, or of the code that runs were trained with."""
    commit = find_commit(place, revision)
    runs = [
        report
        for report in list_reports(place)
        if (report.digests.revision or "").startswith(revision)
        or (commit is not None and report.commit == commit.commit.sha)
    ]
    if commit is None and not runs:
        raise GitError(
            f"`{revision}` is no commit of {place.repository.url}, and no run's code is of it",
            hint="give at least seven digits of it",
        )
    links: list[TraceLink] = []
    notes: tuple[str, ...] = ()
    if commit is not None:
        links.append(_link_commit(commit))
        if (id := commit.trailers.get("Driftloop-Release")) is not None:
            builder = _Builder(place, commit.trailers.get("Driftloop-Pipeline", ""))
            links += builder.follow_release(id)
            notes = tuple(builder.notes)
    ahead = tuple(_link_run(report.run, report) for report in runs)
    return Trace("commit", revision, tuple(links), ahead, notes)


def trace_batch(place: TracePlace, name: str) -> Trace:
    """Trace a batch, by key or digest: the runs that were trained on it, and their releases."""
    wanted = name.removeprefix("sha256:")
    batches: dict[tuple[str, str], TraceLink] = {}
    ahead: list[TraceLink] = []
    notes: list[str] = []
    for report in list_reports(place):
        try:
            snapshot = read_snapshot(place.runs, report.run)
        except PipelineError as error:
            notes.append(f"the batches of {report.run} are not known: {error.message}")
            continue
        for batch in snapshot.batches if snapshot is not None else ():
            full = f"{snapshot.uri.rstrip('/')}/{batch.key}" if snapshot is not None else batch.key
            full = batch.source or full
            if name not in (batch.key, full) and batch.sha256 != wanted:
                continue
            batches[batch.key, batch.sha256] = _link_batch(batch.key, batch.sha256, batch.size)
            ahead.append(_link_run(report.run, report, recent=batch.recent))
            if report.release is not None:
                ahead.append(TraceLink("release", report.release, f"of {report.run}"))
    if not batches:
        raise StoreError(
            f"no stored run was trained on a batch `{name}`",
            hint="`driftloop data ls NAME` lists batches; give a key below the data's folder, or a digest",
        )
    return Trace("batch", name, tuple(batches.values()), tuple(ahead), tuple(notes))


def list_reports(place: TracePlace) -> Iterator[RunReport]:
    """Yield all runs of the bucket, in the order of their names."""
    names = dict.fromkeys(
        entry.key.split("/")[1]
        for entry in place.runs.store.list_objects(place.runs.bucket / run_key(""))
    )
    for name in names:
        if (found := find_run(place.runs, name)) is not None:
            yield found.report


def read_snapshot(runs: RunPlace, run: str) -> Snapshot | None:
    """Return the batches of a run; None for a run without."""
    try:
        return Snapshot.read(runs.store.read_json(runs.bucket / snapshot_key(run)))
    except MissingObjectError:
        return None


def find_commit(place: TracePlace, revision: str) -> LoggedCommit | None:
    """Return a commit by the first digits of its name; None when the branch has none."""
    if place.tip is None or _COMMIT.fullmatch(revision) is None:
        return None
    try:
        found = place.repository.history(revision, ":/", 1)
    except GitError:
        return None
    inside = found and place.repository.contains(place.tip, ancestor=found[0].commit.sha)
    return found[0] if inside and found[0].commit.sha.startswith(revision) else None


def _is_run(place: TracePlace, id: str) -> bool:
    if "/" in id:
        return False
    objects = place.runs.store.list_folder(place.runs.bucket / run_key(id))
    return bool(objects)


class _Builder:
    """Links of one pipeline."""

    def __init__(self, place: TracePlace, pipeline: str) -> None:
        self.place = place
        self.pipeline = pipeline
        self.entries = {
            entry.id: entry for entry in list_entries(place.repository, place.tip, pipeline)
        }
        self.notes: list[str] = []
        self._now = self._read_now()

    def _read_now(self) -> Release | None:
        tree = self.place.repository.tree(self.place.tip)
        try:
            return releases.read_pipeline(tree, self.pipeline).release
        except GitError:
            self.notes.append(
                f"pipeline `{self.pipeline}` is removed: git and the bucket tell of it"
            )
            return None

    def follow_release(self, id: str) -> Iterator[TraceLink]:
        """Yield a release and what it comes of."""
        entry = self.entries.get(id)
        if entry is None:
            self.notes.append(f"no commit of `{self.pipeline}` is about {id}")
            return
        if self._now is not None:
            entry = complete_entry(self.place.repository, self._now, entry)
        yield self.link_release(entry)
        found = find_run(self.place.runs, entry.run, pipeline=self.pipeline)
        report = found.report if found is not None else None
        yield TraceLink(
            "model",
            entry.model_digest,
            str(self.place.runs.bucket / run_key(entry.run, "release/model")),
        )
        yield from self.follow_run(entry.run, report, entry)

    def link_release(self, entry: ReleaseEntry) -> TraceLink:
        """Return the link of a release."""
        words = [*entry.marks, f"committed {entry.time}"]
        if entry.promoted is not None:
            words.append(f"production since {entry.promoted}")
        if entry.outcome is not None:
            words.append(f"{entry.outcome}: {entry.reason}" if entry.reason else entry.outcome)
        if entry.taken_back is not None:
            words.append(f"taken back {entry.taken_back}")
        if entry.left is not None:
            words.append(f"rolled back from because of alarms {entry.left}")
        return TraceLink("release", entry.id, ", ".join(words), {"pipeline": self.pipeline})

    def follow_run(
        self, run: str, report: RunReport | None, entry: ReleaseEntry | None
    ) -> Iterator[TraceLink]:
        """Yield a run and what it comes of; what is pruned is told from git."""
        if report is None:
            self.notes.append(f"the files of {run} are not stored any more: git tells what is left")
        yield _link_run(run, report)
        if report is not None:
            if report.parameters is not None:
                text = ", ".join(f"{name} {value}" for name, value in report.parameters.items())
                yield TraceLink("parameters", run, text or "none", {"values": report.parameters})
            yield from self._follow_data(report)
            yield from _follow_code(report)
        elif entry is not None:
            yield TraceLink("data", entry.data_digest, "its batches are not known any more")
            if entry.recipe_digest is not None:
                yield TraceLink(
                    "code", entry.recipe_digest, "recipe of code, parameters and images"
                )
        if entry is not None and (commit := find_commit(self.place, entry.commit)) is not None:
            yield _link_commit(commit)
        if report is not None and report.commit is not None:
            before = find_commit(self.place, report.commit)
            text = before.commit.subject if before is not None else "not in the branch any more"
            yield TraceLink("commit", report.commit, f"what the run began from: {text}")
        cause = report.cause if report is not None else entry.cause if entry is not None else ""
        trigger = describe_trigger(report.trigger) if report is not None else "git's trailer"
        yield TraceLink("cause", cause or "not known", trigger)
        if report is not None:
            yield from self._follow_alarm(report)
            for approval in report.approvals:
                when = f" at {approval.when}" if approval.when is not None else ""
                yield TraceLink("approval", approval.step, f"{approval.text}{when}")

    def _follow_data(self, report: RunReport) -> Iterator[TraceLink]:
        if (data := report.data) is None:
            return
        yield TraceLink(
            "data",
            data.digest,
            f"{data.batches} batches below {data.uri}, {data.recent} recent",
            {"uri": data.uri},
        )
        try:
            snapshot = read_snapshot(self.place.runs, report.run)
        except (DocumentError, StoreError) as error:
            self.notes.append(f"the batches of {report.run} can't be read: {error.message}")
            return
        batches = snapshot.batches if snapshot is not None else ()
        for batch in batches[:MOST_BATCHES]:
            yield _link_batch(batch.key, batch.sha256, batch.size, recent=batch.recent)
        if len(batches) > MOST_BATCHES:
            self.notes.append(f"{len(batches) - MOST_BATCHES} more batches are in snapshot.json")

    def _follow_alarm(self, report: RunReport) -> Iterator[TraceLink]:
        if (alarm := report.alarm) is None:
            return
        yield TraceLink(
            "alarm",
            alarm.event,
            f"monitor {alarm.monitor} of {alarm.release}, windows {alarm.first}-{alarm.last}",
            {"monitor": alarm.monitor, "release": alarm.release},
        )
        if self.place.nats_url is None:
            self.notes.append("verdicts can't be read from here: the windows' scores are left out")
            return
        try:
            windows = read_windows(self.place.nats_url, report.namespace, self.pipeline, alarm)
        except StoreError as error:
            self.notes.append(f"the windows' scores can't be read: {error.message}")
            return
        if not windows:
            self.notes.append("the verdicts on these windows are not kept any more")
        for window in windows:
            what = f": {window['changes']}" if window["changes"] else ""
            text = f"score {window['score']:.4g} against {window['threshold']:.4g}, {window['rows']} rows{what}"
            yield TraceLink("window", str(window["window"]), text, window)

    def lead_release(self, id: str) -> Iterator[TraceLink]:
        """Yield what came of a release: runs that began under it, and the releases they became."""
        for report in list_reports(self.place):
            if report.pipeline != self.pipeline:
                continue
            alarmed = report.alarm is not None and report.alarm.release == id
            if alarmed or report.production == id:
                yield _link_run(report.run, report)
                if report.release is not None and report.release in self.entries:
                    yield self.link_release(self.entries[report.release])


def _link_run(run: str, report: RunReport | None, **details: Any) -> TraceLink:
    if report is None:
        return TraceLink("run", run, "its files are pruned", details)
    end = report.outcome.text if report.outcome is not None else "not ended"
    times = f"{report.started or '?'} to {report.finished or '-'}"
    extra = {"trigger": report.trigger, "pipeline": report.pipeline, **details}
    return TraceLink("run", run, f"{times}, {end}", extra)


def _link_batch(key: str, sha256: str, size: int, *, recent: bool | None = None) -> TraceLink:
    mark = ", recent" if recent else ""
    return TraceLink("batch", key, f"sha256:{sha256}, {size} bytes{mark}", {"sha256": sha256})


def _link_commit(commit: LoggedCommit) -> TraceLink:
    return TraceLink(
        "commit", commit.commit.sha, f"{commit.commit.subject}, by {commit.author}",
        {"author": commit.author},
    )  # fmt: skip


def _follow_code(report: RunReport) -> Iterator[TraceLink]:
    digests = report.digests
    if digests.code is not None or report.code:
        revision = f", revision {digests.revision}" if digests.revision else ""
        recipe = f", recipe {digests.recipe}" if digests.recipe else ""
        yield TraceLink(
            "code", digests.code or "not known", f"{report.code}{revision}{recipe}",
            {"revision": digests.revision, "recipe": digests.recipe},
        )  # fmt: skip
    images: dict[str, list[str]] = {}
    for step, image in (digests.images or {}).items():
        images.setdefault(image, []).append(step)
    for image, steps in images.items():
        yield TraceLink("image", image, f"of {', '.join(steps)}", {"steps": steps})
