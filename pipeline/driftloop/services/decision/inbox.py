"""Labels in a folder of the bucket: files that somebody puts into `labels/P/inbox/` are read once.

Who may write there is the store's matter. A file is read when it is whole (S3 shows no other), passed on as labels that were
posted, and moved: to `labels/P/read/`, or to `labels/P/refused/` when it is no file of labels, each with what became of it
beside it. How far one has been read is kept in the bucket, and its labels have the same ids and times whenever they are passed
on: killed in the middle, the next look goes on there, and what comes twice counts once.
"""

import asyncio
import hashlib
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients.label_files import read_labels
from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation, StoreObject
from driftloop.contract.documents import DocumentError, escape_text, to_json
from driftloop.contract.inboxes import (
    InboxPlace,
    InboxResult,
    InboxStatus,
    inbox_key,
    read_key,
    reading_key,
    refused_folder,
    refused_key,
)
from driftloop.contract.labels import MOST_SHOWN
from driftloop.contract.times import format_now
from driftloop.errors import PipelineError, StepError
from driftloop.services.decision.labels import LabelDoor, LabelsRefusedError, split_labels

log = logging.getLogger("decision")

LOOK = 30.0
"""Seconds between two looks at the folder."""
SAVED = 10
"""Parts of a file after which it is kept how far it was read."""
LARGEST = 1024 * 1024 * 1024
"""Bytes of a file; a larger one stays where it is, and is told."""


@dataclass(frozen=True)
class InboxFolder:
    """The folders of a pipeline's files of labels. Methods block, and raise StoreError."""

    store: ObjectStore
    bucket: StoreLocation
    pipeline: str

    def list_files(self) -> list[StoreObject]:
        """Return the files that wait, the oldest first."""
        found = self.store.list_folder(self.bucket / inbox_key(self.pipeline))
        for large in (entry for entry in found if entry.size > LARGEST):
            log.warning(
                "%s is not read: it has %d bytes, must be at most %d",
                large.key,
                large.size,
                LARGEST,
            )
        # a key that ends with a slash is a folder's, as some consoles make them
        files = (e for e in found if e.size <= LARGEST and not e.key.endswith("/"))
        return sorted(files, key=lambda entry: (entry.modified, entry.key))

    def list_refused(self) -> list[StoreObject]:
        """Return what is said of refused files, the oldest first."""
        found = self.store.list_folder(self.bucket / refused_folder(self.pipeline))
        told = (entry for entry in found if entry.key.endswith(".json"))
        return sorted(told, key=lambda entry: (entry.modified, entry.key))

    def read_result(self, entry: StoreObject) -> InboxResult | None:
        """Read what is said of a file; None of one that is gone or can't be read."""
        try:
            place = StoreLocation(self.bucket.bucket, entry.key)
            return InboxResult.read(self.store.read_json(place))
        except (MissingObjectError, DocumentError, ValueError):
            return None

    def read_place(self) -> InboxPlace | None:
        """Return how far a file was read; None when none was begun."""
        try:
            return InboxPlace.read(self.store.read_json(self.bucket / reading_key(self.pipeline)))
        except (MissingObjectError, DocumentError, ValueError):
            return None

    def save_place(self, place: InboxPlace) -> None:
        """Keep how far a file was read."""
        self.store.write_json(self.bucket / reading_key(self.pipeline), to_json(place))

    def move_file(self, entry: StoreObject, file: Path, result: InboxResult) -> None:
        """Move a file out of the inbox, and put what became of it beside it."""
        key = refused_key if result.refused else read_key
        place = self.bucket / key(self.pipeline, entry.etag, PurePosixPath(entry.key).name)
        self.store.put_file(file, place)
        self.store.write_json(StoreLocation(place.bucket, f"{place.key}.json"), to_json(result))
        self.store.delete_object(StoreLocation(self.bucket.bucket, entry.key))


