"""`driftloop step claim`: of all the runs that were started for whatever reason, one goes on."""

from pathlib import Path

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.contract.names import Names
from driftloop.retrain import store as decisions
from driftloop.retrain.decision import Claim, State, claimed
from driftloop.steps import options
from driftloop.steps.settings import Settings, write_parameters


@click.command()
@options.pipeline
@options.namespace
@options.run
@click.option("--decision", required=True, help="Decision id that asked for the run; empty for a schedule.")
@click.option("--cause", required=True, help="Why: `alarm <event id>`, `webhook <id>`, `schedule`, `person <name>`.")
@options.out
def command(*, pipeline: str, namespace: str, run: str, decision: str, cause: str, out: Path) -> None:
    """Claim the pipeline's one run; writes `claimed` (true or false)."""
    settings = Settings.here()
    decision = decision or run.removeprefix(f"{pipeline}-")
    state = decisions.apply_once(settings.nats_url, namespace, pipeline, Claim(run, decision, cause))
    won = claimed(state, run)
    write_parameters(out, claimed="true" if won else "false")
    options.say(f"claimed by {run} because of {cause}" if won else f"not claimed: {_why(state, run)}")
    if won:
        told = events.make(
            "dev.driftloop.run.started",
            f"driftloop/{namespace}/{pipeline}",
            {"pipeline": pipeline, "run": run, "decision": decision, "outcome": None, "reason": cause},
            id=events.run_id(namespace, pipeline, run, "started"),
            inferenceservicename=pipeline,
            namespace=namespace,
        )
        try:
            sdk.send(Names(pipeline, namespace).broker_url, told)
        except EventRefusedError as error:
            # the claim is what counts; nobody waits for this event
            options.say(f"the event was not taken: {error.message}")


def _why(state: State, run: str) -> str:
    if run in state.ended:
        return "this run has ended before"
    if state.phase == "halted":
        return f"the loop is halted: {state.halt}"
    if state.live:
        return f"run {state.run} is {state.phase}"
    return "the decision that asked for it has been carried out"
