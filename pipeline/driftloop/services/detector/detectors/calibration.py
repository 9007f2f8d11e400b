"""Calibration of p-values of random windows to those of windows as they come.

Rows that come together are alike: sessions of one user, hours, nights, rows that are sent twice. A window of
them moves further from the reference than one of random rows, by the square root of an *inflation*: the
variance of the means of windows in order over that of random ones (Kish's design effect). The fit learns it
from the order of the training data (`order`); tests then count a distance as if it were so much smaller.

Where windows next to each other are alike as well, k alarms in a row are hardly rarer than one: such a column
is held to the rate that one window may have by itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.contract.budgets import expect_alarms
from driftloop.contract.documents import document_key, from_json, is_number, is_text
from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors.statistics import convert_scores, restore_scores
from driftloop.services.detector.rows.values import Rows
from driftloop.text.words import join_some

MOST_NAMED = 5
ROWS = "rows"
"""Stands for a column where rows are judged one by one."""


@dataclass(frozen=True)
class OrderEffect:
    """Factor by which windows in order move further in a column than random ones."""

    inflation: float = document_key(
        "inflation", "a number of at least 1", lambda v: is_number(v) and v >= 1, read=float
    )
    """The variance of their means over that of random ones."""
    lasting: bool = document_key("lasting", "true or false", lambda v: isinstance(v, bool))
    """Windows next to each other are alike."""

    @classmethod
    def read(cls, document: object) -> "OrderEffect":
        """Read the effect from plain data; DocumentError."""
        return from_json(cls, document, label="an effect of the order")


NO_EFFECT = OrderEffect(1.0, lasting=False)


def _are_effects(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_text(name) and isinstance(effect, dict) for name, effect in value.items()
    )


def _count_key(name: str, of: str) -> Any:
    return document_key(
        name,
        f"a number of {of}, or null",
        lambda v: v is None or (isinstance(v, int) and v > 0),
        default=None,
        omits_none=True,
    )


@dataclass(frozen=True)
class Calibration:
    """Order of a fit's rows, as learnt."""

    rows: int = document_key("rows", "a number of rows", lambda v: isinstance(v, int) and v >= 0)
    """Rows in order that were looked at."""
    longest: int = document_key(
        "longest", "a number of rows", lambda v: isinstance(v, int) and v >= 0
    )
    """Rows of the longest blocks; longer seasons are not seen."""
    window: int = document_key("window", "a number of rows", lambda v: isinstance(v, int) and v > 0)
    """Rows of the windows that it was learnt for."""
    effects: dict[str, OrderEffect] = document_key(
        "effects",
        "an object of effects by column",
        _are_effects,
        read=lambda v: {name: OrderEffect.read(effect) for name, effect in v.items()},
        write=lambda v: {
            name: {"inflation": effect.inflation, "lasting": effect.lasting}
            for name, effect in v.items()
        },
    )
    """Columns whose order matters."""
    sorted: tuple[str, ...] = document_key(
        "sorted",
        "a list of columns",
        lambda v: isinstance(v, list) and all(map(is_text, v)),
        read=tuple,
        write=list,
    )
    """Columns that move too far in the files' order for it to be that of traffic."""
    usable: bool = document_key("usable", "true or false", lambda v: isinstance(v, bool))
    """The order may be that of traffic."""
    bound: float | None = document_key(
        "bound",
        "a number, or null",
        lambda v: v is None or is_number(v),
        default=None,
        omits_none=True,
    )
    """How far a window must be beyond a threshold that is not ours, that of a class of alibi-detect or of a
    function, by its severity; None: nothing was learnt, or the threshold is ours."""
    judged: int = document_key(
        "judged", "a number of windows", lambda v: isinstance(v, int) and v >= 0, default=0
    )
    """Windows of the training data that this was learnt from."""
    heavy: bool | None = document_key(
        "heavy", "true or null", lambda v: v is None or v is True, default=None, omits_none=True
    )
    """The function's scores have a heavy tail, so the bound is far out; None: they have none."""
    proven: float | None = document_key(
        "proven",
        "a share, or null",
        lambda v: v is None or (is_number(v) and 0 <= v <= 1),
        default=None,
        omits_none=True,
    )
    """Share of clean windows that alarm at most in 19 of 20 releases whatever tail the function's scores have; None: the
    stated rate is."""
    wanted: int | None = _count_key("wanted", "rows")
    """Training rows with which the stated rate would be that."""
    tried: int | None = _count_key("tried", "windows")
    """Windows of the training data in its own order that the fit judged; None: of those that alarm, no more than
    chance explains."""
    alarmed: int | None = _count_key("alarmed", "windows")
    """Those of them that alarm."""

    @classmethod
    def read(cls, document: object) -> "Calibration":
        """Read the calibration from plain data; DocumentError."""
        return from_json(cls, document, label="the calibration")

    def find_effect(self, column: str, rows: int) -> OrderEffect:
        """Return the effect of the order on a column, in windows of so many rows."""
        return self._scale_effect(self.effects.get(column, NO_EFFECT), rows)

    def find_largest(self, rows: int) -> OrderEffect:
        """Return the largest effect, for tests of rows as wholes."""
        every = [self._scale_effect(effect, rows) for effect in self.effects.values()]
        return OrderEffect(
            max((effect.inflation for effect in every), default=1.0),
            lasting=any(effect.lasting for effect in every),
        )

    def _scale_effect(self, effect: OrderEffect, rows: int) -> OrderEffect:
        """Return the effect in windows of another size: what lasts longer than a window grows with it."""
        if not effect.lasting or rows == self.window:
            return effect
        return OrderEffect(1 + (effect.inflation - 1) * rows / self.window, lasting=True)

    def temper_columns(
        self,
        settings: DetectorSettings,
        columns: Sequence[str],
        scores: Rows,
        window: int,
    ) -> Rows:
        """Return -log10 p of tests of these columns (one each) as windows come, of -log10 p of random ones."""
        effects = [self.find_effect(column, window) for column in columns]
        return _temper(settings, effects, scores)

    def temper_rows(self, settings: DetectorSettings, score: float, window: int) -> float:
        """Return the same of a test of rows as wholes."""
        effects = [self.find_largest(window)]
        return float(_temper(settings, effects, np.array([score]))[0])

    @property
    def summary(self) -> str:
        """Summary of the calibration in a few words."""
        if self.alarmed is None:
            return self._learnt
        return (
            f"{self._learnt}; {self.alarmed} of {self.tried} windows of training rows in their order alarm, and so "
            "will traffic in such an order"
        )

    @property
    def _learnt(self) -> str:
        if not self.longest:
            return "too few training rows to learn from their order"
        if not self.usable:
            return "nothing learnt from the training data's order: they are sorted"
        if not self.effects:
            return "training rows as alike in order as at random"
        largest = max(self.effects.values(), key=lambda effect: effect.inflation)
        columns = "1 column" if len(self.effects) == 1 else f"{len(self.effects)} columns"
        if ROWS in self.effects:
            columns = "outliers"
        return f"thresholds allow for the order of {columns}, up to {largest.inflation:.2g} times the variance"

    def describe(self) -> Iterator[str]:
        """Yield what a person should know, a line each."""
        if self.rows:
            yield from self._describe_order()
        if self.bound is not None:
            yield f"threshold: {self.judged} windows of the training data say that {self._describe_bound()}"
        if self.wanted is not None:
            proven = (
                f"whatever it does, at most {self.proven:.1%} of clean windows alarm in 19 of 20 releases"
                if self.proven is not None
                else "nothing is shown of another one"
            )
            yield (
                "warning: the stated rate is held if the tail of the function's scores goes on as it looks; "
                f"{proven}. {self.wanted} training rows would show the stated rate"
            )
        if self.heavy:
            yield (
                "warning: the scores of these windows have a heavy tail, so the threshold is far out: a function that "
                "returns their logarithm, a rank or a share of rows sees more"
            )

    def _describe_bound(self) -> str:
        if self.bound is not None and self.bound > 1:
            return f"one must be {self.bound:.3g} times as far as the threshold for the stated rate"
        return "the threshold holds the stated rate"

    def _describe_order(self) -> Iterator[str]:
        head = f"order: blocks of up to {self.longest} of {self.rows} rows as they lie in the files"
        if not self.longest:
            yield f"order: {self.rows} rows are too few to learn from their order"
            return
        if not self.usable:
            yield (
                f"warning: {head} differ as those of a sorted file do ({_name(self.sorted)}): nothing is learnt from "
                "it. If traffic comes so, clean windows alarm; write batches in the order of time"
            )
            return
        effects = sorted(self.effects.items(), key=lambda item: -item[1].inflation)
        if effects:
            named = join_some(
                [f"`{name}` {effect.inflation:.2g}" for name, effect in effects], MOST_NAMED
            )
            yield (
                f"{head} move further than random ones, their variance is so many times as large: {named}; thresholds "
                "allow for it, so larger changes are needed there"
            )
        elif not self.sorted:
            yield (
                f"{head} are as alike as random ones: rows that come by themselves, or files that are shuffled. If they "
                "are, nothing can be learnt of sessions and seasons: write batches in the order of time"
            )
        if self.sorted:
            yield (
                f"warning: {_name(self.sorted)} moves too far in the files' order to allow for it: the files are sorted "
                "by it, or it never stays. If traffic comes so, clean windows alarm"
            )
        if self.longest < self.window / 2:
            yield f"order: windows of {self.window} rows are longer than these blocks: more training data would tell more"


def _name(columns: tuple[str, ...]) -> str:
    return join_some([f"`{name}`" for name in columns], MOST_NAMED)


def _temper(settings: DetectorSettings, effects: Sequence[OrderEffect], scores: Rows) -> Rows:
    strictness = np.array([find_strictness(settings, effect) for effect in effects])
    tempered = temper_scores(scores, np.array([effect.inflation for effect in effects]))
    held: Rows = np.maximum(tempered - strictness, 0.0)
    return held


def temper_scores(scores: Rows, inflation: Rows | float) -> Rows:
    """Return -log10 p for windows as they come, of -log10 p for random rows: two-sided p-values of tests
    whose distances are so much larger."""
    return restore_scores(convert_scores(scores) / np.sqrt(inflation))


def find_strictness(settings: DetectorSettings, effect: OrderEffect) -> float:
    """Return by how much more a score must have where windows next to each other are alike: log10 of the
    rate of one window by that of k of n."""
    budget = settings.budget
    if not effect.lasting or budget is None:
        return 0.0
    together = expect_alarms(settings.alarm_rate, 1.0, budget.least, budget.of)
    return math.log10(settings.alarm_rate / together) if together > 0 else 0.0
