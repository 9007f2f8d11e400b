"""A run as MLflow shows it: names, parameters, metrics and tags, made of its record alone."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from driftloop.contract.runs import RunReport, RunTrial
from driftloop.contract.tracking import RELEASE_TAG, RUN_TAG, TRIAL_TAG

LONGEST_VALUE = 500
"""Characters of a parameter or tag: what each version of MLflow takes."""
LONGEST_KEY = 250
PARENT_TAG = "mlflow.parentRunId"
_OTHER = re.compile(r"[^A-Za-z0-9_\-. ]")


@dataclass(frozen=True)
class TrackedEntry:
    """One run of MLflow: our run, or a trial of it."""

    trial: str
    """Number of the trial; empty for the run itself."""
    name: str
    status: str
    """MLflow's word."""
    started: int
    """Milliseconds since 1970."""
    ended: int | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def is_tracked(report: RunReport) -> bool:
    """Return False for a run that never began: it has nothing to show."""
    return report.outcome is None or report.outcome.kind != "not-started"


def describe_run(report: RunReport) -> TrackedEntry:
    """Return the entry of a run."""
    started = _read_time(report.started) or _read_time(report.finished) or 0
    return TrackedEntry(
        trial="",
        name=report.run,
        status=_name_status(report),
        started=started,
        ended=_read_time(report.finished),
        params=_name_params(report.parameters or {}),
        metrics=dict(_list_metrics(report)),
        tags=_clean_tags(_list_tags(report)),
    )


def describe_trials(report: RunReport) -> tuple[TrackedEntry, ...]:
    """Return the entries of a run's trials: each is a run of MLflow below it."""
    return tuple(_describe_trial(report, trial) for trial in report.trials)


def _describe_trial(report: RunReport, trial: RunTrial) -> TrackedEntry:
    # a reused trial began in the run that made it
    started = _read_time(trial.started) or _read_time(report.started) or 0
    length = timedelta(seconds=trial.seconds or 0) // timedelta(milliseconds=1)
    tags = {
        RUN_TAG: report.run,
        TRIAL_TAG: trial.trial,
        "driftloop.chosen": "true" if trial.chosen else "false",
        "driftloop.rank": str(trial.rank or ""),
        "driftloop.failed": trial.failed,
    }
    return TrackedEntry(
        trial=trial.trial,
        name=f"{report.run} trial {trial.trial}",
        status="FAILED" if trial.failed else "FINISHED",
        started=started,
        ended=started + length,
        params=_name_params(trial.parameters or {}),
        metrics={_join_name(name): value for name, value in (trial.metrics or {}).items()},
        tags=_clean_tags(tags),
    )


def _name_status(report: RunReport) -> str:
    if report.outcome is None:
        return "RUNNING"
    match report.outcome.kind:
        case "released" | "refused" | "rejected" | "superseded" | "not-started":
            return "FINISHED"
        case "failed":
            return "FAILED"
        case "cancelled":
            return "KILLED"
        case _:
            assert_never(report.outcome.kind)


def _list_tags(report: RunReport) -> dict[str, str | None]:
    digests, outcome = report.digests, report.outcome
    return {
        RUN_TAG: report.run,
        RELEASE_TAG: report.release,
        "driftloop.pipeline": report.pipeline,
        "driftloop.namespace": report.namespace,
        "driftloop.trigger": report.trigger,
        "driftloop.cause": report.cause,
        "driftloop.outcome": outcome.kind if outcome is not None else "",
        "driftloop.reason": outcome.reason if outcome is not None else "",
        "driftloop.function": report.function,
        "driftloop.command": report.command,
        "driftloop.production": report.production,
        "driftloop.commit": report.commit,
        "driftloop.data": digests.data,
        "driftloop.model": digests.model,
        "driftloop.recipe": digests.recipe,
        "driftloop.code": digests.code,
        "mlflow.source.name": report.code,
        "mlflow.source.git.commit": digests.revision,
    }


def _list_metrics(report: RunReport) -> Iterator[tuple[str, float]]:
    """Yield the metrics on held-out rows, `all/accuracy`, production's beside them; those of the
    training function, `training/loss`; rows, and what the rehearsal measured."""
    if (measured := report.metrics) is not None:
        for who, measures in (((), measured.candidate), (("production",), measured.production)):
            for rows, values in (measures or {}).items():
                for name, value in (values or {}).items():
                    yield _join_name(*who, rows, name), value
    chosen = next((trial for trial in report.trials if trial.chosen), None)
    for name, value in ((chosen.metrics if chosen is not None else None) or {}).items():
        yield _join_name("training", name), value
    for name, count in (report.rows or {}).items():
        yield _join_name("rows", name), float(count)
    if (rehearsal := report.rehearsal) is not None:
        for name, number in (
            ("accuracy", rehearsal.accuracy),
            ("agreement", rehearsal.agreement),
            ("p99", rehearsal.p99),
        ):
            if number is not None:
                yield _join_name("rehearsal", name), number


def _join_name(*parts: str) -> str:
    """Return a name that MLflow takes: as in paths, slashes part it, and few signs are allowed."""
    clean = (_OTHER.sub("_", part).strip() for part in parts)
    name = "/".join("_" if part in ("", ".", "..") else part for part in clean)
    return name[:LONGEST_KEY].rstrip("/ ")


def _name_params(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        _join_name(name): (value if isinstance(value, str) else json.dumps(value))[:LONGEST_VALUE]
        for name, value in values.items()
    }


def _clean_tags(tags: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value[:LONGEST_VALUE] for name, value in tags.items() if value}


def _read_time(text: str | None) -> int | None:
    if text is None:
        return None
    return round(datetime.fromisoformat(text).timestamp() * 1000)
