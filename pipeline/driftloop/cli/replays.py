"""A backtest as people read it, and as JSON."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from driftloop.contract.documents import to_json
from driftloop.contract.times import format_time
from driftloop.contract.verdicts import describe_changes, read_changes
from driftloop.operations.backtests.replays import (
    BacktestResult,
    ChangeResult,
    Detection,
    Estimate,
    MonitorReplay,
)
from driftloop.retrain.simulation import SimulatedLoop, SimulatedRun
from driftloop.text.words import count_noun

MOST_NAMED = 5
"""Columns of an alarm."""
MOST_SHOWN = 10
"""Alarms, or runs, that are shown one by one."""
LONGEST_RELATIVE = 3e8
"""Seconds below which a time counts from the first row, not from 1970."""


def format_result(result: BacktestResult) -> Iterator[str]:
    """Yield the lines of a backtest."""
    yield f"{count_noun(result.rows, 'row')} {_format_span(result)}"
    for replay in result.replays:
        yield from _format_monitor(replay, result)
    loop = result.simulate_loop()
    yield from _format_loop(loop, result)
    for change in result.list_changes():
        yield from _format_change(change, "no other run" if loop.runs else "no run")


def _format_span(result: BacktestResult) -> str:
    took = format_seconds(result.seconds)
    if result.began < LONGEST_RELATIVE:
        return f"in {took}"
    return f"from {_format_moment(result.began)} to {_format_moment(result.ended)}, {took}"


def _format_moment(seconds: float) -> str:
    if seconds < LONGEST_RELATIVE:
        return format_seconds(seconds)
    return format_time(datetime.fromtimestamp(seconds, UTC))


def format_seconds(seconds: float) -> str:
    """Return a length of time in its own unit, to three digits."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _format_monitor(replay: MonitorReplay, result: BacktestResult) -> Iterator[str]:
    record, monitor = replay.plain, replay.monitor
    yield (
        f"{monitor.name} ({monitor.detector.detector}): {count_noun(len(record.windows), 'window')}, "
        f"{count_noun(len(replay.alarms), 'alarm')}"
    )
    for window in replay.alarms[:MOST_SHOWN]:
        changes = describe_changes(read_changes(window.details), MOST_NAMED)
        yield (
            f"  window {window.window}, rows {window.first}-{window.last}: score {window.score:.4g}, "
            f"threshold {window.threshold:.4g}{f': {changes}' if changes else ''}"
        )
    if len(replay.alarms) > MOST_SHOWN:
        yield f"  and {count_noun(len(replay.alarms) - MOST_SHOWN, 'alarm')} more: --output json has all"
    for reason, rows in record.rejected:
        yield f"  {count_noun(rows, 'row')} not judged: {reason}"
    if record.waiting:
        yield f"  the last {count_noun(record.waiting, 'row')} fill no window"
    share = replay.estimate_share(result.changed_at)
    if share is None:
        return
    where = "before the change" if result.changed_at else "if nothing has changed in these rows"
    yield (
        f"  false alarms {where}: {_format_percent(share.value)} of windows (19 of 20: "
        f"{_format_percent(share.low)} to {_format_percent(share.high)}); alarmRate says "
        f"{_format_percent(monitor.rate.rate)}"
    )
    alarms = sum(window.alarm for window in replay.select_clean(result.changed_at))
    if (month := result.estimate_month(alarms)) is not None:
        yield f"  alarms of a month: {format_estimate(month)}"
    if (use := monitor.settings.compare_budget(result.traffic)) is not None:
        yield f"  falseAlarms: {use.describe()}"


def _format_percent(share: float) -> str:
    return f"{share * 100:.2g} %" if 0 < share < 0.995 else f"{share * 100:.0f} %"


def format_estimate(estimate: Estimate) -> str:
    """Return a figure with its bounds; of what was never seen the upper one alone."""
    if not estimate.value:
        return f"none seen, most likely below {estimate.high:.3g}"
    return f"{estimate.value:.3g} (19 of 20: {estimate.low:.3g} to {estimate.high:.3g})"


