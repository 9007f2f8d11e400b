"""The window that a detector has open, as `GET /window` answers and `driftloop status` shows it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from driftloop.contract.budgets import BudgetUse
from driftloop.contract.documents import document_key, from_json, is_whole, part_key
from driftloop.contract.labels import LabelCounts
from driftloop.contract.records import moment_key, name_key


def _count(key: str) -> Any:
    return document_key(key, "a number of rows", lambda v: is_whole(v, 0))


@dataclass(frozen=True, kw_only=True)
class PendingWindows:
    """Windows that are judged together next."""

    window: int = document_key("window", "a number from 2", lambda v: is_whole(v, 2))
    """Number of the last of them, with which they are judged."""
    windows: int = document_key("windows", "a number of windows from 2", lambda v: is_whole(v, 2))
    """How many they are at most."""
    known: int = document_key("known", "a number of windows", lambda v: is_whole(v, 0))
    """Those of them that have closed and are counted."""

    @classmethod
    def read(cls, document: object) -> "PendingWindows":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="`together` of the open window", closed=False)

    def describe(self) -> str:
        """Say in words which they are, and what an alarm of them does."""
        first = self.window - self.windows + 1
        return (
            f"windows {first}-{self.window} are judged together when the last of them closes, "
            f"{self.known} are counted; an alarm of them counts by itself"
        )


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """The window that is not closed yet."""

    release: str = name_key("release")
    """Release whose traffic is scored."""
    window: int = document_key("window", "a number from 1", lambda v: is_whole(v, 1))
    """Number that it will have."""
    rows: int = _count("rows")
    """Rows that it has."""
    full: int = _count("full")
    """Rows at which it closes."""
    least: int = _count("least")
    """Rows without which it does not close by time."""
    repeated: int = _count("repeated")
    """Rows that came before, and are not in it."""
    since: str | None = moment_key("since")
    """Time of its first row; None: it has none."""
    due: str | None = moment_key("due")
    """Time from which it closes with its least rows; None: only when it is full, or it has none."""

    budget: BudgetUse | None = part_key("budget", BudgetUse, omits_none=False)
    """What false alarms it may have, beside the traffic; None: it has an `alarmRate` of its own."""

    order: str | None = document_key(
        "order",
        "a text, or null",
        lambda v: v is None or isinstance(v, str),
        default=None,
        omits_none=True,
    )
    """What the fit learnt of the training data's order, in words; None: it learnt nothing of it."""
    together: PendingWindows | None = part_key("together", PendingWindows)
    """What is judged together next; None: windows are judged one by one."""

    labels: LabelCounts | None = part_key("labels", LabelCounts)
    """How good the release's answers are by all labels so far; None of a detector that reads none."""

    @classmethod
    def read(cls, document: object) -> "OpenWindow":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the open window", closed=False)

    def describe(self, now: datetime) -> str:
        """Say in words what it has, when it closes, and what the budget of false alarms is."""
        parts = [self._describe_rows(now)]
        if self.labels is not None:
            parts.append(self.labels.describe())
        if self.budget is not None:
            parts.append(self.budget.describe())
        if self.order is not None:
            parts.append(self.order)
        if self.together is not None:
            parts.append(self.together.describe())
        return "; ".join(parts)

    def _describe_rows(self, now: datetime) -> str:
        name = f"window {self.window} of {self.release} is open, {self.rows} of {self.full} rows"
        repeats = f", {self.repeated} repeated ones not counted" if self.repeated else ""
        if self.since is None:
            return name + repeats
        text = f"{name} since {self.since}{repeats}"
        if self.due is None:
            return text
        if self.rows >= self.least:
            return f"{text}; closes at {self.due} at the latest"
        if now < datetime.fromisoformat(self.due):
            return f"{text}; closes at {self.due} with {self.least} or more"
        return f"{text}; was due at {self.due}, and closes when it has {self.least}"
