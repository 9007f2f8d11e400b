"""`driftloop cancel`."""

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.reaching import open_runtime
from driftloop.cli.trigger import print_outcome
from driftloop.contract.outcomes import exit_code
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.runs import cancel_run, find_namespace, require_runtime

EXAMPLES = """\b
Examples:
  driftloop cancel digits-4f0c1d2e3a5b --reason "wrong labels"
  driftloop cancel digits-4f0c1d2e3a5b --cluster --context staging"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@options.state
@cluster_options
@click.option("--reason", default="", help="Reason in a few words; the outcome carries it.")
@options.yes
@options.output
def command(
    *, run: str, state: StateChoice, cluster: ClusterChoice, reason: str, yes: bool, output: str
) -> int:
    """Cancel RUN: stop its training, or take its candidate out of the rollout.

    Production stays as it is. Exit code 0 when the run was cancelled, else that of its outcome,
    as with `driftloop trigger --wait`.
    """
    cluster.refuse_stray(namespaced=True)
    api = require_runtime(open_runtime(state, cluster))
    namespace = cluster.namespace or (
        run.rpartition("-")[0] if cluster.chosen else find_namespace(state.folder, run)
    )
    options.confirm(f"Cancel run {run}, which can't go on after that?", yes=yes)
    outcome = cancel_run(api, namespace, run, " ".join(reason.split()), options.print_progress)
    print_outcome(run.rpartition("-")[0], run, outcome, output)
    return 0 if outcome.kind == "cancelled" else exit_code(outcome.kind)
