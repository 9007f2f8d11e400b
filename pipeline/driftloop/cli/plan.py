"""`driftloop plan`: what a commit would change."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from driftloop.cli import allowed, impacts
from driftloop.cli import pin as pinning
from driftloop.contract import trees
from driftloop.operations import files
from driftloop.operations.impact import impact, refuse
from driftloop.render import Change, diff, owned, rendered


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--into", "folder", type=click.Path(path_type=Path, file_okay=False), help="Compare with this folder.")
@click.option("--repository", envvar="DRIFTLOOP_GIT_URL", help="Compare with this cluster repository.")
@click.option("--branch", default="main", show_default=True, help="Branch that Flux follows.")
@click.option("--state", default=Path(".driftloop"), type=click.Path(path_type=Path), show_default=True,
              help="Or with the one in this state folder of `up`.")  # fmt: skip
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@click.option("--diff", "with_diff", is_flag=True, help="Print the diff of every file, too.")
@allowed.option
@pinning.options
@click.option("--output", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
def command(
    *,
    spec: Path,
    folder: Path | None,
    repository: str | None,
    branch: str,
    state: Path,
    cluster: str,
    with_diff: bool,
    allow: tuple[str, ...],
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Show what a commit of SPEC would do: settings, objects, what happens to what runs. Writes nothing.

    With nothing to compare with, everything is new. Exit code 1 when the change does something that an edit of a spec
    seldom means, such as leaving production without its detector, unless --allow says that it is meant. With --pin,
    what a commit with --pin would do.

    \b
    driftloop plan pipeline.yaml --repository https://github.com/acme/cluster.git
    driftloop plan pipeline.yaml --into ../cluster --output markdown > comment.md
    """
    text = pinning.asked([spec], mirrors)[0].text if pin else files.spec_text(spec)
    name = files.spec(spec).pipeline.metadata.name
    existing = _existing(folder, repository, branch, state, name, cluster=cluster)
    new = rendered(text, existing.get(trees.release_path(name)), path=str(spec), cluster=cluster)
    mine = owned(existing, new, pipeline=name)
    changes = diff(mine, new)
    found = impact(mine, new, pipeline=name)
    if output == "json":
        click.echo(json.dumps(impacts.document(name, found, changes)))
    elif output == "markdown":
        click.echo(impacts.markdown(name, found, changes))
    else:
        for line in impacts.lines(found):
            click.echo(line)
        for change in changes if with_diff else ():
            _show(change)
        click.echo(f"{name}: {impacts.counted(changes)}", err=True)
    refuse(found, frozenset(allow))


def _existing(
    folder: Path | None, repository: str | None, branch: str, state: Path, name: str, *, cluster: str
) -> Mapping[str, str]:
    if folder is not None:
        return files.tree(folder, name, cluster)
    from driftloop.cli import target
    from driftloop.local.ground.state import State

    if repository is None and not State.at(state).repository.exists():
        return {}
    with target.opened(repository, branch, state) as to:
        found = to.repository.tree(to.repository.tip())
        mine, flux = trees.pipeline_folders(name), trees.flux_path(cluster, name)
        return {path: found[path] for path in found if path.startswith(mine) or path == flux}


def _show(change: Change) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in change.lines():
        click.echo(click.style(line, fg=colours.get(line[:1])))
