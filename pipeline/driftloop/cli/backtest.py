"""`driftloop backtest`."""

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.replays import describe_result, format_result
from driftloop.cli.suggestions import describe_suggestion, format_suggestions
from driftloop.cli.try_ import choose_envs, fetch_data
from driftloop.contract.budgets import TRAFFIC, read_traffic
from driftloop.contract.replays import InjectedChange, ReplayOrder
from driftloop.errors import StepError
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.kubelet.images import prepare_monitor
from driftloop.operations.backtests.backtest import (
    AnswerFiles,
    Backtest,
    choose_changes,
    read_change,
)
from driftloop.operations.backtests.charts import draw_result
from driftloop.operations.backtests.replays import BacktestResult
from driftloop.operations.backtests.suggesting import Suggestion, suggest_settings
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.project.project import validate_project
from driftloop.operations.servers.tryout import ProjectTry
from driftloop.operations.traces.labels import copy_labels
from driftloop.plan import Plan, make_plan
from driftloop.spec.values import duration
from driftloop.text.words import count_noun

NO_CHANGE, PICTURE = "none", ".svg"
EXAMPLES = """\b
Examples:
  driftloop backtest pipeline.yaml --on ../last-week --time requested_at
  driftloop backtest pipeline.yaml --data ../batches --on ../last-week/requests.parquet --rate 40/s
  driftloop backtest pipeline.yaml --on ../last-week --inject shift:fare:0.5@3000 --inject lost:carrier
  driftloop backtest pipeline.yaml --on ../last-week --time requested_at -o report.svg --suggest
  driftloop backtest pipeline.yaml --on ../last-week --rehearsal answers.jsonl --answers ../last-week.jsonl
  driftloop backtest pipeline.yaml --on traffic.parquet --rehearsal answers.jsonl --labels labels.csv"""
CAPTURED = ".parquet"


