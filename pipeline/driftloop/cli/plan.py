"""`driftloop plan`."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from driftloop.cli import allowed, impacts, options, pinning, target, terminal
from driftloop.contract.layout import CLUSTER
from driftloop.operations.commits.impact import refuse_surprises
from driftloop.operations.commits.needed import list_needed_secrets
from driftloop.operations.commits.preview import (
    preview_commit,
    read_committed,
    read_name,
    rename_cluster,
)
from driftloop.operations.commits.render import choose_cluster
from driftloop.operations.ground import files, place
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.project.code import (
    CodeChange,
    find_code_changes,
    refuse_changed_code,
    refuse_local,
)
from driftloop.operations.project.project import validate_project
from driftloop.operations.watching.budgets import describe_budgets
from driftloop.plan import make_plan
from driftloop.plan.kept import settle_kept
from driftloop.platform import PlatformFile, default_platform
from driftloop.spec import Document

EXAMPLES = """\b
Examples:
  driftloop plan pipeline.yaml --repository https://github.com/acme/cluster.git
  driftloop plan pipeline.yaml --into ../cluster --diff
  driftloop plan pipeline.yaml --into ../cluster --output markdown > comment.md"""


@click.command(epilog=EXAMPLES)
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--into",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Compare with a working copy of the cluster repository.",
)
@options.repository_place
@options.cluster
@click.option(
    "--against",
    metavar="CLUSTER",
    help="Compare with what another cluster of the repository runs: what SPEC would change of that here.",
)
@click.option("--diff", "with_diff", is_flag=True, help="Also print the diff of every file.")
@allowed.option
@pinning.add_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", "markdown"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
def command(
    *,
    spec: Path,
    folder: Path | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    cluster: str | None,
    against: str | None,
    with_diff: bool,
    allow: tuple[str, ...],
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Preview what a commit of SPEC would do: settings, objects, effects on what runs. Writes
    nothing.

    Compares with --into, --repository, or the repository of the state folder; without any of
    them, everything is new. With --against, with what another cluster runs: its release as SPEC
    has it on this one. Exit code 1 when the change does something that an edit of a spec
    seldom intends, such as leaving production without its detector, unless --allow names it; also
    when the code beside SPEC has changed and its tag has not. With --pin, preview a commit with
    --pin.
    """
    text = pinning.pin_specs_now([spec], mirrors)[0].text if pin else files.read_spec_text(spec)
    project = validate_project(spec, text)
    options.print_notes(project.notes)
    name = read_name(spec)
    existing, platform = _read_existing(folder, repository, branch, state, name, cluster=cluster)
    if against is not None:
        if against == platform.cluster:
            raise click.UsageError(f"--against is `{against}`, the cluster that SPEC is for")
        other, _ = _read_existing(folder, repository, branch, state, name, cluster=against)
        existing = rename_cluster(other, against, platform.cluster)
    preview = preview_commit(spec, text, existing, platform=platform)
    changes = _find_code_changes(folder, repository, state, project.document, spec.parent)
    if changes:
        effects = (*preview.impact.effects, *(change.text for change in changes))
        preview = replace(preview, impact=replace(preview.impact, effects=effects))
    kept = settle_kept(project.document.pipeline.spec, platform).values
    needed = list_needed_secrets(text, platform)
    budgets = tuple(describe_budgets(make_plan(project.document, platform=platform)))
    if output in ("json", "yaml"):
        document = impacts.build_document(name, preview.impact, preview.changes)
        others: dict[str, Any] = {"secrets": [vars(each) for each in needed]} if needed else {}
        if kept:
            others["kept"] = [vars(each) for each in kept]
        if preview.unfitted:
            others["unfitted"] = preview.unfitted
        options.print_document({**document, "falseAlarms": budgets, **others}, output)
    elif output == "markdown":
        click.echo(impacts.format_markdown(name, preview.impact, preview.changes))
    else:
        secrets = tuple(secret.text for secret in needed)
        for line in impacts.format_lines(
            preview.impact,
            budgets if preview.changes else (),
            kept=[each.text for each in kept],
            secrets=secrets,
        ):
            click.echo(line)
        for change in preview.changes if with_diff else ():
            terminal.print_diff(change)
        click.echo(f"{name}: {impacts.count_changes(preview.changes)}", err=True)
    if preview.unfitted:
        options.print_notes((preview.unfitted,))
    refuse_surprises(preview.impact, frozenset(allow))
    refuse_changed_code(changes)


def _find_code_changes(
    folder: Path | None,
    repository: str | None,
    state: StateChoice,
    document: Document,
    beside: Path,
) -> tuple[CodeChange, ...]:
    """Return what a commit to the state folder's own repository would register or refuse."""
    own = repository in (None, state.folder.repository_url) and folder is None
    if not own or not state.folder.exists():
        return ()
    refuse_local(state.folder, document)
    return find_code_changes(state.folder, document, beside)


def _read_existing(
    folder: Path | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    name: str,
    *,
    cluster: str | None,
) -> tuple[Mapping[str, str], PlatformFile]:
    if folder is not None:
        platform = choose_cluster(folder, cluster)
        layout = platform.layout
        tree = files.read_platform(folder, layout) | files.read_tree(folder, name, layout)
        return tree, platform
    if repository is None and place.is_nowhere(state, os.environ):
        options.print_progress(
            f"nothing to compare with, everything is new: `{state.folder.root}` does not exist; name "
            "the cluster repository with --repository, --into or --state"
        )
        return {}, default_platform(cluster or CLUSTER)
    with target.open_repository(repository, branch, state, cluster) as opened:
        return read_committed(opened, name)
