"""`driftloop validate`: is the spec right, and does the code it names exist?"""

import json
from pathlib import Path

import click

from pipeline.cli import files, project
from pipeline.plan import plan
from pipeline.spec import InvalidSpec, Problem, read


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(*, spec: Path, output: str) -> None:
    """Check SPEC, its references, and the folders and functions beside it that it names.

    Every problem is listed with file, line and column; exit 1 when there is one.
    """
    text = files.spec_text(spec)
    problems: tuple[Problem, ...]
    try:
        document = read(text, path=str(spec))
        plan(document)
        problems = project.check(document, spec.parent)
    except InvalidSpec as error:
        problems = error.problems
    if output == "json":
        listed = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint} for p in problems
        ]
        click.echo(json.dumps({"valid": not problems, "problems": listed}))
        if problems:
            raise click.exceptions.Exit(1)
        return
    if problems:
        raise InvalidSpec(problems)
    for name, said in project.summary(document).items():
        click.echo(f"{name:9} {said}", err=True)
