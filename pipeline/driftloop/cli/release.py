"""`driftloop release`."""

import contextlib
import os
import tempfile
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options, webhook_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_runtime, open_webhook
from driftloop.cli.runs import open_runs
from driftloop.cli.trigger import print_outcome
from driftloop.clients.mlflow import MlflowClient
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.rollouts.given_models import fetch_registered, store_given
from driftloop.operations.runs.runs import follow_run, require_runtime
from driftloop.operations.runs.tracking import (
    reach_from_outside,
    read_local_credential,
    read_tracked_pipeline,
)
from driftloop.operations.runs.trigger import make_decision, request_run

EXAMPLES = """\b
Credentials of the server are read as by `driftloop tracking sync`.

\b
Examples:
  driftloop release digits --model models:/digits/7 --wait
  driftloop release digits --model models:/digits@champion
  driftloop release digits --model models:/digits/7 --cluster --context staging \\
    --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "--model",
    "uri",
    required=True,
    metavar="models:/NAME/VERSION",
    help="Registered model of the spec's tracking server, by version, or by alias: models:/NAME@ALIAS.",
)
@webhook_option
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until the run and its rollout have ended; the exit code tells the outcome.",
)
@options.repository_options
@cluster_options
@options.output
def command(
    *,
    name: str,
    uri: str,
    url: str | None,
    wait: bool,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> int:
    """Release a model of pipeline NAME that is registered in its MLflow server, in place of one that a run
    trains: its files are fetched and stored with a run, which evaluates them on the held-out rows, and then
    goes the way of any candidate: gates, rehearsal, shadow, canary.

    Its files must be what the evaluation function and the model server load. Exit codes are those of
    `driftloop trigger`.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        pipeline = read_tracked_pipeline(opened.repository, name)
        place = stack.enter_context(open_runs(cluster, state, name))
        server = pipeline.tracking.mlflow
        if cluster.chosen:
            reached = reach_from_outside(
                cluster.kubeconfig, cluster.context, cluster.namespace or name, server, os.environ
            )
            server, credential = stack.enter_context(reached)
        else:
            credential = read_local_credential(state.folder, os.environ)
        # the runs of a cluster may be asked beside a webhook of one's own
        way = ClusterChoice(False, None, None, cluster.namespace) if url else cluster
        webhook = stack.enter_context(open_webhook(name, state, way, url))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftloop-model-")))
        client = MlflowClient.from_environment(server, credential)
        given = fetch_registered(client, place.store, uri, folder / "model")
        options.print_progress(f"{given.uri}: {given.files} files, {given.digest}")
        decision = make_decision()
        store_given(place.store, place.bucket, f"{name}-{decision}", folder / "model")
        run = request_run(
            webhook,
            name,
            # a cause has 300 characters at most
            f"{given.uri} of {pipeline.tracking.mlflow}"[:180],
            forced=True,
            model=given.digest,
            decision=decision,
        )
    if output == "text":
        click.echo(run)
    if not wait:
        return print_outcome(name, run, None, output)
    api = require_runtime(open_runtime(state, cluster))
    ended = follow_run(api, webhook.namespace, run, options.print_progress)
    return print_outcome(name, run, ended, output)
