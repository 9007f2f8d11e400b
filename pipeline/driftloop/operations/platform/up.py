"""Run the cluster repository on this machine: prepare the state folder, supervise, or start in
the background."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground.addresses import BRANCH
from driftloop.local.ground.files import clear_place
from driftloop.local.ground.logs import open_log
from driftloop.local.ground.state import StateFolder, replace_file
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up import prepare
from driftloop.local.up.repair import repair_state
from driftloop.local.up.supervisor import Supervisor, UpOptions, write_last_status
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform import console_address

CURRENT = 300.0
"""Seconds after which `up` reports what is not ready, and goes on."""
POLL = 0.1

Report = Callable[[str], None]


def open_state(choice: StateChoice, spec: Path | None) -> StateFolder:
    """Return the state folder, made if need be; LocalError when there is neither a spec nor a
    state folder."""
    state = choice.folder
    if spec is None and not state.exists():
        raise LocalError(
            f"state folder `{state.root}` does not exist",
            hint="name a spec: `driftloop up pipeline.yaml`",
        )
    state.create_folders()
    return state


def prepare_state(
    state: StateFolder,
    spec: Path | None,
    *,
    envs: Path | None,
    allow: Sequence[str],
    timeline: EventTimeline,
    report: Report,
) -> None:
    """Repair what is damaged, make the cluster repository, and register the images of what is to
    run; with a spec, commit it."""
    repair_state(state, timeline)
    prepare.prepare_repository(state)
    if spec is None:
        prepare.register_own(state, envs=envs, say=report)
    else:
        commit_project(state, spec, envs=envs, allow=allow, report=report)


def commit_project(
    state: StateFolder, spec: Path, *, envs: Path | None, allow: Sequence[str], report: Report
) -> None:
    """Register the images of a spec and commit its tree, in processes of their own: this one
    stays small.

    The project is validated first: building environments takes minutes. LocalError when the
    commit fails.
    """
    from driftloop.operations.project.code import refuse_local
    from driftloop.operations.project.project import validate_project
    from driftloop.plan.images import ALIBI, list_images

    document = validate_project(spec).document
    refuse_local(state, document)
    pipeline = document.pipeline
    contexts = [
        (image.ref, spec.parent / image.context)
        for image in pipeline.spec.images.values()
        if image.context
    ]
    adapted = ALIBI in list_images(pipeline)
    prepare.register_images(state, contexts, adapted=adapted, envs=envs, say=report)
    prepare.create_buckets(state, [pipeline.spec.data.uri.removeprefix("s3://").partition("/")[0]])
    report(f"committing {spec} to branch {BRANCH} of {state.repository_url}")
    command = [
        sys.executable,
        "-m",
        "driftloop.cli",
        "commit",
        str(spec),
        "--repository",
        state.repository_url,
    ]
    command += [word for code in allow for word in ("--allow", code)]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise LocalError(f"{spec} was not committed", hint="the message above says why")


async def run_platform(
    state: StateFolder, options: UpOptions, *, timeline: EventTimeline, report: Report
) -> int:
    """Run until a signal or an error; return the exit code."""
    started = time.monotonic()
    supervisor = Supervisor(state, options, timeline=timeline, say=report)
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []
    tasks = asyncio.all_tasks()

    def cancel_tasks(number: signal.Signals) -> None:
        if received:
            return
        received.append(number)
        for task in tasks:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, cancel_tasks, number)
    try:
        async with supervisor.run_platform():
            missing = await supervisor.wait_current(CURRENT)
            if missing:
                report("not ready: " + "; ".join(missing))
            else:
                gateway = f"http://127.0.0.1:{supervisor.ports['gateway']}"
                report(f"up after {time.monotonic() - started:.1f} s; gateway {gateway}")
            if supervisor.start_console():
                report(f"console {console_address.read_address(state)}")
            replace_file(_up_file(state), str(os.getpid()))
            try:
                await supervisor.serve_forever()
            finally:
                write_last_status(state, supervisor)
                _up_file(state).unlink(missing_ok=True)
    except asyncio.CancelledError:
        if not received:
            raise
    return 130 if signal.SIGINT in received else 0


def start_detached(state: StateFolder, arguments: Sequence[str], write: Report) -> int:
    """Run `driftloop` with these arguments in a session of its own, until it is up; return 0
    then.

    `write` gets its output, and the exit code is returned when it ends before. LocalError when
    `up` runs already.
    """
    if (pid := state.find_holder()) is not None:
        raise LocalError(
            f"already running in {state.root} by process {pid}", hint="see `driftloop status`"
        )
    log = state.logs / "up.log"
    clear_place(_up_file(state))
    _up_file(state).unlink(missing_ok=True)
    with open_log(log) as stream:
        start = stream.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "driftloop.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            while not _up_file(state).exists():
                ended = process.poll() is not None
                write(stream.read().decode(errors="replace"))
                if ended:
                    return process.returncode or 1
                time.sleep(POLL)
            write(stream.read().decode(errors="replace"))
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    return 0


def _up_file(state: StateFolder) -> Path:
    """Return the file that exists while everything is up."""
    return state.run / "up"
