"""`driftloop commit`: a spec becomes its files in the cluster repository, by one commit."""

from pathlib import Path

import click

from pipeline import spec as specs
from pipeline.cli import allowed, files, target
from pipeline.git import pipelines


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@target.options
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@allowed.option
@target.output
def command(
    *,
    spec: Path,
    repository: str | None,
    branch: str,
    state: Path,
    cluster: str,
    allow: tuple[str, ...],
    output: str,
) -> None:
    """Render SPEC and commit it to the cluster repository; a release that is there stays as it is.

    What an edit of a spec seldom means is refused unless --allow says that it is meant; `driftloop plan` shows it.
    """
    text = files.spec_text(spec)
    name = specs.load(text, path=str(spec)).metadata.name
    with target.opened(repository, branch, state) as to:
        commit = pipelines.commit_spec(
            to.repository, text, path=str(spec), cluster=cluster, cause=to.cause, allow=frozenset(allow)
        )
    target.print_commit(commit, name, output)
