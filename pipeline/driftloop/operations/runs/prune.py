"""Remove from the bucket what runs have left and nothing needs any more, as the spec's `retention` says."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation, StoreObject
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.names import release_id
from driftloop.contract.records import PruneRecord
from driftloop.contract.runs import RunReport
from driftloop.contract.times import format_now, format_time
from driftloop.contract.trees import (
    RUN_FILE,
    pruned_key,
    release_path,
    report_key,
    run_key,
    spec_path,
)
from driftloop.git.repository import Repository
from driftloop.operations.commits import released, releases
from driftloop.operations.commits.release_history import MOST_COMMITS
from driftloop.operations.runs.contents import find_unused_contents
from driftloop.operations.runs.references import find_unused
from driftloop.operations.runs.retention import (
    Removal,
    RetentionPolicy,
    StoredFile,
    StoredRun,
    choose_removals,
    kind_of,
)
from driftloop.operations.runs.run_reports import RunFolder, write_report
from driftloop.operations.runs.run_store import RunPlace, find_run
from driftloop.plan.kept import settle_kept
from driftloop.platform import PlatformFile
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.spec import load_spec
from driftloop.spec.model import Spec

Report = Callable[[str], None]


@dataclass(frozen=True)
class PrunePlan:
    """Files of one pipeline that may go, and the releases that stay."""

    pipeline: str
    removals: tuple[Removal, ...]
    held: Mapping[str, str]
    """Release to the reason why it stays."""
    total: int
    """Bytes of all runs of the pipeline now."""
    references: tuple[StoreObject, ...] = ()
    """Reference data of detectors that no release has after that."""
    contents: tuple[StoreObject, ...] = ()
    """Files copied from sources that are there no more, and that no run which stays was trained on."""

    @property
    def size(self) -> int:
        """Bytes that go."""
        kept_once = sum(entry.size for entry in (*self.references, *self.contents))
        return sum(removal.size for removal in self.removals) + kept_once

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {
            "pipeline": self.pipeline,
            "bytes": self.total,
            "removes": self.size,
            "removals": [
                {
                    "run": removal.run,
                    "kind": removal.kind,
                    "why": removal.why,
                    "files": len(removal.files),
                    "bytes": removal.size,
                }
                for removal in self.removals
            ],
            "references": len(self.references),
            "contents": len(self.contents),
            "held": dict(self.held),
        }


def plan_prune(
    place: RunPlace,
    repository: Repository,
    pipeline: str,
    *,
    windows: Iterable[str] = (),
    now: float | None = None,
) -> PrunePlan:
    """Find what may go. `windows` are releases with an open window or waiting events.

    GitError when the pipeline does not exist, ReleaseError when a release.yaml of the time that counts can't
    be read: then nothing is known of what must stay.
    """
    now = time.time() if now is None else now
    tip = repository.tip()
    tree = repository.tree(tip)
    committed = releases.read_pipeline(tree, pipeline)
    policy = read_policy(
        load_spec(committed.spec, path=spec_path(pipeline)).spec, committed.platform
    )
    held = find_held(repository, tip, pipeline, now - policy.keeps_releases)
    held |= {id: f"is {role}" for role, id in _list_roles(committed.release)}
    held |= {release: "a window of it is open" for release in windows if release not in held}
    others = tuple(name for name in released.list_pipelines(tree) if name != pipeline)
    stored = tuple(_list_runs(place, pipeline, others))
    removals = choose_removals(stored, held, policy, now)
    gone = {run_key(each.run, file.name) for each in removals for file in each.files}
    unused = find_unused(place.store, place.bucket, pipeline, gone, now)
    total = sum(file.size for run in stored for file in run.files)
    left = [run.run for run in stored if _keeps_files(run, gone)]
    contents = find_unused_contents(place, pipeline, left, now)
    return PrunePlan(pipeline, removals, held, total, unused, contents)


def carry_out(place: RunPlace, repository: Repository, plan: PrunePlan, report: Report) -> int:
    """Remove what a plan names; the bytes that went. A release that became something since stays."""
    removed = 0
    for removal in plan.removals:
        if removal.kind == "model" and _has_role(repository, plan.pipeline, removal.run):
            report(f"{removal.run} stays: it has a role again")
            continue
        _keep_record(place, removal.run, plan.pipeline)
        for file in removal.files:
            place.store.delete_object(place.bucket / run_key(removal.run, file.name))
        removed += removal.size
    if plan.references:
        # what stays by a role that it has again refers to them still
        unused = find_unused(place.store, place.bucket, plan.pipeline, (), time.time())
        for entry in unused:
            place.store.delete_object(StoreLocation(place.bucket.bucket, entry.key))
            removed += entry.size
    for entry in plan.contents:
        place.store.delete_object(StoreLocation(place.bucket.bucket, entry.key))
        removed += entry.size
    return removed


def record_prune(place: RunPlace, plan: PrunePlan, removed: int) -> PruneRecord:
    """Store what was removed, for those who look; what there is now to say of it."""
    at = place.bucket / pruned_key(plan.pipeline)
    try:
        before = PruneRecord.read(place.store.read_json(at)).total
    except (MissingObjectError, DocumentError):
        before = 0
    once = len(plan.references) + len(plan.contents)
    files = sum(len(each.files) for each in plan.removals) + once
    record = PruneRecord(
        format_now(),
        removed,
        files if removed else 0,
        max(0, plan.total - removed),
        before + removed,
    )
    place.store.write_json(at, to_json(record))
    return record


def remove_work(store: ObjectStore, bucket: StoreLocation, run: str) -> int:
    """Remove the files by which the steps of a run that has ended handed on their data: no batch is
    stored once more for each run. Returns the bytes."""
    folder, removed = bucket / run_key(run), 0
    for entry in store.list_folder(folder):
        if kind_of(folder.relative_key(entry.key)) == "work":
            store.delete_object(StoreLocation(bucket.bucket, entry.key))
            removed += entry.size
    return removed


def read_policy(spec: Spec, platform: PlatformFile) -> RetentionPolicy:
    """Return the retention of a spec within the bounds of its cluster's platform file, in seconds."""
    kept = settle_kept(spec, platform).retention
    caches = [spec.train.cache, *(step.cache for step in spec.data.steps)]
    return RetentionPolicy(
        trials=kept.trials.total_seconds(),
        runs=kept.runs.total_seconds(),
        releases=kept.releases.total_seconds(),
        logs=kept.logs.total_seconds(),
        cache=max((cache.total_seconds() for cache in caches if cache is not None), default=0.0),
    )


