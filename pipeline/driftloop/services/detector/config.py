"""A detector's settings, as the spec renders them: one JSON object."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from driftloop.errors import PipelineError

Kind = Literal["ks", "cvm", "chi2", "iforest", "mahalanobis"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ConfigError(PipelineError):
    """The settings are not what a detector takes."""


@dataclass(frozen=True)
class Config:
    """What to judge, and how readily to alarm."""

    kind: Kind
    window: int = 200
    """Rows in a window; an event's rows stay together, so a window may have more."""
    alarm_rate: float = 0.01
    """Share of windows that may alarm although nothing has changed."""
    on: Literal["request", "response"] = "request"
    """Which events carry the rows."""
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> "Config":
        """From JSON; ConfigError names the key, what it is and what it must be."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"the detector's settings are not JSON: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError("the detector's settings must be a JSON object")
        return cls.of(document)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Config":
        """From plain data."""
        names = {"kind": "kind", "window": "window", "alarmRate": "alarm_rate", "on": "on", "seed": "seed"}
        for key in document:
            if key not in names:
                raise ConfigError(f"a detector has no setting `{key}`, must be one of: {', '.join(names)}")
        values = {names[key]: value for key, value in document.items()}
        _check("kind", values.get("kind"), values.get("kind") in KINDS, f"one of: {', '.join(KINDS)}")
        window = values.get("window", 200)
        _check("window", window, type(window) is int and 2 <= window <= 100_000, "an integer from 2 to 100000")
        rate = values.get("alarm_rate", 0.01)
        _check("alarmRate", rate, type(rate) in (int, float) and 0 < rate < 1, "between 0 and 1")
        on = values.get("on", "request")
        _check("on", on, on in ("request", "response"), "one of: request, response")
        _check("seed", values.get("seed", 0), type(values.get("seed", 0)) is int, "an integer")
        return cls(**values)

    def document(self) -> dict[str, Any]:
        """Plain data; `of` reads it back."""
        values = dataclasses.asdict(self)
        values["alarmRate"] = values.pop("alarm_rate")
        return values


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ConfigError(f"{name} is {json.dumps(value)}, must be {allowed}")
