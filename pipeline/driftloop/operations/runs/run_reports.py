"""run.json of a run: composed of what its Workflow tells and of the files it left, written by its
steps, read by commands. A run of an older version has none: the same is composed of its files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.approvals import Approval, list_approvals
from driftloop.contract.documents import DocumentError, is_number, is_whole, to_json
from driftloop.contract.names import find_given_model, release_id
from driftloop.contract.outcomes import RunOutcome, read_moment
from driftloop.contract.programs import type_words
from driftloop.contract.records import Evaluation, GateVerdict, Rehearsal, Snapshot
from driftloop.contract.runs import (
    TRIAL_GOALS,
    RunAlarm,
    RunData,
    RunDigests,
    RunReport,
    RunTrial,
    read_trigger,
)
from driftloop.contract.times import format_now
from driftloop.contract.trees import (
    METADATA_FILE,
    metrics_key,
    outcome_key,
    rehearsal_key,
    release_key,
    report_key,
    run_key,
    snapshot_key,
    trials_key,
    verdict_key,
)
from driftloop.errors import PipelineError, StoreError
from driftloop.operations.runs.run_workflows import Json, WorkflowFacts
from driftloop.text.load import load_mapping
from driftloop.text.read import ReadRules

T = TypeVar("T")

METADATA_RULES = ReadRules(max_bytes=16 * 1024**2, max_values=500_000, exact=True)
_LOG = re.compile(rb"^log:.*?^(?=[A-Za-z])", re.MULTILINE | re.DOTALL)
"""The lines that a training function printed, in a metadata.yaml: most of the file, and of no use here."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run in the bucket of runs."""

    store: ObjectStore
    bucket: StoreLocation
    run: str


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """Facts of a run that its caller knows besides its Workflow and its files; None is not known."""

    pipeline: str
    namespace: str = ""
    cause: str | None = None
    decision: str | None = None
    alarm: RunAlarm | None = None
    release: str | None = None
    rollout: str | None = None
    outcome: RunOutcome | None = None


def begin_report(
    folder: RunFolder,
    known: KnownRun,
    *,
    commit: str | None,
    production: str | None,
    recipe: str,
    snapshot: Snapshot,
) -> RunReport:
    """Write run.json of a run that has just got its data, and return it."""
    report = RunReport(
        pipeline=known.pipeline,
        namespace=known.namespace,
        run=folder.run,
        trigger=read_trigger(known.cause or ""),
        cause=known.cause or "",
        decision=known.decision or "",
        started=format_now(),
        commit=commit,
        production=production,
        data=describe_data(snapshot),
        digests=RunDigests(data=snapshot.data_digest, recipe=recipe or None),
    )
    write_report(folder, report)
    return report


def write_report(folder: RunFolder, report: RunReport) -> None:
    """Put a run's run.json in its place."""
    folder.store.write_json(folder.bucket / report_key(folder.run), to_json(report))


def find_report(folder: RunFolder) -> RunReport | None:
    """Return a run's run.json; None when it has none. DocumentError when it can't be read."""
    try:
        return RunReport.read(folder.store.read_json(folder.bucket / report_key(folder.run)))
    except MissingObjectError:
        return None


def describe_data(snapshot: Snapshot) -> RunData:
    """Return the batches of a snapshot in short."""
    return RunData(
        uri=snapshot.uri,
        digest=snapshot.data_digest,
        batches=len(snapshot.batches),
        recent=sum(batch.recent for batch in snapshot.batches),
        size=sum(batch.size for batch in snapshot.batches),
        collected=sum(batch.source is not None for batch in snapshot.batches),
    )


def compose_report(
    folder: RunFolder, known: KnownRun, workflow: Json | None, earlier: RunReport | None
) -> RunReport:
    """Compose everything about a run; what was known `earlier` and is nowhere else stays.

    What can't be read is told in `notes`, never an error: the store is asked for each file.
    """
    facts = WorkflowFacts.of(workflow, folder.run) if workflow else None
    base = earlier or RunReport(pipeline=known.pipeline, run=folder.run, digests=RunDigests())
    files = _Files(folder)
    snapshot = files.read(snapshot_key(folder.run), Snapshot.read)
    evaluation = files.read(metrics_key(folder.run), Evaluation.read)
    # a rollout's Workflow has trained nothing
    training = facts if facts is not None and (facts.trials or facts.options.get("train")) else None
    kept = files.read_metadata(release_key(folder.run, METADATA_FILE))
    trials, chosen = _compose_trials(files, base, training, kept)
    cause = known.cause or _get(training, "cause") or base.cause
    outcome = known.outcome or files.read(outcome_key(folder.run), RunOutcome.read) or base.outcome
    return replace(
        base,
        namespace=known.namespace or base.namespace,
        trigger=read_trigger(cause),
        cause=cause,
        decision=known.decision or _get(training, "decision") or base.decision,
        alarm=known.alarm or base.alarm,
        started=(training.started if training else None) or base.started or _first_start(trials),
        finished=outcome.time if outcome is not None else None,
        steps=_join_steps(base, facts),
        data=describe_data(snapshot) if snapshot is not None else base.data,
        heldout=_read_share(training) or base.heldout,
        rows=evaluation.rows if evaluation is not None else base.rows,
        function=str(chosen.get("function") or base.function),
        command=_join_command(chosen) or base.command,
        parameters=next((trial.parameters for trial in trials if trial.chosen), base.parameters),
        metric=_option(training, "pick", "--metric") or base.metric,
        goal=_read_goal(training) or base.goal,
        trials=trials,
        metrics=evaluation or base.metrics,
        gates=files.read(verdict_key(folder.run), GateVerdict.read) or base.gates,
        rehearsal=files.read(rehearsal_key(folder.run), Rehearsal.read) or base.rehearsal,
        environment=_read_environment(chosen) or base.environment,
        digests=replace(
            digests := _compose_digests(base, training, snapshot, chosen, kept),
            # what a person gave is made by no recipe of the spec
            recipe=None if find_given_model(cause) else digests.recipe,
        ),
        release=known.release or base.release or _read_release(folder.run, outcome),
        rollout=known.rollout or base.rollout,
        approvals=_join_approvals(base, workflow),
        outcome=outcome,
        notes=tuple(files.notes),
    )


