"""`driftloop step snapshot`: fix the data of a run by key and digest, and fetch it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from driftloop.clients import s3
from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation, StoreObject
from driftloop.contract.columns import TARGET, read_uses
from driftloop.contract.documents import LONGEST_FILE, parse_json, to_json
from driftloop.contract.handovers import read_digests
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.lacks import describe_lacks
from driftloop.contract.limits import DATA_LIMIT
from driftloop.contract.names import PERSON_CAUSE, find_given_model, is_forced, is_prompted
from driftloop.contract.outcomes import Obstacle, RunOutcome
from driftloop.contract.records import Snapshot, SnapshotBatch
from driftloop.contract.sources import TAGGED, CollectedFiles
from driftloop.contract.trees import (
    PRODUCTION_FILE,
    SNAPSHOT_FILE,
    kept_key,
    run_key,
    snapshot_key,
)
from driftloop.errors import StepError, StoreError
from driftloop.git.head import read_head
from driftloop.git.repository import Repository
from driftloop.operations.commits.released import read_release
from driftloop.operations.project.columns import check_columns
from driftloop.operations.project.rows import count_rows
from driftloop.operations.runs.run_reports import KnownRun, RunFolder, begin_report
from driftloop.release.record import Version
from driftloop.release.refits import find_lacks
from driftloop.release.signing import verify_version
from driftloop.retrain.batches import store_batches
from driftloop.steps import options
from driftloop.steps.outcomes import store_outcome
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step snapshot --pipeline digits --run digits-4f0c1d2e3a5b --uri s3://digits/batches --out /tmp/out
"""


MAX_OBJECTS = 50_000


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.run
@click.option("--uri", required=True, help="Folder of the batches, s3://bucket/prefix.")
@click.option("--recipe", default="", help="Digest of code, parameters and images.")
@click.option("--cause", default="", help="Cause of the run; a forced one always trains.")
@click.option("--features", help="Columns that every recent batch must have.")
@click.option("--target", default=TARGET, help="Column with the right answers.")
@click.option("--columns", default="{}", help="What columns are, as JSON.")
@click.option(
    "--signatures",
    type=click.Choice(["write", "require"]),
    help="Check production's signature: `write` if it has one, `require` in any case.",
)
@click.option(
    "--max-bytes",
    default=DATA_LIMIT,
    show_default=True,
    help="Largest total size of the batches.",
)
@click.option(
    "--least-rows",
    type=click.IntRange(min=1),
    help="Rows in batches new to production with fewer of which alarms and new data train nothing.",
)
@click.option(
    "--sources",
    type=click.Path(dir_okay=False, path_type=Path),
    help="List of the files that were copied from sources: sources.json of `collect`.",
)
@click.option(
    "--monitors",
    default="",
    help="Digest of the settings of each monitor: NAME=sha256:…, separated by commas. Where production lacks a "
    "detector of one, a run that a person started goes on with the same data.",
)
@options.out
def command(
    *,
    pipeline: str,
    run: str,
    uri: str,
    recipe: str,
    cause: str,
    features: str | None,
    target: str,
    columns: str,
    signatures: str | None,
    max_bytes: int,
    least_rows: int | None,
    sources: Path | None,
    monitors: str,
    out: Path,
) -> None:
    """Fix the data of this run, and fetch it together with production's model; writes `new`
    (true, or false when production was made of the same and has all detectors, or there are fewer new
    rows than --least-rows)."""
    settings = StepSettings.from_environment()
    if find_given_model(cause) is not None:
        # what a person gave is made by no recipe of the spec
        recipe = ""
    if s3.parse_location(uri).bucket == settings.bucket.bucket:
        raise StepError(
            f"{uri} is in the platform's own bucket, with its runs and models",
            hint="put the batches into a bucket of your own, and name it in `data.uri`",
        )
    store = settings.store
    repository = settings.open_repository()
    tip = repository.tip()
    release = read_release(repository.tree(tip), pipeline)
    production = release.production
    if production is not None and (
        signatures == "require" or (signatures == "write" and production.signature is not None)
    ):
        verify_version(release, production, settings.signing_keys)
    earlier = _read_snapshot(store, settings.bucket, production)

    data, source = out / "data", s3.parse_location(uri)
    shutil.rmtree(data, ignore_errors=True)
    collected = _read_collected(sources)
    batches = _fetch_batches(store, source, data / "all", max_bytes, collected)
    batches += fetch_collected(store, settings.bucket, pipeline, collected, data / "all")
    batches.sort(key=lambda batch: batch.key)
    recent = find_recent_keys(batches, earlier)
    _sort_batches(data, source, batches, recent)
    if features is not None:
        batches_by_key = [(key, data / "recent" / key) for key in sorted(recent)]
        check_columns(batches_by_key, features, target=target, uses=read_uses(columns))
    digest = s3.combined_digest({batch.key: batch.sha256 for batch in batches})
    marked = tuple(replace(batch, recent=batch.key in recent) for batch in batches)
    snapshot = Snapshot(uri, marked, digest)
    _write_json(out / "snapshot" / SNAPSHOT_FILE, to_json(snapshot))
    begin_report(
        RunFolder(store, settings.bucket, run),
        KnownRun(pipeline=pipeline, namespace=release.namespace, cause=cause),
        commit=tip,
        production=production.id if production is not None else None,
        recipe=recipe,
        snapshot=snapshot,
    )
    # recency is part of it: it decides which rows are held out, and which ones detectors are fitted on
    layout = s3.combined_digest(
        {f"{batch.key in recent} {batch.key}": batch.sha256 for batch in batches}
    )
    obstacle = _find_obstacle(repository, pipeline, production, digest, recipe)
    if (
        obstacle is None
        and production is not None
        and least_rows is not None
        and is_prompted(cause)
    ):
        fresh = find_new_keys(batches, earlier)
        rows = count_rows((key, data / "recent" / key) for key in sorted(fresh))
        obstacle = _compare_rows(rows, least_rows, production)
    lacks = describe_lacks(find_lacks(production, read_digests(monitors)))
    refits = (
        bool(lacks)
        and cause.startswith(PERSON_CAUSE)
        and _is_same(obstacle, production, digest, recipe)
    )
    new = obstacle is None or is_forced(cause) or refits
    write_parameters(
        out / "parameters",
        digest=layout.removeprefix("sha256:")[:32],
        new="true" if new else "false",
    )
    if obstacle is not None and not new:
        outcome = RunOutcome.now("not-started", obstacle.reason, obstacle=obstacle.kind)
        store_outcome(store, settings.bucket, run, outcome)
    _fetch_production(store, production, out / "production")
    try:
        store_batches(
            store, settings.bucket, pipeline, {(batch.key, batch.etag) for batch in batches}
        )
    except StoreError as error:
        # the run matters more than the list that spares the next one
        options.print_progress(f"the list of read batches is not stored: {error.message}")
    options.print_progress(f"{len(batches)} batches, {len(recent)} of them recent, {digest}")
    if obstacle is not None:
        goes_on = f"but it {lacks}: the run goes on" if refits else "but the run is forced"
        options.print_progress(obstacle.reason if not new else f"{obstacle.reason}, {goes_on}")


