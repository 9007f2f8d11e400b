"""Proposals of a backtest, as lines of YAML to put into the spec, with the reasons."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from driftloop.cli.replays import format_estimate, format_seconds
from driftloop.contract.budgets import write_alarms
from driftloop.operations.backtests.suggesting import Suggestion, Trial
from driftloop.plan.effects import COUNTED
from driftloop.spec.values import written
from driftloop.text.words import count_noun

CHANGED = {"window", "alarm_rate", "alarms"}
"""Fields of a monitor that a proposal sets; the others stay as the spec has them."""


def format_suggestions(suggestions: Sequence[Suggestion]) -> Iterator[str]:
    """Yield the lines: YAML, the reasons in comments."""
    tried = max((each.tried for each in suggestions), default=0)
    if not tried:
        yield (
            "no other window could be tried: the rows must fill ten of them, and the training data must do for its fit"
        )
        return
    yield f"# {count_noun(tried, 'setting')} of each monitor tried on these rows"
    yield "spec:"
    if traffic := suggestions[0].traffic:
        yield f"  traffic: {traffic} # of these rows"
    if any(each.best is not each.own for each in suggestions):
        yield "  monitors:"
    for each in suggestions:
        yield from _format_suggestion(each)


def _format_suggestion(each: Suggestion) -> Iterator[str]:
    name = each.own.monitor.name
    yield f"    # {name} now, {_describe(each.own)}"
    stays = each.best is each.own
    if stays:
        yield f"    # {name} stays as it is: nothing that was tried is better"
    else:
        yield f"    # {name} then, {_describe(each.best)}"
    if not each.best.keeps(each.wanted):
        yield (
            f"    # it has the fewest, and still more than its {write_alarms(each.wanted)} a month: either something has "
            "changed in these rows (--changed-at), or no window keeps them apart from the training data; leave out the "
            "columns that alarm, or let it alert only"
        )
    if not stays:
        yield f"    {name}: {{{', '.join(_list_keys(each.best))}}}"


def _list_keys(trial: Trial) -> Iterator[str]:
    detector = trial.monitor.detector
    kept = detector.model_dump(by_alias=True, exclude_unset=True, exclude=CHANGED)
    yield from (f"{name}: {_write_value(value)}" for name, value in kept.items())
    time = detector.window_time
    if time is None:
        yield f"window: {detector.window_rows}"
    else:
        yield f"window: {{rows: {detector.window_rows}, atMost: {written(time)}}}"
    if trial.monitor.then in COUNTED:
        yield f"alarms: {{least: {trial.count.least}, of: {trial.count.of}}}"


def _write_value(value: Any) -> str:
    """Return a value of a spec in one line of YAML."""
    match value:
        case timedelta():
            return written(value)
        case dict():
            return (
                f"{{{', '.join(f'{name}: {_write_value(each)}' for name, each in value.items())}}}"
            )
        case list() | tuple():
            return f"[{', '.join(map(_write_value, value))}]"
        case str() if value.isidentifier():
            return value
        case _:
            return json.dumps(value)


def _describe(trial: Trial) -> str:
    text = f"window {trial.monitor.detector.window_rows}, {trial.count.text}: "
    text += f"{count_noun(trial.alarms, 'false alarm')}"
    if trial.month is not None:
        text += f", of a month {format_estimate(trial.month)}"
    if not trial.changes:
        injected = trial.monitor.detector.on != "request"
        return text + (
            "; the changes are made in requests, and leave answers and labels as they are"
            if injected
            else ""
        )
    seen = [delay for delay in trial.delays if delay is not None]
    text += f"; sees {len(seen)} of {count_noun(len(trial.changes), 'change')}"
    if not seen:
        return text
    missed = [c for c, delay in zip(trial.changes, trial.delays, strict=True) if delay is None]
    text += f", the last after {format_seconds(max(seen))}"
    return text + (f"; not {', '.join(missed)}" if missed else "")


def describe_suggestion(each: Suggestion) -> dict[str, Any]:
    """Return a suggestion as plain data."""
    return {
        "monitor": each.own.monitor.name,
        "traffic": each.traffic,
        "tried": each.tried,
        "now": _describe_trial(each.own, each.wanted),
        "proposed": _describe_trial(each.best, each.wanted),
    }


def _describe_trial(trial: Trial, wanted: float) -> dict[str, Any]:
    return {
        "window": trial.monitor.detector.window_rows,
        "least": trial.count.least,
        "of": trial.count.of,
        "alarms": trial.alarms,
        "alarmsAMonth": None if trial.month is None else vars(trial.month),
        "keepsBudget": trial.keeps(wanted),
        "changes": list(trial.changes),
        "delays": list(trial.delays),
    }
