"""Records of what a tracking server is told: tracking.json of a run, what still waits,
and the answer of the decision service."""

from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import document_key, from_json, is_text, is_whole
from driftloop.contract.records import moment_key, text_key

PRODUCTION, CANDIDATE, PREVIOUS = "production", "candidate", "previous"
ALIASES = (PRODUCTION, CANDIDATE, PREVIOUS)
"""Aliases of the registered model: the roles of a release."""
RUN_TAG, TRIAL_TAG, RELEASE_TAG = "driftloop.run", "driftloop.trial", "driftloop.release"
"""Tags by which what is there is found again: our run id, number of a trial, release id."""
MADE_TAG = "driftloop.made"
"""Tag with the moment at which a run was made there: of two of the same run the first one stays."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """tracking.json: what a tracking server has of one run."""

    server: str = document_key("server", "an address", is_text)
    """Address of the server."""
    experiment: str = text_key("experiment")
    """Id of the experiment there."""
    id: str = document_key("id", "an id", is_text)
    """Id of the run there."""
    version: int | None = document_key(
        "version",
        "a number from 1, or null",
        lambda v: v is None or is_whole(v, 1),
        default=None,
    )
    """Version of the registered model; None for a run that became no release."""
    time: str | None = moment_key("sentAt")
    """When it was sent last."""
    note: str = text_key("note")
    """What the server did not take, and why; empty when it took all."""

    @classmethod
    def read(cls, document: object) -> "TrackedRun":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="tracking.json", closed=False)


def _count(key: str) -> Any:
    return document_key(key, "a number of runs", lambda v: is_whole(v, 0), default=0)


@dataclass(frozen=True, kw_only=True)
class TrackingStatus:
    """Progress of telling a tracking server of a pipeline."""

    server: str = document_key("server", "an address", is_text)
    """Address of the server."""
    waiting: int = _count("waiting")
    """Runs that must still be sent, or sent again."""
    error: str = text_key("error")
    """Why; empty while all is well."""
    since: str | None = moment_key("since")
    """Since when nothing can be sent; None while all is well."""
    time: str | None = moment_key("sentAt")
    """When it was told of something last, or compared with git; None when it was not since the start."""

    @classmethod
    def read(cls, document: object) -> "TrackingStatus":
        """Read the status from plain data; DocumentError."""
        return from_json(cls, document, label="the tracking status", closed=False)

    @property
    def text(self) -> str:
        """The status in one line."""
        runs = "1 run waits" if self.waiting == 1 else f"{self.waiting} runs wait"
        if self.error:
            since = f" since {self.since}" if self.since else ""
            return f"{self.error}{since}" + (f"; {runs}" if self.waiting else "")
        if self.waiting:
            return f"{self.server}: {runs} to be sent"
        return f"{self.server}: all is sent"
