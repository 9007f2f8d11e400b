"""`driftloop backtest`."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from driftloop.cli import options
from driftloop.cli.try_ import choose_envs, fetch_data
from driftloop.contract.documents import to_json
from driftloop.contract.verdicts import describe_changes, read_changes
from driftloop.errors import StepError
from driftloop.local.kubelet.images import prepare_monitor
from driftloop.operations.backtest import Backtest, MonitorReplay, read_rate
from driftloop.operations.place import StateChoice
from driftloop.operations.project import validate_project
from driftloop.operations.tryout import ProjectTry
from driftloop.plan import make_plan
from driftloop.text.words import count_noun

MOST_NAMED = 5
"""Columns of an alarm."""
EXAMPLES = """\b
Examples:
  driftloop backtest pipeline.yaml --on ../last-week
  driftloop backtest pipeline.yaml --data ../batches --on ../last-week/requests.parquet --rate 40/s"""


def _parse_rate(context: click.Context, parameter: click.Parameter, value: str) -> float:
    rate = read_rate(value)
    if rate is None:
        raise click.BadParameter(
            f"`{value}` must be a number of rows by s, min, h or day, such as 1/s or 2000/day"
        )
    return rate


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
    "--rate",
    default="1/s",
    show_default=True,
    callback=_parse_rate,
    help="Rows of the traffic by s, min, h or day: for the alarms of a month, and windows that close by time.",
)
@options.envs
@options.state
@options.output
def command(
    *,
    spec: Path,
    rows: Path,
    data: Path | None,
    rate: float,
    envs: Path | None,
    state: StateChoice,
    output: str,
) -> None:
    """Replay rows of files through the monitors of SPEC, and show which windows alarm.

    Data steps and split run as in `driftloop try data`; each monitor of requests is fitted on the
    training side, as a run fits it, and gets the rows one request each, by the code that judges
    traffic. The same files give the same windows.
    """
    project = validate_project(spec)
    options.print_notes(project.notes)
    plan = make_plan(project.document)
    if not plan.request_monitors:
        raise StepError(
            f"{spec} has no monitor of requests",
            hint="add one below `monitors`, or none is replayed",
        )
    envs = envs or choose_envs(state)
    with tempfile.TemporaryDirectory(prefix="driftloop-backtest-") as folder:
        work = Path(folder)
        fetch_data(plan, data, work / "data" / "recent", state)
        own = ProjectTry(
            project.document.pipeline.spec,
            plan,
            spec.resolve().parent,
            work,
            envs,
            options.print_progress,
        )
        own.run_stages("data")
        image = prepare_monitor(work / "monitor", envs=envs, say=options.print_progress)
        backtest = Backtest(plan, image, work, rate, options.print_progress)
        replays = backtest.replay_monitors(work / "split" / "train" / "recent", rows)
    if output == "json":
        click.echo(json.dumps([_to_document(replay, rate) for replay in replays]))
        return
    for replay in replays:
        click.echo("\n".join(_format_lines(replay, rate)))


def _format_lines(replay: MonitorReplay, rate: float) -> Sequence[str]:
    record, monitor = replay.replay, replay.monitor
    windows, alarms = len(record.windows), replay.alarms
    lines = [
        f"{monitor.name} ({monitor.detector.detector}): {count_noun(record.rows, 'row')}, "
        f"{count_noun(windows, 'window')}, {count_noun(len(alarms), 'alarm')}"
    ]
    for window in alarms:
        changes = describe_changes(read_changes(window.details), MOST_NAMED)
        lines.append(
            f"  window {window.window}, rows {window.first}-{window.last}: score {window.score:.4g}, "
            f"threshold {window.threshold:.4g}{f': {changes}' if changes else ''}"
        )
    lines.extend(f"  {count_noun(n, 'row')} not judged: {reason}" for reason, n in record.rejected)
    if record.waiting:
        lines.append(f"  the last {count_noun(record.waiting, 'row')} fill no window")
    if windows:
        expected, most = replay.count_alarms(rate)
        month = f"{expected:.3g}" if alarms else f"most likely below {most:.3g}"
        lines.append(
            f"  a month of such traffic has {replay.count_windows(rate):.4g} windows; alarms: {month}"
        )
    return lines


def _to_document(replay: MonitorReplay, rate: float) -> dict[str, Any]:
    expected, most = replay.count_alarms(rate)
    return {
        "monitor": replay.monitor.name,
        "detector": replay.monitor.detector.detector,
        **to_json(replay.replay),
        "alarms": len(replay.alarms),
        "windowsAMonth": replay.count_windows(rate),
        "alarmsAMonth": expected,
        "alarmsAMonthAtMost": most,
    }
