"""Runs: a table that can be sorted and filtered, one run with its steps, several side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from driftloop.console.views.times import format_length, format_number, read_moment
from driftloop.contract.outcomes import OUTCOME_KINDS
from driftloop.contract.runs import TRIGGERS, RunReport, RunStep, describe_trigger
from driftloop.operations.runs.run_diffs import list_metrics
from driftloop.operations.runs.run_store import ListedRun
from driftloop.pages.figures import GateFigure

MOST_COMPARED = 6
MOST_METRICS = 3
SORTS = ("started", "pipeline", "outcome", "length")


@dataclass(frozen=True)
class RunRow:
    """A run in one line."""

    run: str
    pipeline: str
    phase: str
    started: str
    length: str
    trigger: str
    cause: str
    metrics: tuple[tuple[str, str], ...]
    release: str | None
    reason: str


@dataclass(frozen=True)
class RunTable:
    """Runs as somebody wants to see them."""

    rows: tuple[RunRow, ...]
    total: int
    """Runs without the filters."""
    outcomes: tuple[str, ...]
    triggers: tuple[tuple[str, str], ...]
    pipelines: tuple[str, ...]


@dataclass(frozen=True)
class ComparedRow:
    """A value of several runs."""

    section: str
    name: str
    values: tuple[str, ...]
    differs: bool


@dataclass(frozen=True)
class StepBar:
    """A step on the time axis of its run, in percent from left."""

    step: RunStep
    left: float
    width: float
    length: str
    log: str
    """Name of its log; empty when there is none any more."""
    far: str = ""
    """How far it is by its own count, in words; empty when that is not known."""


def build_table(runs: Sequence[ListedRun], query: Mapping[str, str], now: datetime) -> RunTable:
    """Return the runs that a query asks for, in its order."""
    found = [run for run in runs if _matches(run, query)]
    sort = query.get("sort", "started")
    key = _KEYS.get(sort.removeprefix("-"), _KEYS["started"])
    # times come newest first, all others in their order; a minus turns it
    found.sort(
        key=lambda run: key(run, now),
        reverse=sort in ("started", "length", "-pipeline", "-outcome"),
    )
    return RunTable(
        rows=tuple(build_row(run, now) for run in found),
        total=len(runs),
        outcomes=("running", "rolling out", "lost", *OUTCOME_KINDS),
        triggers=tuple((trigger, describe_trigger(trigger)) for trigger in TRIGGERS),
        pipelines=tuple(sorted({run.report.pipeline for run in runs})),
    )


def _matches(run: ListedRun, query: Mapping[str, str]) -> bool:
    report = run.report
    text = query.get("q", "").strip().lower()
    words = f"{report.run} {report.cause} {report.release or ''} {run.phase}".lower()
    return (
        query.get("pipeline", "") in ("", report.pipeline)
        and query.get("outcome", "") in ("", run.phase)
        and query.get("trigger", "") in ("", report.trigger)
        and text in words
    )


_KEYS: Mapping[str, Callable[[ListedRun, datetime], Any]] = {
    "started": lambda run, _: run.report.started or run.report.finished or "",
    "pipeline": lambda run, _: (run.report.pipeline, run.report.started or ""),
    "outcome": lambda run, _: (run.phase, run.report.started or ""),
    "length": lambda run, now: _measure(run.report, now) or 0.0,
}


def build_row(run: ListedRun, now: datetime) -> RunRow:
    """Return a run in one line."""
    report, length = run.report, _measure(run.report, now)
    metrics = list_metrics(report.metrics) or _list_trial(report)
    return RunRow(
        run=report.run,
        pipeline=report.pipeline,
        phase=run.phase,
        started=report.started or report.finished or "",
        length=format_length(length) if length is not None else "",
        trigger=describe_trigger(report.trigger),
        cause=report.cause,
        metrics=tuple(
            (name, format_number(value)) for name, value in list(metrics.items())[:MOST_METRICS]
        ),
        release=report.release,
        reason=report.outcome.reason if report.outcome is not None else "",
    )


def _list_trial(report: RunReport) -> dict[str, float]:
    """Return the metrics of the chosen trial, where there was no evaluation."""
    return next((dict(trial.metrics or {}) for trial in report.trials if trial.chosen), {})


def _measure(report: RunReport, now: datetime) -> float | None:
    began = read_moment(report.started)
    if began is None:
        return None
    return ((read_moment(report.finished) or now) - began).total_seconds()


def compare(runs: Sequence[ListedRun]) -> tuple[ComparedRow, ...]:
    """Return the values of several runs side by side; those that differ are marked."""
    rows: list[ComparedRow] = []
    for section, read in _SECTIONS.items():
        values = [read(run) for run in runs]
        names = dict.fromkeys(name for each in values for name in each)
        for name in names:
            texts = tuple(format_number(each[name]) if name in each else "" for each in values)
            rows.append(ComparedRow(section, name, texts, len(set(texts)) > 1))
    return tuple(rows)


def _list_ends(run: ListedRun) -> dict[str, Any]:
    report = run.report
    return {
        "outcome": run.phase,
        "reason": report.outcome.reason if report.outcome is not None else "",
        "trigger": describe_trigger(report.trigger),
        "release": report.release or "",
    }


def _list_data(run: ListedRun) -> dict[str, Any]:
    report = run.report
    values: dict[str, Any] = {"digest": _shorten(report.digests.data)}
    if report.data is not None:
        values |= {
            "batches": report.data.batches,
            "recent": report.data.recent,
            "bytes": report.data.size,
        }
    return values


def _list_code(run: ListedRun) -> dict[str, Any]:
    digests = run.report.digests
    images = {f"image of {step}": image for step, image in (digests.images or {}).items()}
    return {
        "function" if run.report.command is None else "command": run.report.code,
        "code": _shorten(digests.code),
        "revision": (digests.revision or "")[:12],
        "recipe": _shorten(digests.recipe),
        "model": _shorten(digests.model),
        **images,
    }


def _list_environment(run: ListedRun) -> dict[str, Any]:
    environment = run.report.environment or {}
    return {
        "python": environment.get("python", ""),
        **(environment.get("libraries") or {}),
        **{f"hardware {n}": v for n, v in (environment.get("hardware") or {}).items()},
    }


def _shorten(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")[:12]


_SECTIONS: Mapping[str, Callable[[ListedRun], Mapping[str, Any]]] = {
    "run": _list_ends,
    "parameters": lambda run: run.report.parameters or {},
    "metrics": lambda run: list_metrics(run.report.metrics),
    "data": _list_data,
    "code": _list_code,
    "environment": _list_environment,
}


def list_steps(report: RunReport, logs: Mapping[str, str], now: datetime) -> tuple[StepBar, ...]:
    """Return the steps of a run on its time axis; `logs` are the names of logs by step."""
    times = [moment for step in report.steps if (moment := read_moment(step.started)) is not None]
    ends = [read_moment(step.finished) or now for step in report.steps if step.started]
    if not times:
        return ()
    first, last = min(times), max(ends)
    whole = max((last - first).total_seconds(), 1.0)
    bars = []
    for step in report.steps:
        began = read_moment(step.started)
        if began is None:
            continue
        seconds = ((read_moment(step.finished) or now) - began).total_seconds()
        left = 100 * (began - first).total_seconds() / whole
        width = max(100 * seconds / whole, 0.6)
        log = logs.get(f"{step.workflow}/{step.name}", "")
        bars.append(
            StepBar(
                step,
                min(left, 99.4),
                min(width, 100 - min(left, 99.4)),
                format_length(seconds),
                log,
                step.describe_progress(now),
            )
        )
    return tuple(bars)


def list_gates(report: RunReport) -> tuple[GateFigure, ...]:
    """Return the gates of a run with their numbers."""
    if report.gates is None:
        return ()
    production = report.metrics.production if report.metrics is not None else None
    return tuple(
        GateFigure(
            metric=gate.metric,
            rows=gate.on,
            value=gate.value,
            bound=gate.bound,
            at_least=gate.rule != "max",
            passed=gate.passed,
            reason=gate.reason,
            production=((production or {}).get(gate.on) or {}).get(gate.metric),
        )
        for gate in report.gates.gates
    )
