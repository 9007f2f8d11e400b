"""One step as a process: its folder, environment, artifacts, end and outputs."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.errors import LocalError, StoreError
from driftloop.local.argo.configuration import Configuration
from driftloop.local.argo.nodes import Outputs, Phase
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.times import duration
from driftloop.local.argo_workflows import artifacts
from driftloop.local.argo_workflows.model import Container, Env, Template, Volume
from driftloop.local.argo_workflows.mounts import local, place
from driftloop.local.ground import background, child, logs
from driftloop.local.ground.expansion import expand_references
from driftloop.local.ground.state import MARK, StateFolder, build_write_error
from driftloop.local.kubelet import images

NODE_MARK = "DRIFTLOOP_NODE"
"""Environment variable on every step's process: `<namespace>/<workflow>/<node id>`."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

LARGEST_PARAMETER = 256 * 1024
"""Bytes of an output parameter, as in Argo."""


@dataclass(frozen=True)
class Step:
    """One pod: a container template with all its tags filled in."""

    namespace: str
    workflow: str
    node_id: str
    template: Template
    container: Container
    volumes: tuple[Volume, ...]
    inputs: Mapping[str, StoreLocation]
    """Places of the input artifacts; an optional one may be missing."""
    outputs: Mapping[str, StoreLocation]
    """Places of the output artifacts."""
    log: Path

    @property
    def mark(self) -> str:
        """The value of NODE_MARK."""
        return f"{self.namespace}/{self.workflow}/{self.node_id}"


@dataclass(frozen=True)
class Outcome:
    """End of a pod."""

    phase: Phase
    message: str = ""
    outputs: Outputs = field(default_factory=Outputs)


async def run(
    step: Step,
    *,
    state: StateFolder,
    configuration: Configuration,
    store: ObjectStore | None,
    transfers: asyncio.Semaphore,
    environment: Mapping[str, str],
) -> Outcome:
    """Run a step to its end; `transfers` bounds the steps that fetch or send at once.

    Cancelling kills all it started and stops its transfers. Errors of the step and of its
    surroundings are in the Outcome.
    """
    folder = state.work / "steps" / f"{step.namespace}.{step.workflow}" / step.node_id
    try:
        container = step.container
        image = images.resolve_image(state, container.image)
        mounts = _folders(step, folder)
        env = _environment(container.env, configuration)
        async with transfers:
            await background.run_in_thread(
                lambda stop: artifacts.fetch(
                    step.template, step.inputs, mounts, _until(store, stop)
                )
            )
        argv = [expand_references(word, env) for word in (*container.command, *container.args)]
        argv = [local(word, mounts) for word in argv]
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        base = {**image.build_environment(), "TMPDIR": str(temporary), **environment}
        process = _start(
            [image.find_program(argv[0]), *argv[1:]],
            env={
                **base,
                **{name: local(value, mounts) for name, value in env.items()},
                MARK: str(state.root),
                NODE_MARK: step.mark,
            },
            cwd=image.app,
            log=step.log,
        )
        seconds = _deadline(step.template)
        try:
            code = await _wait(process, step.log, seconds)
        finally:
            await asyncio.shield(child.end_session(process, grace=GRACE))
        if code is None:
            message = "Pod was active on the node longer than the specified deadline"
            return Outcome("Failed", f"{message} ({seconds:g} s)")
        if code != 0:
            message = _failure(code, step.log)
            async with transfers:
                message += await background.run_in_thread(
                    lambda stop: artifacts.rescue(
                        step.template, step.outputs, mounts, _until(store, stop)
                    )
                )
            return Outcome("Failed", message, Outputs(exit_code=_exit_code(code)))
        parameters = _parameters(step, mounts)
        async with transfers:
            sent = await background.run_in_thread(
                lambda stop: artifacts.send(
                    step.template, step.outputs, mounts, _until(store, stop)
                )
            )
        return Outcome("Succeeded", outputs=Outputs(parameters, sent, 0))
    except (LocalError, StoreError) as error:
        hint = "" if error.hint is None else f" ({error.hint})"
        return Outcome("Error", f"{error.message}{hint}")
    except OSError as error:
        return Outcome("Error", build_write_error(folder, error).message)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until(store: ObjectStore | None, stop: threading.Event) -> ObjectStore | None:
    return None if store is None else store.until_stopped(stop)


