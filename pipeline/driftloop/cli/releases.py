"""`driftloop releases`."""

from collections.abc import Iterator

import click

from driftloop.cli import options, target, watching
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.commits.release_history import ReleaseEntry, ReleaseHistory, read_history
from driftloop.operations.ground.place import StateChoice
from driftloop.text.tables import format_table, shorten_cell
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop releases digits
  driftloop releases digits --limit 50 -o json
  driftloop releases digits --repository https://github.com/acme/cluster.git
  driftloop history digits --watch"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Most releases listed."
)
@options.repository_options
@watching.watch
@options.output
def command(
    *,
    name: str,
    limit: int,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """List the releases of pipeline NAME from git's history, the newest first: when, why, of what,
    and which are production, previous and candidate.

    `driftloop rollback NAME --to RELEASE` makes one that was production before production again,
    as long as its model is stored; `driftloop rollback NAME --list` looks whether it is. Runs, with those that led
    to no release, are in `driftloop runs NAME`. `driftloop history` is another name of this command.
    """
    with target.open_repository(repository, branch, state, on) as opened:
        history = read_history(opened.repository, name, most=limit)
    if output != "text":
        rows = [entry.to_json() for entry in history.entries]
        options.print_document(rows, output, indent=1)
        return
    if history.entries:
        click.echo("\n".join(_format_table(history)))
    options.print_progress(
        f"{count_noun(len(history.entries), 'release')} of {name} listed, in phase {history.phase}"
    )


def _format_table(history: ReleaseHistory) -> Iterator[str]:
    rows = [("RELEASE", "IS", "COMMITTED", "ENDED", "METRICS", "DATA", "MODEL", "RUN", "CAUSE")]
    for entry in history.entries:
        rows.append(
            (
                entry.id,
                ", ".join(entry.marks) or "-",
                entry.time,
                _format_end(entry),
                _format_metrics(history, entry),
                _shorten(entry.data_digest),
                _shorten(entry.model_digest),
                entry.run or "-",
                shorten_cell(entry.cause) or "-",
            )
        )
    return format_table(rows)


def _format_end(entry: ReleaseEntry) -> str:
    if entry.taken_back is not None:
        return f"taken back {entry.taken_back}"
    if entry.left is not None:
        return f"rolled back from {entry.left}"
    if entry.outcome is None:
        return "rolling out" if "candidate" in entry.marks else "-"
    return entry.outcome


def _format_metrics(history: ReleaseHistory, entry: ReleaseEntry) -> str:
    """Return the metrics of the gates, or the first one without gates."""
    names = [name for name in history.gates if name in entry.metrics] or list(entry.metrics)[:1]
    return ", ".join(f"{name} {entry.metrics[name]:.4g}" for name in names) or "-"


def _shorten(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12] or "-"
