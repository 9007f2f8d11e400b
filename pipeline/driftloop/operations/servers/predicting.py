"""Ask what a pipeline serves, through the gateway, as its callers do."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

from driftloop.contract.names import KEY_HEADER, PREDICTIONS, TOKEN_HEADER
from driftloop.contract.platform import GATEWAY
from driftloop.contract.trees import spec_path
from driftloop.errors import LocalError
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.releases import CommittedPipeline
from driftloop.operations.ground.endpoints import NOT_RUNNING, open_near
from driftloop.operations.servers.given_rows import Protocol
from driftloop.plan import make_plan
from driftloop.release.tables import BAD_PAYLOAD, read_answer_table
from driftloop.spec import load_spec
from driftloop.spec.access import Access

TOKEN_VARIABLE, KEY_VARIABLE = "DRIFTLOOP_TOKEN", "DRIFTLOOP_API_KEY"
"""Environment variables with what a caller logs in by: not options, which other users of a machine see."""
READY, PAUSE = 20.0, 2.0
"""Seconds after a release in which its route may still come, and between two looks."""
PATIENCE = 60.0
"""Seconds that an answer may take."""
LONGEST_ANSWER = 16 * 1024 * 1024
_PATHS: Mapping[Protocol, str] = {
    "seldon": PREDICTIONS,
    "tensorflow": "v1/models/model:predict",
    "v2": "v2/models/model/infer",
}


@dataclass(frozen=True)
class ServedModel:
    """Where the model of a pipeline answers, and how it is asked."""

    name: str
    url: str
    protocol: Protocol
    target: str | None
    """Column of the right answers in its data."""
    recorded: bool
    """True when its requests are recorded."""
    access: Access | None = None
    """Who may ask it; None: everybody."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one request."""

    request: str
    """Id of the request; empty when the server gave it none."""
    names: tuple[str, ...]
    """Names of the values of an answer; empty when they have none."""
    answers: tuple[list[Any], ...]
    """Values of the answer to each row."""
    text: str
    """The answer as it came."""


def choose_login(access: Access | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by which a caller says who he is: of what the environment has, what the pipeline
    asks for. Where it asks for nothing, nothing is sent."""
    if access is None:
        return {}
    if access.api_keys is not None and (key := environment.get(KEY_VARIABLE)):
        return {KEY_HEADER: key}
    if access.jwt is not None and (token := environment.get(TOKEN_VARIABLE)):
        return {TOKEN_HEADER: f"Bearer {token}"}
    return {}


def find_model(pipeline: CommittedPipeline, state: StateFolder, gateway: str | None) -> ServedModel:
    """Return where the model of a pipeline answers: at a gateway, or that of the state folder. LocalError before its first
    release, and when nothing runs here."""
    document = load_spec(pipeline.spec, path=spec_path(pipeline.name))
    if pipeline.release.production is None:
        raise LocalError(
            f"pipeline `{pipeline.name}` has no release yet, so nothing answers",
            hint=f"`driftloop trigger {pipeline.name}` starts its first run",
        )
    spec, names = document.spec, make_plan(document).names
    url = (gateway or LocalSettings.load(state)[GATEWAY]).rstrip("/")
    protocol = spec.serve.protocol
    return ServedModel(
        pipeline.name,
        f"{url}{names.prefix}{_PATHS[protocol]}",
        protocol,
        spec.data.target,
        spec.capture is not None,
        spec.access,
    )


def ask_model(
    model: ServedModel,
    body: bytes,
    report: Callable[[str], None],
    patience: float = READY,
    *,
    login: Mapping[str, str] | None = None,
) -> Prediction:
    """Return the answer to a request; LocalError when it is refused, or not answered. A route or a pod that may still come
    is waited for, `patience` seconds, which is reported. `login` are headers that say who asks."""
    until = time.monotonic() + patience
    while True:
        try:
            return _send_request(model, body, login or {})
        except NotReadyError as error:
            if time.monotonic() >= until:
                raise
            report(f"{error.message}; asked again")
            time.sleep(PAUSE)


class NotReadyError(LocalError):
    """Nothing answers there now, which a moment may change."""


def _send_request(model: ServedModel, body: bytes, login: Mapping[str, str]) -> Prediction:
    headers = {"Content-Type": "application/json", **login}
    request = Request(model.url, body, headers)  # noqa: S310 - http by design
    try:
        with open_near(request, timeout=PATIENCE) as answer:
            content = answer.read(LONGEST_ANSWER)
            found = answer.headers.get("Seldon-Puid", "")
    except HTTPError as error:
        text = " ".join(error.read(2000).decode(errors="replace").split())
        kind = NotReadyError if error.code in (404, 503) else LocalError
        raise kind(
            f"the model of `{model.name}` answered {error.code}: {text or error.reason}",
            hint=_explain_status(model, error.code),
        ) from error
    except (URLError, OSError, HTTPException) as error:
        raise LocalError(f"{model.url} can't be reached: {error}", hint=NOT_RUNNING) from error
    return read_prediction(content, found, model.protocol)


def read_prediction(content: bytes, request: str, protocol: Protocol) -> Prediction:
    """Return a response as the answer to each row; without rows where it has none that a protocol knows."""
    text = content.decode(errors="replace").strip()
    try:
        table = read_answer_table(content, protocol)
    except BAD_PAYLOAD:
        return Prediction(request, (), (), text)
    return Prediction(request, table.names, tuple(table.rows), text)


def _explain_status(model: ServedModel, status: int) -> str:
    match status:
        case 404:
            return "the route may not be there yet: `driftloop status` shows the release and its weights"
        case 503:
            return "its pods may still start: `driftloop status` shows them"
        case 401 | 403:
            return _explain_login(model)
        case _ if status < 500:
            return "the rows must have the columns of the training data, in their order where they have no names"
        case _:
            return f"`driftloop logs {model.name}` shows what the server printed"


def _explain_login(model: ServedModel) -> str:
    access = model.access
    ways = []
    if access is not None and access.api_keys is not None:
        ways.append(
            f"a key into {KEY_VARIABLE} (`driftloop access add NAME --to SPEC` makes one, which counts once it "
            "is committed)"
        )
    if access is not None and access.jwt is not None:
        audiences = ", ".join(access.jwt.audiences)
        ways.append(f"a token of {access.jwt.issuer} for `{audiences}` into {TOKEN_VARIABLE}")
    if not ways:
        return (
            "the gateway wants a login that the pipeline's spec does not name: ask whoever runs it"
        )
    return f"put {', or '.join(ways)}"
