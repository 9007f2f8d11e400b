"""`driftloop step`: what the containers of the rendered workflows run. One file per step."""

import click

from pipeline.cli.lazy import LazyGroup

STEPS = {
    "claim": ("pipeline.cli.steps.claim", "Claim the pipeline's one run, or end before training"),
    "look": ("pipeline.cli.steps.look", "See whether there are batches that no run has seen"),
    "snapshot": ("pipeline.cli.steps.snapshot", "Fix which data this run sees, and fetch it"),
    "pick": ("pipeline.cli.steps.pick", "Choose the best trial of a search"),
    "gate": ("pipeline.cli.steps.gate", "Compare the candidate's metrics with the gates"),
    "store": ("pipeline.cli.steps.store", "Put the release together and compute its digests"),
    "register": ("pipeline.cli.steps.register", "Commit the new release"),
    "advance": ("pipeline.cli.steps.advance", "Move the rollout one step: commit, wait, judge"),
    "finish": ("pipeline.cli.steps.finish", "Report how a run ended"),
    "fetch": ("pipeline.cli.steps.fetch", "Download a model from S3 into a folder"),
}


@click.group(cls=LazyGroup, lazy=STEPS)
def command() -> None:
    """Run one step of a workflow; addresses and credentials come from the environment."""
