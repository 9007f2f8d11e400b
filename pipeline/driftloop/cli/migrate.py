"""`driftloop migrate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from driftloop.cli import options, terminal
from driftloop.operations.project.linting import FILE, choose_settings
from driftloop.operations.project.migrate import Migration, plan_migration, write_migration
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop migrate . --dry-run
  driftloop migrate clusters/prod apps
  driftloop migrate . -o json > left.json"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option("--dry-run", is_flag=True, help="Write nothing; print the diff.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Settings file.  [default: {FILE} of the first PATH's folder or the nearest above it]",
)
@options.output
def command(*, paths: tuple[Path, ...], dry_run: bool, config: Path | None, output: str) -> None:
    """Rewrite in the YAML of each PATH the API versions and fields that no longer exist: what `driftloop validate`
    reports as DL111 and DL112, of Kubernetes, Flux, Knative, Argo, cert-manager, with references to them.

    Edits are made in place, so that comments, order and quotes stay. Where the current version has other fields, or
    somebody has to choose (NATS Streaming, Istio's operator), nothing is rewritten and the reason is told.

    Exit code 1 when something is left for a person.
    """
    migration = plan_migration(paths, choose_settings(paths, config))
    if not dry_run:
        write_migration(migration)
    if output != "text":
        options.print_document(_to_json(migration, written=not dry_run), output, indent=1)
    else:
        if dry_run:
            for change in migration.changes:
                terminal.print_diff(change)
        else:
            for path, rewrite in migration.rewrites:
                click.echo(f"{path}:{rewrite.line}: {rewrite.subject}: {rewrite.what}")
        for line in _list_left(migration):
            click.echo(line, err=dry_run)
        verb = "would be rewritten" if dry_run else "rewritten"
        options.print_progress(
            f"{count_noun(migration.files, 'file')} read: {len(migration.rewrites)} {verb} in "
            f"{count_noun(len(migration.changes), 'file')}, {len(migration.left)} left"
        )
    if migration.left:
        raise click.exceptions.Exit(1)


def _list_left(migration: Migration) -> Iterator[str]:
    for each in migration.left:
        yield f"left: {each.finding.place} {each.finding.code}: {each.finding.text}"
        yield f"    why: {each.reason}"


def _to_json(migration: Migration, *, written: bool) -> dict[str, Any]:
    return {
        "written": written,
        "files": migration.files,
        "changed": [change.path for change in migration.changes],
        "rewritten": [
            {"path": path, "line": each.line, "subject": each.subject, "what": each.what}
            for path, each in migration.rewrites
        ],
        "left": [
            {
                "path": each.finding.path,
                "line": each.finding.line,
                "code": each.finding.code,
                "subject": each.finding.subject,
                "what": each.finding.what,
                "reason": each.reason,
            }
            for each in migration.left
        ],
    }
