"""`driftloop approve`."""

import json
import os

import click

from driftloop.cli import options
from driftloop.cli.completing import complete_pipeline
from driftloop.errors import LocalError
from driftloop.operations.commits.target import find_runtime, follows_here, read_person
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.approvals import approve_hold
from driftloop.operations.runs.runs import find_pipeline_namespace, require_runtime

EXAMPLES = """\b
Examples:
  driftloop approve digits --reason "looked at the report"
  driftloop approve digits digits-4f0c1d2e3a5b --reason "figures are fine"
  DRIFTLOOP_KUBERNETES_URL=http://localhost:8001 driftloop approve digits --namespace digits --reason "looked at it\""""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.argument("run", required=False)
@options.state
@click.option("--namespace", help="Namespace of the pipeline.  [default: that of NAME here]")
@click.option(
    "--reason", required=True, help="Reason in a few words; the run and its commit carry it."
)
@options.output
def command(
    *,
    name: str,
    run: str | None,
    state: StateChoice,
    namespace: str | None,
    reason: str,
    output: str,
) -> None:
    """Approve what waits for a person in pipeline NAME, or in its RUN, which then goes on.

    `approvers` of the spec says who may. On a cluster you are whom its API server takes you for
    (DRIFTLOOP_KUBERNETES_URL, such as `kubectl proxy`), here whom git or the machine names, which nothing proves.
    `driftloop rollback NAME` and `driftloop cancel RUN` end it instead.
    """
    if not reason.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    api = require_runtime(find_runtime(state.folder, os.environ))
    own = follows_here(state.folder, api)
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
    if output == "json":
        document = {
            "pipeline": name,
            "run": hold.run,
            "workflow": hold.workflow,
            "step": hold.step,
            "who": approval.who,
            "when": approval.when,
            "reason": approval.reason,
        }
        click.echo(json.dumps(document))
    else:
        click.echo(hold.run)
