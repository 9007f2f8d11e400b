"""`driftloop why`."""

import json
import os
from dataclasses import replace
from pathlib import Path

import click

from driftloop.cli import halt, options
from driftloop.cli.data import in_cluster, namespace_option
from driftloop.operations.place import StateChoice
from driftloop.operations.suspend import find_decision
from driftloop.operations.why import ask_cluster_why, ask_why, describe_windows

EXAMPLES = """\b
Examples:
  driftloop why digits
  driftloop why digits --cluster --context staging
  driftloop why digits --url http://localhost:8080"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@options.state
@in_cluster
@options.kubeconfig
@options.context
@namespace_option
@halt.url_option
@options.output
def command(
    *,
    name: str,
    state: StateChoice,
    in_cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    url: str | None,
    output: str,
) -> None:
    """Explain in one paragraph what the loop of pipeline NAME waits for: alarms, data, the end of
    a pause, a person; and what each detector has of its open window (not with --url).

    A cluster is only read, through its API server.
    """
    if in_cluster:
        if url is not None:
            raise click.UsageError("--url and --cluster are two ways to one service: name one")
        answer = ask_cluster_why(kubeconfig, context, namespace or name, name)
    elif kubeconfig or context or namespace:
        raise click.UsageError("--kubeconfig, --context and --namespace need --cluster")
    else:
        answer = ask_why(find_decision(name, state.folder, url, os.environ))
        if url is None:
            answer = replace(answer, windows=describe_windows(state.folder, name))
    if output == "json":
        click.echo(json.dumps(answer.to_json()))
        return
    click.echo("\n".join((f"{name} is {answer.phase}: {answer.text}", *answer.windows)))
