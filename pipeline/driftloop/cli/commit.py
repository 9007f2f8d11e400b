"""`driftloop commit`."""

from collections.abc import Mapping
from pathlib import Path

import click

from driftloop.cli import allowed, options, pinning, target
from driftloop.operations.commits.commit import commit_spec_file
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.project.code import bump_tags, refuse_local_sources, register_code
from driftloop.operations.project.project import validate_project

EXAMPLES = """\b
Examples:
  driftloop commit pipeline.yaml --repository https://github.com/acme/cluster.git
  driftloop commit pipeline.yaml --bump
  driftloop commit pipeline.yaml --pin
  driftloop commit pipeline.yaml --allow detector-removed"""


@click.command(epilog=EXAMPLES)
@click.argument("spec", type=click.Path(path_type=Path))
@options.repository_place
@options.cluster
@click.option(
    "--bump",
    is_flag=True,
    help="First write the next tag into SPEC for each image whose code has changed.",
)
@allowed.option
@pinning.add_options
@options.output
def command(
    *,
    spec: Path,
    repository: str | None,
    branch: str,
    state: StateChoice,
    cluster: str | None,
    bump: bool,
    allow: tuple[str, ...],
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Render SPEC and commit it to the cluster repository.

    SPEC and the project beside it are validated first. The current release is kept. A change that
    an edit of a spec seldom intends, such as leaving production without its detector, is refused
    unless --allow names it; `driftloop plan` shows it first. For the repository of a state
    folder, the code beside SPEC is registered before the commit; code that changed without a new
    tag is refused. With --pin, the `pins` of SPEC are updated first to the digests that the
    registries return now.
    """
    if pin:
        pinning.write_pins([spec], mirrors)
    project = validate_project(spec)
    options.print_notes(project.notes)
    with target.open_repository(repository, branch, state, cluster) as opened:
        if opened.repository.url == state.folder.repository_url:
            if bump:
                bump_tags(state.folder, spec, options.print_progress)
            register_code(state.folder, spec, options.print_progress)
        else:
            if bump:
                raise click.UsageError(
                    "--bump needs a state folder: another repository does not tell what was built"
                )
            refuse_local_sources(project.document)
        committed = commit_spec_file(opened, spec, allow=frozenset(allow))
    if committed.unfitted:
        options.print_notes((committed.unfitted,))
    target.print_commit(
        opened, committed.commit, committed.pipeline, output, unfitted=committed.unfitted or None
    )
