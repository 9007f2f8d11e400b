"""Request a training run through the authenticated webhook, as the decision service does, and
follow it."""

import getpass
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.clients.kubernetes import KubernetesClient, workflow_ended
from driftloop.contract.names import WEBHOOK_PORT, person_cause
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations import endpoints

GONE_AFTER = 30.0
"""Seconds after which a run that does not appear is given up."""
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


@dataclass(frozen=True)
class EndedRun:
    """Phase and message of a finished Workflow."""

    phase: str
    message: str


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


def wait_for_end(api: KubernetesClient | None, namespace: str, run: str) -> EndedRun:
    """Wait until a run has ended; LocalError when it does not appear, or disappears."""
    if api is None:
        raise LocalError(
            "the runtime is not reachable from here",
            hint="leave out --wait, or set DRIFTLOOP_KUBERNETES_URL",
        )
    exists = False
    deadline = time.monotonic() + GONE_AFTER
    while True:
        workflow = api.get_workflow(namespace, run)
        exists = exists or workflow is not None
        if workflow is not None and workflow_ended(workflow):
            status = workflow["status"]
            return EndedRun(str(status["phase"]), str(status.get("message") or ""))
        if workflow is None and (exists or time.monotonic() > deadline):
            raise LocalError(f"run `{run}` does not exist", hint="see `driftloop logs argo`")
        time.sleep(1)
