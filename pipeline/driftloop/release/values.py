"""Single values of a payload as a type of column has them: the detectors judge them so, the recorder writes them
so. Each reader returns None for what is no value of its type."""

from math import isfinite, isnan
from typing import Any

from driftloop.contract.profiles import TRUTHS


def is_missing(value: Any) -> bool:
    """Return True for a value that is not there."""
    return value is None or (isinstance(value, float) and isnan(value))


def read_number(value: Any) -> float | None:
    """Return a finite number; a boolean is 0 or 1."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def read_truth(value: Any) -> bool | None:
    """Return a boolean, also of 0, 1 and of the texts `true` and `false` in any case."""
    if isinstance(value, str):
        text = value.lower()
        return text == TRUTHS[1] if text in TRUTHS else None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    return None


def category_key(value: Any) -> str | None:
    """Return a scalar as the text of its category."""
    match value:
        case str():
            return value
        case bool():
            return TRUTHS[value]
        case int():
            return str(value)
        case float() if isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            return None
