"""`driftloop up`."""

import os
import re
import sys
from pathlib import Path

import click

from driftloop.cli import allowed, options
from driftloop.clients import cancellation
from driftloop.contract.trees import SPEC
from driftloop.extras import require_extra
from driftloop.local.flux import supported
from driftloop.local.ground import kinds, timeline
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up.supervisor import UpOptions
from driftloop.operations.ground.place import choose_new_state
from driftloop.operations.platform.up import (
    commit_project,
    open_state,
    prepare_state,
    run_platform,
    start_detached,
)
from driftloop.operations.project.code import bump_tags

EXAMPLES = """\b
Examples:
  driftloop up
  driftloop up pipeline.yaml
  driftloop up pipeline.yaml --detach --gateway-port 8080
  driftloop up --state .driftloop"""


def _print_kinds(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{kinds.explain_kinds()}\n\n{supported.explain_fields()}")
        context.exit()


@click.command(epilog=EXAMPLES)
@click.argument(
    "spec", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="State folder.  [default: the nearest .driftloop beside or above SPEC, else a new one in the "
    "current folder, or beside SPEC when that is elsewhere]",
)
@click.option(
    "--envs",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of the Python environments.  [default: STATE/envs]",
)
@click.option(
    "--cluster", default="dev", show_default=True, help="Folder below cluster/ that is applied."
)
@click.option(
    "--gateway-port",
    type=click.IntRange(1, 65535),
    help="Port of the gateway.  [default: a free one, the same each time]",
)
@click.option(
    "--notify",
    metavar="URL",
    envvar="DRIFTLOOP_NOTIFY_URL",
    help="Webhook that hears of alarms, refusals, failures, promotions and what waits for a person, as JSON.  "
    "[default: DRIFTLOOP_NOTIFY_URL]",
)
@click.option("--detach", is_flag=True, help="Go on in the background once everything is up.")
@click.option(
    "--bump",
    is_flag=True,
    help="First write the next tag into SPEC for each image whose code has changed.",
)
@allowed.option
@click.option(
    "--explain",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_kinds,
    help="Print which kinds run here, which have no effect and which are refused.",
)
def command(
    *,
    spec: Path | None,
    state: Path | None,
    envs: Path | None,
    cluster: str,
    gateway_port: int | None,
    notify: str | None,
    detach: bool,
    bump: bool,
    allow: tuple[str, ...],
) -> None:
    """Run the cluster repository on this machine, without Docker or Kubernetes.

    With SPEC (pipeline.yaml of this folder, when there is one), register its images, commit its
    rendered tree to the state folder's own bare repository, and run that; without, and with
    --state alone, run what the repository holds. Ctrl-C stops everything.
    """
    require_extra("local", "`driftloop up`")
    if notify is not None and not re.fullmatch(r"https?://[^/\s]+\S*", notify):
        raise click.BadParameter(
            "must be an address such as https://hooks.example.org/loop", param_hint="--notify"
        )
    is_found = spec is None and state is None and Path(SPEC).is_file()
    if is_found:
        spec = Path(SPEC)
        options.print_progress(f"running {spec} of this folder")
    folder = open_state(choose_new_state(state, spec=spec, environment=os.environ), spec)
    if spec is not None and bump:
        bump_tags(folder, spec, options.print_progress)
    if spec is not None and (pid := folder.find_holder()) is not None:
        # the running supervisor picks up new images and the new commit by itself
        commit_project(folder, spec, envs=envs, allow=allow, report=options.print_progress)
        options.print_progress(
            f"already running in {folder.root} by process {pid}, which applies the commit; see `driftloop status`"
        )
        return
    if detach:
        # told the spec, the process in the background does not say again that it was found
        given = [*sys.argv[1:], SPEC] if is_found else sys.argv[1:]
        arguments = [word for word in given if word != "--detach"]
        code = start_detached(folder, arguments, lambda text: click.echo(text, nl=False, err=True))
        if code != 0:
            sys.exit(code)
        return
    ports = {"gateway": gateway_port} if gateway_port else {}
    events = EventTimeline(folder.timeline, lambda entry: click.echo(timeline.format_entry(entry)))
    try:
        with folder.hold_lock():
            prepare_state(
                folder,
                spec,
                envs=envs,
                allow=allow,
                timeline=events,
                report=options.print_progress,
            )
            running = run_platform(
                folder,
                UpOptions(cluster=cluster, ports=ports, notify=notify),
                timeline=events,
                report=options.print_progress,
            )
            code = cancellation.run(running)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
