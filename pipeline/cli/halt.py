"""`driftloop halt`: a person stops the loop from starting runs."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import click

from pipeline.cli import target
from pipeline.errors import LocalError
from pipeline.plan.names import SERVICE_PORT
from pipeline.runtimes.local.state import State

url_option = click.option(
    "--url", help="Decision service of a cluster (port-forward P-decision); the token is DRIFTLOOP_WEBHOOK_TOKEN."
)


@click.command()
@click.argument("name")
@target.state
@url_option
@click.option("--reason", default="", help="Why, in a few words; a run that is refused says it.")
@target.output
def command(*, name: str, state: Path, url: str | None, reason: str, output: str) -> None:
    """Let no alarm, schedule or person start a run of pipeline NAME until `driftloop resume`.

    A run that is on may end, its rollout too.
    """
    print_state(name, ask(state, name, url, "halt", " ".join(reason.split())[:200]), output)


def print_state(name: str, said: dict[str, Any], output: str) -> None:
    """The phase of the decision, as data."""
    if said["halt"] is not None and said["phase"] != "halted":
        target.say(f"{name} halts when the run that is on is over")
    click.echo(json.dumps({"pipeline": name, **said}) if output == "json" else said["phase"])


def ask(folder: Path, name: str, url: str | None, what: str, body: str) -> dict[str, Any]:
    """What the decision service says its state is then; LocalError says why it was not asked or refused."""
    base, token = _cluster(url) if url else _local(State.at(folder), name)
    request = Request(  # noqa: S310 - http by design
        f"{base}/{what}", data=body.encode(), headers={"Authorization": f"Bearer {token}"}, method="POST"
    )
    try:
        # a proxy of the user's has no business between him and his own machine
        with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except HTTPError as error:
        if error.code in (401, 403):
            hint = "the token is `webhook-token` in the Secret `driftloop-platform`"
            raise LocalError(f"the decision service refuses the token ({error.code})", hint=hint) from error
        text = error.read(200).decode(errors="replace").strip()
        hint = "see `driftloop logs`, and whether NATS runs"
        raise LocalError(f"the decision service answered {error.code}: {text}", hint=hint) from error
    except (URLError, OSError, ValueError) as error:
        raise LocalError(f"{base} can't be reached: {error}", hint="is `driftloop up` running?") from error


def _cluster(url: str) -> tuple[str, str]:
    token = os.environ.get("DRIFTLOOP_WEBHOOK_TOKEN", "")
    if not token:
        raise LocalError(
            "DRIFTLOOP_WEBHOOK_TOKEN is not set", hint="it is `webhook-token` in the Secret `driftloop-platform`"
        )
    return url.rstrip("/"), token


def _local(state: State, name: str) -> tuple[str, str]:
    """Address and token of the decision service that runs here."""
    try:
        addresses: dict[str, str] = json.loads(state.addresses.read_text())
        token = str(json.loads(state.platform.read_text())["secret"]["webhook-token"])
    except (OSError, ValueError) as error:
        raise LocalError(
            f"nothing runs in {state.root}", hint="start it with `driftloop up SPEC`, or name the folder with --state"
        ) from error
    end = f":{SERVICE_PORT}"
    known = {
        host.split(".")[0].removesuffix("-decision"): address
        for host, address in addresses.items()
        if host.endswith(end) and host.split(".")[0].endswith("-decision")
    }
    if name not in known:
        listed = ", ".join(sorted(known)) or "none yet"
        raise LocalError(
            f"no pipeline `{name}` runs in {state.root}, there is: {listed}",
            hint="`driftloop up SPEC` runs one; right after a commit it may take a moment",
        )
    return f"http://{known[name]}", token
