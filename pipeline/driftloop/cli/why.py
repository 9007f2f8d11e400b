"""`driftloop why`."""

import os
from dataclasses import replace

import click

from driftloop.cli import options, watching
from driftloop.cli.clusters import ClusterChoice, cluster_options, url_option
from driftloop.cli.completing import complete_pipeline
from driftloop.local.ground.sentences import drop_alarm_ids
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.suspend import find_decision
from driftloop.operations.watching.why import (
    ask_cluster_why,
    ask_why,
    describe_holds,
    describe_stage,
    describe_windows,
)

EXAMPLES = """\b
Examples:
  driftloop why digits
  driftloop why digits --watch
  driftloop why digits --cluster --context staging"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@url_option
@watching.watch
@options.output
def command(
    *,
    name: str,
    state: StateChoice,
    cluster: ClusterChoice,
    url: str | None,
    output: str,
) -> None:
    """Explain in one paragraph what the loop of pipeline NAME waits for: alarms, data, the end of
    a pause, a person; and what each detector has of its open window (not with --url).

    A cluster is only read, through its API server.
    """
    cluster.refuse_stray()
    if cluster.chosen:
        cluster.refuse_url(url)
        answer = ask_cluster_why(
            cluster.kubeconfig, cluster.context, cluster.namespace or name, name
        )
    else:
        decision = find_decision(name, state.folder, url, os.environ)
        answer = ask_why(decision)
        if decision.namespace is not None:
            answer = replace(
                answer,
                windows=describe_windows(state.folder, name),
                holds=describe_holds(state.folder, os.environ, decision.namespace, name),
                rollout=describe_stage(state.folder, name) if answer.phase == "rolling-out" else "",
            )
    if output != "text":
        options.print_document(answer.to_json(), output)
        return
    lines = (
        f"{name} is {answer.phase}: {drop_alarm_ids(answer.text)}",
        *answer.holds,
        *((answer.rollout,) if answer.rollout else ()),
        *answer.windows,
    )
    click.echo("\n".join(lines))
