"""`driftloop cancel`."""

import os

import click

from driftloop.cli import options
from driftloop.cli.trigger import print_outcome
from driftloop.contract.outcomes import exit_code
from driftloop.operations.commits.target import find_runtime
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.runs import cancel_run, find_namespace, require_runtime

EXAMPLES = """\b
Examples:
  driftloop cancel digits-4f0c1d2e3a5b --reason "wrong labels"
  DRIFTLOOP_KUBERNETES_URL=http://localhost:8001 driftloop cancel digits-4f0c1d2e3a5b --namespace digits"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@options.state
@click.option("--namespace", help="Namespace of the pipeline.  [default: that of the run here]")
@click.option("--reason", default="", help="Reason in a few words; the outcome carries it.")
@options.output
def command(
    *, run: str, state: StateChoice, namespace: str | None, reason: str, output: str
) -> int:
    """Cancel RUN: stop its training, or take its candidate out of the rollout.

    Production stays as it is. Exit code 0 when the run was cancelled, else that of its outcome,
    as with `driftloop trigger --wait`.
    """
    api = require_runtime(find_runtime(state.folder, os.environ))
    namespace = namespace or find_namespace(state.folder, run)
    outcome = cancel_run(api, namespace, run, " ".join(reason.split()), options.print_progress)
    print_outcome(run.rpartition("-")[0], run, outcome, output)
    return 0 if outcome.kind == "cancelled" else exit_code(outcome.kind)
