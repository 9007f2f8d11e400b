"""The running platform as a user sees it: through the `driftloop` command, git, the API, NATS
and S3."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, overload

import aiohttp
import nats.js.errors

from driftloop.clients.kubernetes import KubernetesClient, KubernetesUnreachableError
from driftloop.clients.nats import list_keys, open_connection
from driftloop.clients.s3 import ObjectStore, parse_location
from driftloop.contract import trees
from driftloop.contract.names import FLUX_NAMESPACE, PREDICTIONS, Names
from driftloop.contract.platform import NATS
from driftloop.contract.streams import VERDICTS, WORKFLOWS, verdict_subjects
from driftloop.errors import LocalError
from driftloop.extras import write_install_command
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground.environment import read_environment
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.retrain.state import RetrainState as Decision
from driftloop.retrain.store import DecisionStore

STOP = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class DemoPlatform:
    """One `driftloop up` and the state folder it works in."""

    state: StateFolder
    name: str
    namespace: str
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """The verdicts of the detectors, in order."""
    talk: list[str] = field(default_factory=list)
    """The lines that `driftloop up` printed."""
    _process: asyncio.subprocess.Process | None = None

    @contextlib.asynccontextmanager
    async def run_up(
        self,
        spec: Path,
        say: Callable[[str], None],
        *,
        envs: Path | None = None,
        keep: bool = False,
    ) -> AsyncIterator[None]:
        """Run `driftloop up SPEC` inside the `with`; `say` gets every line it prints."""
        shared = () if envs is None else ("--envs", str(envs))
        self._process = await asyncio.create_subprocess_exec(
            find_program(),
            *("up", str(spec), "--state", str(self.state.root), *shared),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the timeline, which is read from its file
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the platform in order
        )
        talk = asyncio.create_task(self._read_output(say))
        try:
            yield
        finally:
            if keep and self._process.returncode is None:
                say(
                    f"the platform keeps running; `driftloop down --state {self.state.root}` stops it"
                )
            else:
                await self._stop_up()
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)

    async def _read_output(self, say: Callable[[str], None]) -> None:
        assert self._process is not None and self._process.stderr is not None  # noqa: S101, PT018
        async for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.talk.append(text)
            say(text)

    async def _stop_up(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            process.kill()
            await process.wait()
            await self.run_command("down", "--state", str(self.state.root))

    @overload
    async def wait_until(
        self,
        probe: Callable[[], Awaitable[T | None]],
        what: str,
        *,
        within: float,
        every: float = 0.3,
    ) -> T: ...

    @overload
    async def wait_until(
        self, probe: Callable[[], T | None], what: str, *, within: float, every: float = 0.3
    ) -> T: ...

    async def wait_until(
        self, probe: Callable[[], Any], what: str, *, within: float, every: float = 0.3
    ) -> Any:
        """Call `probe` until its result is true and return it.

        LocalError after `within` seconds, or when the platform ends. A plain function runs in a
        thread and may block; an API that a busy machine does not answer in time is asked again.
        """
        end = time.monotonic() + within
        while True:
            value, unread = None, ""
            try:
                answer = await asyncio.to_thread(probe)
                value = await answer if isinstance(answer, Awaitable) else answer
            except KubernetesUnreachableError as error:
                unread = f": {error.message}"
            if value:
                return value
            if self._process is not None and self._process.returncode is not None:
                raise LocalError(
                    f"`driftloop up` ended with exit code {self._process.returncode} while waiting for {what}:\n"
                    + "\n".join(self.talk[-12:]),
                    hint=f"the logs are in {self.state.logs}",
                )
            if time.monotonic() > end:
                hint = f"see `driftloop status --state {self.state.root}` and the logs in {self.state.logs}"
                raise LocalError(f"waited {within:g} s for {what}{unread}", hint=hint)
            await asyncio.sleep(every)

    async def run_command(self, *args: str) -> str:
        """Run a `driftloop` command and return its output; LocalError with its message when it
        fails."""
        return await run_program([find_program(), *args])

    async def run_git(self, *args: str) -> str:
        """Run git in the cluster repository and return its output."""
        return await run_program(["git", "--git-dir", str(self.state.repository), *args])

    def read_tip(self) -> str:
        """Return the commit at the tip of `main`; LocalError when there is none."""
        return _run_git(self.state.repository, "rev-parse", "main").strip()

    def read_release(self, commit: str = "main") -> Release:
        """Return the release of a commit, by default of the tip."""
        path = trees.release_path(self.name)
        return record.load_release(
            _run_git(self.state.repository, "show", f"{commit}:{path}"), path=path
        )

    @property
    def nats_url(self) -> str:
        """The URL of the platform's NATS, with its credential."""
        return LocalSettings.load(self.state)[NATS]

    def read_port(self, part: str) -> int:
        """Return the port of a part of the platform; LocalError while it is not known."""
        ports = self.state.known_ports()
        if part not in ports:
            raise LocalError(
                f"`{part}` has no port in {self.state.ports_file}",
                hint="is `driftloop up` running?",
            )
        return ports[part]

    @property
    def predictions(self) -> str:
        """The URL of predictions."""
        prefix = Names(self.name, self.namespace).prefix
        return f"http://127.0.0.1:{self.read_port('gateway')}{prefix}{PREDICTIONS}"

    def read_store(self) -> dict[str, str]:
        """Return address and keys of the object store, as the environment variables that S3
        clients read."""
        return read_environment(self.state)

    def upload_files(self, files: Sequence[Path], uri: str) -> None:
        """Upload files below `uri`, as any S3 client would."""
        store, folder = ObjectStore.from_environment(self.read_store()), parse_location(uri)
        for file in files:
            store.put_file(file, folder / file.name)

    def applied_commit(self, commit: str | None = None) -> str | None:
        """Return `commit` (default: the tip) once all three trees of the pipeline have applied
        it; None before."""
        commit = commit or self.read_tip()
        api = KubernetesClient.from_url(f"http://127.0.0.1:{self.read_port('api')}")
        for tree in trees.TREES:
            try:
                kustomization = api.get_kustomization(FLUX_NAMESPACE, f"{self.name}-{tree}")
            except KubernetesUnreachableError:
                return None
            revision = str((kustomization or {}).get("status", {}).get("lastAppliedRevision", ""))
            if not revision.endswith(commit):
                return None
        return commit

    def read_workflow(self, run: str) -> dict[str, Any] | None:
        """Return a Workflow as the API shows it."""
        return KubernetesClient.from_url(f"http://127.0.0.1:{self.read_port('api')}").get_workflow(
            self.namespace, run
        )

    def read_outcome(self, run: str) -> str | None:
        """Return the final phase of a run (`Succeeded`, `Failed`, `Error`); None while it runs."""
        phase = ((self.read_workflow(run) or {}).get("status") or {}).get("phase")
        return phase if phase in ("Succeeded", "Failed", "Error") else None

    def measure_step(self, run: str, step: str) -> float:
        """Return the seconds that a step of a run took; LocalError when it has not ended."""
        nodes = ((self.read_workflow(run) or {}).get("status") or {}).get("nodes") or {}
        for node in nodes.values():
            if node["displayName"] == step and node.get("finishedAt"):
                times = (datetime.fromisoformat(node[key]) for key in ("finishedAt", "startedAt"))
                return (next(times) - next(times)).total_seconds()
        raise LocalError(f"step {step} of run {run} has not ended")

    async def list_runs(self) -> tuple[str, ...]:
        """Return the names of all training runs; rollouts and rollbacks are not among them."""
        async with open_connection(self.nats_url, name="demo") as js:
            names = await list_keys(js, WORKFLOWS.name)
        prefix = f"{self.namespace}."
        runs = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        others = (f"{self.name}-release-", f"{self.name}-rollback-")
        return tuple(sorted(run for run in runs if not run.startswith(others)))

    async def read_decision(self) -> Decision:
        """Return the retrain decision: its phase, and outcome and reason of the last run."""
        async with open_connection(self.nats_url, name="demo") as js:
            store = await DecisionStore.open_bucket(js, self.namespace, self.name)
            return await store.read_state()

    async def follow_verdicts(self) -> None:
        """Keep `verdicts` up to date, for ever."""
        subject = verdict_subjects(self.namespace, self.name)
        async with open_connection(self.nats_url, name="demo") as js:
            while True:
                try:
                    subscription = await js.subscribe(
                        subject, stream=VERDICTS.name, ordered_consumer=True
                    )
                    break
                except nats.js.errors.NotFoundError:
                    await asyncio.sleep(0.5)
            async for message in subscription.messages:
                self.verdicts.append(json.loads(message.data))

    def list_verdicts(self, detector: str, release: str, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the verdicts of one detector on one release, from window `after` + 1 on."""
        return [
            verdict
            for verdict in self.verdicts
            if verdict["detector"] == detector
            and verdict["release"] == release
            and verdict["window"] > after
        ]


async def is_answered(url: str, body: Mapping[str, Any]) -> bool:
    """Return True when a prediction is answered."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.post(url, json=body, headers={"Seldon-Skip-Logging": "true"}) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def find_program() -> str:
    """Return the path of the `driftloop` command; LocalError when it is not installed."""
    beside = Path(sys.executable).parent / "driftloop"
    path = str(beside) if beside.exists() else shutil.which("driftloop")
    if path is None:
        raise LocalError(
            "the command `driftloop` is not on PATH",
            hint=f"install it with `{write_install_command('local')}`",
        )
    return path


async def run_program(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; LocalError with the end of its messages when it
    fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        raise
    if process.returncode != 0:
        text = err.decode(errors="replace").strip() or out.decode(errors="replace").strip()
        raise LocalError(f"`{' '.join(map(str, command[:4]))} …` failed:\n{text[-2000:]}")
    return out.decode()


def _run_git(repository: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(repository), *args], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LocalError(f"git {args[0]}: {done.stderr.strip()}")
    return done.stdout
