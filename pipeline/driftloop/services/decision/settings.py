"""The `retrain` part of a spec as the service gets it: one JSON object."""

import json
from dataclasses import dataclass
from typing import Any

from driftloop.errors import PipelineError
from driftloop.retrain.decision import Policy


class SettingsError(PipelineError):
    """The policy is not what the service takes."""


@dataclass(frozen=True)
class Settings:
    """When to retrain, and on which detectors' alarms."""

    policy: Policy
    on: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """From JSON: consecutive, cooldown (seconds), whileRunning, budget (per day, null: no limit), on."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise SettingsError(f"the policy is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise SettingsError("the policy must be a JSON object")
        allowed = ("consecutive", "cooldown", "whileRunning", "budget", "on")
        for key in document:
            if key not in allowed:
                raise SettingsError(f"a policy has no `{key}`, must be one of: {', '.join(allowed)}")
        consecutive = document.get("consecutive", 1)
        _check("consecutive", consecutive, type(consecutive) is int and 1 <= consecutive <= 100, "from 1 to 100")
        cooldown = document.get("cooldown", 0)
        _check("cooldown", cooldown, type(cooldown) in (int, float) and cooldown >= 0, "seconds, 0 or more")
        running = document.get("whileRunning", "drop")
        _check("whileRunning", running, running in ("drop", "remember"), "one of: drop, remember")
        budget = document.get("budget")
        _check("budget", budget, budget is None or (type(budget) is int and budget >= 0), "a number per day, or null")
        on = document.get("on", [])
        _check("on", on, isinstance(on, list) and all(isinstance(name, str) for name in on), "a list of detectors")
        policy = Policy(consecutive=consecutive, cooldown=float(cooldown), while_running=running, budget=budget)
        return cls(policy, frozenset(on))


def _check(name: str, value: Any, good: bool, allowed: str) -> None:
    if not good:
        raise SettingsError(f"{name} is {json.dumps(value)}, must be {allowed}")
