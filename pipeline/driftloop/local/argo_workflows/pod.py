"""One step as a process: its folder, environment, artifacts, end and outputs."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.runs import is_progress
from driftloop.errors import LocalError, StoreError
from driftloop.local.argo.configuration import Configuration
from driftloop.local.argo.nodes import Outputs, Phase
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.times import duration
from driftloop.local.argo_workflows import artifacts
from driftloop.local.argo_workflows.model import Container, Env, Template, Volume
from driftloop.local.argo_workflows.mounts import place
from driftloop.local.ground import background, child, logs
from driftloop.local.ground.expansion import expand_references
from driftloop.local.ground.mounts import replace_mounts
from driftloop.local.ground.state import MARK, StateFolder, build_write_error, free_port
from driftloop.local.kubelet import images
from driftloop.local.kubelet.ports import localize_variable, localize_word
from driftloop.local.kubelet.values import write_files

NODE_MARK = "DRIFTLOOP_NODE"
"""Environment variable on every step's process: `<namespace>/<workflow>/<node id>`."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

KILLED = (137, 143)
"""Exit codes of a sidecar that was ended; Argo takes them for its own doing."""

PROGRESS_NAME = "progress"
PROGRESS_LENGTH = 40
PROGRESS_LOOK = 2.0
"""Seconds between two looks at how far a step is."""

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
    note_progress: Callable[[str], Awaitable[None]],
) -> Outcome:
    """Run a step to its end; `transfers` bounds the steps that fetch or send at once, `note_progress`
    hears how far the step says that it is.

    Cancelling kills all it started and stops its transfers. Errors of the step and of its
    surroundings are in the Outcome.
    """
    folder = state.work / "steps" / f"{step.namespace}.{step.workflow}" / step.node_id
    try:
        shutil.rmtree(folder, ignore_errors=True)
        sources = _find_sources(step, folder, configuration)
        mounts = _folders(step, step.container, sources)
        ports = _choose_ports(step)
        build = _ProcessBuilder(step, folder, sources, ports, state, configuration, environment)
        programs = [
            build.program(container) for container in (step.container, *step.template.sidecars)
        ]
        async with transfers:
            await background.run_in_thread(
                lambda stop: artifacts.fetch(
                    step.template, step.inputs, mounts, _until(store, stop)
                )
            )
        watching = asyncio.create_task(_watch_progress(folder / PROGRESS_NAME, note_progress))
        try:
            end = await _run_containers(programs[0], programs[1:], _deadline(step.template))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if isinstance(end, Outcome):
            if end.outputs.exit_code is None:
                return end
            async with transfers:
                rescued = await background.run_in_thread(
                    lambda stop: artifacts.rescue(
                        step.template, step.outputs, mounts, _until(store, stop)
                    )
                )
            return replace(end, message=end.message + rescued)
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


