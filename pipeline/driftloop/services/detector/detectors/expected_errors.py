"""Errors that answers are expected to have before their labels come, from the requests and the answers themselves.

Direct loss estimation (DLE), as NannyML computes it: one model of the absolute errors of the held-out rows, and one of their
squares, by the columns of the request and the answer. The mean over a window of what they predict is the expected error. The
models are gradient boosting with 100 trees of 31 leaves, as LightGBM's are in NannyML, of scikit-learn.

A model has seen the errors that it was fitted on, so each held-out row is estimated by a model of other rows, in five parts:
these estimates are comparable with those of a window. Their mean would be that of the errors themselves.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from driftloop.contract.quality import MAE, RMSE
from driftloop.services.detector.rows.values import Rows

PARTS = 5


class Regressor(Protocol):
    """A model of numbers by rows."""

    def fit(self, inputs: Rows, targets: Rows) -> object:
        """Learn."""
        ...

    def predict(self, inputs: Rows) -> Rows:
        """Return the expected number of each row."""
        ...


@dataclass(frozen=True)
class ExpectedErrors:
    """Errors expected of rows."""

    absolute: Rows
    squared: Rows

    @property
    def figures(self) -> dict[str, float]:
        """Their mean, and the root of the mean of their squares."""
        return measure_errors(self.absolute, self.squared)


@dataclass(frozen=True)
class ErrorModel:
    """Predicts the errors of answers (n) by inputs (n x columns)."""

    absolute: Regressor
    squared: Regressor

    @classmethod
    def fit(
        cls, inputs: Rows, errors: Rows, build: Callable[[], Regressor] | None = None
    ) -> "ErrorModel":
        """Learn from the absolute errors of rows; `build` makes another regressor than ours."""
        absolute, squared = ((build or _Trees)() for _ in range(2))
        absolute.fit(inputs, errors)
        squared.fit(inputs, errors**2)
        return cls(absolute, squared)

    def expect_errors(self, inputs: Rows) -> ExpectedErrors:
        """Return the errors expected of rows; none is below 0."""
        absolute, squared = (each.predict(inputs) for each in (self.absolute, self.squared))
        # NannyML leaves a negative absolute error in the mean, and no negative square
        return ExpectedErrors(absolute, np.clip(squared, 0, None))


def measure_errors(absolute: Rows, squared: Rows) -> dict[str, float]:
    """Return the mean of absolute errors, and the root of the mean of squared ones."""
    return {MAE: float(absolute.mean()), RMSE: math.sqrt(float(squared.mean()))}


def expect_heldout(inputs: Rows, errors: Rows, seed: int) -> Rows:
    """Return the absolute errors expected of the rows themselves, each by a model of others."""
    parts = np.random.default_rng(seed).permutation(len(inputs)) % PARTS
    expected = np.empty(len(inputs))
    for part in range(PARTS):
        held = parts == part
        model = _Trees()
        model.fit(inputs[~held], errors[~held])
        expected[held] = model.predict(inputs[held])
    return expected


class _Trees:
    """Gradient boosting of scikit-learn, on one core: detectors share theirs, and waiting for each other's threads takes
    a hundred times as long."""

    def __init__(self) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._model = HistGradientBoostingRegressor(early_stopping=False)

    def fit(self, inputs: Rows, targets: Rows) -> None:
        with _keep_to_one_core():
            self._model.fit(inputs, targets)

    def predict(self, inputs: Rows) -> Rows:
        with _keep_to_one_core():
            predicted: Rows = self._model.predict(inputs)
        return predicted


def _keep_to_one_core() -> AbstractContextManager[object]:
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="openmp")
    return limits
