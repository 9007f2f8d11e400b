"""`driftloop card`."""

import contextlib
import os
import re
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.runs import open_runs
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.stories.cards import find_pipeline, read_card
from driftloop.operations.traces.kept_requests import find_nats
from driftloop.operations.traces.traces import TracePlace
from driftloop.pages.cards import draw_card, write_card

EXAMPLES = """\b
Examples:
  driftloop card digits
  driftloop card r1a2b3c4d -o card.html
  driftloop card digits --release r1a2b3c4d --format html --cluster"""

FORMATS = {"markdown": write_card, "html": draw_card}
_RELEASE = re.compile(r"r[0-9a-f]{8}")


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline, metavar="NAME|RELEASE")
@click.option("--release", metavar="ID", help="Release of the pipeline.  [default: production]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(tuple(FORMATS)),
    help="Format of the card.  [default: html for a file that ends so, else markdown]",
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File that is written.  [default: standard output]",
)
@options.repository_options
@cluster_options
def command(
    *,
    name: str,
    release: str | None,
    format_: str | None,
    file: Path | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
) -> None:
    """Write the model card of a RELEASE, or of the production release of pipeline NAME: what its owner
    says in the spec (`card`), data with its columns, training, metrics, gates, rehearsal, rollout, drift
    since, and where all of it comes from.

    An .html card is one page that needs no server and no network.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        tip = opened.repository.tip()
        pipeline = name
        if release is None and _RELEASE.fullmatch(name):
            pipeline, release = find_pipeline(opened.repository, tip, name), name
        runs = stack.enter_context(open_runs(cluster, state, pipeline))
        own = not cluster.chosen and opened.repository.url == state.folder.repository_url
        nats_url = find_nats(state.folder, os.environ) if own else None
        card = read_card(TracePlace(runs, opened.repository, tip, nats_url), pipeline, release)
    html = file is not None and file.suffix in (".html", ".htm")
    text = FORMATS[format_ or ("html" if html else "markdown")](card)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{file} can't be written: {error.strerror}") from error
    click.echo(file)