def read_report(
    folder: RunFolder, known: KnownRun, find_workflow: Callable[[], Json | None] | None = None
) -> RunReport | None:
    """Return everything about a run: its run.json, or what can be composed of its files and, while
    it goes on, of its Workflow. None when the bucket has nothing of it."""
    report, note = None, ""
    try:
        report = find_report(folder)
    except (DocumentError, StoreError) as error:
        note = f"run.json can't be read: {error.message}"
    if report is not None and report.outcome is not None:
        return report
    workflow = find_workflow() if find_workflow is not None else None
    if report is None and workflow is None:
        if not folder.store.list_folder(folder.bucket / run_key(folder.run)):
            return None
    elif report is not None and workflow is None:
        return report
    composed = compose_report(folder, known, workflow, report)
    return replace(composed, notes=(note, *composed.notes)) if note else composed


def _join_command(metadata: Mapping[str, Any]) -> str | None:
    words = metadata.get("command")
    return type_words([*map(str, words)]) if isinstance(words, list) else None


def read_metadata(text: bytes, source: str) -> dict[str, Any]:
    """Read a metadata.yaml, without the lines that the function printed; PipelineError."""
    return load_mapping(_LOG.sub(b"", text, count=1), source, rules=METADATA_RULES)


class _Files:
    """The files of a run; what can't be read is noted once, what is not there is None."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.notes: list[str] = []

    def read(self, key: str, parse: Callable[[object], T]) -> T | None:
        """Read one JSON file."""
        return self._ask(key, lambda at: parse(self._folder.store.read_json(at)))

    def read_metadata(self, key: str) -> dict[str, Any]:
        """Read one metadata.yaml, without the lines that the function printed."""

        def load(at: StoreLocation) -> dict[str, Any]:
            return read_metadata(self._folder.store.read_object(at), str(at))

        return self._ask(key, load) or {}

    def list_trials(self) -> list[str]:
        """Return the keys of the folders with trials."""
        place = self._folder.bucket / trials_key(self._folder.run)
        try:
            keys = [entry.key for entry in self._folder.store.list_folder(place)]
        except StoreError as error:
            self.notes.append(f"{place}: {error.message}")
            return []
        names = {place.relative_key(key).split("/")[0] for key in keys}
        return [
            trials_key(self._folder.run, name)
            for name in sorted(names, key=lambda text: (len(text), text))
        ]

    def _ask(self, key: str, read: Callable[[StoreLocation], T]) -> T | None:
        at = self._folder.bucket / key
        try:
            return read(at)
        except MissingObjectError:
            return None
        except PipelineError as error:
            self.notes.append(f"{at} can't be read: {error.message}")
            return None


def _compose_trials(
    files: _Files, base: RunReport, facts: WorkflowFacts | None, kept: Mapping[str, Any]
) -> tuple[tuple[RunTrial, ...], Mapping[str, Any]]:
    """Return the trials, the best first, and the metadata of the chosen one."""
    if facts is None and base.trials:
        home = next((trial.home for trial in base.trials if trial.chosen), None)
        chosen = kept or (files.read_metadata(f"{home}/{METADATA_FILE}") if home else {})
        return base.trials, chosen
    trials, metadata = [], {}
    if facts is not None:
        for node in facts.trials:
            found = files.read_metadata(f"{node.home}/{METADATA_FILE}") if node.metrics else {}
            trial = replace(
                _read_trial(found, node.home),
                trial=node.trial,
                parameters=found.get("parameters") or node.parameters,
                metrics=node.metrics,
                home=node.home if node.metrics else None,
                chosen=node.home == facts.chosen,
                failed=node.failed,
            )
            trials.append(trial)
            metadata[node.home] = found
    else:
        for home in files.list_trials():
            found = files.read_metadata(f"{home}/{METADATA_FILE}")
            if found:
                trials.append(_read_trial(found, home))
                metadata[home] = found
        trials = [_mark_chosen(trial, trials, kept) for trial in trials]
    metric = _option(facts, "pick", "--metric") or base.metric
    ranked = rank_trials(trials, metric, _read_goal(facts) or base.goal)
    home = next((trial.home for trial in ranked if trial.chosen), None)
    return ranked, kept or (metadata.get(home, {}) if home else {})


def rank_trials(trials: list[RunTrial], metric: str, goal: str | None) -> tuple[RunTrial, ...]:
    """Return the trials, the best by a metric first, each with its rank; those without the metric
    come last, and of equal ones the first comes first."""
    if not metric:
        alone = len(trials) == 1 and trials[0].metrics is not None
        return (replace(trials[0], rank=1),) if alone else tuple(trials)
    sign = -1.0 if goal != "minimize" else 1.0
    measured = [trial for trial in trials if metric in (trial.metrics or {})]
    measured.sort(key=lambda trial: sign * (trial.metrics or {})[metric])
    ranked = [replace(trial, rank=number) for number, trial in enumerate(measured, 1)]
    return (*ranked, *(trial for trial in trials if trial not in measured))


def _mark_chosen(trial: RunTrial, trials: list[RunTrial], kept: Mapping[str, Any]) -> RunTrial:
    """Mark the trial that the version's metadata.yaml is of; an only one is it anyway."""
    same = str(kept.get("trial")) == trial.trial and kept.get("metrics") == trial.metrics
    return replace(trial, chosen=same or len(trials) == 1)


