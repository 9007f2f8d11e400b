"""`driftloop console`."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from driftloop.cli import options
from driftloop.clients import cancellation
from driftloop.errors import LocalError
from driftloop.local.ground.state import free_port
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.console_address import find_console

if TYPE_CHECKING:
    from driftloop.console.access import AccessKey
    from driftloop.console.answers import Console

EXAMPLES = """\b
Examples:
  driftloop console
  driftloop console --state .driftloop --port 8090
  driftloop console --cluster --context staging -n digits"""

LIBRARIES = ("jinja2", "starlette", "uvicorn")


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
def command(
    *,
    state: StateChoice,
    port: int | None,
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
) -> None:
    """Serve pages where the loop can be watched and steered, on 127.0.0.1 only, and print their
    address.

    The address holds a key: whoever has it may do what you may. `driftloop up` runs one, too, and
    its address is printed here unless --port asks for another. Without a running platform the pages
    show what git has, and the rest when it comes back.
    """
    if (kubeconfig or context or namespaces) and not cluster:
        raise click.UsageError("--kubeconfig, --context and --namespace need --cluster")
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalError(
            f"the console needs {', '.join(missing)}, which is not installed",
            hint="`pip install 'driftloop[cli,console]'`",
        )
    from driftloop.console.access import AccessKey
    from driftloop.console.serving import build_local_console, listen, serve

    if not cluster and port is None and (found := find_console(state.ensure_exists())) is not None:
        options.print_progress("`driftloop up` runs the console:")
        click.echo(found)
        return
    key = AccessKey(port or free_port())
    console = (
        _build_cluster_console(key, kubeconfig, context, namespaces)
        if cluster
        else build_local_console(state.ensure_exists(), key)
    )
    with listen(key.port) as listener:
        cancellation.run(serve(console, listener, ready=lambda: click.echo(key.address)))


def _build_cluster_console(
    key: "AccessKey", kubeconfig: Path | None, context: str | None, namespaces: tuple[str, ...]
) -> "Console":
    from driftloop.console.serving import build_console
    from driftloop.console.source import ClusterSource

    source = ClusterSource(kubeconfig, context, namespaces)
    return build_console(source, key, state=None, place=("--cluster",), environment=os.environ)
