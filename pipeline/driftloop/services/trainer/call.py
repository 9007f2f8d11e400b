"""`driftloop-train call` and `driftloop-train evaluate`: run the user's functions or programs on folders."""

import contextlib
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.contract.columns import TARGET, ColumnUses
from driftloop.contract.documents import DocumentError, parse_json, to_json
from driftloop.contract.measures import find_measure
from driftloop.contract.parameters import SEED
from driftloop.contract.programs import format_parameter, parameter_variable, place_variable
from driftloop.contract.records import Evaluation, ProductionRelease, TrialResult
from driftloop.contract.times import format_now
from driftloop.contract.trees import METRICS_FILE, PRODUCTION_FILE, ROWS_FILE
from driftloop.services.trainer import function, program, record, sample, split
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.program import UserProgram
from driftloop.services.trainer.progress import ProgressFile


@dataclass(frozen=True)
class TrainerCall:
    """One call of a data step or training function; `timeout` in seconds.

    `home` is where the trial is kept; `resume` holds what an earlier try left in `checkpoint`.
    """

    run: str | UserProgram
    """`module:function`, or a program in its place."""
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
    """Run a function, or a program that trains. It trains when its metadata or metrics are asked for; a
    function is a data step otherwise.

    A training has to give metrics and write a model to `out`; a data step that writes nothing there passes
    its data on as it is.
    """
    parameters = _read_parameters(task.parameters)
    trains = task.metadata is not None or task.metrics is not None
    _check_folder(task.data, "--data")
    task.out.mkdir(parents=True, exist_ok=True)
    if isinstance(task.run, UserProgram):
        if not trains:
            raise TrainerError("a program can only train: --metadata or --metrics is missing")
        _record_training(task, _train_by_program(task, task.run, parameters))
        return
    user = function.load_function(task.run, task.code)
    given = {"data": task.data, "out": task.out, "seed": parameters.get("seed", task.seed)}
    resumed = False
    if task.checkpoint is not None:
        _check_checkpoint(user)
        given["checkpoint"] = task.checkpoint
        resumed = _copy_checkpoint(task.checkpoint, task.resume)
    arguments, values = function.build_arguments(user, parameters, given)
    _seed_libraries(task.seed)
    training = _Training(user.name, {"function": user.name}, values, resumed)
    with training.measure(ProgressFile(task.progress, values)):
        returned = function.run_function(user, arguments, task.timeout)
    if not trains:
        if not record.list_files(task.out):
            shutil.copytree(task.data, task.out, dirs_exist_ok=True, copy_function=_link_folder)
            print(f"{user.name} wrote nothing: its data is passed on as it is")
        return
    training.metrics = record.read_metrics(returned, user.name)
    training.code = record.describe_code(task.code)
    training.libraries = record.list_libraries()
    if not record.list_files(task.out):
        raise TrainerError(
            f"`{user.name}` wrote no model",
            hint="write it to the folder `out`: def train(..., data: Path, out: Path)",
        )
    _record_training(task, training)


@dataclass
class _Training:
    """One training: what was called and with what, and what came of it."""

    name: str
    called: Mapping[str, Any]
    """The function or the command, as metadata.yaml has it."""
    parameters: Mapping[str, Any]
    resumed: bool
    metrics: dict[str, float] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    started: str = ""
    duration: float = 0.0

    @contextlib.contextmanager
    def measure(self, progress: ProgressFile) -> Iterator[None]:
        """Keep what is printed inside the block, and the time that it takes."""
        self.started, clock = format_now(), time.monotonic()
        with record.log_output(progress.note_line) as log:
            yield
        self.duration = time.monotonic() - clock
        self.log, self.dropped = log.lines, log.dropped


def _train_by_program(
    task: TrainerCall, user: UserProgram, parameters: Mapping[str, Any]
) -> _Training:
    """Run a program that trains; its metrics are read before its model is looked for."""
    beside = task.out.resolve().parent
    metrics, given = beside / METRICS_FILE, beside / "parameters.json"
    metrics.unlink(missing_ok=True)
    given.write_text(json.dumps(dict(parameters), indent=1) + "\n")
    places = {
        "data": str(task.data.resolve()),
        "model": str(task.out.resolve()),
        "metrics": str(metrics),
        "parameters": str(given),
        "seed": format_parameter(parameters.get(SEED, task.seed)),
        "trial": task.trial,
    }
    resumed = False
    if task.checkpoint is not None:
        resumed = _copy_checkpoint(task.checkpoint, task.resume)
        places["checkpoint"] = str(task.checkpoint.resolve())
    values = {name: format_parameter(value) for name, value in parameters.items()}
    variables = {place_variable(name): value for name, value in places.items()}
    variables |= {parameter_variable(name): value for name, value in values.items()}
    training = _Training(user.name, {"command": list(user.words)}, parameters, resumed)
    with training.measure(ProgressFile(task.progress, parameters)):
        program.run_program(user, values | places, variables, task.timeout)
    training.metrics = program.read_metrics_file(metrics, user)
    training.code = record.describe_code(task.code, user.words)
    training.libraries = record.list_installed()
    if not record.list_files(task.out):
        raise TrainerError(
            f"`{user.name}` wrote no model: {task.out} has no file",
            hint=f"write it to the folder that {place_variable('model')} names",
        )
    return training


