"""`driftloop rollback`: back to what served before, by one commit."""

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
    """Restore the previous release of pipeline NAME; during a rollout, take the candidate out of it."""
    with target.opened(repository, branch, state) as to:
        moved = pipelines.move(to.repository, name, back, lambda before, after: _message(name, before, after, to.cause))
    production = moved.release.production
    if moved.commit is not None and moved.commit.subject.startswith("Roll "):
        target.say(
            f"if the data is still what the release before was trained for, its alarms will start a new run: "
            f"`driftloop halt {name}` holds that, `driftloop resume {name}` lets it go on"
        )
    target.print_commit(moved.commit, name, output, production=production.id if production else None)


def back(release: Release) -> Release:
    """A rollout ends where it began; otherwise the previous version comes back."""
    return record.reject(release) if release.candidate is not None else record.rollback(release)


def _message(name: str, before: Release, after: Release, cause: str) -> Message:
    if before.candidate is not None:
        return Message(f"Take {before.candidate.id} of {name} out of its rollout", before.candidate, cause)
    assert after.production is not None and before.production is not None  # noqa: S101, PT018 - phase stable has one
    body = f"It takes the place of {before.production.id}."
    return Message(f"Roll {name} back to {after.production.id}", after.production, cause, body)
