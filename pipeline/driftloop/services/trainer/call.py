"""`driftloop-train call` and `driftloop-train evaluate`: run the user's functions on folders."""

import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.contract.columns import TARGET, ColumnUses
from driftloop.contract.documents import DocumentError, parse_json, to_json
from driftloop.contract.measures import find_measure
from driftloop.contract.records import Evaluation, ProductionRelease, TrialResult
from driftloop.contract.times import format_now
from driftloop.contract.trees import METRICS_FILE, PRODUCTION_FILE, ROWS_FILE
from driftloop.services.trainer import function, record, sample, split
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.progress import ProgressFile

PARTS = ("earlier", "recent")


@dataclass(frozen=True)
class TrainerCall:
    """One call of a data step or training function; `timeout` in seconds.

    `home` is where the trial is kept; `resume` holds what an earlier try left in `checkpoint`.
    """

    run: str
    parameters: str
    data: Path
    out: Path
    code: Path
    metadata: Path | None = None
    metrics: Path | None = None
    trial: str = "0"
    timeout: float | None = None
    seed: int = 0
    home: str = ""
    checkpoint: Path | None = None
    resume: Path | None = None
    progress: Path | None = None
    """File that says how far the function is."""


def run_call(task: TrainerCall) -> None:
    """Run a function. It is a training function when its metadata or metrics are asked for, a
    data step otherwise.

    A training function has to return metrics and write a model to `out`; a data step that writes
    nothing there passes its data on as it is.
    """
    parameters = _read_parameters(task.parameters)
    trains = task.metadata is not None or task.metrics is not None
    _check_folder(task.data, "--data")
    task.out.mkdir(parents=True, exist_ok=True)
    user = function.load_function(task.run, task.code)
    given = {"data": task.data, "out": task.out, "seed": parameters.get("seed", task.seed)}
    resumed = False
    if task.checkpoint is not None:
        given["checkpoint"], resumed = (
            task.checkpoint,
            _copy_checkpoint(user, task.checkpoint, task.resume),
        )
    arguments, values = function.build_arguments(user, parameters, given)
    _seed_libraries(task.seed)
    started, clock = format_now(), time.monotonic()
    progress = ProgressFile(task.progress, values)
    with record.log_output(progress.note_line) as log:
        returned = function.run_function(user, arguments, task.timeout)
    duration = time.monotonic() - clock
    if not trains:
        if not record.list_files(task.out):
            shutil.copytree(task.data, task.out, dirs_exist_ok=True, copy_function=_link_folder)
            print(f"{task.run} wrote nothing: its data is passed on as it is")
        return
    metrics = record.read_metrics(returned, task.run)
    if not record.list_files(task.out):
        raise TrainerError(
            f"`{task.run}` wrote no model",
            hint="write it to the folder `out`: def train(..., data: Path, out: Path)",
        )
    if task.metadata is not None:
        record.write_metadata(
            task.metadata,
            {
                "function": task.run,
                "trial": task.trial,
                "parameters": values,
                "metrics": metrics,
                "log": log.lines,
                "logLinesDropped": log.dropped,
                "code": record.describe_code(task.code),
                "dataDigest": record.digest_file(task.data),
                "seed": task.seed,
                "resumed": resumed,
                "startedAt": started,
                "duration": round(duration, 3),
                "python": platform.python_version(),
                "libraries": record.list_libraries(),
                "hardware": record.describe_hardware(),
            },
        )
    if task.metrics is not None:
        result = TrialResult(task.trial, metrics, task.home or None)
        record.write_parameters(task.metrics, to_json(result))
    print(f"{task.run}: {_format_metrics(metrics)} in {duration:.1f} s")


def _copy_checkpoint(user: function.UserFunction, folder: Path, earlier: Path | None) -> bool:
    """Make the folder of the function's progress, with what an earlier try kept; whether there
    was any."""
    if not function.takes_parameter(user, "checkpoint"):
        raise TrainerError(
            f"`{user.name}` has no parameter `checkpoint`",
            hint="write def train(..., checkpoint: Path, data: Path, out: Path), or take `checkpoint: true` out of "
            "the spec",
        )
    folder.mkdir(parents=True, exist_ok=True)
    kept = record.list_files(earlier) if earlier is not None and earlier.is_dir() else []
    if earlier is None or not kept:
        return False
    shutil.copytree(earlier, folder, dirs_exist_ok=True, copy_function=_link_folder)
    print(
        f"going on from what an earlier try kept: {', '.join(kept[:5])}{' …' if len(kept) > 5 else ''}"
    )
    return True


ASKED_SECONDS = 60.0
"""Seconds that the rows of a rehearsal may take to be evaluated once more."""


@dataclass(frozen=True)
class TrainerEvaluation:
    """The candidate (and production, when there is one) on held-out rows; `timeout` in seconds,
    for each model."""

    run: str
    model: Path
    production: Path
    data: Path
    out: Path
    code: Path
    timeout: float | None = None
    rows: int | None = None
    """Held-out rows that a rehearsal asks; None without one."""
    target: str = TARGET
    """Column with the right answers."""
    uses: ColumnUses = field(default_factory=dict)
    """What columns are where they are learnt wrong."""