def _record_training(task: TrainerCall, training: _Training) -> None:
    """Write metadata.yaml, and the metrics for the workflow."""
    if task.metadata is not None:
        record.write_metadata(
            task.metadata,
            {
                **training.called,
                "trial": task.trial,
                "parameters": training.parameters,
                "metrics": training.metrics,
                "log": training.log,
                "logLinesDropped": training.dropped,
                "code": training.code,
                "dataDigest": record.digest_file(task.data),
                "seed": task.seed,
                "resumed": training.resumed,
                "startedAt": training.started,
                "duration": round(training.duration, 3),
                "python": platform.python_version(),
                "libraries": training.libraries,
                "hardware": record.describe_hardware(),
            },
        )
    if task.metrics is not None:
        result = TrialResult(task.trial, training.metrics, task.home or None)
        record.write_parameters(task.metrics, to_json(result))
    print(f"{training.name}: {_format_metrics(training.metrics)} in {training.duration:.1f} s")


def _check_checkpoint(user: function.UserFunction) -> None:
    if not function.takes_parameter(user, "checkpoint"):
        raise TrainerError(
            f"`{user.name}` has no parameter `checkpoint`",
            hint="write def train(..., checkpoint: Path, data: Path, out: Path), or take `checkpoint: true` out of "
            "the spec",
        )


def _copy_checkpoint(folder: Path, earlier: Path | None) -> bool:
    """Make the folder of a training's progress, with what an earlier try kept; whether there was any."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = record.list_files(earlier) if earlier is not None and earlier.is_dir() else []
    if earlier is None or not kept:
        return False
    shutil.copytree(earlier, folder, dirs_exist_ok=True, copy_function=_link_folder)
    print(
        f"going on from what an earlier try kept: {', '.join(kept[:5])}{' …' if len(kept) > 5 else ''}"
    )
    return True


Measure = Callable[[Path, Path, float | None, str], dict[str, float]]
"""Metrics of a model (a folder) on rows (a folder), within seconds; the last is a name of the measurement."""
ASKED_SECONDS = 60.0
"""Seconds that the rows of a rehearsal may take to be evaluated once more."""


@dataclass(frozen=True)
class TrainerEvaluation:
    """The candidate (and production, when there is one) on held-out rows; `timeout` in seconds,
    for each model."""

    run: str | UserProgram
    """`module:function`, or a program in its place."""
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
    user: Measure = (
        _measure_by_program(task.run, task.out)
        if isinstance(task.run, UserProgram)
        else _measure_by_function(task.run, task.code)
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


def _measure_by_function(name: str, code: Path) -> Measure:
    """Return what measures a model by a function."""
    user = function.load_function(name, code)
    missing = {"model", "data"} - set(user.signature.parameters)
    if missing:
        raise TrainerError(
            f"`{name}` has no parameter `{sorted(missing)[0]}`",
            hint="write def evaluate(model: Path, data: Path) -> dict",
        )

    def measure(model: Path, data: Path, seconds: float | None, what: str) -> dict[str, float]:
        arguments, _ = function.build_arguments(user, {}, {"model": model, "data": data, "seed": 0})
        return record.read_metrics(function.run_function(user, arguments, seconds), name)

    return measure


def _measure_by_program(user: UserProgram, out: Path) -> Measure:
    """Return what measures a model by a program; each time in a folder of its own beside `out`."""
    beside = out.resolve().parent / "measured"

    def measure(model: Path, data: Path, seconds: float | None, what: str) -> dict[str, float]:
        folder = beside / what
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        metrics = folder / METRICS_FILE
        places = {
            "data": str(data.resolve()),
            "model": str(model.resolve()),
            "metrics": str(metrics),
        }
        variables = {place_variable(name): value for name, value in places.items()}
        program.run_program(user, places, variables, seconds)
        return program.read_metrics_file(metrics, user)

    return measure


def _measure_asked(
    user: Measure, task: TrainerEvaluation, candidate: dict[str, dict[str, float]]
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
        try:
            return user(task.model, Path(folder), ASKED_SECONDS, "candidate-asked")
        except TrainerError as error:
            print(f"{error.trace}the rows of the rehearsal can't be evaluated: {error.message}")
            return None


def _measure_production(user: Measure, task: TrainerEvaluation) -> dict[str, dict[str, float]]:
    """Measure production; TrainerError when it can't be measured: a column is new, a library
    changed, its files are gone."""
    model = task.production / "model"
    if not model.is_dir() or not record.list_files(model):
        raise TrainerError("its model is no longer in the object store")
    return _measure_model(user, model, task, "production")


def _measure_model(
    user: Measure, model: Path, task: TrainerEvaluation, what: str
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
        rest = None if deadline is None else max(0.1, deadline - time.monotonic())
        try:
            metrics[rows] = user(model, data, rest, f"{what.rpartition(' ')[2]}-{rows}")
        except TrainerError as error:
            raise TrainerError(
                f"{what} on {rows} rows: {error.message}",
                hint=error.hint,
                trace=error.trace,
                code=error.code,
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
