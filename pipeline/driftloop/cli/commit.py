"""`driftloop commit`: a spec becomes its files in the cluster repository, by one commit."""

from collections.abc import Mapping
from pathlib import Path

import click

from driftloop import spec as specs
from driftloop.cli import allowed, target
from driftloop.cli import pin as pinning
from driftloop.operations import files
from driftloop.operations import releases as pipelines


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@target.options
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@allowed.option
@pinning.options
@target.output
def command(
    *,
    spec: Path,
    repository: str | None,
    branch: str,
    state: Path,
    cluster: str,
    allow: tuple[str, ...],
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Render SPEC and commit it to the cluster repository; a release that is there stays as it is.

    What an edit of a spec seldom means is refused unless --allow says that it is meant; `driftloop plan` shows it.
    With --pin, SPEC's `pins` are written anew first: what every image's tag stands for now, as the registries say.
    """
    for pinned in pinning.asked([spec], mirrors) if pin else ():
        pinned.write()
    text = files.spec_text(spec)
    name = specs.load(text, path=str(spec)).metadata.name
    with target.opened(repository, branch, state) as to:
        commit = pipelines.commit_spec(
            to.repository, text, path=str(spec), cluster=cluster, cause=to.cause, allow=frozenset(allow)
        )
    target.print_commit(commit, name, output)
