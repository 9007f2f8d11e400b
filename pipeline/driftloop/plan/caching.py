"""Names of what a step's output depends on besides the data: equal names and equal data, equal
output."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from driftloop.plan.trials import Trial
from driftloop.spec.data import DataStep
from driftloop.spec.environment import Environment
from driftloop.spec.train import Train

LENGTH = 12
"""Hex digits of a key; Argo takes letters, digits and hyphens."""


def step_keys(steps: Iterable[DataStep], images: Mapping[str, str]) -> tuple[str, ...]:
    """One key for each data step (image, function, command, variables), that of the steps before it
    included."""
    keys: list[str] = []
    for step in steps:
        made_of = (images[step.image], step.run, step.command)
        keys.append(_digest_parts(keys[-1:], made_of, *_describe_variables(step.environment)))
    return tuple(keys)


def trial_key(trial: Trial, train: Train, *, before: str, heldout: float, image: str) -> str:
    """The key of a trial; `before` is that of the last data step, or empty."""
    return _digest_parts(
        before,
        heldout,
        image,
        train.run if train.run is not None else train.command,
        sorted(trial.parameters.items()),
        *_describe_variables(train.environment),
    )


def _describe_variables(environment: Environment) -> tuple[Any, ...]:
    """Return the part of a key that variables are: none without any."""
    return (environment.describe(),) if environment else ()


def digest_recipe(trials: Iterable[str], best: str) -> str:
    """Return the digest of a run's trials and of the choice between them."""
    return f"sha256:{hashlib.sha256(json.dumps([list(trials), best]).encode()).hexdigest()}"


def _digest_parts(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:LENGTH]
