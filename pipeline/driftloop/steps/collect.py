"""`driftloop step collect`: copy what is new at the sources of the data into the bucket."""

import json
from pathlib import Path

import click

from driftloop.contract.documents import to_json
from driftloop.contract.limits import DATA_LIMIT
from driftloop.contract.sources import CollectedFiles, parse_sources
from driftloop.contract.trees import COLLECTED_FILE
from driftloop.operations.runs.collecting import Collection
from driftloop.steps import options
from driftloop.steps.settings import StepSettings

EXAMPLES = """\b
Examples:
  driftloop step collect --pipeline penguins --out /tmp/out \\
    --sources '[{"name": "penguins", "urls": ["https://data.example.org/penguins.csv"]}]'
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@click.option("--sources", required=True, help="Sources, as JSON.")
@click.option(
    "--max-bytes",
    default=DATA_LIMIT,
    show_default=True,
    help="Largest total size of their files.",
)
@options.out
def command(*, pipeline: str, sources: str, max_bytes: int, out: Path) -> None:
    """Copy what is new at the sources into the bucket, each content once; writes the list of what there is."""
    collected = collect_sources(pipeline, sources, max_bytes)
    folder = out / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_json(collected), indent=1, sort_keys=True)
    (folder / COLLECTED_FILE).write_text(text + "\n")


def collect_sources(pipeline: str, sources: str, max_bytes: int) -> CollectedFiles:
    """Collect sources, given as JSON, with the settings of this process."""
    settings = StepSettings.from_environment()
    collection = Collection(
        settings.store,
        settings.bucket,
        pipeline,
        max_bytes,
        options.print_progress,
        settings.environment,
    )
    return collection.collect(parse_sources(sources))
