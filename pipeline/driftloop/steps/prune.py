"""`driftloop step prune`: remove from the bucket what the runs of a pipeline have left and nothing needs any more."""

from pathlib import Path

import click

from driftloop.operations.runs.prune import carry_out, plan_prune, record_prune
from driftloop.operations.runs.run_store import RunPlace
from driftloop.steps import options
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step prune --pipeline digits --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.out
def command(*, pipeline: str, out: Path) -> None:
    """Remove what `retention` of the spec at the tip of the branch allows; writes `removed` (what went, in words).

    It asks git and the bucket only: a run counts as on until its outcome is there.
    """
    settings = StepSettings.from_environment()
    repository = settings.open_repository()
    place = RunPlace(settings.store, settings.bucket, "", lambda _, __: None, lambda _: {})
    plan = plan_prune(place, repository, pipeline)
    removed = carry_out(place, repository, plan, options.print_progress)
    record = record_prune(place, plan, removed)
    for removal in plan.removals:
        options.print_progress(
            f"{removal.run}: {removal.kind}, {removal.size} bytes: {removal.why}"
        )
    options.print_progress(record.text)
    write_parameters(out, removed=record.text)