@dataclass(frozen=True)
class _DataObstacle:
    """What the data lack for a run to train, and the sentence that says so."""

    kind: Obstacle
    reason: str


def _find_obstacle(
    repository: Repository, pipeline: str, production: Version | None, data: str, recipe: str
) -> _DataObstacle | None:
    """Return why these inputs bring nothing new: production, or a version that a person has just
    taken back, was made of them; None when they are new, or it is not known."""
    if production is None:
        return None
    if _is_made_of(production, data, recipe):
        return _DataObstacle("nothing-new", f"nothing new since {production.id}")
    head = read_head(repository, pipeline)
    if head is None or head.parent is None or not head.taken_back:
        return None
    before = read_release(repository.tree(head.parent), pipeline)
    versions = filter(None, (before.production, before.candidate))
    for version in versions:
        if version.id in head.taken_back and _is_made_of(version, data, recipe):
            reason = f"nothing new since {version.id}, which `{head.subject}` took back"
            return _DataObstacle("nothing-new", reason)
    return None


def _compare_rows(rows: int, least: int, production: Version) -> _DataObstacle | None:
    """Return that there are too few new rows for an alarm to train; None with enough."""
    options.print_progress(f"{rows} new labelled rows since {production.id}, at least {least}")
    if rows >= least:
        return None
    reason = f"{rows} of at least {least} new labelled rows since {production.id}"
    return _DataObstacle("too-few-rows", reason)


def _is_same(
    obstacle: _DataObstacle | None, production: Version | None, data: str, recipe: str
) -> bool:
    """Return True when a run would make production once more, and no release that a person took back."""
    return obstacle is not None and production is not None and _is_made_of(production, data, recipe)


def _is_made_of(version: Version, data: str, recipe: str) -> bool:
    """Return true if a version was made of this data and recipe; one of an older version of
    driftloop names no recipe and is not compared."""
    return version.data_digest == data and bool(recipe) and version.recipe_digest == recipe


def find_recent_keys(batches: Sequence[SnapshotBatch], earlier: Snapshot | None) -> frozenset[str]:
    """Return the keys that production was not trained on; when nothing is new, those that were
    new to production."""
    everything = frozenset(batch.key for batch in batches)
    if earlier is None:
        return everything
    new = find_new_keys(batches, earlier)
    trained = {(batch.key, batch.sha256): batch.recent for batch in earlier.batches}
    again = frozenset(batch.key for batch in batches if trained.get((batch.key, batch.sha256)))
    return new or again or everything


def find_new_keys(batches: Sequence[SnapshotBatch], earlier: Snapshot | None) -> frozenset[str]:
    """Return the keys that production was not trained on: all when its snapshot is not there."""
    trained = {(batch.key, batch.sha256) for batch in earlier.batches} if earlier else frozenset()
    return frozenset(batch.key for batch in batches if (batch.key, batch.sha256) not in trained)