def find_held(
    repository: Repository, tip: str | None, pipeline: str, since: float
) -> dict[str, str]:
    """Return the releases that had a role since a time, with the reason."""
    path = release_path(pipeline)
    held: dict[str, str] = {}
    for commit in repository.history(tip, path, MOST_COMMITS) if tip is not None else ():
        text = repository.tree(commit.commit.sha).get(path)
        if text is not None:
            release = record.load_release(text, path=f"{commit.commit.sha[:12]}:{path}")
            time = format_time(datetime.fromtimestamp(commit.at, UTC))
            for role, id in _list_roles(release):
                held.setdefault(id, f"was {role} on {time}")
        if commit.at < since:
            # what it says was in force when the time began
            break
    return held


def _list_roles(release: Release) -> tuple[tuple[str, str], ...]:
    roles = (
        ("previous", release.previous),
        ("candidate", release.candidate),
        ("production", release.production),
    )
    versions = tuple((role, version) for role, version in roles if version is not None)
    return (
        *((role, version.id) for role, version in versions),
        # whose detectors it has
        *((role, release_id(by)) for role, version in versions if (by := version.fitted_by)),
    )


def _has_role(repository: Repository, pipeline: str, run: str) -> bool:
    tree = repository.tree(repository.tip())
    release = releases.read_pipeline(tree, pipeline).release
    return any(id == release_id(run) for _, id in _list_roles(release))


def _list_runs(place: RunPlace, pipeline: str, others: tuple[str, ...]) -> Iterable[StoredRun]:
    files: dict[str, list[StoredFile]] = {}
    longer = tuple(f"{name}-" for name in others if name.startswith(f"{pipeline}-"))
    for entry in place.store.list_objects(place.bucket / run_key(f"{pipeline}-")):
        run, _, name = entry.key.removeprefix(run_key("")).partition("/")
        files.setdefault(run, []).append(StoredFile(name, entry.size, entry.modified))
    for run, listed in files.items():
        if run.startswith(longer) and not _is_written(listed):
            # a run of an older version, by its name another pipeline's
            continue
        found = find_run(place, run, pipeline=pipeline)
        report = found.report if found is not None else None
        if report is None or report.pipeline != pipeline:
            continue
        ended = _read_end(report)
        if ended is None and all(kind_of(file.name) == "log" for file in listed):
            # a look for new data, or a prune: it leaves nothing else
            ended = max(file.modified for file in listed)
        yield StoredRun(run, tuple(listed), ended, report.release, _list_homes(report))


def _keeps_files(run: StoredRun, gone: Collection[str]) -> bool:
    """Return True for a run of which more than its records and logs stay, and for one that goes on."""
    return run.ended is None or any(
        kind_of(file.name) not in ("record", "log") and run_key(run.run, file.name) not in gone
        for file in run.files
    )


def _is_written(files: Iterable[StoredFile]) -> bool:
    return any(file.name == RUN_FILE for file in files)


def _read_end(report: RunReport) -> float | None:
    if report.outcome is None:
        return None
    return datetime.fromisoformat(report.outcome.time).timestamp()


def _list_homes(report: RunReport) -> tuple[str, ...]:
    homes = (trial.home for trial in report.trials if trial.home)
    return tuple(dict.fromkeys(home.split("/")[1] for home in homes if home.count("/") >= 2))


def _keep_record(place: RunPlace, run: str, pipeline: str) -> None:
    """Write run.json of a run of an older version, of what is left of it, before something goes."""
    if place.store.has_object(place.bucket / report_key(run)):
        return
    if (found := find_run(place, run, pipeline=pipeline)) is not None:
        write_report(RunFolder(place.store, place.bucket, run), found.report)
