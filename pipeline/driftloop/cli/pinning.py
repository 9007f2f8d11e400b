"""The options `--pin` and `--mirror`."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from driftloop.cli.options import print_progress
from driftloop.operations.project.edited import EditedSpec
from driftloop.operations.project.pin import pin_specs

F = TypeVar("F", bound=Callable[..., Any])


def add_options(command: F) -> F:
    """Add `--pin` and `--mirror` to a command."""
    pinning = click.option(
        "--pin",
        is_flag=True,
        help="First update the `pins` of the spec with the digests of its images.",
    )
    mirrors = click.option(
        "--mirror",
        "mirrors",
        metavar="HOST=URL",
        multiple=True,
        callback=_parse_mirrors,
        help="With --pin, ask URL instead of registry HOST, as nodes with a mirror do; repeatable.",
    )
    return pinning(mirrors(command))


def pin_specs_now(specs: Sequence[Path], mirrors: Mapping[str, str]) -> tuple[EditedSpec, ...]:
    """Return the specs with the current digests, with the logins of Docker's configuration."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return pin_specs(specs, mirrors, docker_config=folder / "config.json", report=print_progress)


def write_pins(specs: Sequence[Path], mirrors: Mapping[str, str]) -> None:
    """Update the pins of the specs in their files."""
    for pinned in pin_specs_now(specs, mirrors):
        pinned.write_file()


def _parse_mirrors(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> Mapping[str, str]:
    mirrors = {}
    for text in value:
        host, equals, url = text.partition("=")
        if not equals or not host or not _is_url(url):
            raise click.BadParameter(
                f"`{text}` is not HOST=URL, such as ghcr.io=https://mirror.example.org"
            )
        mirrors[host] = url
    return mirrors


def _is_url(text: str) -> bool:
    """Return True for an http(s) URL without a login in it."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("https", "http")
            and bool(url.hostname)
            and "@" not in url.netloc
            and url.port != 0
        )
    except ValueError:
        return False