def _parse_rate(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    if value is None:
        return None
    rate = read_traffic(value)
    if rate is None:
        raise click.BadParameter(
            f"`{value}` must be a number of rows by s, min, h or day, such as 1/s or 2000/day"
        )
    return rate


def _parse_changes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[InjectedChange, ...] | None:
    """Return the changes; None where they are to be chosen."""
    if NO_CHANGE in values and len(values) > 1:
        raise click.BadParameter(f"`{NO_CHANGE}` goes with no other change")
    if not values or values == (NO_CHANGE,):
        return () if values else None
    changes = []
    for value in values:
        change = read_change(value)
        if change is None:
            raise click.BadParameter(
                f"`{value}` must be KIND:COLUMN[:SIZE][@ROW], where KIND is shift (SIZE in standard deviations), "
                "noise (above 0), category (a share of the rows) or lost (without a SIZE), such as "
                "shift:fare:0.5@3000"
            )
        changes.append(change)
    return tuple(changes)


def _parse_length(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(f"`{value}` {error}") from error


def _parse_picture(
    context: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    if value is not None and value.suffix != PICTURE:
        raise click.BadParameter(f"`{value.name}` must end with {PICTURE}")
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}")
    return value


def _choose_answers(
    rows: Path, rehearsal: Path | None, answers: Path | None, labels: Path | None
) -> AnswerFiles | None:
    """Return the files of monitors of answers and of labels, which come together; those of captured traffic are
    in its own files."""
    if rehearsal is None:
        if answers is not None or labels is not None:
            raise click.UsageError(
                "--answers and --labels need --rehearsal: monitors of answers and of labels are fitted on it"
            )
        return None
    if answers is None and not _may_be_captured(rows):
        raise click.UsageError(
            "--rehearsal and --answers go together: monitors of answers are fitted on the one, and judge the other"
        )
    if answers is not None and labels is not None:
        raise click.UsageError(
            "--labels goes with captured traffic, which has its answers: leave --answers out"
        )
    return AnswerFiles(rehearsal, answers, labels)


def _may_be_captured(rows: Path) -> bool:
    """Return True for files of the kind that captured traffic is written in."""
    return rows.suffix == CAPTURED or next(rows.rglob(f"*{CAPTURED}"), None) is not None


def _copy_labels(files: AnswerFiles | None, work: Path) -> AnswerFiles | None:
    """Return the files, with the labels in the form that detectors read; those that are none are told."""
    if files is None or files.labels is None:
        return files
    copied = work / "labels.jsonl"
    loaded = copy_labels(files.labels, copied)
    if loaded.malformed:
        options.print_progress(
            f"{count_noun(loaded.malformed, 'label')} left out, the first: {loaded.reasons[0]}"
        )
    return replace(files, labels=copied)


def _check_monitors(spec: Path, plan: Plan, files: AnswerFiles | None) -> None:
    """Refuse a spec of which nothing can be replayed; StepError."""
    if files is not None and not plan.answer_monitors:
        raise StepError(
            f"{spec} has no monitor of answers or of labels, and --rehearsal names answers",
            hint="one of them has `on: response`, or `on: label`",
        )
    if files is None and not plan.request_monitors:
        raise StepError(
            f"{spec} has no monitor of requests",
            hint="add one below `monitors`, or name the answers that those of answers judge: --rehearsal, --answers",
        )


def _write_picture(file: Path, result: BacktestResult) -> None:
    try:
        file.write_text(draw_result(result), encoding="utf-8")
    except OSError as error:
        raise StepError(f"{file} can't be written: {error.strerror}") from error
    options.print_progress(f"picture: {file}")


@click.command(epilog=EXAMPLES)
@click.argument("spec", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--on",
    "rows",
    required=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="File of rows, or folder of such files, in the order in which they are asked.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of batches that the monitors are fitted on.  [default: the last ones of the spec's data.uri]",
)
@click.option(
    "--answers",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="File of the model's answers to the rows, one a line as its server gave it, `null` for none: monitors of "
    "answers judge them.",
)
@click.option(
    "--rehearsal",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="answers.jsonl of a run's rehearsal, on which monitors of answers and of labels are fitted.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="File of labels as `driftloop labels load` takes them, by the requests of captured traffic: monitors of labels "
    "judge the answers. Without it the column `data.target` of the rows has them.",
)
@click.option(
    "--label-delay",
    "delay",
    default="0s",
    show_default=True,
    callback=_parse_length,
    help="Time from an answer to its label.",
)
@click.option(
    "--rate",
    callback=_parse_rate,
    help="Rows of the traffic by s, min, h or day, where the rows have no times.  [default: `traffic` of the spec, or 1/s]",
)
@click.option("--time", "column", help="Column with the time of each row, instead of a rate.")
@click.option(
    "--inject",
    "changes",
    multiple=True,
    callback=_parse_changes,
    help="Change that is made in the rows, KIND:COLUMN[:SIZE][@ROW]; KIND is shift, noise, category or lost. "
    f"Several are made one by one; `{NO_CHANGE}` for none.  [default: one of each kind, from the middle row on]",
)
@click.option(
    "--changed-at",
    type=click.IntRange(min=2),
    metavar="ROW",
    help="First row of a change that the rows have: alarms before it are false, those after it see it.",
)
@click.option(
    "--run",
    default="30m",
    show_default=True,
    callback=_parse_length,
    help="Time that a run takes until its model is production.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of what injected changes draw.",
)
@click.option(
    "--suggest",
    is_flag=True,
    help="Try other windows and counts of alarms, and print the YAML of those that see the changes soonest within "
    "`falseAlarms`.",
)
@click.option(
    "-o",
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    callback=_parse_picture,
    help="File to write a picture to, .svg: windows over time, scores against thresholds, alarms, runs.",
)
@options.envs
@options.state
@options.long_output
def command(
    *,
    spec: Path,
    rows: Path,
    data: Path | None,
    answers: Path | None,
    rehearsal: Path | None,
    labels: Path | None,
    delay: float,
    rate: float | None,
    column: str | None,
    changes: tuple[InjectedChange, ...] | None,
    changed_at: int | None,
    run: float,
    seed: int,
    suggest: bool,
    picture: Path | None,
    envs: Path | None,
    state: StateChoice,
    output: str,
) -> None:
    """Replay rows of files, or captured traffic, through the monitors of SPEC and its decision: alarms, runs of a
    month, and how soon changes are seen.

    Data steps run as in `driftloop try data`; each monitor of requests is fitted on the rows that they
    leave, as a run fits it, and gets the rows one request each, by the code that judges traffic;
    monitors of answers and of labels get those of files. Captured traffic (`driftloop traffic -o parquet`, or
    a folder of its files) has its answers and times itself. Alarms go through the decision's own state machine. The same
    files and the same seed give the same report.
    """
    if rate is not None and column is not None:
        raise click.UsageError("--rate and --time exclude each other: rows with times have a rate")
    files = _choose_answers(rows, rehearsal, answers, labels)
    project = validate_project(spec)
    options.print_notes(project.notes)
    pipeline, plan = project.document.pipeline, make_plan(project.document)
    _check_monitors(spec, plan, files)
    envs = envs or choose_envs(state)
    with tempfile.TemporaryDirectory(prefix="driftloop-backtest-") as folder:
        work = Path(folder)
        values = OwnValues.load(state.folder)
        fetch_data(plan, data, work / "data" / "recent", state, values)
        own = ProjectTry(
            pipeline.spec,
            plan,
            spec.resolve().parent,
            work,
            envs,
            options.print_progress,
            values,
        )
        own.run_stages("data")
        image = prepare_monitor(work / "monitor", envs=envs, say=options.print_progress)
        files = _copy_labels(files, work)
        backtest = Backtest(plan, image, work, options.print_progress, run, files)
        batches = own.prepared / "recent"
        fitted = backtest.fit_monitors(batches)
        if changes is None:
            changes = choose_changes(each.profile for each in fitted if each.looks_at_requests)
        rate = rate or read_traffic(pipeline.spec.traffic or "") or TRAFFIC
        order = ReplayOrder(
            rate=None if column else rate,
            time=column,
            changes=changes,
            seed=seed,
            target=pipeline.spec.data.target,
            delay=delay,
        )
        result = backtest.replay_rows(fitted, rows, order, changed_at)
        suggestions: tuple[Suggestion, ...] = ()
        if suggest:
            suggestions = suggest_settings(
                pipeline,
                result,
                lambda other: backtest.try_pipeline(other, batches, rows, order, changed_at),
            )
    if picture is not None:
        _write_picture(picture, result)
    if output != "text":
        document = describe_result(result)
        if suggest:
            document["suggestions"] = list(map(describe_suggestion, suggestions))
        options.print_document(document, output)
        return
    click.echo("\n".join(format_result(result)))
    if suggest:
        click.echo("\n".join(format_suggestions(suggestions)))
