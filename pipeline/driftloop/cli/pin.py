"""`--pin`: the registries say which digest each tag stands for, and the spec remembers it."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from driftloop.errors import SpecError
from driftloop.operations import files
from driftloop.plan import images, plan
from driftloop.spec import Document, Pipeline, pins

F = TypeVar("F", bound=Callable[..., Any])


def _mirrors(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> Mapping[str, str]:
    found = {}
    for text in value:
        host, equals, url = text.partition("=")
        if not equals or not host or not _address(url):
            raise click.BadParameter(f"`{text}` is no HOST=URL, such as ghcr.io=https://mirror.example.org")
        found[host] = url
    return found


def _address(text: str) -> bool:
    """Whether a text is a URL of the web, without a login in it."""
    try:
        found = urlsplit(text)
        return (
            found.scheme in ("https", "http") and bool(found.hostname) and "@" not in found.netloc and found.port != 0
        )
    except ValueError:
        return False


def options(command: F) -> F:
    """`--pin` and `--mirror`."""
    pinning = click.option("--pin", is_flag=True, help="Ask the registries for every image's digest first.")
    mirrors = click.option(
        "--mirror", "mirrors", metavar="HOST=URL", multiple=True, callback=_mirrors,
        help="Ask URL instead of a registry, as nodes with a mirror do; may be given again.",
    )  # fmt: skip
    return pinning(mirrors(command))


@dataclass(frozen=True)
class Pinned:
    """A spec with today's digests, not written yet."""

    file: Path
    before: str
    text: str
    """Line breaks as they are in the file."""

    def write(self) -> None:
        """Replace the file whole, or leave it as it is; SpecError when that can't be done."""
        if self.text == self.before:
            return
        file = self.file.resolve()
        beside = file.with_name(f".{file.name}.new")
        try:
            with beside.open("w", encoding="utf-8", newline="") as stream:
                stream.write(self.text)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(file, beside)
            beside.replace(file)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise SpecError(f"{self.file} can't be written: {error.strerror}", hint="may you write there?") from error


def asked(specs: Sequence[Path], mirrors: Mapping[str, str]) -> tuple[Pinned, ...]:
    """The specs with the digests that the registries answer now. Nothing is written, and one failure fails all."""
    # its HTTP library takes a while to import
    from driftloop.clients.docker_config import DockerConfig
    from driftloop.clients.registry import Registries

    read = {spec: files.spec(spec) for spec in specs}
    wanted = {spec: images.unpinned(_bare(document)) for spec, document in read.items()}
    refs = list(dict.fromkeys(ref for found in wanted.values() for ref in found))
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    registries = Registries(DockerConfig.at(folder / "config.json"), mirrors)
    digests = registries.digests(refs, say=_say) if refs else {}
    return tuple(_pinned(spec, read[spec], {ref: digests[ref] for ref in found}) for spec, found in wanted.items())


def _bare(document: Document) -> Pipeline:
    """The pipeline without its pins; InvalidSpec when anything else is wrong with it."""
    pipeline = document.pipeline
    bare = pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update={"pins": {}})})
    plan(Document(bare, document.source))
    return bare


def _pinned(spec: Path, document: Document, digests: Mapping[str, str]) -> Pinned:
    before = document.pipeline.spec.pins
    for ref, digest in digests.items():
        if before.get(ref, digest) != digest:
            _say(f"{spec}: `{ref}` has moved, it was {before[ref]}: whoever pushed it changed what the tag names")
    for ref in before.keys() - digests.keys():
        _say(f"{spec}: no pin for `{ref}` any more, which nothing uses")
    with spec.open(encoding="utf-8", newline="") as stream:
        text = stream.read()
    return Pinned(spec, text, pins.written(text, digests, path=str(spec)))


def _say(text: str) -> None:
    click.echo(text, err=True)