def _read_trial(metadata: Mapping[str, Any], home: str) -> RunTrial:
    seconds: Any = metadata.get("duration")
    seed: Any = metadata.get("seed")
    metrics = metadata.get("metrics")
    return RunTrial(
        trial=str(metadata.get("trial", "0")),
        home=home,
        parameters=metadata.get("parameters") or {},
        metrics=metrics if isinstance(metrics, dict) else None,
        seconds=float(seconds) if is_number(seconds) else None,
        started=read_moment(metadata.get("startedAt")),
        seed=int(seed) if is_whole(seed, 0) else None,
        resumed=metadata.get("resumed") is True,
    )


def _compose_digests(
    base: RunReport,
    facts: WorkflowFacts | None,
    snapshot: Snapshot | None,
    chosen: Mapping[str, Any],
    kept: Mapping[str, Any],
) -> RunDigests:
    known, code = base.digests, chosen.get("code") or {}
    found = facts.digests if facts is not None else {}
    return RunDigests(
        data=snapshot.data_digest if snapshot is not None else known.data,
        recipe=_option(facts, "snapshot", "--recipe") or known.recipe,
        code=code.get("digest") or known.code,
        revision=code.get("revision") or known.revision,
        model=kept.get("modelDigest") or found.get("model") or known.model,
        images=(facts.images if facts is not None else None) or known.images,
        detectors=kept.get("detectorDigests") or (facts and facts.detectors) or known.detectors,
        records=kept.get("recordDigests") or (facts and facts.records) or known.records,
    )


def _join_steps(base: RunReport, facts: WorkflowFacts | None) -> tuple[Any, ...]:
    """Return the steps of all Workflows of the run; those of the one that is read now are new."""
    if facts is None:
        return base.steps
    return (*(step for step in base.steps if step.workflow != facts.name), *facts.steps)


def _join_approvals(base: RunReport, workflow: Json | None) -> tuple[Approval, ...]:
    """Return what people have approved in all Workflows of the run."""
    return tuple(dict.fromkeys((*base.approvals, *list_approvals(workflow or {}))))


def _read_release(run: str, outcome: RunOutcome | None) -> str | None:
    """Return the release of a run that got as far as traffic."""
    shown = outcome is not None and outcome.kind in ("released", "rejected")
    # a run that has fitted production's detectors anew has become no release
    return release_id(run) if outcome is not None and shown and not outcome.obstacle else None


def _read_environment(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    names = ("python", "libraries", "hardware")
    return {name: metadata[name] for name in names if name in metadata} or None


def _read_share(facts: WorkflowFacts | None) -> float | None:
    try:
        return float(_option(facts, "split", "--heldout")) or None
    except ValueError:
        return None


def _read_goal(facts: WorkflowFacts | None) -> Any:
    goal = _option(facts, "pick", "--goal")
    return goal if goal in TRIAL_GOALS else None


def _option(facts: WorkflowFacts | None, template: str, option: str) -> str:
    return facts.options.get(template, {}).get(option, "") if facts is not None else ""


def _get(facts: WorkflowFacts | None, parameter: str) -> str:
    return facts.parameters.get(parameter, "") if facts is not None else ""


def _first_start(trials: tuple[RunTrial, ...]) -> str | None:
    return min((trial.started for trial in trials if trial.started), default=None)
