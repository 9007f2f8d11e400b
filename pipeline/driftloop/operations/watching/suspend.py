"""Suspend and resume the retrain decision of a pipeline, through its service."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from driftloop.contract.names import SERVICE_PORT
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints

REASON_LENGTH = 200


@dataclass(frozen=True)
class DecisionEndpoint:
    """Address and token of a pipeline's decision service."""

    url: str
    token: str
    namespace: str | None = None
    """The pipeline's namespace, where it runs on this machine."""


@dataclass(frozen=True)
class SuspensionState:
    """The phase of a retrain decision, and why it is suspended (None when it is not)."""

    phase: str
    halt: str | None

    @property
    def is_suspending(self) -> bool:
        """True while the current run has to finish before the decision is suspended."""
        return self.halt is not None and self.phase != "halted"

    def to_json(self) -> dict[str, Any]:
        """Return the state as the service sends it."""
        return asdict(self)


def find_decision(
    name: str, state: StateFolder, url: str | None, environment: Mapping[str, str]
) -> DecisionEndpoint:
    """Return the decision service at `url` with the token of the environment, or that of the
    state folder."""
    if url:
        return DecisionEndpoint(url.rstrip("/"), endpoints.read_token(environment))
    endpoint = endpoints.find_endpoint(state, name, suffix="-decision", port=SERVICE_PORT)
    return DecisionEndpoint(f"http://{endpoint.address}", endpoint.token, endpoint.namespace)


def suspend_decision(decision: DecisionEndpoint, reason: str) -> SuspensionState:
    """Prevent new runs until the decision is resumed; a current run may finish."""
    return _post_action(decision, "halt", " ".join(reason.split())[:REASON_LENGTH])


def resume_decision(decision: DecisionEndpoint) -> SuspensionState:
    """Allow new runs again."""
    return _post_action(decision, "resume", "")


def _post_action(decision: DecisionEndpoint, action: str, body: str) -> SuspensionState:
    response = endpoints.post_body(
        f"{decision.url}/{action}",
        body,
        token=decision.token,
        service="the decision service",
        hint="see `driftloop logs`, and check that NATS runs",
        shown=decision.url,
    )
    try:
        document = json.loads(response)
        return SuspensionState(document["phase"], document["halt"])
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(
            f"{decision.url} can't be reached: {error}", hint=endpoints.NOT_RUNNING
        ) from error