def run_evaluation(task: TrainerEvaluation) -> None:
    """Write metrics.json: both models on all rows and on the recent ones, and how many rows
    those are."""
    _check_folder(task.model, "--model")
    _check_folder(task.data, "--data")
    if not record.list_files(task.data):
        raise TrainerError(
            f"no held-out rows in {task.data}",
            hint="raise data.heldout in the spec, or bring more data",
        )
    user = function.load_function(task.run, task.code)
    missing = {"model", "data"} - set(user.signature.parameters)
    if missing:
        raise TrainerError(
            f"`{task.run}` has no parameter `{sorted(missing)[0]}`",
            hint="write def evaluate(model: Path, data: Path) -> dict",
        )
    candidate = _measure_model(user, task.model, task, "the candidate")
    against = _read_production(task.production)
    production, problem = None, ""
    if against is not None:
        try:
            production = _measure_production(user, task)
        except TrainerError as error:
            problem = error.message
            print(f"{error.trace}production can't be evaluated: {problem}")
    task.out.mkdir(parents=True, exist_ok=True)
    asked = _measure_asked(user, task, candidate) if task.rows is not None else None
    evaluation = Evaluation(candidate, production, _count_rows(task.data), against, problem, asked)
    (task.out / METRICS_FILE).write_text(
        json.dumps(to_json(evaluation), indent=1, sort_keys=True) + "\n"
    )
    for name, measures in (("candidate", candidate), ("production", production or {})):
        for rows, metrics in measures.items():
            print(f"{name} on {rows} rows: {_format_metrics(metrics)}")


def _measure_asked(
    user: function.UserFunction, task: TrainerEvaluation, candidate: dict[str, dict[str, float]]
) -> dict[str, float] | None:
    """Write rows.json, and measure the candidate on its recent rows alone where a metric is one of
    numbers: the server's answers to them must come to the same."""
    file, limit = task.out / ROWS_FILE, task.rows or 0
    if find_measure(candidate.get("recent", ())) is None:
        sample.write_rows(task.data, file, limit, target=task.target, uses=task.uses)
        return None
    with tempfile.TemporaryDirectory(prefix="driftloop-") as folder:
        sample.write_rows(
            task.data, file, limit, target=task.target, uses=task.uses, again=Path(folder)
        )
        if not record.list_files(Path(folder)):
            return None
        arguments, _ = function.build_arguments(
            user, {}, {"model": task.model, "data": Path(folder), "seed": 0}
        )
        try:
            return record.read_metrics(
                function.run_function(user, arguments, ASKED_SECONDS), task.run
            )
        except TrainerError as error:
            print(f"{error.trace}the rows of the rehearsal can't be evaluated: {error.message}")
            return None


def _measure_production(
    user: function.UserFunction, task: TrainerEvaluation
) -> dict[str, dict[str, float]]:
    """Measure production; TrainerError when it can't be measured: a column is new, a library
    changed, its files are gone."""
    model = task.production / "model"
    if not model.is_dir() or not record.list_files(model):
        raise TrainerError("its model is no longer in the object store")
    return _measure_model(user, model, task, "production")


def _measure_model(
    user: function.UserFunction, model: Path, task: TrainerEvaluation, what: str
) -> dict[str, dict[str, float]]:
    recent = task.data / "recent"
    metrics: dict[str, dict[str, float]] = {}
    deadline = time.monotonic() + task.timeout if task.timeout else None
    # the first run has only recent rows, so they need no second look
    same = not any(
        (task.data / name).is_dir() and record.list_files(task.data / name) for name in ("earlier",)
    )
    for rows, data in (("all", task.data), ("recent", recent)):
        if (
            rows == "recent"
            and same
            and record.list_files(recent if recent.is_dir() else task.data)
        ):
            metrics[rows] = dict(metrics["all"])
            continue
        if rows == "recent" and not (recent.is_dir() and record.list_files(recent)):
            continue
        arguments, _ = function.build_arguments(user, {}, {"model": model, "data": data, "seed": 0})
        rest = None if deadline is None else max(0.1, deadline - time.monotonic())
        try:
            metrics[rows] = record.read_metrics(
                function.run_function(user, arguments, rest), task.run
            )
        except TrainerError as error:
            raise TrainerError(
                f"{what} on {rows} rows: {error.message}", hint=error.hint, trace=error.trace
            ) from error
    return metrics


def _count_rows(data: Path) -> dict[str, int]:
    """Held-out rows, and the recent ones among them."""
    try:
        return {"all": split.count_rows(data), "recent": split.count_rows(data / "recent")}
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"the rows in {data} can't be counted: {error}") from error


def _read_production(folder: Path) -> str | None:
    """The release id of production; `{}` in release.json says there is none."""
    file = folder / PRODUCTION_FILE
    if not file.exists():
        return None
    try:
        release = ProductionRelease.read(parse_json(file.read_bytes(), label=PRODUCTION_FILE))
    except DocumentError as error:
        raise TrainerError(f"{file} can't be read: {error.message}") from error
    if release is None:
        return None
    return release.id


def _read_parameters(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise TrainerError(f"--parameters `{text[:80]}` is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise TrainerError(f"--parameters `{text[:80]}` must be a JSON object")
    return values


def _check_folder(folder: Path, option: str) -> None:
    if not folder.is_dir():
        raise TrainerError(f"{option} {folder} is not a folder")


def _seed_libraries(seed: int) -> None:
    """Seed what is imported: random, numpy, keras or tensorflow, torch."""
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "utils"):
        keras.utils.set_random_seed(seed)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def _link_folder(source: str, target: str) -> str:
    """A second name for a file, where the file system can; else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _format_metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
