"""Options that several commands share."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from driftloop.operations.ground import place
from driftloop.operations.ground.place import StateChoice

F = TypeVar("F", bound=Callable[..., Any])


def _choose_state(
    context: click.Context, _parameter: click.Parameter, value: Path | None
) -> StateChoice:
    # options that are not on the command line are processed last: SPEC is known by now
    choice = place.choose_state(value, spec=context.params.get("spec"), environment=os.environ)
    if (note := place.describe_ignored(choice, os.environ)) is not None:
        print_progress(note)
    return choice


state = click.option(
    "--state",
    type=click.Path(path_type=Path),
    callback=_choose_state,
    help="State folder of `driftloop up`.  [default: the nearest .driftloop beside or above SPEC "
    f"or the current folder, else {place.VARIABLE}]",
)
envs = click.option(
    "--envs",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of the Python environments.  [default: that of the state folder, else a cache]",
)


def _format_option(*names: str) -> Callable[[F], F]:
    return click.option(
        *names,
        type=click.Choice(["text", "json", "yaml"]),
        default="text",
        show_default=True,
        help="Format of the output.",
    )


output = _format_option("-o", "--output")
long_output = _format_option("--output")
"""Where `-o` is a file."""
cluster = click.option(
    "--cluster",
    metavar="NAME",
    help="Cluster of the repository: the name in its platform file, else its folder below cluster/.  [default: the "
    "only one there; dev where there is none]",
)
kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Path of the kubeconfig.  [default: KUBECONFIG, or ~/.kube/config]",
)
context = click.option("--context", help="Context of the kubeconfig.  [default: the current one]")


def repository_options(command: F) -> F:
    """Add `--repository`, `--branch`, `--state` and `--on` to a command."""
    on = click.option(
        "--on",
        metavar="CLUSTER",
        help="Cluster of the repository, where it has several: the name in its platform file.",
    )
    return repository_place(on(command))


def repository_place(command: F) -> F:
    """Add `--repository`, `--branch` and `--state` to a command."""
    branch = click.option(
        "--branch", default="main", show_default=True, help="Branch that Flux follows."
    )
    url = click.option(
        "--repository",
        metavar="URL",
        help="URL or path of the cluster repository.  [default: that of the state folder, else "
        "DRIFTLOOP_GIT_URL]",
    )
    return url(branch(state(command)))


yes = click.option("--yes", is_flag=True, help="Do not ask, on a terminal, before it is done.")


def confirm(what: str, *, yes: bool) -> None:
    """Ask on a terminal whether something that can't be taken back is meant; Abort when it is not. In a
    pipe, and with `--yes`, nobody is asked."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(what, abort=True, err=True)


def print_document(
    document: Any,
    output: str,
    *,
    indent: int | None = None,
    one_of_several: bool = False,
    escaped: bool = True,
) -> None:
    """Print plain data to stdout as `json` or `yaml`; of several documents each is a line of JSON, or a
    document of one YAML stream. JSON is ASCII unless it is not `escaped`."""
    text = json.dumps(document, indent=indent, ensure_ascii=escaped)
    if output == "yaml":
        from driftloop.text.dump import dump_yaml

        # what JSON knows, and nothing else: tuples are lists, names of an enum texts
        text = dump_yaml(json.loads(text)).removesuffix("\n")
        text = f"---\n{text}" if one_of_several else text
    click.echo(text)


def print_progress(text: str) -> None:
    """Print progress to stderr, which leaves stdout to data."""
    click.echo(text, err=True)


def print_notes(notes: Iterable[str]) -> None:
    """Print notes of a validation to stderr."""
    for note in notes:
        print_progress(f"note: {note}")
