"""Data that charts are drawn from. Times are aware; shares and effects are between 0 and 1, weights percent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from driftloop.contract.profiles import ColumnType

CommitKind = Literal["first", "shadow", "canary", "promote", "reject", "rollback", "spec"]
StageState = Literal["waiting", "active", "passed", "failed"]


@dataclass(frozen=True)
class TimeSpan:
    """The time that a chart shows."""

    began: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.ended - self.began).total_seconds()

    def find_place(self, moment: datetime) -> float:
        """Return where a moment is between left (0) and right (100)."""
        if self.seconds <= 0:
            return 0.0
        part = (moment - self.began).total_seconds() / self.seconds
        return 100 * min(max(part, 0.0), 1.0)


@dataclass(frozen=True)
class CommitTick:
    """A commit of the cluster repository on a time axis."""

    at: datetime
    sha: str
    subject: str
    kind: CommitKind = "spec"
    why: str = ""
    href: str = ""
    """Where it can be read; empty without a place."""


@dataclass(frozen=True)
class TrafficSplit:
    """Split of traffic from a moment on."""

    at: datetime
    weights: Mapping[str, int]
    """Percent by release id."""
    shadow: str | None = None
    """Release that gets a copy."""


@dataclass(frozen=True)
class QualityLine:
    """Shares of right answers over time, or another measure between 0 and 1."""

    name: str
    points: tuple[tuple[datetime, float], ...]


@dataclass(frozen=True)
class WindowPoint:
    """One judged window of a monitor."""

    at: datetime
    """When it was judged."""
    number: int
    level: float
    """Its score as a multiple of the threshold (of p-values: of their logarithms); above 1 it alarms."""
    alarm: bool
    text: str = ""
    """What moved, in words."""
    began: datetime | None = None
    """Time of its first row; None: the end of the window before."""
    href: str = ""


@dataclass(frozen=True)
class MonitorLine:
    """The windows of a monitor over time."""

    name: str
    detector: str
    windows: tuple[WindowPoint, ...]


@dataclass(frozen=True)
class ColumnEffect:
    """Effect of one window on a column."""

    column: str
    window: WindowPoint
    effect: float
    """Largest difference of the two distributions, as a share of the rows."""
    alarm: bool
    text: str = ""


@dataclass(frozen=True)
class DistributionBin:
    """A part of a column's values: the share of the rows that has one, before and after."""

    label: str
    before: float
    after: float


@dataclass(frozen=True)
class ColumnDistribution:
    """A column in the reference data (before) and in a window (after)."""

    column: str
    type: ColumnType
    bins: tuple[DistributionBin, ...]
    """Of numbers in order, each labelled with its lower end; of categories the most frequent ones."""
    missing: tuple[float, float] = (0.0, 0.0)
    """Share of rows without a value, before and after."""
    text: str = ""
    """What moved, in words."""
    upper: str = ""
    """Label of the upper end of the last bin; empty of categories."""


@dataclass(frozen=True)
class LimitFigure:
    """A measured figure beside its limit."""

    name: str
    value: float | None
    """None: not measured yet."""
    bound: float | None
    at_least: bool
    """The value must be at least the bound; else at most."""
    unit: Literal["", "share", "seconds"] = ""

    @property
    def held(self) -> bool | None:
        """Return True when the value is within its limit; None when that is not known."""
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class RolloutStage:
    """One stage of a rollout."""

    name: str
    state: StageState
    text: str = ""
    limits: tuple[LimitFigure, ...] = ()


@dataclass(frozen=True)
class GateFigure:
    """A gate of an evaluation with its numbers."""

    metric: str
    rows: str
    """Rows that it was measured on: `all` or `recent`."""
    value: float
    bound: float | None
    """None without production to compare with."""
    at_least: bool
    passed: bool
    reason: str = ""
    production: float | None = None
    """Production's value of the metric; None without one."""


@dataclass(frozen=True)
class ReleaseNames:
    """Release ids in the order of their colours."""

    ids: tuple[str, ...] = field(default=())

    def find_color(self, id: str) -> str:
        """Return the class that colours a release."""
        return f"r{self.ids.index(id) % 6}" if id in self.ids else "r5"
