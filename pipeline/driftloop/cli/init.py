"""`driftloop init`."""

from pathlib import Path

import click

from driftloop.cli import options
from driftloop.contract.trees import SPEC
from driftloop.operations.project.companions import list_missing_lines
from driftloop.operations.project.starters import STARTERS, choose_name, write_project

TEMPLATES = "\n".join(f"  {starter.name:8} {starter.description}" for starter in STARTERS.values())
EPILOG = f"""\b
Templates:
{TEMPLATES}

\b
Examples:
  driftloop init credit-risk
  driftloop init churn --template tabular --name churn"""


@click.command(epilog=EPILOG)
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--template",
    type=click.Choice(list(STARTERS)),
    default="blank",
    show_default=True,
    help="Project to start from.",
)
@click.option(
    "--name",
    help="Name of the pipeline.  [default: the folder's name for `blank`, else the template's pipeline]",
)
def command(*, folder: Path, template: str, name: str | None) -> None:
    """Write a model project into FOLDER: a spec, a trainer and a server, with README.md,
    .gitignore and the schema that editors read. Existing files are never overwritten."""
    starter = STARTERS[template]
    written = write_project(starter, folder, choose_name(starter, folder, name))
    for file in written.files:
        click.echo(file)
    for file in written.kept:
        options.print_progress(f"note: {file} was there and is kept")
    ignored = folder / ".gitignore"
    if ignored in written.kept and (missing := list_missing_lines(folder)):
        options.print_progress(f"note: {ignored} lacks: {', '.join(missing)}")
    click.echo(f"\nnext: driftloop validate {folder / SPEC}", err=True)
