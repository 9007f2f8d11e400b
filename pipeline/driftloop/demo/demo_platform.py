"""The running platform as its user sees it: the `driftloop` command, git, the API, NATS and S3; no inside knowledge."""

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
from pathlib import Path
from typing import Any, TypeVar, overload

import aiohttp
import nats.js.errors

from driftloop.clients.kubernetes import Kubernetes, KubernetesUnreachableError
from driftloop.clients.nats import connection, keys
from driftloop.clients.s3 import Store, location
from driftloop.contract import trees
from driftloop.contract.names import FLUX_NAMESPACE
from driftloop.contract.streams import VERDICTS, WORKFLOWS, verdict_subjects
from driftloop.errors import LocalError
from driftloop.local.ground.state import State
from driftloop.operations.env import settings
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.retrain.decision import State as Decision
from driftloop.retrain.store import DecisionStore

STOP = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class Platform:
    """One `driftloop up` and the state folder it works in."""

    state: State
    name: str
    namespace: str
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """What the detectors said, in the order they said it."""
    talk: list[str] = field(default_factory=list)
    """What `driftloop up` printed."""
    _process: asyncio.subprocess.Process | None = None

    # Starting and stopping

    @contextlib.asynccontextmanager
    async def running(
        self, spec: Path, say: Callable[[str], None], *, envs: Path | None = None, keep: bool = False
    ) -> AsyncIterator[None]:
        """`driftloop up SPEC` for the length of the `with`; `say` gets every line it prints."""
        shared = () if envs is None else ("--envs", str(envs))
        self._process = await asyncio.create_subprocess_exec(
            program(),
            *("up", str(spec), "--state", str(self.state.root), *shared),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the timeline, which is read from its file
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the platform in order
        )
        talk = asyncio.create_task(self._listen(say))
        try:
            yield
        finally:
            if keep and self._process.returncode is None:
                say(f"the platform keeps running; `driftloop down --state {self.state.root}` stops it")
            else:
                await self._stop()
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)

    async def _listen(self, say: Callable[[str], None]) -> None:
        assert self._process is not None and self._process.stderr is not None  # noqa: S101, PT018
        async for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.talk.append(text)
            say(text)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            process.kill()
            await process.wait()
            await self.call("down", "--state", str(self.state.root))

    @overload
    async def until(
        self, found: Callable[[], Awaitable[T | None]], what: str, *, within: float, every: float = 0.3
    ) -> T: ...

    @overload
    async def until(self, found: Callable[[], T | None], what: str, *, within: float, every: float = 0.3) -> T: ...

    async def until(self, found: Callable[[], Any], what: str, *, within: float, every: float = 0.3) -> Any:
        """Ask until the answer is something true; LocalError after `within` seconds or when the platform ends.

        A plain function is asked in a thread, so it may block.
        """
        end = time.monotonic() + within
        while True:
            answer = await asyncio.to_thread(found)
            value = await answer if isinstance(answer, Awaitable) else answer
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
                raise LocalError(f"waited {within:g} s for {what}", hint=hint)
            await asyncio.sleep(every)

    # The command line

    async def call(self, *args: str) -> str:
        """Run a `driftloop` command and return what it printed; LocalError with its message when it fails."""
        return await output([program(), *args])

    # Git

    async def git(self, *args: str) -> str:
        return await output(["git", "--git-dir", str(self.state.repository), *args])

    def head(self) -> str:
        """The commit at the tip of `main`; LocalError when there is none."""
        return _git(self.state.repository, "rev-parse", "main").strip()

    def release(self, commit: str = "main") -> Release:
        """release.yaml in a commit, by default at the tip."""
        path = trees.release_path(self.name)
        return record.load(_git(self.state.repository, "show", f"{commit}:{path}"), path=path)

    # Addresses

    def port(self, part: str) -> int:
        """Where a part of the platform listens; LocalError while it is not known."""
        ports = self.state.known_ports()
        if part not in ports:
            raise LocalError(f"no port of `{part}` in {self.state.ports_file}", hint="is `driftloop up` running?")
        return ports[part]

    @property
    def predictions(self) -> str:
        """The URL a client of the model uses."""
        return f"http://127.0.0.1:{self.port('gateway')}/seldon/{self.namespace}/{self.name}/api/v1.0/predictions"

    def store(self) -> dict[str, str]:
        """Address and keys of the S3 store, as the environment variables every S3 client reads."""
        return settings(self.state)

    def upload(self, files: Sequence[Path], uri: str) -> None:
        """Put files below `uri`, as any S3 client would."""
        store, folder = Store.from_environment(self.store()), location(uri)
        for file in files:
            store.put_file(file, folder / file.name)

    # The API and the streams

    def applied(self, commit: str | None = None) -> str | None:
        """`commit` (default: the tip) once all three trees of the pipeline are at it; None until then."""
        commit = commit or self.head()
        api = Kubernetes.at(f"http://127.0.0.1:{self.port('api')}")
        for tree in trees.TREES:
            try:
                found = api.kustomization(FLUX_NAMESPACE, f"{self.name}-{tree}")
            except KubernetesUnreachableError:
                return None
            revision = str((found or {}).get("status", {}).get("lastAppliedRevision", ""))
            if not revision.endswith(commit):
                return None
        return commit

    def workflow(self, run: str) -> dict[str, Any] | None:
        """A workflow as the API shows it."""
        return Kubernetes.at(f"http://127.0.0.1:{self.port('api')}").workflow(self.namespace, run)

    def ended(self, run: str) -> str | None:
        """How a run ended (`Succeeded`, `Failed`, `Error`); None while it runs."""
        phase = ((self.workflow(run) or {}).get("status") or {}).get("phase")
        return phase if phase in ("Succeeded", "Failed", "Error") else None

    async def runs(self) -> tuple[str, ...]:
        """Names of the training runs there are; rollouts are not among them."""
        async with connection(f"nats://127.0.0.1:{self.port('nats')}", name="demo") as js:
            found = await keys(js, WORKFLOWS.name)
        prefix = f"{self.namespace}."
        names = (key.removeprefix(prefix) for key in found if key.startswith(prefix))
        return tuple(sorted(name for name in names if not name.startswith(f"{self.name}-release-")))

    async def decision(self) -> Decision:
        """The retrain decision: its phase, and how the last run ended and why."""
        async with connection(f"nats://127.0.0.1:{self.port('nats')}", name="demo") as js:
            store = await DecisionStore.open(js, self.namespace, self.name)
            return await store.read()

    async def follow_verdicts(self) -> None:
        """Keep `verdicts` up to date, for ever."""
        subject = verdict_subjects(self.namespace, self.name)
        async with connection(f"nats://127.0.0.1:{self.port('nats')}", name="demo") as js:
            while True:
                try:
                    subscription = await js.subscribe(subject, stream=VERDICTS.name, ordered_consumer=True)
                    break
                except nats.js.errors.NotFoundError:
                    await asyncio.sleep(0.5)
            async for message in subscription.messages:
                self.verdicts.append(json.loads(message.data))

    def said(self, detector: str, release: str, *, after: int = 0) -> list[dict[str, Any]]:
        """The verdicts of one detector about one release, from window `after` + 1 on."""
        return [
            verdict
            for verdict in self.verdicts
            if verdict["detector"] == detector and verdict["release"] == release and verdict["window"] > after
        ]


async def answers(url: str, body: Mapping[str, Any]) -> bool:
    """Whether a prediction comes back."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.post(url, json=body, headers={"Seldon-Skip-Logging": "true"}) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def program() -> str:
    """The `driftloop` command of this environment."""
    beside = Path(sys.executable).parent / "driftloop"
    found = str(beside) if beside.exists() else shutil.which("driftloop")
    if found is None:
        raise LocalError(
            "the command `driftloop` is not on PATH", hint="install it with `pip install 'driftloop[cli,local]'`"
        )
    return found


async def output(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; LocalError with the end of what it said when it fails."""
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
        said = err.decode(errors="replace").strip() or out.decode(errors="replace").strip()
        raise LocalError(f"`{' '.join(map(str, command[:4]))} …` failed:\n{said[-2000:]}")
    return out.decode()


def _git(repository: Path, *args: str) -> str:
    done = subprocess.run(["git", "--git-dir", str(repository), *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"git {args[0]}: {done.stderr.strip()}")
    return done.stdout
