"""`driftloop render`: the Kubernetes objects of a spec, written into a folder."""

import json
from pathlib import Path

import click

from pipeline.cli import files
from pipeline.errors import RenderError
from pipeline.render import diff, owned, rendered

RELEASE = "deployments/{}/release.yaml"


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--into", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the tree."
)
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the folder differs from the spec.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(*, spec: Path, folder: Path, cluster: str, check: bool, output: str) -> None:
    """Write what SPEC becomes into a folder: workflows/, deployments/, monitors/ and cluster/.

    A release.yaml that is there is kept and rendered. Files written by hand are never overwritten or removed.

    \b
    Examples:
      driftloop render pipeline.yaml --into ../cluster-repository
      driftloop render pipeline.yaml --into . --check
    """
    text = files.spec_text(spec)
    name = files.spec(spec).pipeline.metadata.name
    existing = files.tree(folder, name, cluster)
    new = rendered(text, existing.get(RELEASE.format(name)), path=str(spec), cluster=cluster)
    changes = diff(owned(existing, new, pipeline=name), new)
    if not check:
        files.write(changes, folder)
    if output == "json":
        listed = [{"path": change.path, "change": change.kind} for change in changes]
        click.echo(json.dumps({"pipeline": name, "folder": str(folder), "files": len(new), "changes": listed}))
    elif not check:
        count = files.counted(changes)
        click.echo(
            f"{name}: {len(new)} files in {folder} "
            f"({count['added']} added, {count['changed']} changed, {count['removed']} removed)",
            err=True,
        )
    if check and changes:
        listed_text = "\n".join(f"  {change.kind:8} {change.path}" for change in changes)
        raise RenderError(
            f"{folder} differs from {spec} in {len(changes)} files:\n{listed_text}",
            hint=f"`driftloop render {spec} --into {folder}` writes them; `driftloop plan` shows the difference",
        )
    if check and output == "text":
        click.echo(f"{name}: {len(new)} files in {folder} are what {spec} renders to", err=True)
