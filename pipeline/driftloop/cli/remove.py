"""`driftloop remove`."""

import os

import click

from driftloop.cli import options, target
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.commits.remove import remove_pipeline
from driftloop.operations.commits.target import find_runtime
from driftloop.operations.ground.place import StateChoice

EXAMPLES = """\b
Examples:
  driftloop remove digits
  driftloop remove digits --repository https://github.com/acme/cluster.git --timeout 600"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.repository_options
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
    timeout: float,
    yes: bool,
    output: str,
) -> None:
    """Remove pipeline NAME from the cluster repository: first its Flux objects, then its files.

    The second commit waits until Flux has removed what runs. Where the runtime is not reachable (no
    `driftloop up`, no DRIFTLOOP_KUBERNETES_URL), one commit is made; run the command again once
    Flux has applied it.
    """
    options.confirm(f"Remove pipeline {name} and all that runs of it?", yes=yes)
    with target.open_repository(repository, branch, state, on) as opened:
        api = find_runtime(state.folder, os.environ, repository=opened.repository.url)
        removal = remove_pipeline(opened, api, name, timeout=timeout, report=options.print_progress)
    target.print_commit(opened, removal.commit, name, output, done=removal.done)