@dataclass(frozen=True)
class _Program:
    """One container as a process to start."""

    name: str
    argv: list[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path


@dataclass(frozen=True)
class _ProcessBuilder:
    """Everything that the processes of one pod share."""

    step: Step
    folder: Path
    sources: Mapping[str, Path]
    """Volume -> the folder that stands for it."""
    ports: Mapping[int, int]
    state: StateFolder
    configuration: Configuration
    environment: Mapping[str, str]

    def program(self, container: Container) -> _Program:
        """Resolve image, environment, paths and ports of a container."""
        step = self.step
        image = images.resolve_image(self.state, container.image)
        mounts = _folders(step, container, self.sources)
        env = _environment(container, self.configuration)
        words = [expand_references(word, env) for word in (*container.command, *container.args)]
        argv = [localize_word(replace_mounts(word, mounts), self.ports) for word in words]
        own = container is step.container
        variables = dict(self.environment)
        if own:
            # a server's sockets would have too long a path there
            temporary = self.folder / "tmp"
            temporary.mkdir(exist_ok=True)
            variables["TMPDIR"] = str(temporary)
            variables["ARGO_PROGRESS_FILE"] = str(self.folder / PROGRESS_NAME)
        return _Program(
            container.name,
            [image.find_program(argv[0]), *argv[1:]],
            {
                **image.build_environment(),
                **variables,
                **{
                    name: localize_variable(name, replace_mounts(value, mounts), self.ports)
                    for name, value in env.items()
                },
                MARK: str(self.state.root),
                NODE_MARK: step.mark,
            },
            image.app,
            step.log if own else step.log.with_suffix(f".{container.name}.log"),
        )


def _choose_ports(step: Step) -> dict[int, int]:
    """Return a free port for each that a sidecar listens on."""
    ports: dict[int, int] = {}
    for sidecar in step.template.sidecars:
        for port in sidecar.ports:
            ports[port.container_port] = free_port(taken=ports.values())
    return ports


async def _run_containers(
    main: _Program, sidecars: list[_Program], seconds: float | None
) -> Outcome | None:
    """Run the container, and its sidecars until it has ended; None when all went well.

    As in Argo a sidecar that fails by itself fails the pod; one that is ended with it does not.
    """
    beside: list[tuple[_Program, subprocess.Popen[bytes]]] = []
    try:
        for sidecar in sidecars:
            beside.append((sidecar, _start(sidecar)))
        process = _start(main)
        try:
            code = await _wait(process, main.log, seconds)
        finally:
            await asyncio.shield(child.end_session(process, grace=GRACE))
        early = [(sidecar, started.poll()) for sidecar, started in beside]
    finally:
        ends = (child.end_session(started, grace=GRACE) for _, started in beside)
        await asyncio.shield(asyncio.gather(*ends))
    if code is None:
        message = "Pod was active on the node longer than the specified deadline"
        return Outcome("Failed", f"{message} ({seconds:g} s)")
    if code != 0:
        return Outcome("Failed", _failure(code, main.log), Outputs(exit_code=_exit_code(code)))
    for sidecar, ended in early:
        if ended is not None and _exit_code(ended) not in (0, *KILLED):
            message = f"sidecar {sidecar.name}: {_failure(ended, sidecar.log)}"
            return Outcome("Failed", message, Outputs(exit_code=0))
    return None


async def _watch_progress(file: Path, note: Callable[[str], Awaitable[None]]) -> None:
    """Tell how far a step is by its own file, for ever; as in Argo, what is no progress is nothing."""
    told = ""
    while True:
        await asyncio.sleep(PROGRESS_LOOK)
        try:
            text = file.read_text()[:PROGRESS_LENGTH].strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text != told and is_progress(text):
            told = text
            await note(text)


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


def _find_sources(step: Step, folder: Path, configuration: Configuration) -> dict[str, Path]:
    """Return the folder that stands for each volume of a step; files of Secrets and ConfigMaps are written."""
    folder.mkdir(parents=True, exist_ok=True)
    sources: dict[str, Path] = {}
    for volume in step.volumes:
        below = folder / "volumes" / volume.name
        if volume.config_map is not None:
            write_files(below, configuration.config_maps(volume.config_map.name))
        elif volume.secret is not None:
            write_files(below, configuration.secrets(volume.secret.secret_name))
        claim = volume.persistent_volume_claim
        sources[volume.name] = below if claim is None else configuration.claim(claim.claim_name)
    return sources


def _folders(step: Step, container: Container, sources: Mapping[str, Path]) -> dict[str, Path]:
    """Make a folder for each mount path of a container; return them, the longest paths first."""
    folders: dict[str, Path] = {}
    for mount in container.volume_mounts:
        if mount.name not in sources:
            raise NotUnderstoodError(f"volume `{mount.name}` of {mount.mount_path} is not defined")
        target = sources[mount.name] / mount.sub_path
        target.mkdir(parents=True, exist_ok=True)
        folders[mount.mount_path.rstrip("/")] = target
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


def _environment(container: Container, configuration: Configuration) -> dict[str, str]:
    env: dict[str, str] = {}
    for source in container.env_from:
        if source.config_map_ref is not None:
            env |= configuration.config_maps(source.config_map_ref.name)
        elif source.secret_ref is not None:
            env |= configuration.secrets(source.secret_ref.name)
    for entry in container.env:
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


def _start(program: _Program) -> subprocess.Popen[bytes]:
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with logs.open_log(program.log) as out:
        try:
            return child.spawn_child(program.argv, env=program.env, cwd=program.cwd, log=out)
        except OSError as error:
            raise LocalError(
                f"{program.argv[0]} can't be started: {error.strerror or error}"
            ) from error


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
