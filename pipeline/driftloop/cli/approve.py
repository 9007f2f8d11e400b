"""`driftloop approve`."""

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_runtime
from driftloop.errors import LocalError
from driftloop.operations.commits.target import read_person
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.ground.runtime import follows_here
from driftloop.operations.runs.approvals import approve_hold
from driftloop.operations.runs.runs import find_pipeline_namespace, require_runtime

EXAMPLES = """\b
Examples:
  driftloop approve digits --reason "looked at the report"
  driftloop approve digits digits-4f0c1d2e3a5b --reason "figures are fine"
  driftloop approve digits --cluster --context staging --reason "looked at the report\""""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.argument("run", required=False)
@options.state
@cluster_options
@click.option(
    "--reason", required=True, help="Reason in a few words; the run and its commit carry it."
)
@options.output
def command(
    *,
    name: str,
    run: str | None,
    state: StateChoice,
    cluster: ClusterChoice,
    reason: str,
    output: str,
) -> None:
    """Approve what waits for a person in pipeline NAME, or in its RUN, which then goes on.

    `approvers` of the spec says who may. On a cluster you are whom its API server takes you for, here whom git
    or the machine names, which nothing proves.
    `driftloop rollback NAME` and `driftloop cancel RUN` end it instead.
    """
    if not reason.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    cluster.refuse_stray(namespaced=True)
    api = require_runtime(open_runtime(state, cluster))
    own = follows_here(state.folder, api)
    namespace = cluster.namespace
    if namespace is None:
        namespace = find_pipeline_namespace(state.folder, name) if own else name

    def find_who() -> str:
        if own:
            return read_person()
        user = api.find_user()
        if user is None:
            raise LocalError(
                f"{api.url} does not say who you are",
                hint="Kubernetes does from 1.28 on (SelfSubjectReview)",
            )
        return user

    hold, approval = approve_hold(api, namespace, name, run=run, find_who=find_who, reason=reason)
    options.print_progress(f"{hold.asks}: {approval.text}")
    if output != "text":
        document = {
            "pipeline": name,
            "run": hold.run,
            "workflow": hold.workflow,
            "step": hold.step,
            "who": approval.who,
            "when": approval.when,
            "reason": approval.reason,
        }
        options.print_document(document, output)
    else:
        click.echo(hold.run)
