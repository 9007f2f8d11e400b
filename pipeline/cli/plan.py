"""`driftloop plan`: what a commit would change."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.cli import files
from pipeline.render import Change, diff, owned, rendered


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--into", "folder", type=click.Path(path_type=Path, file_okay=False), help="Compare with this folder.")
@click.option("--repository", envvar="DRIFTLOOP_GIT_URL", help="Compare with this cluster repository.")
@click.option("--branch", default="main", show_default=True, help="Branch that Flux follows.")
@click.option("--state", default=Path(".driftloop"), type=click.Path(path_type=Path), show_default=True,
              help="Or with the one in this state folder of `up`.")  # fmt: skip
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    *, spec: Path, folder: Path | None, repository: str | None, branch: str, state: Path, cluster: str, output: str
) -> None:
    """Show what a commit of SPEC would change, as a diff. Writes nothing.

    With nothing to compare with, everything is new.
    """
    text = files.spec_text(spec)
    name = files.spec(spec).pipeline.metadata.name
    existing = _existing(folder, repository, branch, state, name, cluster=cluster)
    new = rendered(text, existing.get(f"deployments/{name}/release.yaml"), path=str(spec), cluster=cluster)
    changes = diff(owned(existing, new, pipeline=name), new)
    if output == "json":
        listed = [{"path": change.path, "change": change.kind, "diff": "\n".join(change.lines())} for change in changes]
        click.echo(json.dumps({"pipeline": name, "changes": listed}))
        return
    for change in changes:
        _show(change)
    count = files.counted(changes)
    said = ", ".join(f"{number} {kind}" for kind, number in count.items() if number) or "nothing changes"
    click.echo(f"{name}: {said}", err=True)


def _existing(
    folder: Path | None, repository: str | None, branch: str, state: Path, name: str, *, cluster: str
) -> Mapping[str, str]:
    if folder is not None:
        return files.tree(folder, name, cluster)
    from pipeline.cli import target
    from pipeline.runtimes.local.state import State

    if repository is None and not State.at(state).repository.exists():
        return {}
    with target.opened(repository, branch, state) as to:
        found = to.repository.tree(to.repository.tip())
        mine = tuple(f"{part}/{name}/" for part in ("workflows", "deployments", "monitors"))
        flux = f"cluster/{cluster}/pipelines/{name}.yaml"
        return {path: found[path] for path in found if path.startswith(mine) or path == flux}


def _show(change: Change) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in change.lines():
        click.echo(click.style(line, fg=colours.get(line[:1])))
