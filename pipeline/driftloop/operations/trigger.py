"""Request a training run through the authenticated webhook, as the decision service does."""

import getpass
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.names import WEBHOOK_PORT, person_cause
from driftloop.local.ground.state import StateFolder
from driftloop.operations import endpoints

CAUSE_LENGTH = 200
REPLACED = "{$"
"""Characters that Argo and Kubernetes replace in the arguments of steps."""


@dataclass(frozen=True)
class RetrainWebhook:
    """The webhook of one pipeline."""

    url: str
    token: str
    namespace: str
    host: str | None = None
    """Host header: it distinguishes the webhooks of several pipelines behind one local port."""


def find_webhook(
    name: str,
    state: StateFolder,
    url: str | None,
    namespace: str | None,
    environment: Mapping[str, str],
) -> RetrainWebhook:
    """Return the webhook at `url` with the token of the environment, or that of the state
    folder."""
    if url:
        return RetrainWebhook(url, endpoints.read_token(environment), namespace or name)
    endpoint = endpoints.find_endpoint(state, name, suffix="-retrain", port=WEBHOOK_PORT)
    return RetrainWebhook(
        f"http://{endpoint.address}/retrain",
        endpoint.token,
        endpoint.host.split(".")[1],
        f"{endpoint.host}:{WEBHOOK_PORT}",
    )


def request_run(webhook: RetrainWebhook, name: str, cause: str, *, forced: bool = False) -> str:
    """Request a training run and return its name; LocalError when the webhook refuses it.

    A forced one trains although there may be nothing new.
    """
    decision = secrets.token_hex(6)
    body = {
        "pipeline": name,
        "decision": decision,
        "cause": person_cause(getpass.getuser(), cause, forced=forced),
    }
    headers = {
        "Content-Type": "application/json",
        **({"Host": webhook.host} if webhook.host else {}),
    }
    endpoints.post_body(
        webhook.url,
        json.dumps(body),
        token=webhook.token,
        service="the webhook",
        hint="see `driftloop logs argo`",
        headers=headers,
    )
    return f"{name}-{decision}"
