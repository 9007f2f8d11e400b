"""Names of what a step's output depends on besides the data: equal names and equal data, equal
output."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from driftloop.plan.trials import Trial

LENGTH = 12
"""Hex digits of a key; Argo takes letters, digits and hyphens."""


def step_keys(steps: Iterable[tuple[str, str | None, tuple[str, ...]]]) -> tuple[str, ...]:
    """One key for each data step (image, function, command), that of the steps before it
    included."""
    keys: list[str] = []
    for step in steps:
        keys.append(_digest_parts(keys[-1:], step))
    return tuple(keys)


def trial_key(trial: Trial, *, before: str, heldout: float, image: str, run: str) -> str:
    """The key of a trial; `before` is that of the last data step, or empty."""
    return _digest_parts(before, heldout, image, run, sorted(trial.parameters.items()))


def digest_recipe(trials: Iterable[str], best: str) -> str:
    """Return the digest of a run's trials and of the choice between them."""
    return f"sha256:{hashlib.sha256(json.dumps([list(trials), best]).encode()).hexdigest()}"


def _digest_parts(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:LENGTH]
