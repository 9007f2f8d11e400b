"""One reader for all visitors: it looks while somebody does, and tells everybody what is new."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from driftloop.console.snapshot import AnswerRate, Snapshot, Trouble
from driftloop.console.source import RepositoryPicture, Source
from driftloop.errors import PipelineError
from driftloop.operations.rollouts.answer_counts import AnswerCount
from driftloop.operations.runs.run_store import ListedRun
from driftloop.operations.watching.status import PlatformStatus
from driftloop.operations.watching.verdict_windows import JudgedWindow

log = logging.getLogger("console")

PERIOD = 2.0
"""Seconds between two looks, while somebody looks."""
SHARE = 2
"""A look that took long is followed by a rest of so many times as long."""
WATCHED = 15.0
"""Seconds after a request in which somebody counts as looking."""
FRESH = 3.0
"""Seconds after which a page waits for a new look first."""
PATIENCE = 1.5
"""Seconds that a page waits for it; then it shows what there is, and its age."""
STORE_PERIOD = 20.0
"""Seconds between two readings of a store, when nothing says that there is news: one that is away
says nothing."""
MOST_MESSAGES = 10_000
"""Messages of the verdict stream that are read at the first look."""
MOST_WINDOWS = 200
"""Windows of a monitor that are kept."""
_RARE = ("runs", "windows")
"""Parts that are read when there is news of them only."""
LONGEST_RATE = 120.0
"""Seconds between two counts of answers that are still a rate."""
HEARTBEAT = 15.0

T = TypeVar("T")


@dataclass(frozen=True)
class CountedAnswers:
    """Counts of all Services, and when they were read, by the monotonic clock."""

    at: float
    counts: Mapping[str, AnswerCount]


class Collector:
    """Keeps the snapshot."""

    def __init__(
        self, source: Source, *, read_counts: Callable[[], Mapping[str, AnswerCount]] = dict
    ) -> None:
        self.source = source
        self.snapshot = Snapshot(place=source.place)
        self._read_counts = read_counts
        self._watched = -WATCHED
        self._wanted = asyncio.Event()
        self._taken = asyncio.Condition()
        self._visitors = 0
        self._ends = False
        self._runs_at = -STORE_PERIOD
        self._windows_at = -STORE_PERIOD
        self._sequence = 0
        self._counted: CountedAnswers | None = None
        self._answers: dict[tuple[str, ...], tuple[float, asyncio.Task[Any]]] = {}

    async def run_forever(self) -> None:
        """Look again and again while somebody does."""
        while True:
            if not self._is_watched():
                self._wanted.clear()
                await self._wanted.wait()
            began = time.monotonic()
            await self.refresh()
            took = time.monotonic() - began
            self._wanted.clear()
            await asyncio.sleep(max(PERIOD, SHARE * took))

    async def refresh(self) -> None:
        """Look once."""
        before = self.snapshot
        try:
            taken = await asyncio.to_thread(self._take, before)
        except Exception:
            # a bug in one part must not end the pages that would show it
            log.exception("the platform could not be looked at")
            trouble = _keep_since(before, "console", "an error of the console's: see its log")
            taken = replace(before, troubles={**before.troubles, "console": trouble})
        now = replace(taken, taken=datetime.now(UTC))
        if before.is_old or _list_shown(taken) != _list_shown(before):
            now = replace(now, version=before.version + 1)
        self.snapshot = now
        async with self._taken:
            self._taken.notify_all()

    async def look(self) -> Snapshot:
        """Return the snapshot for a page: a fresh one, if that is soon to be had."""
        self._watch()
        age = self.snapshot.measure_age()
        if age is None or age > FRESH:
            try:
                async with asyncio.timeout(PATIENCE), self._taken:
                    await self._taken.wait()
            except TimeoutError:
                pass
        return self.snapshot

    async def follow_versions(self) -> AsyncGenerator[int | None, None]:
        """Yield each new version of the snapshot, and None now and then so that a visitor who has
        left is noticed."""
        self._visitors += 1
        seen = self.snapshot.version
        try:
            yield seen
            while True:
                self._watch()
                try:
                    async with asyncio.timeout(HEARTBEAT), self._taken:
                        while self.snapshot.version == seen and not self._ends:
                            await self._taken.wait()
                except TimeoutError:
                    yield None
                    continue
                if self._ends:
                    return
                seen = self.snapshot.version
                yield seen
        finally:
            self._visitors -= 1

    async def end_visits(self) -> None:
        """Let everybody go who follows versions: the console is stopped."""
        self._ends = True
        async with self._taken:
            self._taken.notify_all()

    async def tell_change(self) -> None:
        """Tell everybody that something is new which the collector does not read."""
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1)
        async with self._taken:
            self._taken.notify_all()

    async def share(
        self, key: tuple[str, ...], ask: Callable[[], T], *, seconds: float = PERIOD
    ) -> T:
        """Return what a blocking call answers: all who ask within some seconds share one answer. One that
        failed is asked again soon."""
        self._watch()
        now = time.monotonic()
        self._answers = {
            each: kept for each, kept in self._answers.items() if now - kept[0] < 10 * seconds
        }
        kept = self._answers.get(key)
        if kept is None or now - kept[0] > (
            min(seconds, PERIOD) if _has_failed(kept[1]) else seconds
        ):
            kept = (now, asyncio.create_task(asyncio.to_thread(ask)))
            self._answers[key] = kept
        answer: Awaitable[T] = asyncio.shield(kept[1])
        return await answer

    def _watch(self) -> None:
        self._watched = time.monotonic()
        self._wanted.set()

    def _is_watched(self) -> bool:
        return self._visitors > 0 or time.monotonic() - self._watched < WATCHED

    def _take(self, before: Snapshot) -> Snapshot:
        # a part that is not read this time is in the trouble that it was in
        troubles = {part: each for part, each in before.troubles.items() if part in _RARE}

        def read(part: str, ask: Callable[[], T], otherwise: T) -> T:
            troubles.pop(part, None)
            try:
                return ask()
            except PipelineError as error:
                troubles[part] = _keep_since(before, part, error.message)
                return otherwise

        status: PlatformStatus | None = read("platform", self.source.read_status, None)
        repository: RepositoryPicture = read(
            "git", lambda: self.source.read_repository(before.repository), before.repository
        )
        runs = before.runs
        if self._has_news(before, status, repository):
            runs = read("runs", lambda: self._read_runs(before), before.runs)
        windows = before.windows
        if status is None:
            troubles.pop("windows", None)
        elif "windows" in troubles or self._has_windows(before, status):
            windows = read("windows", lambda: self._read_windows(before.windows), before.windows)
        events = read("timeline", self.source.read_events, before.events)
        return replace(
            before,
            status=status,
            repository=repository,
            runs=runs,
            windows=windows,
            events=events,
            rates=self._measure_rates(before) if status is not None else {},
            troubles=troubles,
        )

    def _has_news(
        self, before: Snapshot, status: PlatformStatus | None, repository: RepositoryPicture
    ) -> bool:
        """Return True when the runs may be others than those that were read."""
        moved = before.status is None or (
            status is not None
            and (status.runs, status.decisions) != (before.status.runs, before.status.decisions)
        )
        going = "runs" in before.troubles or any(run.report.outcome is None for run in before.runs)
        old = time.monotonic() - self._runs_at > STORE_PERIOD
        return moved or going or old or repository.tip != before.repository.tip

    def _has_windows(self, before: Snapshot, status: PlatformStatus) -> bool:
        """Return True when there may be windows that were not read."""
        old = time.monotonic() - self._windows_at > STORE_PERIOD
        return old or not before.windows or _has_verdicts(before.status, status)

    def _read_runs(self, before: Snapshot) -> tuple[ListedRun, ...]:
        self._runs_at = time.monotonic()
        return self.source.read_runs({run.report.run: run for run in before.runs})

    def _read_windows(
        self, before: Mapping[str, tuple[JudgedWindow, ...]]
    ) -> Mapping[str, tuple[JudgedWindow, ...]]:
        self._windows_at = time.monotonic()
        found = self.source.read_windows(self._sequence, MOST_MESSAGES)
        if found.last < self._sequence:
            # the stream was made anew: the next look reads it from its begin
            self._sequence = 0
            return {}
        kept = dict(before)
        for window in found.windows:
            kept[window.name] = (*kept.get(window.name, ()), window)[-MOST_WINDOWS:]
        self._sequence = found.last
        return kept

    def _measure_rates(self, before: Snapshot) -> Mapping[str, AnswerRate]:
        last, now = self._counted, CountedAnswers(time.monotonic(), self._read_counts())
        if last is not None and now.at - last.at < PERIOD / 2:
            return before.rates
        self._counted = now
        if last is None or now.at - last.at > LONGEST_RATE:
            return {}
        return {
            name: rate
            for name, count in now.counts.items()
            if (rate := _measure_rate(last.counts.get(name), count, now.at - last.at)) is not None
        }


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _measure_rate(
    before: AnswerCount | None, now: AnswerCount, seconds: float
) -> AnswerRate | None:
    """Return the rate between two counts; None when Envoy counts anew."""
    if before is None or now.answered < before.answered:
        return None
    answered = now.answered - before.answered
    return AnswerRate(
        answered / seconds,
        max(0, now.failed - before.failed) / answered if answered else 0.0,
        max(0, now.refused - before.refused) / answered if answered else 0.0,
    )


def _keep_since(before: Snapshot, part: str, text: str) -> Trouble:
    """Return the trouble of a part, which began when it was told first."""
    known = before.troubles.get(part)
    return Trouble(text, known.since if known is not None else datetime.now(UTC))


def _has_verdicts(before: PlatformStatus | None, now: PlatformStatus) -> bool:
    return before is None or before.verdicts != now.verdicts


def _list_shown(snapshot: Snapshot) -> tuple[Any, ...]:
    """Return all that pages show of a snapshot, without what changes all the time."""
    status = snapshot.status
    shown: tuple[Any, ...] = ()
    if status is not None:
        shown = (
            status.applied, status.refused, status.stuck, status.waiting, status.disk, status.blind,
            status.altered, status.releases, status.verdicts, status.unjudged, status.windows,
            status.decisions, status.loops, status.runs, status.inboxes, status.list_dead(),
        )  # fmt: skip
    return (
        shown,
        snapshot.repository.tip,
        snapshot.runs,
        {name: len(windows) and windows[-1].sequence for name, windows in snapshot.windows.items()},
        snapshot.events[-1:],
        {name: round(rate.per_second, 1) for name, rate in snapshot.rates.items()},
        {part: each.text for part, each in snapshot.troubles.items()},
    )
