"""`driftloop tracking`."""

import contextlib
import os

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cli.runs import open_runs
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.tracking import (
    reach_from_outside,
    read_local_credential,
    read_tracked_pipeline,
    sync_tracking,
)
from driftloop.text.words import count_noun

GROUP_EXAMPLES = """\b
Examples:
  driftloop tracking sync digits"""

SYNC_EXAMPLES = """\b
Credentials are read from the environment, as MLflow's own tools do: MLFLOW_TRACKING_TOKEN, or
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; else they are those that the pods have.

\b
Examples:
  driftloop tracking sync digits
  driftloop tracking sync digits --all
  driftloop tracking sync digits --cluster --repository https://github.com/acme/cluster.git"""


@click.group("tracking", cls=SuggestingGroup, epilog=GROUP_EXAMPLES)
def command() -> None:
    """Tell a tracking server what it was not told yet."""


@command.command("sync", epilog=SYNC_EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "--all", "everything", is_flag=True, help="Send all runs that are stored, not only what waits."
)
@options.repository_options
@cluster_options
@options.output
def sync(
    *,
    name: str,
    everything: bool,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> int:
    """Send the runs of pipeline NAME that its tracking server (`tracking` of the spec) has not, and make
    its aliases say which releases are production, candidate and previous.

    The decision service does the same by itself, some seconds after each run and commit. Sending
    again changes nothing. Exit code 1 when something could not be sent.
    """
    cluster.refuse_stray()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        pipeline = read_tracked_pipeline(opened.repository, name)
        place = stack.enter_context(open_runs(cluster, state, name))
        url = pipeline.tracking.mlflow
        if cluster.chosen:
            namespace = cluster.namespace or name
            reached = reach_from_outside(
                cluster.kubeconfig, cluster.context, namespace, url, os.environ
            )
            url, credential = stack.enter_context(reached)
        else:
            credential = read_local_credential(state.folder, os.environ)
        result = sync_tracking(
            place, pipeline, url, credential, everything=everything, report=options.print_progress
        )
    for problem in result.problems:
        options.print_progress(problem)
    if output != "text":
        document = {
            "sent": list(result.sent),
            "aliases": list(result.aliases),
            "problems": list(result.problems),
        }
        options.print_document(document, output, indent=1)
    else:
        for line in (*(f"sent {run}" for run in result.sent), *result.aliases):
            click.echo(line)
        options.print_progress(
            f"{count_noun(len(result.sent), 'run')} sent to {pipeline.tracking.mlflow}"
        )
    return 1 if result.problems else 0
