"""`driftloop traffic`."""

import contextlib
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.moments import since_option
from driftloop.cli.try_ import choose_envs
from driftloop.cluster.reader import ApiReader
from driftloop.local.kubelet.images import prepare_monitor
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.traces.traffic import (
    FORMS,
    NONE_HINT,
    ExportForm,
    TrafficChoice,
    TrafficCount,
    TrafficFolder,
    count_traffic,
    export_traffic,
    list_files,
    open_cluster_traffic,
    open_local_traffic,
)
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop traffic digits
  driftloop traffic digits --since 7d --release r1a2b3c4d
  driftloop traffic digits --since 2026-11-30 -o csv --columns time,request_id,answer > answers.csv
  driftloop traffic digits -o parquet --file traffic.parquet --cluster"""


def _parse_columns(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise click.BadParameter(f"`{value}` must be names of columns, separated by commas")
    return names


@click.command("traffic", epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@since_option("Only requests")
@click.option("--release", help="Only of this release.  [default: all]")
@click.option(
    "--columns",
    callback=_parse_columns,
    help="Columns to export, separated by commas; `answer` stands for all of an answer.  [default: all]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", *FORMS]),
    default="text",
    show_default=True,
    help="A listing (text, json, yaml), or the rows in one file.",
)
@click.option(
    "--file",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write the rows to.  [default: standard output, but for parquet]",
)
@options.envs
@options.state
@cluster_options
def command(
    *,
    name: str,
    since: datetime | None,
    release: str | None,
    columns: tuple[str, ...],
    output: str,
    out: Path | None,
    envs: Path | None,
    state: StateChoice,
    cluster: ClusterChoice,
) -> None:
    """List the captured traffic of pipeline NAME by day and release, or export its rows.

    The listing counts whole days; an export has the rows from `--since` on. `capture` in the spec says what
    is recorded, and for how long. docs/guides/captured-traffic.md shows how to read the files themselves.
    """
    cluster.refuse_stray()
    exports = output in FORMS
    if not exports and (columns or out is not None):
        raise click.UsageError("--columns and --file go with -o parquet, csv or jsonl")
    if output == "parquet" and out is None:
        raise click.UsageError("-o parquet needs --file: a terminal can't show it")
    choice = TrafficChoice(since, release, columns)
    with contextlib.ExitStack() as stack:
        if cluster.chosen:
            reader = ApiReader(cluster.kubeconfig, cluster.context)
            folder = stack.enter_context(
                open_cluster_traffic(
                    reader,
                    name,
                    namespace=cluster.namespace or name,
                    kubeconfig=cluster.kubeconfig,
                    context=cluster.context,
                )
            )
        else:
            folder = stack.enter_context(open_local_traffic(state.ensure_exists(), name))
        if exports:
            place = envs or choose_envs(state)
            _export_rows(folder, choice, cast(ExportForm, output), out, place)
        else:
            _print_counts(folder, choice, output)


def _export_rows(
    folder: TrafficFolder, choice: TrafficChoice, form: ExportForm, out: Path | None, envs: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="driftloop-traffic-") as made:
        work = Path(made)
        image = prepare_monitor(work / "monitor", envs=envs, say=options.print_progress)
        written = work / f"traffic.{form}"
        rows = export_traffic(folder, choice, image, work, form=form, out=written)
        if out is None:
            with written.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.flush()
        else:
            shutil.move(written, out)
        options.print_progress(f"{count_noun(rows, 'row')} of {folder.place}")


def _print_counts(folder: TrafficFolder, choice: TrafficChoice, output: str) -> None:
    counts = count_traffic(list_files(folder, choice))
    if output != "text":
        document = {
            "in": str(folder.place),
            "traffic": [dataclasses.asdict(count) for count in counts],
        }
        options.print_document(document, output)
        return
    for line in _format_counts(counts):
        click.echo(line)
    total = count_noun(sum(count.rows for count in counts), "row")
    options.print_progress(f"{total} in {folder.place}")
    if not counts:
        options.print_progress(f"hint: {NONE_HINT}")


def _format_counts(counts: list[TrafficCount]) -> Iterator[str]:
    for count in counts:
        yield (
            f"{count.day}  {count.release:<9}  {count_noun(count.rows, 'row'):>14}  "
            f"{count_noun(count.files, 'file'):>10}  {count.bytes:>12} bytes"
        )
