"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

state = click.option(
    "--state",
    default=Path(".driftloop"),
    type=click.Path(path_type=Path),
    show_default=True,
    help="State folder of `driftloop up`.",
)
output = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
cluster = click.option(
    "--cluster",
    default="dev",
    show_default=True,
    help="Folder below cluster/ that Flux was bootstrapped with.",
)
kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Path of the kubeconfig.  [default: KUBECONFIG, or ~/.kube/config]",
)
context = click.option("--context", help="Context of the kubeconfig.  [default: the current one]")


def repository_options(command: F) -> F:
    """Add `--repository`, `--branch` and `--state` to a command."""
    branch = click.option(
        "--branch", default="main", show_default=True, help="Branch that Flux follows."
    )
    url = click.option(
        "--repository",
        metavar="URL",
        envvar="DRIFTLOOP_GIT_URL",
        show_envvar=True,
        help="URL or path of the cluster repository.  [default: that of the state folder]",
    )
    return url(branch(state(command)))


def print_progress(text: str) -> None:
    """Print progress to stderr, which leaves stdout to data."""
    click.echo(text, err=True)
