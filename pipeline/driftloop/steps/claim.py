"""`driftloop step claim`: of all runs that were started, one goes on."""

from pathlib import Path

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.contract.names import Names
from driftloop.retrain import store as decisions
from driftloop.retrain.decision import Claim, State, claimed
from driftloop.steps import options
from driftloop.steps.settings import Settings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step claim --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b \\
    --decision 4f0c1d2e3a5b --cause "person eve" --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@options.run
@click.option("--decision", required=True, help="Id of the decision that started the run; empty for a schedule.")
@click.option(
    "--cause", required=True, help="Cause: `alarm <event id>`, `webhook <id>`, `schedule` or `person <name>`."
)
@options.out
def command(*, pipeline: str, namespace: str, run: str, decision: str, cause: str, out: Path) -> None:
    """Claim the pipeline's run; writes `claimed` (true or false)."""
    settings = Settings.here()
    decision = decision or run.removeprefix(f"{pipeline}-")
    state = decisions.apply_once(settings.nats_url, namespace, pipeline, Claim(run, decision, cause))
    won = claimed(state, run)
    write_parameters(out, claimed="true" if won else "false")
    options.say(f"claimed by {run} because of {cause}" if won else f"not claimed: {_why(state, run)}")
    if won:
        event = events.make(
            "dev.driftloop.run.started",
            f"driftloop/{namespace}/{pipeline}",
            {"pipeline": pipeline, "run": run, "decision": decision, "outcome": None, "reason": cause},
            id=events.run_id(namespace, pipeline, run, "started"),
            inferenceservicename=pipeline,
            namespace=namespace,
        )
        try:
            sdk.send(Names(pipeline, namespace).broker_url, event)
        except EventRefusedError as error:
            # the claim counts; nothing waits for this event
            options.say(f"the event was not taken: {error.message}")


def _why(state: State, run: str) -> str:
    if run in state.ended:
        return "this run has ended before"
    if state.phase == "halted":
        return f"retraining is suspended: {state.halt}"
    if state.live:
        return f"run {state.run} is {state.phase}"
    return "its decision has started another run already"
