"""What a command reaches: the services and the API of this machine, of a cluster, or under an address of one's own."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from driftloop.cli.clusters import ClusterChoice
from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.names import SERVICE_PORT, Names
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.ground.runtime import find_runtime
from driftloop.operations.watching.suspend import DecisionEndpoint, find_decision

if TYPE_CHECKING:
    from driftloop.operations.runs.trigger import RetrainWebhook


@contextlib.contextmanager
def open_decision(
    name: str, state: StateChoice, cluster: ClusterChoice, url: str | None
) -> Iterator[DecisionEndpoint]:
    """Give the decision service of pipeline `name`: here, under an URL, or in a cluster."""
    cluster.refuse_stray()
    cluster.refuse_url(url)
    if not cluster.chosen:
        yield find_decision(name, state.folder, url, os.environ)
        return
    names = Names(name, cluster.namespace or name)
    service = f"http://{names.host(names.decision)}:{SERVICE_PORT}"
    with _reach_service(service, names, cluster) as (reached, token):
        yield DecisionEndpoint(reached, token)


@contextlib.contextmanager
def open_webhook(
    name: str, state: StateChoice, cluster: ClusterChoice, url: str | None
) -> Iterator["RetrainWebhook"]:
    """Give the webhook of pipeline `name` that starts runs: here, under an URL, or in a cluster."""
    # it loads the models of specs, which other services need none of
    from driftloop.operations.runs.trigger import RetrainWebhook, find_webhook

    cluster.refuse_stray(namespaced=url is not None)
    cluster.refuse_url(url)
    if not cluster.chosen:
        yield find_webhook(name, state.folder, url, cluster.namespace, os.environ)
        return
    names = Names(name, cluster.namespace or name)
    with _reach_service(names.webhook_url, names, cluster) as (reached, token):
        yield RetrainWebhook(reached, token, names.namespace)


def _reach_service(
    url: str, names: Names, cluster: ClusterChoice
) -> contextlib.AbstractContextManager[tuple[str, str]]:
    # it loads the library of Kubernetes
    from driftloop.operations.ground.cluster_services import reach_service

    return reach_service(
        url,
        names.namespace,
        os.environ,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
    )


def open_runtime(
    state: StateChoice, cluster: ClusterChoice, *, repository: str | None = None
) -> KubernetesClient | None:
    """Return the API of what runs: of the cluster, the running `up`, or DRIFTLOOP_KUBERNETES_URL."""
    if not cluster.chosen:
        return find_runtime(state.folder, os.environ, repository=repository)
    from driftloop.cluster.client import KubeconfigClient
    from driftloop.cluster.reader import ApiReader

    return KubeconfigClient.from_reader(ApiReader(cluster.kubeconfig, cluster.context))
