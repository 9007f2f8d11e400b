"""`driftloop rollback`."""

import contextlib
import os

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.rollouts.rollback import (
    ClusterStore,
    EarlierVersion,
    is_rollback,
    list_earlier_versions,
    open_store,
    roll_back,
)

EXAMPLES = """\b
Examples:
  driftloop rollback digits
  driftloop rollback digits --list
  driftloop rollback digits --to r1a2b3c4d
  driftloop rollback digits --cluster --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option("--to", metavar="RELEASE", help="Release id to restore.  [default: the previous one]")
@click.option("--list", "lists", is_flag=True, help="List the releases that can be restored.")
@click.option("--unchecked", is_flag=True, help="Do not look whether it is there and answers.")
@cluster_options
@options.repository_options
@options.output
def command(
    *,
    name: str,
    to: str | None,
    lists: bool,
    unchecked: bool,
    cluster: ClusterChoice,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """Restore the previous version of pipeline NAME; during a rollout, end it and keep
    production.

    The files of the version are looked at first, in the local store, in that of a cluster
    (--cluster), or with AWS_ENDPOINT_URL and keys in the environment. With a state folder its
    server is started, too, and asked rows of its rehearsal; for a cluster it is not, since the
    server's image is not on this machine. A version whose model is gone, is another one or does
    not answer is refused, and those that can be restored are listed.
    """
    cluster.refuse_stray()
    looked = (
        ClusterStore(cluster.kubeconfig, cluster.context, cluster.namespace)
        if cluster.chosen
        else None
    )
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        store = None
        if not unchecked:
            opening = open_store(
                opened, name, state=state.folder, cluster=looked, environment=os.environ
            )
            store = stack.enter_context(opening)
        if lists:
            _print_versions(list_earlier_versions(opened, name, store), output)
            return
        own = opened.repository.url == state.folder.repository_url and state.folder.exists()
        moved = roll_back(
            opened,
            name,
            to=to,
            store=store,
            state=state.folder if own and not cluster.chosen else None,
            unchecked=unchecked,
            environment=os.environ,
            report=options.print_progress,
        )
    if is_rollback(moved):
        options.print_progress(
            f"alarms and schedules of {name} start nothing for the time of `retrain.hold`, and no run makes that version again "
            f"from the same data; `driftloop halt {name}` prevents runs until `driftloop resume {name}`"
        )
    production = moved.release.production
    target.print_commit(
        opened, moved.commit, name, output, production=production.id if production else None
    )


def _print_versions(versions: tuple[EarlierVersion, ...], output: str) -> None:
    if output != "text":
        rows = [
            {
                "release": item.version.id,
                "time": item.time,
                "problem": item.problem,
                "checked": item.checked,
            }
            for item in versions
        ]
        options.print_document(rows, output)
        return
    if not versions:
        options.print_progress("no other release was production")
    for item in versions:
        usable = "can be restored" if item.checked else "not checked whether its model is there"
        click.echo(f"{item.version.id}  {item.time}  {item.problem or usable}")