def _read_snapshot(
    store: ObjectStore, bucket: StoreLocation, production: Version | None
) -> Snapshot | None:
    if production is None:
        return None
    at = bucket / snapshot_key(production.run)
    expected = production.record_digests.get("snapshot")
    try:
        folder = bucket / run_key(production.run, "snapshot")
        if expected is not None and (digest := store.digest_folder(folder)) != expected:
            raise StepError(
                describe_mismatch(folder, digest, expected),
                hint="it decides which batches are new, and somebody changed it after the release: restore it, or roll back",
            )
        return Snapshot.read(store.read_json(at))
    except MissingObjectError:
        options.print_progress(f"{at} does not exist: all data counts as recent")
        return None


def _fetch_batches(
    store: ObjectStore,
    source: StoreLocation,
    folder: Path,
    max_bytes: int,
    collected: CollectedFiles,
) -> list[SnapshotBatch]:
    try:
        objects = store.list_folder(source)
    except MissingObjectError as error:
        if not collected.files:
            raise StepError(
                f"{source} does not exist", hint="create the bucket and put labelled batches there"
            ) from error
        objects = []
    if objects or not collected.files:
        _check_size(source, objects, max_bytes - sum(file.size for file in collected.files))
    batches = []
    for entry in objects:
        name = source.relative_key(entry.key)
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise StepError(
                f"{source} has the key `{entry.key}`, which is not a path inside a folder"
            )
        digest = store.get_file(StoreLocation(source.bucket, entry.key), file)
        batches.append(SnapshotBatch(name, file.stat().st_size, entry.etag, digest))
    return batches


def _read_collected(file: Path | None) -> CollectedFiles:
    if file is None:
        return CollectedFiles(())
    text = file.read_bytes()
    return CollectedFiles.read(parse_json(text, label=str(file), longest=LONGEST_FILE))


def fetch_collected(
    store: ObjectStore,
    bucket: StoreLocation,
    pipeline: str,
    collected: CollectedFiles,
    folder: Path,
) -> list[SnapshotBatch]:
    """Fetch the files that were copied from sources; StepError for one whose key a batch of the data's folder has."""
    batches = []
    for file in collected.files:
        place = s3.join_inside(folder, file.key)
        if place.exists():
            raise StepError(
                f"the data's folder has a batch {file.key}, and source {file.source} has, too",
                hint="give the source another name, or the batch another folder",
            )
        at = bucket / kept_key(pipeline, file.sha256)
        if (digest := store.get_file(at, place)) != file.sha256:
            raise StepError(
                describe_mismatch(at, f"sha256:{digest}", f"sha256:{file.sha256}"),
                hint=f"somebody changed what was copied of {file.url}: delete it there, and the next run copies it again",
            )
        tag = f"{TAGGED}{file.sha256}"
        batches.append(SnapshotBatch(file.key, file.size, tag, file.sha256, source=file.url))
    return batches


def _check_size(source: StoreLocation, objects: Sequence[StoreObject], max_bytes: int) -> None:
    if not objects:
        raise StepError(
            f"no batches below {source}",
            hint="put labelled .npz, .csv, .jsonl or .parquet files there",
        )
    if len(objects) > MAX_OBJECTS:
        raise StepError(
            f"{len(objects)} objects below {source}, at most {MAX_OBJECTS} are read",
            hint="join small files",
        )
    if (total := sum(entry.size for entry in objects)) > max_bytes:
        raise StepError(
            f"{total} bytes below {source}, at most {max_bytes} are read",
            hint="raise `data.maxSize` in the spec, or keep less there",
        )


def _sort_batches(
    data: Path, source: StoreLocation, batches: Sequence[SnapshotBatch], recent: frozenset[str]
) -> None:
    for side in ("earlier", "recent"):
        (data / side).mkdir(parents=True, exist_ok=True)
    for batch in batches:
        target = data / ("recent" if batch.key in recent else "earlier") / batch.key
        target.parent.mkdir(parents=True, exist_ok=True)
        (data / "all" / batch.key).rename(target)
    shutil.rmtree(data / "all")


def _fetch_production(store: ObjectStore, production: Version | None, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if production is None:
        _write_json(folder / PRODUCTION_FILE, {})
        return
    _write_json(folder / PRODUCTION_FILE, production.model_dump(mode="json", by_alias=True))
    try:
        store.get_folder(s3.parse_location(production.model), folder / "model")
    except MissingObjectError:
        # the evaluation says that it can't be compared, and the gate decides
        options.print_progress(f"production's model {production.model} does not exist")
        return
    if (digest := s3.folder_digest(folder / "model")) != production.model_digest:
        raise StepError(
            describe_mismatch(production.model, digest, production.model_digest),
            hint="somebody changed production's model after its release: restore it, or roll back",
        )


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
