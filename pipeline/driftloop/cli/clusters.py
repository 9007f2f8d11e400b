"""Options by which a command takes a cluster in place of a state folder."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from driftloop.cli import options


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
