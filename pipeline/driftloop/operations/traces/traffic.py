"""Captured traffic of a pipeline in its object store: what is there, and one file of it.

Keys say day, release and rows of each file, so that a listing reads none of them. Files are put together in
the monitor image's environment: the command line has no Arrow.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.cluster.reader import ApiReader
from driftloop.contract.captures import TrafficPart, day_folder, traffic_key
from driftloop.errors import PipelineError, StoreError
from driftloop.local.ground.addresses import BUCKET
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.images import LocalImage
from driftloop.operations.ground.cluster_store import open_cluster_bucket
from driftloop.operations.ground.environment import read_environment

ExportForm = Literal["parquet", "csv", "jsonl"]
FORMS: tuple[ExportForm, ...] = get_args(ExportForm)
NONE_HINT = (
    "`capture: {}` in the spec records it; a file is written after `capture.every`, 5m by default"
)


@dataclass(frozen=True)
class TrafficFolder:
    """The folder of a pipeline's captured traffic."""

    store: ObjectStore
    place: StoreLocation


@dataclass(frozen=True)
class StoredFile:
    """One of its files, and its size in bytes."""

    part: TrafficPart
    size: int


@dataclass
class TrafficCount:
    """Files and rows of one day and release."""

    day: str
    release: str
    rows: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class TrafficChoice:
    """Choice of the traffic that is asked for."""

    since: datetime | None = None
    release: str | None = None
    columns: Sequence[str] = field(default=())
    day: str | None = None
    """The only day, in UTC."""
    request: str | None = None
    """Id of the only request."""

    def takes(self, part: TrafficPart) -> bool:
        """Return True for a file that may have rows of it."""
        if self.release is not None and part.release != self.release:
            return False
        if self.day is not None and part.day != self.day:
            return False
        return self.since is None or part.day >= self.since.astimezone(UTC).date().isoformat()


@contextlib.contextmanager
def open_local_traffic(state: StateFolder, name: str) -> Iterator[TrafficFolder]:
    """Open the captured traffic of a pipeline that runs, or ran, from a state folder."""
    store = ObjectStore.from_environment(read_environment(state))
    yield TrafficFolder(store, StoreLocation(BUCKET, traffic_key(name)))


@contextlib.contextmanager
def open_cluster_traffic(
    reader: ApiReader,
    name: str,
    *,
    namespace: str,
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> Iterator[TrafficFolder]:
    """Open the captured traffic of a pipeline in a cluster, with the rights of the person."""
    with open_cluster_bucket(reader, namespace, kubeconfig=kubeconfig, context=context) as (
        store,
        bucket,
    ):
        yield TrafficFolder(store, StoreLocation(bucket, traffic_key(name)))


def list_files(folder: TrafficFolder, choice: TrafficChoice) -> list[StoredFile]:
    """Return the files that may have rows of a choice, in the order of their keys."""
    found = []
    place = folder.place if choice.day is None else folder.place / day_folder(choice.day)
    for entry in folder.store.list_folder(place):
        part = TrafficPart.parse(folder.place.relative_key(entry.key))
        if part is not None and choice.takes(part):
            found.append(StoredFile(part, entry.size))
    return found


def count_traffic(files: Sequence[StoredFile]) -> list[TrafficCount]:
    """Return the counts of each day and release, the oldest day first."""
    counts: dict[tuple[str, str], TrafficCount] = {}
    for file in files:
        key = (file.part.day, file.part.release)
        count = counts.setdefault(key, TrafficCount(*key))
        count.rows += file.part.rows
        count.files += 1
        count.bytes += file.size
    return [counts[key] for key in sorted(counts)]


def export_traffic(
    folder: TrafficFolder,
    choice: TrafficChoice,
    image: LocalImage,
    work: Path,
    *,
    form: ExportForm,
    out: Path,
) -> int:
    """Put the rows of a choice into one file; their number. PipelineError when there are none, or none has
    a column that is asked for."""
    files = list_files(folder, choice)
    if not files:
        raise PipelineError(f"{folder.place} has no such traffic", hint=NONE_HINT)
    fetched = work / "parts"
    for file in files:
        folder.store.get_file(folder.place / file.part.key, fetched / file.part.key)
    words = ["export", "--files", str(fetched), "--form", form, "--out", str(out)]
    if choice.since is not None:
        words += ["--since", choice.since.isoformat()]
    if choice.request is not None:
        words += ["--request", choice.request]
    if choice.columns:
        words += ["--columns", ",".join(choice.columns)]
    done = subprocess.run(
        [image.find_program("driftloop-recorder"), *words],
        env={**image.build_environment(), "HOME": str(work)},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _read_failure(done.stderr)
    return int(done.stdout)


def _read_failure(text: str) -> PipelineError:
    """Return the error that a program of ours ended with, as its own."""
    _, found, words = text.partition("error: ")
    message, _, hint = words.partition("\nhint: ")
    if not found:
        return StoreError("the export failed", hint=text.strip()[-2000:] or "it said nothing")
    return PipelineError(message.strip(), hint=hint.strip() or None)
