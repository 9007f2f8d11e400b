"""`driftloop prune`."""

import contextlib
from collections.abc import Iterator

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.runs import open_runs
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.prune import PrunePlan, carry_out, plan_prune, record_prune
from driftloop.operations.watching.windows import ask_windows
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop prune digits --dry-run
  driftloop prune digits
  driftloop prune digits --cluster --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option("--dry-run", is_flag=True, help="Only list what would go, and why.")
@options.repository_options
@cluster_options
@options.yes
@options.output
def command(
    *,
    name: str,
    dry_run: bool,
    yes: bool,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Remove what runs of pipeline NAME have left in the bucket and nothing needs any more, as
    `retention` of its spec says.

    What production, the previous release, a candidate, a run that is on, a cached output or an open
    window needs stays in any case, and so do the records of all runs.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        place = stack.enter_context(open_runs(cluster, state, name))
        windows = {} if cluster.chosen else ask_windows(state.folder, name)[0]
        open_in = (window.release for window in windows.values())
        plan = plan_prune(place, opened.repository, name, windows=open_in)
        removed = 0
        if not dry_run:
            options.confirm(
                f"Remove {plan.size} bytes of the runs of {name} (--dry-run lists them)?", yes=yes
            )
            removed = carry_out(place, opened.repository, plan, options.print_progress)
            record_prune(place, plan, removed)
    if output != "text":
        options.print_document({**plan.to_json(), "removed": removed}, output, indent=1)
        return
    click.echo("\n".join(_format_plan(plan)))
    what = "would go" if dry_run else "are gone"
    options.print_progress(
        f"{plan.size if dry_run else removed} of {plan.total} bytes of the runs of {name} {what}"
    )


def _format_plan(plan: PrunePlan) -> Iterator[str]:
    for removal in plan.removals:
        count = count_noun(len(removal.files), f"{removal.kind} file")
        yield f"goes   {removal.run}: {count}, {removal.size} bytes: {removal.why}"
    if plan.references:
        count = count_noun(len(plan.references), "reference")
        size = sum(entry.size for entry in plan.references)
        yield f"goes   {count} of detectors, {size} bytes: no release has it"
    if plan.contents:
        count = count_noun(len(plan.contents), "file")
        size = sum(entry.size for entry in plan.contents)
        yield f"goes   {count} of sources, {size} bytes: changed or gone there, and no run that stays has it"
    for release, why in plan.held.items():
        yield f"stays  {release}: {why}"
