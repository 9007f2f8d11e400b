"""`driftloop trigger`."""

import os
from typing import Any, assert_never

import click

from driftloop.cli import options, terminal
from driftloop.cli.clusters import ClusterChoice, cluster_options, webhook_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_runtime, open_webhook
from driftloop.contract.documents import to_json
from driftloop.contract.names import Names
from driftloop.contract.outcomes import RunOutcome, exit_code
from driftloop.local.ground.addresses import BRANCH
from driftloop.operations.commits.target import open_target
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.ground.runtime import find_runtime
from driftloop.operations.runs.runs import (
    StartedRollout,
    follow_run,
    follow_training,
    require_runtime,
)
from driftloop.operations.runs.trigger import (
    CAUSE_LENGTH,
    REPLACED,
    request_run,
    wait_until_applied,
)

EXAMPLES = """\b
Examples:
  driftloop trigger digits --cause "new labels"
  driftloop trigger digits --wait
  driftloop trigger digits --force --cause "another seed"
  driftloop trigger digits --cluster --context staging -n ml --wait"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@webhook_option
@click.option(
    "--cause", default="", help="Cause in a few words; it is written to the commits of the run."
)
@click.option(
    "--force",
    is_flag=True,
    help="Train although data, code and parameters are production's; the release and its commits record it.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until the run and its rollout have ended; the exit code tells the outcome.",
)
@click.option(
    "--until",
    type=click.Choice(["outcome", "rollout"]),
    default="outcome",
    show_default=True,
    help="With --wait, how long: `rollout` ends when the candidate is in its rollout, too.",
)
@options.output
def command(
    *,
    name: str,
    state: StateChoice,
    cluster: ClusterChoice,
    url: str | None,
    cause: str,
    force: bool,
    wait: bool,
    until: str,
    output: str,
) -> int:
    """Start a training run of pipeline NAME through its webhook, and print the name of the run.

    While another run of the pipeline is running, or when there is nothing new to train on, the new
    one ends before it trains. A commit of the pipeline's spec that is not applied yet is waited
    for, at most a minute; not with --url or --cluster. With --wait, each step is told as it ends, and the exit code is 0
    when the run was released, 3 refused, 4 rejected, 5 failed, 6 not started, 7 superseded, 8
    cancelled.
    """
    cause = " ".join(cause.split())[:CAUSE_LENGTH]
    for mark in REPLACED:
        if mark in cause:
            raise click.BadParameter(
                f"`{cause}` must not contain `{mark}`: Argo or Kubernetes replaces what follows"
            )
    with open_webhook(name, state, cluster, url) as webhook:
        if url is None and not cluster.chosen:
            _wait_for_commit(Names(name, webhook.namespace), state)
        run = request_run(webhook, name, cause, forced=force)
    if output == "text":
        click.echo(run)
    if not wait:
        return print_outcome(name, run, None, output)
    api = require_runtime(open_runtime(state, cluster))
    follow = follow_run if until == "outcome" else follow_training
    with terminal.follow_progress(f"waiting for {run}") as report:
        ended = follow(api, webhook.namespace, run, report)
    return print_outcome(name, run, ended, output)


def _wait_for_commit(names: Names, state: StateChoice) -> None:
    api = find_runtime(state.folder, os.environ)
    if api is None or not state.folder.repository.exists():
        return
    with open_target(
        None, branch=BRANCH, state=state, environment=os.environ, report=options.print_progress
    ) as target:
        wait_until_applied(api, target.repository, names, options.print_progress)


def print_outcome(
    name: str, run: str, ended: RunOutcome | StartedRollout | None, output: str
) -> int:
    """Print the outcome of a run, when there is one, and return the exit code that it has."""
    match ended:
        case None:
            ending: dict[str, Any] = {"outcome": None}
        case StartedRollout(workflow=workflow):
            ending = {"outcome": None, "rollout": workflow}
        case RunOutcome():
            ending = to_json(ended)
            if output == "text":
                options.print_progress(f"{run} {ended.text}")
        case _:
            assert_never(ended)
    if output != "text":
        options.print_document({"pipeline": name, "run": run, **ending}, output)
    return exit_code(ended.kind) if isinstance(ended, RunOutcome) else 0
