"""The doors of a pipeline that ask for its webhook token: where they are, and one POST to them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from driftloop.contract.names import PLATFORM
from driftloop.contract.platform import WEBHOOK_TOKEN
from driftloop.errors import LocalError
from driftloop.local.ground.state import State

TOKEN_HINT = f"the token is `{WEBHOOK_TOKEN.key}` in the Secret `{PLATFORM}`"


@dataclass(frozen=True)
class Found:
    """A Service of a pipeline that runs here."""

    host: str
    """`<service>.<namespace>.svc.cluster.local`."""
    address: str
    """`host:port` where it listens."""
    token: str


def token() -> str:
    """The token for a cluster's doors, from the environment."""
    found = os.environ.get(WEBHOOK_TOKEN.environment, "")
    if not found:
        hint = f"it is `{WEBHOOK_TOKEN.key}` in the Secret `{PLATFORM}`"
        raise LocalError(f"{WEBHOOK_TOKEN.environment} is not set", hint=hint)
    return found


def local(state: State, name: str, *, suffix: str, port: int) -> Found:
    """Service `<name><suffix>` of pipeline `name`; LocalError lists the pipelines that have one."""
    addresses = _json(state.addresses, state)
    hosts = [address.removesuffix(f":{port}") for address in addresses if address.endswith(f":{port}")]
    known = {host.split(".")[0].removesuffix(suffix): host for host in hosts if host.split(".")[0].endswith(suffix)}
    host = known.get(name)
    if host is None:
        listed = ", ".join(sorted(known)) or "none yet"
        raise LocalError(
            f"no pipeline `{name}` runs in {state.root}, there is: {listed}",
            hint="`driftloop up SPEC` runs one; right after a commit it may take a moment",
        )
    return Found(host, addresses[f"{host}:{port}"], str(_json(state.platform, state)["secret"][WEBHOOK_TOKEN.key]))


def post(
    url: str, body: str, *, token: str, who: str, hint: str, headers: Mapping[str, str] | None = None, shown: str = ""
) -> bytes:
    """The answer's body. LocalError when it is not taken: `who` refused, and `hint` says where to look.

    `shown` stands for the address in the message when nobody answers; the whole of `url` by default.
    """
    request = Request(  # noqa: S310 - http by design
        url, data=body.encode(), headers={"Authorization": f"Bearer {token}", **(headers or {})}, method="POST"
    )
    try:
        # a proxy of the user's has no business between him and his own machine
        with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
            said: bytes = answer.read()
            return said
    except HTTPError as error:
        if error.code in (401, 403):
            raise LocalError(f"{who} refuses the token ({error.code})", hint=TOKEN_HINT) from error
        text = error.read(200).decode(errors="replace").strip()
        raise LocalError(f"{who} answered {error.code}: {text}", hint=hint) from error
    except (URLError, OSError) as error:
        raise LocalError(f"{shown or url} can't be reached: {error}", hint="is `driftloop up` running?") from error


def _json(file: Path, state: State) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise LocalError(
            f"nothing runs in {state.root}", hint="start it with `driftloop up SPEC`, or name the folder with --state"
        ) from error
    return found
