"""`driftloop step`: the steps that containers of the rendered workflows run."""

import click

from driftloop.cli.lazy import LazyGroup

STEPS = {
    "claim": ("driftloop.steps.claim", "Claim the pipeline's run, or end before training"),
    "look": ("driftloop.steps.look", "Look for batches that no run has read"),
    "collect": ("driftloop.steps.collect", "Copy what is new at the sources of the data"),
    "snapshot": ("driftloop.steps.snapshot", "Fix the data of a run, and fetch it"),
    "adopt": ("driftloop.steps.adopt", "Take the model that a person gave to a run"),
    "pick": ("driftloop.steps.pick", "Choose the best trial of a search"),
    "gate": ("driftloop.steps.gate", "Compare the candidate's metrics with the gates"),
    "rehearse": (
        "driftloop.steps.rehearse",
        "Let the candidate's server answer held-out rows before any traffic",
    ),
    "store": ("driftloop.steps.store", "Assemble the folder of a version, with its digests"),
    "register": ("driftloop.steps.register", "Commit the new version"),
    "advance": ("driftloop.steps.advance", "Advance the rollout by one stage"),
    "watch": (
        "driftloop.steps.watch",
        "Watch a candidate while its rollout waits for a person",
    ),
    "rollback": ("driftloop.steps.rollback", "Go back from a release because of alarms about it"),
    "finish": ("driftloop.steps.finish", "Report the outcome of a run"),
    "prune": ("driftloop.steps.prune", "Remove what nothing needs any more"),
    "fetch": ("driftloop.steps.fetch", "Download a model from S3 into a folder"),
}

EXAMPLES = """\b
Examples:
  driftloop step fetch --uri s3://driftloop/runs/digits-4f0c1d2e3a5b/release/model --out /models
  driftloop step advance --help"""


@click.group(cls=LazyGroup, lazy=STEPS, epilog=EXAMPLES)
def command() -> None:
    """Run one step of a workflow; addresses and credentials are read from the environment."""
