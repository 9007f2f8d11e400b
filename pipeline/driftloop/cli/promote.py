"""`driftloop promote`: the candidate becomes production by one push."""

from pathlib import Path

import click

from driftloop.cli import target
from driftloop.operations import releases as pipelines
from driftloop.operations.releases import Message
from driftloop.release import record
from driftloop.release.record import Release


@click.command()
@click.argument("name")
@target.options
@target.output
def command(*, name: str, repository: str | None, branch: str, state: Path, output: str) -> None:
    """Promote the candidate of pipeline NAME, whatever the judge has seen so far."""
    with target.opened(repository, branch, state) as to:

        def message(before: Release, after: Release) -> Message:
            assert before.candidate is not None  # noqa: S101 - promotion needs one
            return Message(f"Promote {before.candidate.id} of {name}", before.candidate, to.cause)

        moved = pipelines.move(to.repository, name, record.promote, message)
    production = moved.release.production
    target.print_commit(moved.commit, name, output, production=production.id if production else None)
