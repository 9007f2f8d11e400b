"""Run a training again from what is stored of it, on this machine, and compare what comes out."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftloop.clients import s3
from driftloop.clients.s3 import MissingObjectError, StoreLocation
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.names import WORK
from driftloop.contract.records import Evaluation, Snapshot, SnapshotBatch
from driftloop.contract.runs import RunReport, RunTrial
from driftloop.contract.trees import (
    METADATA_FILE,
    METRICS_FILE,
    PRODUCTION_FILE,
    kept_key,
    release_key,
    spec_path,
)
from driftloop.errors import LocalError, StepError
from driftloop.git.repository import Repository
from driftloop.local.ground.mounts import replace_mounts
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.images import LocalImage, resolve_image
from driftloop.local.kubelet.values import start_own
from driftloop.operations.commits import releases
from driftloop.operations.runs.run_diffs import ValueChange, compare_values, list_metrics
from driftloop.operations.runs.run_reports import read_metadata
from driftloop.operations.runs.run_store import RunPlace
from driftloop.operations.traces.traces import read_snapshot
from driftloop.plan import Plan, make_plan
from driftloop.resources.workflows.steps import WorkflowStep
from driftloop.resources.workflows.training import loop_steps
from driftloop.spec import parse_spec

Report = Callable[[str], None]

MOST_NAMED = 20
"""Batches that an error names."""
_INPUT = re.compile(r"\{\{inputs\.parameters\.([a-z-]+)\}\}")


@dataclass(frozen=True)
class Reproduction:
    """Result of a run that was run again."""

    run: str
    same: bool
    """The model has the same digest."""
    before: str | None
    """Digest of the run's model; None when it left none."""
    after: str
    files: tuple[str, ...]
    """Files of the model that differ, when the run's own are still stored."""
    metrics: tuple[ValueChange, ...]
    """Metrics that differ, of the training function and of the evaluation."""
    code: tuple[ValueChange, ...]
    """Code, recipe and environment that differ from the run's."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class _Attempt:
    """Everything that the steps of a run that is run again share."""

    plan: Plan
    steps: Mapping[str, WorkflowStep]
    trial: RunTrial
    state: StateFolder
    work: Path
    report: Report


def reproduce_run(
    place: RunPlace,
    repository: Repository,
    state: StateFolder,
    found: RunReport,
    *,
    work: Path,
    report: Report,
) -> Reproduction:
    """Run the chosen trial of a run again below `work`; StepError names batches that are not what
    the run saw, and the step that fails."""
    trial = _find_trial(found)
    snapshot = read_snapshot(place, found.run)
    if snapshot is None:
        raise StepError(f"{found.run} left no snapshot.json: its batches are not known")
    plan = _read_plan(repository, found, report)
    if plan.patches:
        report("`patches` of the spec are not applied: they change objects that a commit is of")
    steps = {step.name: step for step in loop_steps(plan, ()) if isinstance(step, WorkflowStep)}
    attempt = _Attempt(plan, steps, trial, state, work, report)
    data = work / "data"
    fetch_batches(place, found.pipeline, snapshot, data)
    report(f"data: {len(snapshot.batches)} batches, each as the run saw it")
    for step in plan.steps:
        data = _run_step(attempt, f"data-{step.name}", {"data": data})["data"]
    split = _run_step(attempt, "split", {"data": data})["split"]
    trained = _run_step(attempt, "train", {"split": _only(split, "train", work)})
    evaluated = _evaluate(attempt, trained["model"], split)
    return _compare(place, found, plan, trained, evaluated)


def fetch_batches(place: RunPlace, pipeline: str, snapshot: Snapshot, folder: Path) -> None:
    """Fetch the batches of a snapshot as the step snapshot lays them out; StepError names each that
    is gone or another one now."""
    for side in ("earlier", "recent"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    source = s3.parse_location(snapshot.uri)
    problems = []
    for batch in snapshot.batches:
        file = folder / ("recent" if batch.recent else "earlier") / batch.key
        at = source / batch.key
        if batch.source is not None:
            at = place.bucket / kept_key(pipeline, batch.sha256)
        if (problem := _fetch_batch(place, at, batch, file)) is not None:
            problems.append(problem)
    if problems:
        listed = "\n".join(problems[:MOST_NAMED])
        more = f"\nand {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
        raise StepError(
            f"{len(problems)} of {len(snapshot.batches)} batches are not what the run saw:\n{listed}{more}",
            hint="put the batches back as they were; `driftloop runs show` has the digest of all",
        )


def _fetch_batch(
    place: RunPlace, at: StoreLocation, batch: SnapshotBatch, file: Path
) -> str | None:
    try:
        digest = place.store.get_file(at, file)
    except MissingObjectError:
        return f"{at} is gone, it was sha256:{batch.sha256}"
    if digest != batch.sha256:
        return f"{at} has changed: it is sha256:{digest}, was sha256:{batch.sha256}"
    return None


def _find_trial(found: RunReport) -> RunTrial:
    chosen = next((trial for trial in found.trials if trial.chosen), None)
    if chosen is None:
        end = found.outcome.text if found.outcome is not None else "it has not ended"
        raise StepError(
            f"no trial of {found.run} was chosen: there is no model to compare with ({end})",
            hint="`driftloop runs` lists runs that were trained",
        )
    return chosen


def _read_plan(repository: Repository, found: RunReport, report: Report) -> Plan:
    """Return the plan of the spec that the run was of: that of its commit, or of the tip."""
    tip = repository.tip()
    commit = found.commit
    if commit is None or tip is None or not repository.contains(tip, ancestor=commit):
        report("the commit that the run began from is not known: the spec of now is used")
        commit = tip
    committed = releases.read_pipeline(repository.tree(commit), found.pipeline)
    plan = make_plan(parse_spec(committed.spec, path=spec_path(found.pipeline)))
    if found.digests.recipe not in (None, plan.recipe):
        report(
            "the spec of that commit has another recipe than the run: what differs is told below"
        )
    return plan


def _run_step(attempt: _Attempt, name: str, given: Mapping[str, Path]) -> dict[str, Path]:
    """Run one step of the workflow as a process, with folders in place of the container's; its output
    folders by name."""
    step, folder = attempt.steps[name], attempt.work / name
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for entry, source in given.items():
        (folder / "in" / entry).symlink_to(source, target_is_directory=True)
    image = resolve_image(attempt.state, step.image)
    words = [_fill_word(word, attempt.trial) for word in (*step.command, *step.arguments)]
    words = [replace_mounts(word, {WORK: folder}) for word in words]
    attempt.report(f"{name}: in {step.image}")
    values = OwnValues.load(attempt.state)
    own = start_own(f"step {name}", step.environment, values, folder / "volumes")
    words = [replace_mounts(word, own.folders) for word in words]
    _run_program(name, image, words, folder, own.variables)
    return {entry.name: entry for entry in (folder / "out").iterdir()}


def _fill_word(word: str, trial: RunTrial) -> str:
    values = {
        "trial": trial.trial,
        "parameters": json.dumps(dict(trial.parameters or {})),
        "home": trial.home or "",
    }
    return _INPUT.sub(lambda match: values.get(match[1], ""), word)


def _run_program(
    name: str, image: LocalImage, words: list[str], folder: Path, own: Mapping[str, str]
) -> None:
    command = [image.find_program(words[0]), *words[1:]]
    # the code is registered: nothing is written beside it
    base = {**image.build_environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**base, **own, "HOME": str(folder)}
    try:
        done = subprocess.run(command, env=environment, cwd=image.app, stdout=2, check=False)
    except OSError as error:
        raise LocalError(f"{command[0]} can't be started: {error.strerror}") from error
    if done.returncode != 0:
        raise StepError(f"{name} failed", hint="the lines above name the place in the code")


def _only(split: Path, side: str, work: Path) -> Path:
    """Return a folder with one side of the split, as the training sees it."""
    folder = work / f"only-{side}"
    folder.mkdir()
    (folder / side).symlink_to(split / side, target_is_directory=True)
    return folder


def _evaluate(attempt: _Attempt, model: Path, split: Path) -> Evaluation:
    """Evaluate the new model on the held-out rows; production's own numbers are not asked again."""
    production = attempt.work / "production"
    production.mkdir()
    (production / PRODUCTION_FILE).write_text("{}\n")
    given = {
        "model": model,
        "split": _only(split, "heldout", attempt.work),
        "production": production,
    }
    folder = _run_step(attempt, "evaluate", given)["evaluation"]
    try:
        return Evaluation.read(parse_json((folder / METRICS_FILE).read_bytes(), label=METRICS_FILE))
    except (OSError, DocumentError) as error:
        raise StepError(f"the evaluation left no metrics: {error}") from error


