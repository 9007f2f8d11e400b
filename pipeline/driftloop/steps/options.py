"""Options that several steps share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

pipeline = click.option("--pipeline", required=True, help="Name of the pipeline.")
namespace = click.option("--namespace", required=True, help="Namespace of the pipeline.")
run = click.option("--run", required=True, help="Run id: name of the training Workflow.")
out = click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.",
)


def folder_option(name: str, help: str, *, required: bool = True) -> Callable[[F], F]:
    """Return an option for a folder to read."""
    return click.option(
        name, required=required, type=click.Path(file_okay=False, path_type=Path), help=help
    )


def print_progress(text: str) -> None:
    """Print progress to stderr."""
    click.echo(text, err=True)
