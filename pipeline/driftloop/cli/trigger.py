"""`driftloop trigger`."""

import json
import os

import click

from driftloop.cli import options
from driftloop.errors import StepError
from driftloop.operations.place import StateChoice
from driftloop.operations.target import find_runtime
from driftloop.operations.trigger import (
    CAUSE_LENGTH,
    REPLACED,
    find_webhook,
    request_run,
    wait_for_end,
)

EXAMPLES = """\b
Examples:
  driftloop trigger digits --cause "new labels"
  driftloop trigger digits --wait
  driftloop trigger digits --force --cause "another seed"
  driftloop trigger digits --url http://localhost:12000/retrain --namespace ml"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@options.state
@click.option(
    "--url",
    help="Webhook of a cluster (port-forward Service NAME-retrain); the token is read from DRIFTLOOP_WEBHOOK_TOKEN.",
)
@click.option("--namespace", help="Namespace of the pipeline, with --url.  [default: NAME]")
@click.option(
    "--cause", default="", help="Cause in a few words; it is written to the commits of the run."
)
@click.option(
    "--force",
    is_flag=True,
    help="Train although data, code and parameters are production's; the release and its commits record it.",
)
@click.option(
    "--wait", is_flag=True, help="Wait until the run has ended; exit code 1 when it failed."
)
@options.output
def command(
    *,
    name: str,
    state: StateChoice,
    url: str | None,
    namespace: str | None,
    cause: str,
    force: bool,
    wait: bool,
    output: str,
) -> None:
    """Start a training run of pipeline NAME through its webhook, and print the name of the run.

    While another run of the pipeline is running, or when there is nothing new to train on, the new
    one ends before it trains.
    """
    webhook = find_webhook(name, state.folder, url, namespace, os.environ)
    cause = " ".join(cause.split())[:CAUSE_LENGTH]
    for mark in REPLACED:
        if mark in cause:
            raise click.BadParameter(
                f"`{cause}` must not contain `{mark}`: Argo or Kubernetes replaces what follows"
            )
    run = request_run(webhook, name, cause, forced=force)
    ended = (
        wait_for_end(find_runtime(state.folder, os.environ), webhook.namespace, run)
        if wait
        else None
    )
    if output == "json":
        click.echo(
            json.dumps({"pipeline": name, "run": run, "phase": ended.phase if ended else None})
        )
    else:
        click.echo(run)
    if ended is not None and ended.phase != "Succeeded":
        reason = f": {ended.message}" if ended.message else ""
        raise StepError(
            f"run {run} ended as {ended.phase}{reason}", hint=f"see `driftloop logs {run}`"
        )
