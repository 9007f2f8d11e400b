"""`driftloop init`: a model project that works, to start from."""

import re
from pathlib import Path

import click

from driftloop import __version__
from driftloop.contract.trees import SPEC
from driftloop.errors import SpecError
from driftloop.operations.starters import STARTERS, Starter

TEMPLATES = "\n".join(f"  {starter.name:8} {starter.what}" for starter in STARTERS.values())
EPILOG = f"""\b
Templates:
{TEMPLATES}

\b
Examples:
  driftloop init credit-risk
  driftloop init churn --template tabular --name churn"""


@click.command(epilog=EPILOG)
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--template", type=click.Choice(list(STARTERS)), default="blank", show_default=True)
@click.option("--name", help="Name of the pipeline [default: the folder's for `blank`, else the template's].")
def command(*, folder: Path, template: str, name: str | None) -> None:
    """Write a model project into FOLDER: a spec, a trainer and a server. Existing files are never overwritten."""
    starter = STARTERS[template]
    name = name or (_slug(folder.resolve().name) if template == "blank" else starter.pipeline)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,32}[a-z0-9])?", name):
        raise SpecError(
            f"--name is `{name}`, must be at most 34 lower-case letters, digits and hyphens, beginning with a letter"
        )
    files = tuple(starter.files())
    there = [file for file in files if (folder / file).exists()]
    if there:
        raise SpecError(
            f"{folder / there[0]} exists, must not be overwritten",
            hint="name an empty folder: `driftloop init my-model`",
        )
    for file in files:
        target = folder / file
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_named(starter, file, name), "utf-8")
        except OSError as error:
            raise SpecError(f"{target} can't be written: {error.strerror}") from error
        click.echo(target)
    click.echo(f"\nnext: driftloop validate {folder / SPEC}", err=True)


def _named(starter: Starter, file: Path, name: str) -> str:
    """A file's text, for a pipeline of this name and this version of our base image."""
    text = (starter.folder / file).read_text("utf-8")
    if file == Path(SPEC):
        old = re.escape(starter.pipeline)
        return re.sub(rf"(?<=name: ){old}\b|(?<=/){old}(?=-(trainer|server):)|(?<=s3://){old}\b", name, text)
    return re.sub(r"(?<=^FROM ghcr\.io/driftloop/trainer:)\S+", __version__, text, flags=re.MULTILINE)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:34].strip("-") or "my-model"
