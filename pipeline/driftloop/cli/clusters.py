"""Options by which a command takes a cluster in place of a state folder, and what it reaches there."""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from driftloop.cli import options
from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.names import SERVICE_PORT, Names
from driftloop.operations.commits.target import find_runtime
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.trigger import RetrainWebhook, find_webhook
from driftloop.operations.watching.suspend import DecisionEndpoint, find_decision


@dataclass(frozen=True)
class ClusterChoice:
    """Values of `--cluster` and of the options that go with it."""

    chosen: bool
    kubeconfig: Path | None
    context: str | None
    namespace: str | None

    def refuse_stray(self, *, namespaced: bool = False) -> None:
        """Raise UsageError for options that say nothing without `--cluster`; with `namespaced`, a namespace says
        something."""
        if not self.chosen and (
            self.kubeconfig or self.context or (self.namespace and not namespaced)
        ):
            raise click.UsageError("--kubeconfig, --context and --namespace need --cluster")

    def refuse_url(self, url: str | None) -> None:
        """Raise UsageError when both ways to one service are named."""
        if self.chosen and url is not None:
            raise click.UsageError("--url and --cluster are two ways to one service: name one")


_in_cluster = click.option(
    "--cluster", "in_cluster", is_flag=True, help="Use a cluster instead of a state folder."
)
_namespace = click.option(
    "-n", "--namespace", help="Namespace of the pipeline, with --cluster.  [default: its name]"
)


def cluster_options(command: options.F) -> options.F:
    """Add `--cluster`, `--kubeconfig`, `--context` and `--namespace` to a command, which gets them as
    `cluster`, a ClusterChoice."""

    @functools.wraps(command)
    def bundle(
        *,
        in_cluster: bool,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        **rest: Any,
    ) -> Any:
        return command(cluster=ClusterChoice(in_cluster, kubeconfig, context, namespace), **rest)

    return cast(options.F, _in_cluster(options.kubeconfig(options.context(_namespace(bundle)))))


url_option = click.option(
    "--url",
    help="Decision service under an address of your own; the token is read from DRIFTLOOP_WEBHOOK_TOKEN.  "
    "[default: that of the state folder, or with --cluster of the cluster]",
)
webhook_option = click.option(
    "--url",
    help="Webhook under an address of your own; the token is read from DRIFTLOOP_WEBHOOK_TOKEN.  "
    "[default: that of the state folder, or with --cluster of the cluster]",
)


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
    # it loads the library of Kubernetes
    from driftloop.operations.ground.cluster_services import reach_service

    names = Names(name, cluster.namespace or name)
    with reach_service(
        f"http://{names.host(names.decision)}:{SERVICE_PORT}",
        names.namespace,
        os.environ,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
    ) as (reached, token):
        yield DecisionEndpoint(reached, token)


@contextlib.contextmanager
def open_webhook(
    name: str, state: StateChoice, cluster: ClusterChoice, url: str | None
) -> Iterator[RetrainWebhook]:
    """Give the webhook of pipeline `name` that starts runs: here, under an URL, or in a cluster."""
    cluster.refuse_stray(namespaced=url is not None)
    cluster.refuse_url(url)
    if not cluster.chosen:
        yield find_webhook(name, state.folder, url, cluster.namespace, os.environ)
        return
    from driftloop.operations.ground.cluster_services import reach_service

    names = Names(name, cluster.namespace or name)
    with reach_service(
        names.webhook_url,
        names.namespace,
        os.environ,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
    ) as (reached, token):
        yield RetrainWebhook(reached, token, names.namespace)


def open_runtime(
    state: StateChoice, cluster: ClusterChoice, *, repository: str | None = None
) -> KubernetesClient | None:
    """Return the API of what runs: of the cluster, the running `up`, or DRIFTLOOP_KUBERNETES_URL."""
    if not cluster.chosen:
        return find_runtime(state.folder, os.environ, repository=repository)
    from driftloop.cluster.client import KubeconfigClient
    from driftloop.cluster.reader import ApiReader

    return KubeconfigClient.from_reader(ApiReader(cluster.kubeconfig, cluster.context))
