"""`driftloop labels`."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options, url_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cli.reaching import open_decision
from driftloop.clients.label_files import LABEL, REQUEST
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.traces.labels import load_labels
from driftloop.text.words import count_noun

GROUP_EXAMPLES = """\b
Examples:
  driftloop labels load labels.csv --to digits"""

EXAMPLES = """\b
Examples:
  driftloop labels load labels.csv --to digits
  driftloop labels load may.parquet --to digits --request order_id --label refunded
  driftloop labels load labels.jsonl --to digits --cluster --context staging"""

EVERY = 10_000
"""Labels between two lines of progress."""


@click.group("labels", cls=SuggestingGroup, epilog=GROUP_EXAMPLES)
def command() -> None:
    """Tell a pipeline the right answers to its requests."""


@command.command("load", epilog=EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "name",
    required=True,
    shell_complete=complete_pipeline,
    help="Name of the pipeline.",
)
@click.option(
    "--request", default=REQUEST, show_default=True, help="Column with the ids of requests."
)
@click.option("--label", default=LABEL, show_default=True, help="Column with the right answers.")
@options.state
@cluster_options
@url_option
@options.output
def load(
    *,
    file: Path,
    name: str,
    request: str,
    label: str,
    state: StateChoice,
    cluster: ClusterChoice,
    url: str | None,
    output: str,
) -> None:
    """Load the labels in FILE (.csv, .jsonl, .parquet) into a pipeline: a row has the id of a request, as the header
    `Seldon-Puid` of its answer says it, and the right answer, or a list of them for a request of several rows.

    Loading a file twice changes nothing; of several labels to a request the last one counts. Exit code 1 when a row
    has no label.
    """
    told = 0

    def report(accepted: int) -> None:
        nonlocal told
        if accepted >= told + EVERY:
            told = accepted
            options.print_progress(f"{accepted} labels accepted")

    with open_decision(name, state, cluster, url) as decision:
        loaded = load_labels(decision, file, request=request, label=label, report=report)
    if output != "text":
        options.print_document(asdict(loaded), output)
    else:
        for reason in loaded.reasons:
            options.print_progress(reason)
        more = loaded.malformed - len(loaded.reasons)
        if more > 0:
            options.print_progress(f"and {more} more")
        click.echo(
            f"{count_noun(loaded.accepted, 'label')} accepted, {loaded.malformed} malformed; "
            f"`driftloop status` shows how good the answers are"
        )
    if loaded.malformed:
        sys.exit(1)
