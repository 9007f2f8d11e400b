"""Runs that a tracking server must still be told of: one small object each, beside the runs.

Whoever writes run.json leaves an object here after it, named after run and content, and who has sent
the run removes those that he saw before he read run.json. So a run that changes while it is sent is
sent again, whatever is killed, and nobody needs a lock.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.tracking import TrackedRun
from driftloop.contract.trees import CARD_FILES, report_key, run_key, tracking_key, waiting_key
from driftloop.errors import PipelineError


@dataclass(frozen=True)
class TrackingBox:
    """The bucket of runs, as far as tracking is concerned."""

    store: ObjectStore
    bucket: StoreLocation
    pipeline: str

    def add(self, run: str) -> None:
        """Note that a run must be sent as it is stored now; nothing happens without run.json."""
        content = self.read_report(run)
        if content is None:
            return
        digest = hashlib.sha256(content).hexdigest()[:16]
        self.store.write_object(self.bucket / waiting_key(self.pipeline, run, digest), b"")

    def list_waiting(self) -> Mapping[str, tuple[str, ...]]:
        """Return the runs that must be sent, each with the keys that say so, the oldest note first."""
        folder = self.bucket / waiting_key(self.pipeline)
        entries = sorted(self.store.list_folder(folder), key=lambda entry: entry.modified)
        waiting: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            run = folder.relative_key(entry.key).partition("/")[0]
            waiting[run] = (*waiting.get(run, ()), entry.key)
        return waiting

    def is_waiting(self, run: str) -> bool:
        """Return True for a run that must be sent."""
        return bool(self.store.list_folder(self.bucket / waiting_key(self.pipeline, run)))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove notes."""
        for key in keys:
            self.store.delete_object(StoreLocation(self.bucket.bucket, key))

    def read_report(self, run: str) -> bytes | None:
        """Return the text of a run's run.json; None when it has none."""
        try:
            return self.store.read_object(self.bucket / report_key(run))
        except MissingObjectError:
            return None

    def read_cards(self, run: str) -> dict[str, bytes]:
        """Return the cards that are stored with a run, by name of the file."""
        found = {}
        for name in CARD_FILES:
            try:
                found[name] = self.store.read_object(self.bucket / run_key(run, name))
            except MissingObjectError:
                continue
        return found

    def read_tracked(self, run: str) -> TrackedRun | None:
        """Return what a tracking server has of a run; None when it has nothing, or it can't be read."""
        try:
            return TrackedRun.read(self.store.read_json(self.bucket / tracking_key(run)))
        except PipelineError:
            return None

    def write_tracked(self, run: str, tracked: TrackedRun) -> None:
        """Store what a tracking server has of a run."""
        self.store.write_json(self.bucket / tracking_key(run), to_json(tracked))