def _compare(
    place: RunPlace,
    found: RunReport,
    plan: Plan,
    trained: Mapping[str, Path],
    evaluation: Evaluation,
) -> Reproduction:
    after = s3.folder_digest(trained["model"])
    metadata = read_metadata((trained["trial"] / METADATA_FILE).read_bytes(), METADATA_FILE)
    trial = _find_trial(found)
    metrics = {f"training {name}": value for name, value in (trial.metrics or {}).items()}
    again = {f"training {name}": value for name, value in metadata["metrics"].items()}
    return Reproduction(
        run=found.run,
        same=after == found.digests.model,
        before=found.digests.model,
        after=after,
        files=tuple(_list_different(place, found, trained["model"])),
        metrics=compare_values(
            metrics | list_metrics(found.metrics), again | list_metrics(evaluation)
        ),
        code=compare_values(*_list_inputs(plan, found, metadata)),
    )


def _list_inputs(
    plan: Plan, found: RunReport, metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what went into the run, and into the new training as far as it is known of the run."""
    digests = found.digests
    before = _name_inputs(digests.recipe, digests.code, found.environment or {})
    now = _name_inputs(plan.recipe, (metadata.get("code") or {}).get("digest"), metadata)
    return before, {name: now.get(name) for name in before if before[name] is not None}


def _name_inputs(
    recipe: str | None, code: str | None, environment: Mapping[str, Any]
) -> dict[str, Any]:
    libraries: Mapping[str, Any] = environment.get("libraries") or {}
    return {
        "recipe": recipe,
        "code": code,
        "python": environment.get("python"),
        **{f"library {name}": version for name, version in libraries.items()},
    }


def _list_different(place: RunPlace, found: RunReport, model: Path) -> Iterator[str]:
    """Yield the files of the model that are not those of the run; none when its own are pruned."""
    stored = place.bucket / release_key(found.run, "model")
    if not (objects := place.store.list_folder(stored)):
        return
    before = {
        stored.relative_key(entry.key): place.store.digest_object(
            StoreLocation(stored.bucket, entry.key)
        )
        for entry in objects
    }
    after = {name: s3.file_digest(model / name) for name in s3.files_below(model)}
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield name


def describe_reproduction(result: Reproduction) -> Iterator[str]:
    """Yield the result in words."""
    if result.same:
        yield f"same model   {result.after}"
    else:
        yield f"other model  {result.after}, the run's is {result.before or 'not known'}"
        for name in result.files:
            yield f"differs      {name}"
    for change in (*result.code, *result.metrics):
        yield f"differs      {change.name}: {change.before} -> {change.after}"
    if not result.metrics:
        yield "metrics      the same"


def check_images(state: StateFolder, found: RunReport) -> None:
    """LocalError when an image of the run is not on this machine."""
    for step, image in (found.digests.images or {}).items():
        if step in ("split", "train", "evaluate"):
            try:
                resolve_image(state, image)
            except LocalError as error:
                raise LocalError(
                    f"{step} of {found.run} ran in `{image}`, which is not registered here",
                    hint=error.hint,
                ) from error
