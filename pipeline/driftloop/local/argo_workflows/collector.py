"""Deletion of expired Workflows (`ttlStrategy`), with their logs.

Data and models of a run stay in S3, and its lineage in git. A deletion leaves a marker in the
bucket, for its watchers; an hour later the marker is removed too.
"""

import asyncio
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import LocalError, StoreError
from driftloop.local.argo.store import Change, OvertakenError, Workflows
from driftloop.local.argo_workflows import lifecycle
from driftloop.local.ground.state import StateFolder

LOG = logging.getLogger("argo.workflows")

LONGEST_SLEEP = 30.0
"""Seconds after which the clock is read again: it may have been set, or the machine asleep."""

MARKERS = 3600.0
"""Seconds for which the marker of a deletion stays."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Due:
    """Deletion that is due at a time (seconds since the epoch).

    It is of the Workflow of this revision, or of the marker of its deletion.
    """

    at: float
    revision: int
    marker: bool


class Collector:
    """Collector of expired Workflows and of the markers of their deletions."""

    def __init__(
        self, state: StateFolder, workflows: Workflows, *, markers: float = MARKERS
    ) -> None:
        self._state = state
        self._workflows = workflows
        self._markers = markers
        self._due: dict[Key, Due] = {}
        self._changed = asyncio.Event()

    def see(self, change: Change) -> None:
        """Take note of a Workflow that was written or deleted."""
        key = (change.namespace, change.name)
        self._due.pop(key, None)
        if change.workflow is None:
            self._due[key] = Due(time.time() + self._markers, change.revision, marker=True)
            self._changed.set()
            return
        try:
            expiry = lifecycle.expiry(change.workflow)
        except LocalError as error:
            LOG.warning("%s/%s is kept: %s", *key, error.message)
            return
        if expiry is not None:
            self._due[key] = Due(expiry.timestamp(), change.revision, marker=False)
            self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._changed.clear()
            now = time.time()
            for key in [key for key, due in self._due.items() if due.at <= now]:
                await self._collect(key, self._due[key])
            wait = min([due.at - time.time() for due in self._due.values()], default=LONGEST_SLEEP)
            try:
                async with asyncio.timeout(min(max(0.5, wait), LONGEST_SLEEP)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _collect(self, key: Key, due: Due) -> None:
        try:
            if due.marker:
                await self._workflows.forget(*key, due.revision)
            else:
                await self._workflows.delete(*key, due.revision)
                LOG.info("%s/%s: deleted, it expired (ttlStrategy)", *key)
        except OvertakenError:
            # its new state arrives as another change
            return
        except StoreError as error:
            LOG.warning("%s/%s: %s; trying again", *key, error.message)
            return
        if self._due.get(key) == due:
            del self._due[key]
        await asyncio.to_thread(shutil.rmtree, logs_of(self._state, key[1]), True)


def logs_of(state: StateFolder, workflow: str) -> Path:
    """Return the folder with the logs of a Workflow's steps."""
    return state.logs / workflow
