"""Commands that pages start: in processes of their own, so that this one stays small and what they load
is gone with them."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from driftloop.contract.documents import escape_text

MOST_JOBS = 50
MOST_LINES = 200
LONGEST_LINE = 2000
COMMAND_LINE = "driftloop.cli"
LIMIT = 900.0
"""Seconds that an action may take: a rollback may start a model server first."""
AT_ONCE = 4
"""Commands that run at the same time."""


@dataclass(frozen=True)
class CommandResult:
    """End of a command: its exit code and output."""

    code: int
    output: str
    """What it printed as data."""
    said: str
    """What it told besides: progress, or why it refused."""

    @property
    def refusal(self) -> str:
        """Why it refused, in its own words."""
        return (
            self.said.partition("error: ")[2].strip()
            or self.said.strip()
            or f"exit code {self.code}"
        )


@dataclass
class Job:
    """An action that somebody has confirmed."""

    id: str
    pipeline: str
    title: str
    words: tuple[str, ...]
    """The command, as one would type it."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: list[str] = field(default_factory=list)
    output: str = ""
    code: int | None = None
    """None while it runs."""

    @property
    def state(self) -> str:
        """`running`, `done` or `refused`."""
        return "running" if self.code is None else "refused" if self.code else "done"

    @property
    def refusal(self) -> str:
        """Why it was refused, in the command's words."""
        return CommandResult(self.code or 0, self.output, "\n".join(self.lines)).refusal


class CommandRunner:
    """Runs `driftloop` commands on a state folder, or on a cluster."""

    def __init__(self, place: Sequence[str], changed: Callable[[], Awaitable[None]]) -> None:
        """`place` are the options that name it; `changed` is told when a job has something new."""
        self._place = tuple(place)
        self._changed = changed
        self._jobs: dict[str, Job] = {}
        self._numbers = count(1)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def find_job(self, id: str) -> Job | None:
        """Return a job of this start."""
        return self._jobs.get(id)

    def list_jobs(self, pipeline: str) -> list[Job]:
        """Return the jobs of a pipeline, the newest first."""
        return [job for job in reversed(self._jobs.values()) if job.pipeline == pipeline]

    def start_job(
        self,
        pipeline: str,
        title: str,
        arguments: Sequence[str],
        files: Mapping[str, str],
        *,
        module: str = COMMAND_LINE,
        person: str | None = None,
    ) -> Job:
        """Start a command, or another program of ours, and return its job. It works for the person who
        is named, else for the user of this process."""
        words = ("driftloop", *arguments) if module == COMMAND_LINE else ()
        job = Job(str(next(self._numbers)), pipeline, title, words)
        self._jobs[job.id] = job
        for id in [id for id, each in self._jobs.items() if each.code is not None][:-MOST_JOBS]:
            del self._jobs[id]
        task = asyncio.create_task(self._run_job(job, (module, *arguments), files, person))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def run_command(
        self,
        arguments: Sequence[str],
        files: Mapping[str, str] | None = None,
        *,
        limit: float = 60.0,
        module: str = COMMAND_LINE,
    ) -> CommandResult:
        """Run a command to its end; code 124 when it took longer than the limit."""
        said: list[str] = []

        async def hear(line: str) -> None:
            said.append(line)

        code, output = await self._run((module, *arguments), files or {}, hear, limit)
        return CommandResult(code, output, "\n".join(said))

    async def close(self) -> None:
        """End what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run_job(
        self, job: Job, words: Sequence[str], files: Mapping[str, str], person: str | None
    ) -> None:
        async def hear(line: str) -> None:
            if len(job.lines) < MOST_LINES:
                job.lines.append(line)
                await self._changed()

        code, job.output = await self._run(words, files, hear, LIMIT, person)
        job.code = code
        await self._changed()

    async def _run(
        self,
        words: Sequence[str],
        files: Mapping[str, str],
        hear: Callable[[str], Awaitable[None]],
        limit: float,
        person: str | None = None,
    ) -> tuple[int, str]:
        async with self._room:
            with tempfile.TemporaryDirectory(prefix="driftloop-console-") as folder:
                for name, text in files.items():
                    (Path(folder) / name).write_text(text)
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", *words, *self._place,
                    cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE, start_new_session=True,
                    env={**os.environ, "NO_COLOR": "1", **(sign_as(person) if person is not None else {})},
                )  # fmt: skip
                try:
                    async with asyncio.timeout(limit):
                        return await _follow(process, hear)
                except TimeoutError:
                    await hear(f"error: the command took more than {limit:g} s and was ended")
                    return 124, ""
                finally:
                    await _end(process)


def sign_as(person: str) -> dict[str, str]:
    """Return the environment in which git's author is this person, as its own settings would say."""
    name = person.partition("@")[0] or person
    email = person if "@" in person else f"{name}@users.noreply.localhost"
    settings = {"user.name": name, "user.email": email}
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


async def _follow(
    process: asyncio.subprocess.Process, hear: Callable[[str], Awaitable[None]]
) -> tuple[int, str]:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes
    reading = asyncio.create_task(process.stdout.read())
    async for line in _read_lines(process.stderr):
        await hear(line)
    output = (await reading).decode(errors="replace")
    return await process.wait(), output


async def _read_lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            # longer than the reader's buffer: the rest of it is dropped
            continue
        if not line:
            return
        yield escape_text(line.decode(errors="replace").rstrip("\n"))[:LONGEST_LINE]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        await process.wait()