class InboxWatch:
    """Reads the files of a pipeline's inbox, for ever."""

    def __init__(self, folder: InboxFolder, door: LabelDoor, registry: CollectorRegistry) -> None:
        self._folder = folder
        self._door = door
        self.status = InboxStatus()
        """What waits and what was refused, as of the last look."""
        self._files = Counter(
            "driftloop_decision_label_files",
            "Files of labels that were read from the bucket, by result",
            ["result"],
            registry=registry,
        )
        for result in ("read", "refused"):
            self._files.labels(result)
        self._waiting = Gauge(
            "driftloop_decision_label_files_waiting",
            "Files of labels in the bucket that are not read yet",
            registry=registry,
        )

    async def watch(self) -> None:
        """Look at the folder now and then."""
        while True:
            try:
                await self.read_files()
            except (PipelineError, OSError) as error:
                log.warning("files of labels can't be read, trying again: %s", error)
            except LabelsRefusedError as error:
                log.warning("labels of a file are not taken, trying again: %s", error.message)
            await asyncio.sleep(LOOK)

    async def read_files(self) -> None:
        """Read the files that are there; StoreError when the store is away, LabelsRefusedError when the broker is."""
        entries = await asyncio.to_thread(self._folder.list_files)
        self._waiting.set(len(entries))
        self.status = replace(self.status, waiting=len(entries))
        for number, entry in enumerate(entries, 1):
            with tempfile.TemporaryDirectory(prefix="driftloop-labels-") as folder:
                file = Path(folder) / PurePosixPath(entry.key).name
                await self._read_file(entry, file)
            self._waiting.set(len(entries) - number)
            self.status = replace(self.status, waiting=len(entries) - number)
        await asyncio.to_thread(self._read_refused)

    def _read_refused(self) -> None:
        """Look at what was refused, by this process or an earlier one, and is still there."""
        told = self._folder.list_refused()
        key = told[-1].key.removesuffix(".json") if told else ""
        if (len(told), key) == (self.status.refused, self.status.file):
            return
        result = self._folder.read_result(told[-1]) if told else None
        self.status = replace(
            self.status,
            refused=len(told),
            file=key,
            reason=result.refused if result is not None else "",
            time=result.time if result is not None else "",
        )

    async def _read_file(self, entry: StoreObject, file: Path) -> None:
        bucket = self._folder.bucket.bucket
        await asyncio.to_thread(self._folder.store.get_file, StoreLocation(bucket, entry.key), file)
        result = await self._pass_on(entry, file)
        await asyncio.to_thread(self._folder.move_file, entry, file, result)
        self._files.labels("refused" if result.refused else "read").inc()
        log.info("labels of %s: %s", escape_text(file.name), result.text)

    async def _pass_on(self, entry: StoreObject, file: Path) -> InboxResult:
        """Give the door the labels of a file, from where an earlier attempt ended."""
        source = hashlib.sha256(f"{entry.key}\n{entry.etag}".encode()).hexdigest()[:32]
        begun = await asyncio.to_thread(self._folder.read_place)
        done = begun.parts if begun is not None and begun.source == source else 0
        reasons: list[str] = []
        malformed = accepted = number = 0

        def refuse(reason: str) -> None:
            nonlocal malformed
            malformed += 1
            if len(reasons) < MOST_SHOWN:
                reasons.append(reason)

        refused = ""
        parts = split_labels(read_labels(file, refuse))
        try:
            while part := await asyncio.to_thread(next, parts, ()):
                if number >= done:
                    given = round(entry.modified * 1e6) + number
                    await self._door.pass_on(part, id=f"{source}-{number}", given=given)
                number, accepted = number + 1, accepted + len(part)
                if number > done and number % SAVED == 0:
                    place = InboxPlace(source=source, parts=number)
                    await asyncio.to_thread(self._folder.save_place, place)
        except StepError as error:
            refused = f"{error.message}; {error.hint}" if error.hint else error.message
        return InboxResult(
            time=format_now(),
            accepted=accepted,
            malformed=malformed,
            reasons=tuple(reasons),
            refused=refused,
        )
