"""Metrics of the last removal of files that runs have left."""

import asyncio
import logging
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.documents import DocumentError
from driftloop.contract.records import PruneRecord
from driftloop.contract.trees import pruned_key
from driftloop.errors import StoreError

log = logging.getLogger("decision")

LOOK = 300.0
"""Seconds between two reads of the record."""


class PruneWatch:
    """Reads what the last prune has stored."""

    def __init__(
        self, store: ObjectStore, bucket: StoreLocation, pipeline: str, registry: CollectorRegistry
    ) -> None:
        self._store = store
        self._place = bucket / pruned_key(pipeline)
        self._removed = Gauge(
            "driftloop_pruned_bytes",
            "Bytes of what runs have left that were ever removed",
            registry=registry,
        )
        self._kept = Gauge(
            "driftloop_kept_bytes", "Bytes of runs that the last prune has left", registry=registry
        )
        self._time = Gauge(
            "driftloop_pruned_time_seconds",
            "Time of the last prune, since 1970; 0 before the first",
            registry=registry,
        )

    async def watch(self) -> None:
        """Read the record now and then, for ever."""
        while True:
            try:
                document = await asyncio.to_thread(self._store.read_json, self._place)
                self._show(PruneRecord.read(document))
            except MissingObjectError:
                pass
            except (StoreError, DocumentError, ValueError) as error:
                log.warning("what was removed of runs can't be read: %s", error)
            await asyncio.sleep(LOOK)

    def _show(self, record: PruneRecord) -> None:
        self._removed.set(record.total)
        self._kept.set(record.kept)
        self._time.set(datetime.fromisoformat(record.time).timestamp())
