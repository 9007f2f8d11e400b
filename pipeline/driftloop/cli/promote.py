"""`driftloop promote`."""

import click

from driftloop.cli import allowed, options, target
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.commits.releases import TransitionResult
from driftloop.operations.commits.target import CommitTarget, choose_branch, choose_clusters
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.rollouts.carrying import carry_release, read_proven
from driftloop.operations.rollouts.rollout import promote_candidate

EXAMPLES = """\b
Examples:
  driftloop promote digits
  driftloop promote digits --repository https://github.com/acme/cluster.git
  driftloop promote digits --to production
  driftloop promote digits --from staging --to production --to-branch promote-digits"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "--to",
    metavar="CLUSTER",
    help="Promote what another cluster has in production to this one: the name in its platform file.",
)
@click.option(
    "--from",
    "source",
    metavar="CLUSTER",
    help="With --to: the cluster that has it in production.  [default: the only other one]",
)
@click.option(
    "--to-branch",
    metavar="BRANCH",
    help="With --to: commit to a new branch of this name, for a review.",
)
@click.option(
    "--keep-spec",
    is_flag=True,
    help="With --to: keep the spec that is there, in place of the one that was proved.",
)
@click.option(
    "--copied",
    is_flag=True,
    help="With --to: the model's files are in this cluster's object store, too, under the same address.",
)
@allowed.option
@options.repository_options
@options.output
def command(
    *,
    name: str,
    to: str | None,
    source: str | None,
    to_branch: str | None,
    keep_spec: bool,
    copied: bool,
    allow: tuple[str, ...],
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """Promote a version of pipeline NAME: make the candidate of its rollout production, without
    waiting for its analysis.

    With --to, promote what another cluster has in production to a cluster with releases of its
    own. One commit carries that version with its digests, the spec that it was proved with, and
    what was measured of it. As the first release there it is production. Else it is the candidate,
    in shadow: its pods start beside those of production and get a copy of the traffic, and
    `driftloop promote NAME --on CLUSTER` makes it production once they are ready.
    """
    if to is None:
        if source or to_branch or keep_spec or copied or allow:
            raise click.UsageError(
                "--from, --to-branch, --keep-spec, --copied and --allow need --to"
            )
        with target.open_repository(repository, branch, state, on) as opened:
            moved = promote_candidate(opened, name)
        _print_promotion(opened, name, moved, output)
        return
    if on is not None:
        raise click.UsageError("--on and --to both name the cluster: give one of them")
    with target.open_repository(repository, branch, state, to) as opened:
        proving = choose_clusters(opened, source, to)
        into = opened if to_branch is None else choose_branch(opened, to_branch)
        carried = carry_release(
            read_proven(proving, name),
            into,
            keeps_spec=keep_spec,
            is_copied=copied,
            allow=frozenset(allow),
        )
    for note in carried.notes if carried.result.commit is not None else ():
        options.print_progress(f"note: {note}")
    if carried.result.release.candidate is not None and to_branch is None:
        options.print_progress(
            f"{carried.version.id} is the candidate of {to}: once its pods are ready, `driftloop promote {name} --on {to}`"
        )
    _print_promotion(into, name, carried.result, output)


def _print_promotion(opened: CommitTarget, name: str, moved: TransitionResult, output: str) -> None:
    production = moved.release.production
    target.print_commit(
        opened, moved.commit, name, output, production=production.id if production else None
    )
