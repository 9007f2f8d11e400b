"""`driftloop remove`."""

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_runtime
from driftloop.operations.commits.remove import remove_pipeline
from driftloop.operations.ground.place import StateChoice

EXAMPLES = """\b
Examples:
  driftloop remove digits
  driftloop remove digits --repository https://github.com/acme/cluster.git --timeout 600
  driftloop remove digits --cluster --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.repository_options
@cluster_options
@click.option(
    "--timeout",
    default=300.0,
    show_default=True,
    help="Seconds to wait until Flux has applied the first commit.",
)
@options.yes
@options.output
def command(
    *,
    name: str,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    timeout: float,
    yes: bool,
    output: str,
) -> None:
    """Remove pipeline NAME from the cluster repository: first its Flux objects, then its files.

    The second commit waits until Flux has removed what runs. Where the runtime is not reachable (no
    `driftloop up`, no --cluster), one commit is made; run the command again once Flux has applied it.
    """
    cluster.refuse_stray()
    options.confirm(f"Remove pipeline {name} and all that runs of it?", yes=yes)
    with target.open_repository(repository, branch, state, on) as opened:
        api = open_runtime(state, cluster, repository=opened.repository.url)
        removal = remove_pipeline(opened, api, name, timeout=timeout, report=options.print_progress)
    target.print_commit(opened, removal.commit, name, output, done=removal.done)