def _format_loop(loop: SimulatedLoop, result: BacktestResult) -> Iterator[str]:
    policy = result.policy
    counts = ", ".join(f"{name} {policy.count_of(name).text}" for name in sorted(policy.heeded))
    if not counts:
        yield "decision: no monitor's alarms start a run"
        return
    halts = f", {count_noun(len(loop.halts), 'halt')}" if loop.halts else ""
    yield (
        f"decision ({counts}; runs of {format_seconds(result.run)}, cooldown {format_seconds(policy.cooldown)}"
        f"{'' if policy.budget is None else f', {policy.budget} a day'}): {count_noun(len(loop.runs), 'run')}"
        f"{halts}"
    )
    for run in loop.runs[:MOST_SHOWN]:
        yield f"  run {_format_run(run)}"
    if len(loop.runs) > MOST_SHOWN:
        yield f"  and {count_noun(len(loop.runs) - MOST_SHOWN, 'run')} more: --output json has all"
    for halt in loop.halts[:MOST_SHOWN]:
        yield f"  halt {_format_run(halt)}"
    if loop.suppressed:
        yield f"  {count_noun(loop.suppressed, 'alarm')} in pauses or over budget led to nothing"
    if (month := result.estimate_month(len(result.list_clean(loop.runs)))) is not None:
        yield f"  runs of a month: {format_estimate(month)}"


def _format_run(run: SimulatedRun) -> str:
    windows = f"window {run.last}" if run.first == run.last else f"windows {run.first}-{run.last}"
    words = f": {run.words}" if run.words else ""
    return f"after row {run.row} ({_format_moment(run.at)}), {run.monitor} {windows}{words}"


def _format_change(change: ChangeResult, run: str) -> Iterator[str]:
    if change.run_rows is not None:
        run = f"a run after {_format_delay(change.run_rows, change.run_seconds)}"
    yield f"{change.name} from row {change.start} on: {run}"
    for seen in change.detections:
        yield f"  {seen.monitor} {_format_detection(seen)}"


def _format_detection(seen: Detection) -> str:
    if not seen.looks:
        return "does not look at the column"
    count = f"{seen.alarms} of {count_noun(seen.windows, 'window')}"
    if seen.rows is None:
        return f"does not see it: {count} alarm{', as without it' if seen.alarms else ''}"
    words = f": {seen.words}" if seen.words else ""
    return f"alarms after {_format_delay(seen.rows, seen.seconds)}, {count}{words}"


def _format_delay(rows: int, seconds: float | None) -> str:
    return f"{count_noun(rows, 'row')} ({format_seconds(seconds or 0.0)})"


def describe_result(result: BacktestResult) -> dict[str, Any]:
    """Return a backtest as plain data."""
    loop = result.simulate_loop()
    runs = result.estimate_month(len(result.list_clean(loop.runs)))
    return {
        "rows": result.rows,
        "seconds": result.seconds,
        "monitors": [_describe_monitor(replay, result) for replay in result.replays],
        "runs": [_describe(run) for run in loop.runs],
        "halts": [_describe(halt) for halt in loop.halts],
        "suppressed": loop.suppressed,
        "runsAMonth": _describe_estimate(runs),
        "changes": [_describe_change(change) for change in result.list_changes()],
    }


def _describe_monitor(replay: MonitorReplay, result: BacktestResult) -> dict[str, Any]:
    alarms = sum(window.alarm for window in replay.select_clean(result.changed_at))
    return {
        "monitor": replay.monitor.name,
        "detector": replay.monitor.detector.detector,
        **to_json(replay.plain),
        "alarms": len(replay.alarms),
        "alarmRate": replay.monitor.rate.rate,
        "falseAlarmRate": _describe_estimate(replay.estimate_share(result.changed_at)),
        "alarmsAMonth": _describe_estimate(result.estimate_month(alarms)),
    }


def _describe_estimate(estimate: Estimate | None) -> Mapping[str, float] | None:
    return None if estimate is None else vars(estimate)


def _describe_change(change: ChangeResult) -> dict[str, Any]:
    return {
        "name": change.name,
        "row": change.start,
        "runRows": change.run_rows,
        "runSeconds": change.run_seconds,
        "monitors": [_describe(seen) for seen in change.detections],
    }


def _describe(record: SimulatedRun | Detection) -> dict[str, Any]:
    return dict(vars(record))
