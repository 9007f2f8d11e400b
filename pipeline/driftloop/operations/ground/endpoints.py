"""HTTP endpoints of a pipeline that need its webhook token: their addresses, and one request to
them."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from driftloop.contract.documents import DocumentError, is_text_map, parse_json
from driftloop.contract.platform import WEBHOOK_TOKEN
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.settings import UP_HINT, LocalSettings
from driftloop.local.ground.state import StateFolder

TOKEN_HINT = "the token is `webhook-token` in the Secret `driftloop-platform`"  # noqa: S105 - where it is, not what
NOT_RUNNING = "is `driftloop up` running?"


@dataclass(frozen=True)
class ServiceEndpoint:
    """A Service of a pipeline that runs on this machine."""

    host: str
    """`<service>.<namespace>.svc.cluster.local`."""
    address: str
    """`host:port` where it listens."""
    token: str

    @property
    def namespace(self) -> str:
        """The pipeline's namespace."""
        return self.host.split(".")[1]


def read_token(environment: Mapping[str, str]) -> str:
    """Return the token for a cluster's endpoints; LocalError when DRIFTLOOP_WEBHOOK_TOKEN is not
    set."""
    token = environment.get("DRIFTLOOP_WEBHOOK_TOKEN", "")
    if not token:
        hint = "it is `webhook-token` in the Secret `driftloop-platform`"
        raise LocalError("DRIFTLOOP_WEBHOOK_TOKEN is not set", hint=hint)
    return token


def find_endpoint(state: StateFolder, name: str, *, suffix: str, port: int) -> ServiceEndpoint:
    """Return Service `<name><suffix>` of pipeline `name`; LocalError lists the pipelines that
    have one."""
    addresses = read_addresses(state)
    hosts = [
        address.removesuffix(f":{port}") for address in addresses if address.endswith(f":{port}")
    ]
    services = {host: host.split(".")[0] for host in hosts}
    pipelines = {
        service.removesuffix(suffix): host
        for host, service in services.items()
        if service.endswith(suffix)
    }
    host = pipelines.get(name)
    if host is None:
        listed = ", ".join(sorted(pipelines)) or "none"
        raise LocalError(
            f"pipeline `{name}` does not run in {state.root}, running: {listed}",
            hint="`driftloop up SPEC` runs it; it may take a moment after a commit",
        )
    token = LocalSettings.load(state)[WEBHOOK_TOKEN]
    return ServiceEndpoint(host, addresses[f"{host}:{port}"], token)


def post_body(
    url: str,
    body: str,
    *,
    token: str,
    service: str,
    hint: str,
    headers: Mapping[str, str] | None = None,
    shown: str = "",
) -> bytes:
    """Return the body of the response to a POST; LocalError when it is refused or not answered.

    `service` names the server in the message and `hint` says where to look. `shown` replaces the
    address in the message when the server is not reachable.
    """
    request = Request(  # noqa: S310 - http by design
        url,
        data=body.encode(),
        headers={"Authorization": f"Bearer {token}", **(headers or {})},
        method="POST",
    )
    return _send_request(request, service=service, hint=hint, shown=shown or url)


def get_body(url: str, *, token: str, service: str, hint: str) -> bytes:
    """Return the body of the response to a GET, as `post_body` does."""
    request = Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http by design
    return _send_request(request, service=service, hint=hint, shown=url)


def open_near(request: str | Request, *, timeout: float) -> HTTPResponse:
    """Send a request past the proxy of the environment, which does not reach this machine."""
    response: HTTPResponse = build_opener(ProxyHandler({})).open(request, timeout=timeout)
    return response


def _send_request(request: Request, *, service: str, hint: str, shown: str) -> bytes:
    try:
        with open_near(request, timeout=10) as response:
            content: bytes = response.read()
            return content
    except HTTPError as error:
        if error.code in (401, 403):
            raise LocalError(
                f"{service} refuses the token ({error.code})", hint=TOKEN_HINT
            ) from error
        text = error.read(200).decode(errors="replace").strip()
        raise LocalError(f"{service} answered {error.code}: {text}", hint=hint) from error
    except (URLError, OSError) as error:
        raise LocalError(f"{shown} can't be reached: {error}", hint=NOT_RUNNING) from error


def read_addresses(state: StateFolder) -> Mapping[str, str]:
    """Return the addresses of all Services here; LocalError when nothing runs."""
    try:
        document: Any = parse_json(files.read_file(state.addresses), label=str(state.addresses))
    except FileNotFoundError as error:
        raise LocalError(f"nothing runs in {state.root}", hint=UP_HINT) from error
    except DocumentError as error:
        raise LocalError(error.message, hint="`driftloop up` writes the file anew") from error
    if not is_text_map(document):
        raise LocalError(f"{state.addresses} is not an object of texts", hint=UP_HINT)
    addresses: Mapping[str, str] = document
    return addresses
