"""`driftloop init`: a small model project that works, to start from."""

import re
from importlib import resources
from pathlib import Path

import click

from pipeline import __version__
from pipeline.errors import SpecError

STARTER = "pipeline.cli.starter"
FILES = (
    "pipeline.yaml",
    "trainer/Dockerfile",
    "trainer/requirements.txt",
    "trainer/train.py",
    "server/Dockerfile",
    "server/requirements.txt",
    "server/Model.py",
)


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of the pipeline [default: that of the folder].")
def command(*, folder: Path, name: str | None) -> None:
    """Write a model project into FOLDER: a spec, a trainer and a server. Existing files are never overwritten."""
    name = name or _slug(folder.resolve().name)
    there = [file for file in FILES if (folder / file).exists()]
    if there:
        raise SpecError(
            f"{folder / there[0]} exists, must not be overwritten",
            hint="name an empty folder: `driftloop init my-model`",
        )
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,32}[a-z0-9])?", name):
        raise SpecError(
            f"--name is `{name}`, must be at most 34 lower-case letters, digits and hyphens, beginning with a letter"
        )
    starter = resources.files(STARTER)
    for file in FILES:
        text = starter.joinpath(file).read_text("utf-8")
        target = folder / file
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("my-model", name).replace("0.0.0", __version__), "utf-8")
        except OSError as error:
            raise SpecError(f"{target} can't be written: {error.strerror}") from error
        click.echo(target)
    click.echo(f"\nnext: driftloop validate {folder / 'pipeline.yaml'}", err=True)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:34].strip("-") or "my-model"
