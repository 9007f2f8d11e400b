"""`driftloop step`: what the containers of the rendered workflows run. One file per step."""

import click

from driftloop.cli.lazy import LazyGroup

STEPS = {
    "claim": ("driftloop.steps.claim", "Claim the pipeline's one run, or end before training"),
    "look": ("driftloop.steps.look", "See whether there are batches that no run has seen"),
    "snapshot": ("driftloop.steps.snapshot", "Fix which data this run sees, and fetch it"),
    "pick": ("driftloop.steps.pick", "Choose the best trial of a search"),
    "gate": ("driftloop.steps.gate", "Compare the candidate's metrics with the gates"),
    "store": ("driftloop.steps.store", "Put the release together and compute its digests"),
    "register": ("driftloop.steps.register", "Commit the new release"),
    "advance": ("driftloop.steps.advance", "Move the rollout one step: commit, wait, judge"),
    "finish": ("driftloop.steps.finish", "Report how a run ended"),
    "fetch": ("driftloop.steps.fetch", "Download a model from S3 into a folder"),
}


@click.group(cls=LazyGroup, lazy=STEPS)
def command() -> None:
    """Run one step of a workflow; addresses and credentials come from the environment."""
