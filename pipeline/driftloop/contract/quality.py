"""Quality of answers in the details of a verdict: of a window, and of its slices.

A slice are the rows whose request has one value in a column: those of one carrier, say. Figures are pairs, of the
held-out rows and of the window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    escape_text,
    from_json,
    is_number,
    is_text,
    is_whole,
    to_json,
)

QUALITY = "quality"
"""Key of a verdict's details: figures by name."""
SLICES = "slices"
"""Key of a verdict's details: a SlicedQuality."""
ESTIMATE = "estimate"
"""Key of a verdict's details: an EstimatedQuality."""
ACCURACY, F1, ECE, BRIER, AUC = "accuracy", "F1", "ECE", "Brier score", "AUC"
MAE, RMSE = "absolute error mean", "RMSE"
"""Names of figures: the share of right answers, the mean F1 of the classes, the expected calibration error and the Brier
score of probabilities, the mean area below their ROC curves; the mean of the absolute errors of numbers, and the root of the
mean of their squares."""
MEASURES = {
    ACCURACY: "accuracy",
    F1: "f1",
    ECE: "ece",
    BRIER: "brier",
    AUC: "auc",
    MAE: "mae",
    RMSE: "rmse",
}
"""Their names in metrics."""
MOST_SLICES = 20
"""Slices of a monitor that are judged."""
MOST_SHOWN = 5
"""Slices that a line names."""

EstimateMethod = Literal["cbpe", "dle"]
ESTIMATE_METHODS: tuple[EstimateMethod, ...] = get_args(EstimateMethod)
Figures = Mapping[str, tuple[float, float]]
"""By name: of the held-out rows, and of the window."""


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def _are_figures(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_pair(pair) for name, pair in value.items()
    )


def _read_pairs(value: Mapping[str, list[float]]) -> Figures:
    return {name: (float(pair[0]), float(pair[1])) for name, pair in value.items()}


def _write_pairs(figures: Figures) -> dict[str, list[float]]:
    return {name: list(pair) for name, pair in figures.items()}


def _count(key: str) -> Any:
    return document_key(key, "a number of rows", lambda v: is_whole(v, 0), default=0)


@dataclass(frozen=True, kw_only=True)
class SliceQuality:
    """Quality of the answers to rows with one value in a column."""

    column: str = document_key("column", "a text", is_text)
    """Column of requests."""
    value: str = document_key("value", "a text", lambda v: isinstance(v, str))
    """Value of these rows, as a text."""
    rows: int = document_key("rows", "a number of rows", lambda v: is_whole(v, 1))
    """Rows of the window."""
    figures: Figures = document_key(
        "figures",
        "an object of pairs of numbers",
        _are_figures,
        read=_read_pairs,
        write=_write_pairs,
    )
    """By name: of the held-out rows, and of the window."""
    score: float = document_key("score", "a number", is_number)
    """-log10 p of a loss, corrected for all that is judged of the window."""
    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """The slice alarms."""

    @classmethod
    def read(cls, document: object) -> "SliceQuality":
        """Read the slice from plain data; DocumentError."""
        return from_json(cls, document, label="a slice of the verdict", closed=False)

    @property
    def text(self) -> str:
        """The slice in words: its first figure."""
        _, (before, after) = next(iter(self.figures.items()))
        return escape_text(
            f"{self.column} = {self.value} {before:.4g} -> {after:.4g} of {self.rows} rows"
        )