def kill_leftovers(state: StateFolder) -> int:
    """Kill the steps that an earlier runner left; return the number of their processes."""
    state_mark, node_mark = f"{MARK}={state.root}".encode(), f"{NODE_MARK}=".encode()
    killed = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            variables = Path(entry.path, "environ").read_bytes().split(b"\0")
            if state_mark in variables and any(
                variable.startswith(node_mark) for variable in variables
            ):
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        except OSError:
            # gone, or another user's
            continue
    return killed


def _folders(step: Step, folder: Path) -> dict[str, Path]:
    """Make an empty folder for each mount path; return them, the longest paths first."""
    shutil.rmtree(folder, ignore_errors=True)
    volumes = {volume.name for volume in step.volumes}
    folders: dict[str, Path] = {}
    for mount in step.container.volume_mounts:
        if mount.name not in volumes:
            raise NotUnderstoodError(f"volume `{mount.name}` of {mount.mount_path} is not defined")
        target = folder / "volumes" / mount.name
        target.mkdir(parents=True, exist_ok=True)
        folders[mount.mount_path.rstrip("/")] = target
    folder.mkdir(parents=True, exist_ok=True)
    return dict(sorted(folders.items(), key=lambda item: -len(item[0])))


def _parameters(step: Step, mounts: Mapping[str, Path]) -> dict[str, str]:
    values: dict[str, str] = {}
    for parameter in step.template.outputs.parameters:
        source = parameter.value_from
        file = place(source.path, mounts, f"output parameter {parameter.name}")
        if file.is_file():
            if file.stat().st_size > LARGEST_PARAMETER:
                raise LocalError(
                    f"output parameter {parameter.name} has more than {LARGEST_PARAMETER // 1024} KiB",
                    hint="pass it as an artifact",
                )
            values[parameter.name] = file.read_text().removesuffix("\n")
        else:
            raise LocalError(
                f"output parameter {parameter.name}: the step did not write {source.path}"
            )
    return values


def _environment(entries: Iterable[Env], configuration: Configuration) -> dict[str, str]:
    env: dict[str, str] = {}
    for entry in entries:
        env[entry.name] = expand_references(_value(entry, configuration), env)
    return env


def _value(entry: Env, configuration: Configuration) -> str:
    source = entry.value_from
    if source is None:
        return entry.value
    if source.config_map_key_ref is not None:
        return configuration.config_key(source.config_map_key_ref)
    if source.secret_key_ref is not None:
        return configuration.secret_key(source.secret_key_ref)
    raise NotUnderstoodError(f"env {entry.name}: valueFrom is empty")


def _start(
    argv: list[str], *, env: Mapping[str, str], cwd: Path, log: Path
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        try:
            return child.spawn_child(argv, env=env, cwd=cwd, log=out)
        except OSError as error:
            raise LocalError(f"{argv[0]} can't be started: {error.strerror or error}") from error


async def _wait(process: subprocess.Popen[bytes], log: Path, seconds: float | None) -> int | None:
    """Return the exit code (negative: the signal), or None when `seconds` are over first."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        try:
            async with asyncio.timeout(5.0 if end is None else min(5.0, end - time.monotonic())):
                return await child.wait_exited(process)
        except TimeoutError:
            logs.bound_log(log)
    return None


def _deadline(template: Template) -> float | None:
    """Return the seconds a pod may run."""
    text = template.active_deadline_seconds
    return None if text is None else duration(text)


def _failure(code: int, log: Path) -> str:
    """Return Argo's message, with the step's last line in place of the termination message."""
    last = logs.last_line(log)
    if code < 0:
        name = signal.Signals(-code).name
        message = f"Error (exit code {_exit_code(code)}): killed by {name}"
        return message + (f" after: {last}" if last else "")
    return f"Error (exit code {code})" + (f": {last}" if last else "")


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code
