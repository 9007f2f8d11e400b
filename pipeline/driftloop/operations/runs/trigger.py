"""Request a training run through the authenticated webhook, as the decision service does."""

import getpass
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.names import WEBHOOK_PORT, Names, person_cause
from driftloop.contract.trees import WORKFLOWS, tree_folder
from driftloop.errors import LocalError, StepError
from driftloop.git.repository import Repository
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import applied
from driftloop.operations.commits.applied import AppliedCommits
from driftloop.operations.ground import endpoints

APPLIED_WITHIN = 60.0
"""Seconds that a commit of the pipeline's workflows may take to be applied."""
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
        endpoint.namespace,
        f"{endpoint.host}:{WEBHOOK_PORT}",
    )


def wait_until_applied(
    api: KubernetesClient, repository: Repository, names: Names, report: Callable[[str], None]
) -> None:
    """Wait until the last commit of the pipeline's workflows is applied, so that a run is of the
    spec as it is committed; LocalError when it is not applied in time."""
    tip = repository.tip()
    folder = tree_folder(WORKFLOWS, names.pipeline)
    commit = repository.last_touching(tip, folder) if tip else None
    if commit is None:
        return
    look = AppliedCommits(api, repository, names)

    def describe_missing() -> str:
        return look.describe_missing(commit.sha, trees=(WORKFLOWS,))

    if describe_missing():
        look.request_comparison(WORKFLOWS)
    label = f"commit {commit.sha[:12]} ({commit.subject})"
    try:
        for reason in applied.wait_until_applied(
            describe_missing, seconds=APPLIED_WITHIN, what=label
        ):
            report(f"waiting: {reason}")
    except StepError as error:
        raise LocalError(
            f"no run was requested: {error.message}",
            hint="`driftloop status` shows why; a run would be of the spec that was applied before",
        ) from error


def make_decision() -> str:
    """Return the id of a new decision; the run that it asks for is named after it."""
    return secrets.token_hex(6)


def request_run(
    webhook: RetrainWebhook,
    name: str,
    cause: str,
    *,
    forced: bool = False,
    model: str | None = None,
    decision: str | None = None,
) -> str:
    """Request a training run and return its name; LocalError when the webhook refuses it.

    A forced one trains although there may be nothing new; with the digest of a `model` it releases
    that one in place of training.
    """
    decision = decision or make_decision()
    body = {
        "pipeline": name,
        "decision": decision,
        "cause": person_cause(getpass.getuser(), cause, forced=forced, model=model),
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
