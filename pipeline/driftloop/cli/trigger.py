"""`driftloop trigger`: ask for a training run as the decision service would: through the authenticated webhook."""

import getpass
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import click

from driftloop.cli import target
from driftloop.clients.kubernetes import workflow_ended
from driftloop.contract.names import WEBHOOK_PORT
from driftloop.errors import LocalError, StepError
from driftloop.local.ground.state import State
from driftloop.operations import door as doors

GONE_AFTER = 30.0
"""Seconds after which a run that nobody sees is given up."""


@dataclass(frozen=True)
class Door:
    """The webhook of one pipeline."""

    url: str
    token: str
    namespace: str
    host: str | None = None
    """Host header: what tells the webhooks of several pipelines apart behind one local port."""


@click.command()
@click.argument("name")
@target.state
@click.option("--url", help="Webhook of a cluster (port-forward P-retrain); the token is DRIFTLOOP_WEBHOOK_TOKEN.")
@click.option("--namespace", help="Namespace of the pipeline, with --url; NAME by default.")
@click.option("--cause", default="", help="Why, in a few words; it goes into the commits.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended; exit 1 when it failed.")
@target.output
def command(
    *, name: str, state: Path, url: str | None, namespace: str | None, cause: str, wait: bool, output: str
) -> None:
    """Ask for a training run of pipeline NAME; prints its name.

    A run that is already on goes first: this one then ends before it trains.
    """
    door = _cluster(url, namespace or name) if url else _local(State.at(state), name)
    decision = secrets.token_hex(6)
    who = f"person {getpass.getuser()}"
    reason = " ".join(cause.split())[:200]
    if (mark := next((mark for mark in "{$" if mark in reason), None)) is not None:
        raise click.BadParameter(f"`{reason}` must not contain `{mark}`: Argo or Kubernetes replaces what follows")
    ask(door, {"pipeline": name, "decision": decision, "cause": f"{who}: {reason}" if reason else who})
    run = f"{name}-{decision}"
    phase, why = _wait(state, door.namespace, run) if wait else (None, "")
    if output == "json":
        click.echo(json.dumps({"pipeline": name, "run": run, "phase": phase}))
    else:
        click.echo(run)
    if phase not in (None, "Succeeded"):
        said = f": {why}" if why else ""
        raise StepError(f"run {run} ended as {phase}{said}", hint=f"see `driftloop logs {run}`")


def ask(door: Door, body: dict[str, str]) -> None:
    """POST to the webhook; LocalError says what it means when it is not taken."""
    headers = {"Content-Type": "application/json", **({"Host": door.host} if door.host else {})}
    text, hint = json.dumps(body), "see `driftloop logs argo`"
    doors.post(door.url, text, token=door.token, who="the webhook", hint=hint, headers=headers)


def _cluster(url: str, namespace: str) -> Door:
    return Door(url, doors.token(), namespace)


def _local(state: State, name: str) -> Door:
    found = doors.local(state, name, suffix="-retrain", port=WEBHOOK_PORT)
    url = f"http://{found.address}/retrain"
    return Door(url, found.token, found.host.split(".")[1], f"{found.host}:{WEBHOOK_PORT}")


def _wait(state: Path, namespace: str, run: str) -> tuple[str, str]:
    """Phase and message of the run's end."""
    api = target.runtime(state)
    if api is None:
        hint = "leave out --wait, or set DRIFTLOOP_KUBERNETES_URL"
        raise LocalError("the runtime can't be seen from here", hint=hint)
    seen = False
    patience = time.monotonic() + GONE_AFTER
    while True:
        workflow = api.workflow(namespace, run)
        seen = seen or workflow is not None
        if workflow is not None and workflow_ended(workflow):
            return str(workflow["status"]["phase"]), str(workflow["status"].get("message") or "")
        if workflow is None and (seen or time.monotonic() > patience):
            raise LocalError(f"run {run} is not there", hint="see `driftloop logs argo`")
        time.sleep(1)
