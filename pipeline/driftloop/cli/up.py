"""`driftloop up`: run the cluster repository on this machine."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from driftloop.cli import allowed
from driftloop.clients import cancellation
from driftloop.errors import LocalError, SpecError
from driftloop.local.ground import kinds, timeline
from driftloop.local.ground.state import State
from driftloop.local.ground.timeline import Timeline
from driftloop.local.seldon import serving
from driftloop.local.up import prepare
from driftloop.local.up.supervisor import Options, Supervisor, record

if TYPE_CHECKING:
    from driftloop.spec.model import Pipeline

CURRENT = 300.0
"""Seconds after which `up` says what is still missing, and goes on."""


def _explain(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(kinds.explanation())
        context.exit()


@click.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--state", "folder", type=click.Path(path_type=Path), help="State folder [default: .driftloop beside SPEC]"
)
@click.option(
    "--envs",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of the Python environments [default: STATE/envs]",
)
@click.option("--cluster", default="dev", show_default=True, help="Which folder under cluster/ is applied")
@click.option("--gateway-port", type=click.IntRange(1, 65535), help="Port of the gateway [default: a free one, kept]")
@click.option("--detach", is_flag=True, help="Go on in the background once everything is up")
@allowed.option
@click.option("--explain", is_flag=True, is_eager=True, expose_value=False, callback=_explain,
              help="Print what runs here, what has no effect, what is refused")  # fmt: skip
def command(  # noqa: PLR0917 - click passes by name
    spec: Path | None,
    folder: Path | None,
    envs: Path | None,
    cluster: str,
    gateway_port: int | None,
    detach: bool,
    allow: tuple[str, ...],
) -> None:
    """Run the cluster repository on this machine, without Docker or Kubernetes.

    With SPEC, registers its images, commits its rendered tree to the state folder's own bare repository, and runs that;
    without, runs what is there. Ctrl-C stops everything.
    """
    state = State.at(folder or (spec.parent if spec else Path()) / ".driftloop")
    if spec is None and not state.exists():
        raise LocalError(
            f"nothing to run: {state.root} does not exist", hint="name a spec: `driftloop up pipeline.yaml`"
        )
    state.create()
    ports = {"gateway": gateway_port} if gateway_port else {}
    if (pid := state.holder()) is not None and spec is not None:
        # what runs takes up new images and the new commit by itself
        _commit(state, spec, envs, allow)
        _say(f"already running in {state.root} by process {pid}, which applies the commit; see `driftloop status`")
        return
    if detach:
        _detached(state, sys.argv[1:])
        return
    try:
        with state.lock():
            prepare.repository(state)
            if spec is None:
                prepare.register_own(state, envs=envs, say=_say)
            else:
                _commit(state, spec, envs, allow)
            code = cancellation.run(_run(state, Options(cluster=cluster, ports=ports)))
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _commit(state: State, spec: Path, envs: Path | None, allow: tuple[str, ...]) -> None:
    """Register the spec's images and commit its tree: in processes of their own, so that this one stays small.

    What is wrong with the project is said first, before anything is built for minutes.
    """
    pipeline = _checked(spec)
    serving.check(pipeline.spec.serve)
    contexts = [(image.ref, spec.parent / image.context) for image in pipeline.spec.images.values() if image.context]
    prepare.register(state, contexts, envs=envs, say=_say)
    prepare.buckets(state, [pipeline.spec.data.uri.removeprefix("s3://").partition("/")[0]])
    _say(f"committing {spec}")
    command = [sys.executable, "-m", "driftloop.cli", "commit", str(spec), "--repository", state.repository_url]
    command += [word for code in allow for word in ("--allow", code)]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise LocalError(f"{spec} was not committed", hint="the message above says why")


def _checked(spec: Path) -> "Pipeline":
    """The spec, with the folders and functions that it names; SpecError lists all that is wrong."""
    from driftloop.operations import project
    from driftloop.plan import plan
    from driftloop.spec import InvalidSpec, read

    try:
        text = spec.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{spec} is not UTF-8 text", hint="`driftloop init` writes one to start from") from error
    document = read(text, path=str(spec))
    plan(document)
    if problems := project.check(document, spec.parent):
        raise InvalidSpec(problems)
    return document.pipeline


async def _run(state: State, options: Options) -> int:
    started = time.monotonic()
    events = Timeline(state.timeline, lambda entry: click.echo(timeline.line(entry)))
    supervisor = Supervisor(state, options, timeline=events, say=_say)
    loop = asyncio.get_running_loop()
    stopped: list[signal.Signals] = []
    tasks = asyncio.all_tasks()

    def stop(number: signal.Signals) -> None:
        if stopped:
            return
        stopped.append(number)
        for task in tasks:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        async with supervisor.running():
            missing = await supervisor.wait_current(CURRENT)
            if missing:
                _say("not everything runs: " + "; ".join(missing))
            else:
                _say(
                    f"up after {time.monotonic() - started:.1f} s; gateway http://127.0.0.1:{supervisor.ports['gateway']}"
                )
            (state.run / "up").write_text(str(os.getpid()))
            try:
                await supervisor.serve()
            finally:
                record(state, supervisor)
                (state.run / "up").unlink(missing_ok=True)
    except asyncio.CancelledError:
        if not stopped:
            raise
    return 130 if signal.SIGINT in stopped else 0


def _detached(state: State, arguments: list[str]) -> None:
    """Start the same command in a session of its own, and wait until it is up."""
    if (pid := state.holder()) is not None:
        raise LocalError(f"already running in {state.root} by process {pid}", hint="see `driftloop status`")
    log = state.logs / "up.log"
    (state.run / "up").unlink(missing_ok=True)
    with log.open("ab") as stream:
        start = stream.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "driftloop.cli", *(word for word in arguments if word != "--detach")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            while not (state.run / "up").exists():
                if process.poll() is not None:
                    sys.stderr.write(stream.read().decode(errors="replace"))
                    sys.exit(process.returncode or 1)
                sys.stderr.write(stream.read().decode(errors="replace"))
                time.sleep(0.1)
            sys.stderr.write(stream.read().decode(errors="replace"))
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def _say(text: str) -> None:
    click.echo(text, err=True)
