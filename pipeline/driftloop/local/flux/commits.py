"""The branch as it is followed: a commit is read when it is new, and again after an error that may
pass.
"""

import time
from collections.abc import Sequence

from driftloop.errors import PipelineError
from driftloop.local.flux.source import ClusterRepository
from driftloop.local.ground.timeline import EventTimeline

AGAIN = 5.0
"""Seconds until a commit that was not applied is read again: what it misses (an image, a file
handle, space on the disk) may have come."""

LONGEST_REST = 2.0
"""Seconds of rest after a read at most; it is as long as the read, so that a storm of commits
leaves time to apply them."""


class CommitWatch:
    """Says which commit is to be read now, and keeps what stopped the last one."""

    def __init__(
        self, repository: ClusterRepository, timeline: EventTimeline, *, applied: str | None = None
    ) -> None:
        self._repository = repository
        self._timeline = timeline
        self._applied = applied
        self.tip: str | None = None
        """The commit that was looked at last."""
        self.refused: str | None = None
        """Error of the commit itself."""
        self.failed: str | None = None
        """Error that may pass: the commit is read again."""
        self.missing: str | None = None
        """Reason for which there is no commit to read."""
        self._noted: tuple[str, str] | None = None
        self._started = 0.0
        self._ended = 0.0

    def find_due(self) -> str | None:
        """Return the branch's commit when it is to be read now."""
        try:
            tip = self._repository.read_tip()
        except PipelineError as error:
            self._note_missing(str(error), error.message, error.hint or "")
            return None
        if tip is None:
            self._note_deleted()
            return None
        if self.missing is not None:
            self.missing = None
            self._timeline.add_entry("commit", "the branch can be read again", commit=tip)
        now = time.monotonic()
        if tip == self.tip:
            waits = self.refused is not None or self.failed is not None
            return tip if waits and now > self._started + AGAIN else None
        rest = min(LONGEST_REST, self._ended - self._started)
        return tip if now > self._ended + rest else None

    def start_read(self, tip: str) -> bool:
        """Note that a commit is read now; True when it was read before."""
        again = tip == self.tip
        self.tip, self._started = tip, time.monotonic()
        return again

    def accept(self, tip: str) -> None:
        """Note that all of a commit can be applied."""
        self._end_read()
        self.refused = self.failed = self._noted = None
        self._applied = tip

    def refuse(self, tip: str, errors: Sequence[PipelineError]) -> None:
        """Note what keeps a commit, or a part of it, from being applied."""
        self._end_read()
        self.refused, self.failed = "\n".join(map(str, errors)), None
        if self._is_news(tip, self.refused):
            for error in errors:
                self._timeline.add_entry(
                    "commit", f"refused: {error.message}", error.hint or "", commit=tip
                )

    def postpone(self, tip: str, reason: str) -> None:
        """Note an error that may pass."""
        self._end_read()
        text = f"commit {tip[:12]} is not applied yet: {reason}"
        self.failed, self.refused = f"{text}\nhint: it is read again every {AGAIN:.0f} s", None
        if self._is_news(tip, reason):
            self._timeline.add_entry(
                "commit", text, f"it is read again every {AGAIN:.0f} s", commit=tip
            )

    def _end_read(self) -> None:
        self._ended = time.monotonic()

    def _is_news(self, tip: str, text: str) -> bool:
        before, self._noted = self._noted, (tip, text)
        return before != self._noted

    def _note_deleted(self) -> None:
        """Note that the branch is gone; before the first commit there is none to miss."""
        commit = self.tip or self._applied
        if commit is None:
            return
        what = f"branch `{self._repository.branch}` does not exist any more"
        why = f"commit {commit[:12]} goes on running; push the branch again"
        self._note_missing(f"{what}: {why}", what, why)

    def _note_missing(self, text: str, what: str, why: str) -> None:
        if self.missing != text:
            self.missing = text
            self._timeline.add_entry("commit", what, why)
