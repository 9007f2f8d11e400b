"""`driftloop console`."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from driftloop.cli import options
from driftloop.clients import cancellation
from driftloop.extras import require_extra
from driftloop.local.ground.state import free_port
from driftloop.operations.commits.target import open_reading
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.console_address import find_console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driftloop.git.repository import Repository

EXAMPLES = """\b
Examples:
  driftloop console
  driftloop console --state .driftloop --port 8090
  driftloop console --cluster --context staging -n digits
  driftloop console --cluster --host console.acme.example --port 8080"""


@click.command(epilog=EXAMPLES)
@options.state
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: a free one]"
)
@click.option(
    "--cluster", is_flag=True, help="Show a cluster, read-only, instead of a state folder."
)
@options.kubeconfig
@options.context
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Show this namespace only; repeatable."
)
@click.option(
    "--host",
    help="With --cluster: listen on all addresses, for the gateway that names in the header x-driftloop-user who has "
    "logged in, under this host name.",
)
@click.option(
    "--repository",
    metavar="URL",
    help="With --cluster: read the cluster repository, too, and let people promote and roll back by "
    "commits to it.",
)
@click.option("--branch", default="main", show_default=True, help="Branch of it that Flux follows.")
@click.option(
    "--on",
    metavar="CLUSTER",
    help="With --repository: this cluster of it, where it has several: the name in its platform file.",
)
def command(
    *,
    state: StateChoice,
    port: int | None,
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    host: str | None,
    repository: str | None,
    branch: str,
    on: str | None,
) -> None:
    """Serve pages where the loop can be watched and steered, on 127.0.0.1 only, and print their
    address.

    The address holds a key: whoever has it may do what you may. `driftloop up` runs one, too, and
    its address is printed here unless --port asks for another. Without a running platform the pages
    show what git has, and the rest when it comes back. In a pod, behind a login: --cluster and
    --host.
    """
    if (kubeconfig or context or namespaces or host or repository) and not cluster:
        raise click.UsageError(
            "--kubeconfig, --context, --namespace, --host and --repository need --cluster"
        )
    if on is not None and repository is None:
        raise click.UsageError("--on needs --repository")
    require_extra("console", "the console")
    from driftloop.console.access import AccessKey
    from driftloop.console.login import LoginAccess
    from driftloop.console.serving import (
        EVERYWHERE,
        HOST,
        build_console,
        build_local_console,
        listen,
        serve,
    )
    from driftloop.console.source import ClusterSource

    if not cluster and port is None and (found := find_console(state.ensure_exists())) is not None:
        options.print_progress("`driftloop up` runs the console:")
        click.echo(found)
        return
    key = AccessKey(port or free_port())
    access = LoginAccess(host) if host is not None else key
    with contextlib.ExitStack() as stack:
        if cluster:
            reached = stack.enter_context(_open_repository(repository, branch, on))
            source = ClusterSource(kubeconfig, context, namespaces, reached)
            console = build_console(
                source,
                access,
                state=None,
                place=(),
                environment=os.environ,
                repository=repository,
                on=on,
            )
        else:
            console = build_local_console(state.ensure_exists(), key)
        at = stack.enter_context(listen(key.port, EVERYWHERE if host is not None else HOST))
        told = f"http://{host} by its gateway, port {key.port}" if host is not None else key.address
        cancellation.run(serve(console, at, ready=lambda: click.echo(told)))


@contextlib.contextmanager
def _open_repository(url: str | None, branch: str, on: str | None) -> "Iterator[Repository | None]":
    """Open the cluster repository with the credentials of the environment; None where none is named."""
    if url is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-git-") as folder:
        yield open_reading(
            url, branch=branch, workdir=Path(folder), environment=os.environ, cluster=on
        )
