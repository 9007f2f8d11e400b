"""Text of `driftloop runs show`: one run, section by section."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from driftloop.contract.approvals import Approval
from driftloop.contract.runs import RunReport, RunStep, RunTrial, describe_trigger
from driftloop.operations.runs.run_store import ListedRun
from driftloop.text.words import count_noun


def format_run(run: ListedRun) -> Iterator[str]:
    """Yield the lines of one run."""
    report = run.report
    yield f"run          {report.run}"
    yield f"pipeline     {report.pipeline}" + (
        f" in namespace {report.namespace}" if report.namespace else ""
    )
    yield f"outcome      {report.outcome.text if report.outcome is not None else run.phase}"
    yield f"trigger      {describe_trigger(report.trigger)}"
    yield f"cause        {report.cause or 'not known'}"
    if (alarm := report.alarm) is not None:
        windows = (
            f"window {alarm.last}"
            if alarm.first == alarm.last
            else f"windows {alarm.first}-{alarm.last}"
        )
        yield f"alarm        {alarm.monitor} of {alarm.release}, {windows}, event {alarm.event}"
    yield f"started      {report.started or 'not known'}"
    yield f"ended        {report.finished or '-'}"
    yield f"release      {report.release or 'none'}"
    yield f"production   {report.production or 'none'} when it began"
    yield from _format_data(report)
    yield from _format_training(report)
    yield from _format_judgement(report)
    yield from map(_format_approval, report.approvals)
    yield from _format_digests(report)
    yield from (_format_step(step, report.run) for step in report.steps)
    yield from (f"note         {note}" for note in report.notes)


def _format_data(report: RunReport) -> Iterator[str]:
    if (data := report.data) is None:
        return
    batches = "1 batch" if data.batches == 1 else f"{data.batches} batches"
    place = f"below {data.uri}"
    if data.collected:
        place = "of sources" if data.collected == data.batches else f"{place} and of sources"
    yield f"data         {batches} {place}, {data.recent} recent, {data.size} bytes"
    if report.heldout is not None:
        rows = report.rows or {}
        counts = f": {rows.get('all', 0)} rows, {rows.get('recent', 0)} recent" if rows else ""
        yield f"held out     {report.heldout:.0%}{counts}"


def _format_training(report: RunReport) -> Iterator[str]:
    if report.code:
        yield f"{'function' if report.command is None else 'command':12} {report.code}"
    for name, value in (report.parameters or {}).items():
        yield f"parameter    {name}: {value}"
    if report.metric:
        yield f"search       {report.goal or 'maximize'} {report.metric}"
    yield from map(_format_trial, report.trials)
    environment = report.environment or {}
    if environment:
        cores = (environment.get("hardware") or {}).get("cores")
        libraries = len(environment.get("libraries") or {})
        yield (
            f"environment  Python {environment.get('python', '?')}, {count_noun(libraries, 'package')}"
            + (f", {count_noun(cores, 'core')}" if isinstance(cores, int) else "")
        )


def _format_trial(trial: RunTrial) -> str:
    rank = f"{trial.rank}." if trial.rank is not None else "-"
    parameters = ", ".join(f"{name} {value}" for name, value in (trial.parameters or {}).items())
    end = f"failed: {trial.failed}" if trial.failed else _format_metrics(trial.metrics or {})
    took = f" in {trial.seconds:.1f} s" if trial.seconds is not None else ""
    mark = " (chosen)" if trial.chosen else ""
    return f"trial        {rank} number {trial.trial}{mark}: {end}{took}{f'; {parameters}' if parameters else ''}"


def _format_approval(approval: Approval) -> str:
    when = f" at {approval.when}" if approval.when else ""
    asked = f", asked at {approval.asked}" if approval.asked else ""
    reason = f": {approval.reason}" if approval.reason else ""
    return f"approval     {approval.step} by {approval.who}{when}{asked}{reason}"


def _format_judgement(report: RunReport) -> Iterator[str]:
    if (metrics := report.metrics) is not None:
        for who, measures in (("candidate", metrics.candidate), ("production", metrics.production)):
            for rows, values in (measures or {}).items():
                if values:
                    yield f"metrics      {who} on {rows} rows: {_format_metrics(values)}"
        if metrics.not_comparable:
            yield f"metrics      production is not comparable: {metrics.not_comparable}"
    for gate in report.gates.gates if report.gates is not None else ():
        yield f"gate         {'pass' if gate.passed else 'FAIL'}  {gate.reason}"
    if (rehearsal := report.rehearsal) is not None:
        yield (
            f"rehearsal    {'passed' if rehearsal.passed else 'refused'}, "
            f"{rehearsal.answered} of {rehearsal.rows} rows answered"
        )
        for note in rehearsal.notes:
            yield f"rehearsal    {note}"


def _format_digests(report: RunReport) -> Iterator[str]:
    digests = report.digests
    named = {
        "data": digests.data,
        "recipe": digests.recipe,
        "code": digests.code,
        "revision": digests.revision,
        "model": digests.model,
        "commit": report.commit,
    }
    for name, digest in named.items():
        if digest:
            yield f"digest       {name} {digest}"
    for image in dict.fromkeys((digests.images or {}).values()):
        yield f"image        {image}"


def _format_step(step: RunStep, run: str) -> str:
    where = "" if step.workflow == run else f" of {step.workflow}"
    end = f": {step.message}" if step.message else ""
    times = f"{step.started or '?'} to {step.finished or '-'}"
    reused = ", reused" if step.reused else ""
    far = f", {said}" if (said := step.describe_progress(datetime.now(UTC))) else ""
    return f"step         {step.name}{where} {step.phase.lower()}{reused}{far}, {times}{end}"


def _format_metrics(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items()) or "no metrics"
