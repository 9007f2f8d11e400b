"""A user's function that judges windows: called, and what it returns read."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from driftloop.contract.documents import escape_text
from driftloop.contract.functions import (
    HALF,
    VERDICT_KEYS,
    FunctionSettings,
    FunctionVerdict,
    PackedRows,
)
from driftloop.contract.parameters import SEED
from driftloop.contract.suggestions import suggest_closest
from driftloop.services.trainer import function
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.forms import build_rows
from driftloop.services.trainer.function import UserFunction


@dataclass(frozen=True)
class JudgingFunctions:
    """The functions of a monitor, imported."""

    settings: FunctionSettings
    run: UserFunction
    fit: UserFunction | None

    @classmethod
    def load(cls, settings: FunctionSettings, code: Path) -> "JudgingFunctions":
        """Import them from the folder of the user's code; TrainerError."""
        run = function.load_function(settings.run, code)
        fit = function.load_function(settings.fit, code) if settings.fit is not None else None
        return cls(settings, run, fit)

    def learn_rows(self, packed: PackedRows) -> Any:
        """Return what `run` gets as its reference: the rows, or what `fit` makes of them."""
        rows = build_rows(packed, self.settings.form)
        if self.fit is None:
            return rows
        given = {"rows": rows, SEED: 0}
        parameters = {
            name: value
            for name, value in (self.settings.parameters or {}).items()
            if function.takes_parameter(self.fit, name)
        }
        call, _ = function.build_arguments(self.fit, parameters, given)
        return function.run_function(self.fit, call, None)

    def judge_window(self, reference: Any, packed: PackedRows) -> FunctionVerdict:
        """Return what `run` says of a window; TrainerError when it fails, or returns what is no verdict."""
        window = build_rows(packed, self.settings.form)
        given = {"reference": reference, "window": window, SEED: 0}
        call, _ = function.build_arguments(self.run, self.settings.parameters or {}, given)
        returned = function.run_function(self.run, call, None)
        names = [column.name for column in packed.head.columns]
        return read_verdict(returned, self.settings.run, names, packed.head.rows)


def read_verdict(returned: Any, name: str, columns: Sequence[str], rows: int) -> FunctionVerdict:
    """Read what a function returned of a window of so many rows; TrainerError says what is allowed."""
    if not isinstance(returned, Mapping):
        raise TrainerError(
            f"`{name}` returned {_show(returned)}, must return a dict",
            hint='for example {"score": 3.2, "threshold": 2.5, "columns": ["fare"]}',
        )
    for key in returned:
        if key not in VERDICT_KEYS:
            hint = suggest_closest(str(key), VERDICT_KEYS) or f"its keys: {', '.join(VERDICT_KEYS)}"
            raise TrainerError(f"`{name}` returned the key {_show(key)}, which is none", hint=hint)
    score = _read_number(returned, "score", name)
    threshold = _read_number(returned, "threshold", name)
    alarm = _read_truth(returned, name)
    if threshold is not None and score is None:
        raise TrainerError(f"`{name}` returned a threshold without a `score`")
    if alarm is None and score is None:
        raise TrainerError(
            f"`{name}` returned neither `alarm` nor `score`",
            hint="return `score`, of which the fit learns the threshold, `score` and `threshold` (it alarms above it), "
            "or `alarm`: true or false",
        )
    own = score is not None and (threshold is not None or alarm is None)
    if alarm is None:
        alarm = score is not None and threshold is not None and score > threshold
    return FunctionVerdict(
        alarm=alarm,
        score=score if own and score is not None else float(alarm),
        threshold=threshold if own else HALF,
        own=own,
        figure=None if own else score,
        columns=_read_columns(returned.get("columns"), name, columns),
        outliers=_read_outliers(returned.get("outliers"), name, rows),
    )


def _plain(value: Any) -> Any:
    """Return a number or truth value of numpy, pandas or torch as Python's own."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    item = getattr(value, "item", None)
    try:
        return item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):
        return value


def _read_number(returned: Mapping[Any, Any], key: str, name: str) -> float | None:
    value = _plain(returned.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TrainerError(
            f"`{name}` returned the {key} {_show(returned[key])}, must be a finite number"
        )
    return float(value)


def _read_truth(returned: Mapping[Any, Any], name: str) -> bool | None:
    value = _plain(returned.get("alarm"))
    if value is None or isinstance(value, bool):
        return value
    raise TrainerError(f"`{name}` returned the alarm {_show(value)}, must be true or false")


def _read_columns(value: Any, name: str, known: Sequence[str]) -> dict[str, float] | None:
    """Read a list of columns, or columns with their parts of what moved."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        raise TrainerError(
            f"`{name}` returned the columns {_show(value)}, must be a list of names, or a dict of names and parts"
        )
    parts: dict[str, float] = {}
    for column in value:
        if column not in known:
            hint = suggest_closest(str(column), known) or f"its columns: {', '.join(known[:20])}"
            raise TrainerError(
                f"`{name}` returned the column {_show(column)}, which is none", hint=hint
            )
        part = _plain(value[column]) if isinstance(value, Mapping) else 1.0
        if (
            isinstance(part, bool)
            or not isinstance(part, int | float)
            or not 0 <= part < float("inf")
        ):
            raise TrainerError(
                f"`{name}` returned {_show(part)} for column `{column}`, must be a number, 0 or more"
            )
        parts[str(column)] = float(part)
    return parts


def _read_outliers(value: Any, name: str, rows: int) -> tuple[int, ...]:
    if value is None:
        return ()
    listed = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(listed, str) or not isinstance(listed, Sequence | array):
        raise TrainerError(
            f"`{name}` returned the outliers {_show(value)}, must be a list of row numbers"
        )
    numbers = [_plain(number) for number in listed]
    for number in numbers:
        if type(number) is not int or not 0 <= number < rows:
            raise TrainerError(
                f"`{name}` returned the outlier {_show(number)}, must be a row's number, 0 to {rows - 1}"
            )
    return tuple(numbers)


def _show(value: Any) -> str:
    text = escape_text(" ".join(repr(value).split()))
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"