@dataclass(frozen=True, kw_only=True)
class SlicedQuality:
    """All slices of a window, and what of it is in none."""

    slices: tuple[SliceQuality, ...] = document_key(
        "slices",
        "a list of slices",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(map(SliceQuality.read, v)),
        write=lambda v: list(map(to_json, v)),
    )
    """Those that were judged, the largest loss first."""
    few: int = _count("few")
    """Slices that have too few rows in the window, and were not judged."""
    few_rows: int = _count("fewRows")
    """Their rows."""
    other_rows: int = _count("otherRows")
    """Rows whose values have too few held-out rows, counted once for each column."""
    unknown_rows: int = _count("unknownRows")
    """Rows without a value, or whose request did not come, counted once for each column."""

    @classmethod
    def read(cls, document: object) -> "SlicedQuality":
        """Read the slices from plain data; DocumentError."""
        return from_json(cls, document, label="`slices` of the verdict", closed=False)

    def describe(self, most: int = MOST_SHOWN) -> str:
        """Return the slices in words, those with the largest loss first, and what is in none."""
        parts = [each.text for each in self.slices[:most]]
        if len(self.slices) > most:
            parts.append(f"{len(self.slices) - most} more slices")
        if self.few:
            parts.append(f"{self.few} of too few rows ({self.few_rows})")
        if self.other_rows:
            parts.append(f"{self.other_rows} rows of other values")
        if self.unknown_rows:
            parts.append(f"{self.unknown_rows} rows without a value")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class EstimatedQuality:
    """Quality expected of the answers of a window, without their labels."""

    by: EstimateMethod = document_key(
        "by", f"one of: {', '.join(ESTIMATE_METHODS)}", lambda v: v in ESTIMATE_METHODS
    )
    """How they are estimated."""
    rows: int = document_key("rows", "a number of rows", lambda v: is_whole(v, 1))
    """Rows of the estimate."""
    figures: Figures = document_key(
        "figures",
        "an object of pairs of numbers",
        _are_figures,
        read=_read_pairs,
        write=_write_pairs,
    )
    """By name: of the held-out rows (`cbpe`: estimated), and estimated of the window."""
    error: float = document_key(
        "error", "a number of at least 0", lambda v: is_number(v) and v >= 0
    )
    """Standard deviation by chance of the first one's real value in so many rows, from the held-out rows."""

    @classmethod
    def read(cls, document: object) -> "EstimatedQuality":
        """Read the estimate from plain data; DocumentError."""
        return from_json(cls, document, label="`estimate` of the verdict", closed=False)

    def describe(self) -> str:
        """Return the estimate in words."""
        first, *others = ((name, before, after) for name, (before, after) in self.figures.items())
        name, before, after = first
        text = f"{name} {before:.4g} -> {after:.4g} +- {self.error:.2g}"
        return "estimated " + ", ".join(
            (text, *(f"{name} {before:.4g} -> {after:.4g}" for name, before, after in others))
        )


def read_estimate(details: Mapping[str, Any]) -> EstimatedQuality | None:
    """Return the estimate in the details of a verdict; None of a monitor without one."""
    try:
        return EstimatedQuality.read(details[ESTIMATE]) if ESTIMATE in details else None
    except DocumentError:
        return None


def read_figures(details: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the figures in the details of a verdict; none of a monitor that has none."""
    figures = details.get(QUALITY)
    if not _are_figures(figures) or figures is None:
        return {}
    return dict(_read_pairs(figures))


def read_slices(details: Mapping[str, Any]) -> SlicedQuality | None:
    """Return the slices in the details of a verdict; None of a monitor without any."""
    try:
        return SlicedQuality.read(details[SLICES]) if SLICES in details else None
    except DocumentError:
        return None


def describe_figures(figures: Figures) -> str:
    """Return the figures of a window in words; empty without one."""
    texts = (
        f"{name} {before:.4g} -> {after:.4g}"
        for name, (before, after) in figures.items()
        if name in MEASURES
    )
    return ", ".join(texts)


def describe_quality(details: Mapping[str, Any]) -> str:
    """Return figures, estimate and slices of a verdict in words; empty of a monitor that has none."""
    slices, estimate = read_slices(details), read_estimate(details)
    parts = (
        describe_figures(read_figures(details)),
        estimate.describe() if estimate else "",
        slices.describe() if slices else "",
    )
    return "; ".join(part for part in parts if part)
