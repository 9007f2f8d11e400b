"""Git as the decision sees it: which release is production, and whether a person took one back."""

import asyncio
import logging
import time
from collections.abc import Mapping

from driftloop.contract.layout import read_layout
from driftloop.contract.platform import GIT_BRANCH, GIT_URL
from driftloop.contract.trees import release_path
from driftloop.errors import PipelineError
from driftloop.git.head import ReleaseHead, find_head
from driftloop.git.production import ProductionSince, find_production
from driftloop.git.repository import Commit, Credentials, Repository, refuse_writes
from driftloop.git.scratch import make_scratch
from driftloop.retrain.state import HeadEvent

log = logging.getLogger("decision")

FRESH = 2.0
"""Seconds for which what was read counts as now."""


class HeadReader:
    """Reads one pipeline's release from the tip of the branch."""

    def __init__(self, repository: Repository, pipeline: str) -> None:
        self._repository = repository
        self._pipeline = pipeline
        self._one_at_a_time = asyncio.Lock()
        self._tip: str | None = None
        self._newest: Commit | None = None
        """The last commit of the pipeline's release."""
        self._head: ReleaseHead | None = None
        self._text: str | None = None
        self._read_at = float("-inf")
        self.production: ProductionSince | None = None
        """Since when production is what it is, as git was read last."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], pipeline: str) -> "HeadReader | None":
        """Return the reader of the platform's repository; None when the environment has none."""
        url = environment.get(GIT_URL.environment)
        if not url:
            return None
        repository = Repository(
            url,
            branch=environment.get(GIT_BRANCH.environment) or "main",
            workdir=make_scratch(environment),
            guard=refuse_writes,
            credentials=Credentials.from_environment(environment),
            layout=read_layout(environment),
        )
        return cls(repository, pipeline)

    async def read_event(self) -> HeadEvent | None:
        """Return what git says now, at most two seconds old; None before the first release, or
        when git can't be read."""
        async with self._one_at_a_time:
            if time.monotonic() - self._read_at > FRESH:
                try:
                    await asyncio.to_thread(self._read)
                except PipelineError as error:
                    log.warning("git can't be read: %s", error.message)
                    return None
                self._read_at = time.monotonic()
            return None if self._head is None else self._head.event

    def read_text(self) -> tuple[str | None, str | None]:
        """Return the tip as it was read last, and the text of its release.yaml; None when none was
        read, or there is none. Nothing is fetched."""
        return self._tip, self._text

    def _read(self) -> None:
        """Fetch once; the history is read when there is another commit of the pipeline's release, and that of
        production when it changed production or candidate."""
        tip, path = self._repository.tip(), release_path(self._pipeline)
        if tip == self._tip:
            return
        newest = None if tip is None else self._repository.last_touching(tip, path)
        if newest is None or newest != self._newest:
            before, self._head = self._head, find_head(self._repository, self._pipeline, tip)
            self._text = self._repository.tree(tip).get(path)
            if self._head != before:
                self.production = find_production(self._repository, self._pipeline, tip)
        self._newest, self._tip = newest, tip
