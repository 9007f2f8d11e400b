"""New batches, looked for while alarms wait for them."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.platform import S3_BUCKET
from driftloop.errors import PipelineError
from driftloop.retrain.batches import find_new_batches

log = logging.getLogger("decision")


@dataclass(frozen=True)
class DataLook:
    """Compares the folder of the data with what runs have read."""

    store: ObjectStore
    bucket: StoreLocation
    pipeline: str
    source: StoreLocation
    collected: bool = False
    """The pipeline has sources: what was copied from them counts, too."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], pipeline: str, uri: str, *, collected: bool = False
    ) -> "DataLook | None":
        """Return the look at `uri`; None without one, or when the environment has no store."""
        bucket = environment.get(S3_BUCKET.environment)
        if not uri or not bucket:
            return None
        store = ObjectStore.from_environment(environment)
        return cls(store, StoreLocation(bucket), pipeline, parse_location(uri), collected)

    async def is_new(self) -> bool:
        """Return True when there are batches that no run has read; False when the store does not
        answer, either."""
        try:
            batches = await asyncio.to_thread(
                find_new_batches,
                self.store,
                self.bucket,
                self.pipeline,
                self.source,
                collected=self.collected,
            )
        except PipelineError as error:
            log.warning("the data can't be looked at: %s", error.message)
            return False
        if batches.new:
            log.info(
                "%d of %d batches are new: %s", len(batches.new), batches.total, batches.new[0]
            )
        return bool(batches.new)
