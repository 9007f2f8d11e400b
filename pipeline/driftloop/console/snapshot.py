"""The snapshot that all visitors see: one picture of every pipeline, taken by the collector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from driftloop.console.source import CommittedState, RepositoryPicture
from driftloop.contract.approvals import Hold
from driftloop.contract.names import Names
from driftloop.local.ground.sentences import drop_alarm_ids
from driftloop.local.ground.timeline import TimelineEntry
from driftloop.operations.runs.run_store import ListedRun
from driftloop.operations.watching.status import (
    PlatformStatus,
    ReleaseStatus,
    RunStatus,
    VerdictStatus,
)
from driftloop.operations.watching.verdict_windows import JudgedWindow

OLD = 20.0
"""Seconds after which a snapshot is old."""


@dataclass(frozen=True)
class AnswerRate:
    """Answers of a release in the last seconds."""

    per_second: float
    failed: float
    """Share of them with a status 5xx."""
    refused: float
    """Share with a status 4xx."""


@dataclass(frozen=True)
class Trouble:
    """A part that can't be read, since when and why: what is shown of it is older."""

    text: str
    since: datetime


@dataclass(frozen=True)
class Snapshot:
    """Everything that was read last, part by part: a part that can't be read keeps what it had."""

    version: int = 0
    """Raised when anything that pages show has changed."""
    place: str = ""
    taken: datetime | None = None
    status: PlatformStatus | None = None
    """None while nothing runs, or nobody has looked yet."""
    repository: RepositoryPicture = field(default_factory=RepositoryPicture)
    runs: tuple[ListedRun, ...] = ()
    windows: Mapping[str, tuple[JudgedWindow, ...]] = field(default_factory=dict)
    """`<namespace>/<pipeline>/<monitor>` to its windows, the oldest first."""
    events: tuple[TimelineEntry, ...] = ()
    rates: Mapping[str, AnswerRate] = field(default_factory=dict)
    """`<namespace>/<service>` to its answers."""
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    """Part to why it can't be read now."""

    @property
    def names(self) -> tuple[str, ...]:
        """All pipelines, by name."""
        known = {*self.repository.pipelines, *self.repository.broken}
        if self.status is not None:
            known |= {key.split("/")[-1] for key in self.status.releases}
            known |= {key.partition(".")[2] for key in self.status.decisions}
        return tuple(sorted(known))

    def has_pipeline(self, name: str) -> bool:
        """Return True for a pipeline that is there."""
        return name in self.names

    def find_committed(self, name: str) -> CommittedState | None:
        """Return a pipeline as git has it; None when it can't be read."""
        return self.repository.pipelines.get(name)

    def find_namespace(self, name: str) -> str:
        """Return the namespace of a pipeline; its own name when nothing says another."""
        committed = self.find_committed(name)
        if committed is not None:
            return committed.namespace
        decisions = self.status.decisions if self.status is not None else {}
        spaces = (key.partition(".")[0] for key in decisions if key.partition(".")[2] == name)
        return next(spaces, name)

    def find_names(self, name: str) -> Names:
        """Return the names of a pipeline's objects."""
        return Names(name, self.find_namespace(name))

    def find_phase(self, name: str) -> str:
        """Return the phase of a pipeline's loop; empty when it is not known."""
        decisions = self.status.decisions if self.status is not None else {}
        return decisions.get(f"{self.find_namespace(name)}.{name}", "")

    def find_summary(self, name: str) -> str:
        """Return in one line what a pipeline's loop waits for; empty when it is not known."""
        loops = self.status.loops if self.status is not None else {}
        return drop_alarm_ids(loops.get(f"{self.find_namespace(name)}.{name}", ""))

    def find_release(self, name: str) -> ReleaseStatus | None:
        """Return where a pipeline's release stands: as it runs, or as git has it."""
        if self.status is not None and name in self.status.releases:
            return self.status.releases[name]
        committed = self.find_committed(name)
        if committed is None:
            broken = self.repository.broken.get(name)
            return ReleaseStatus(None, None, None, {}, broken) if broken is not None else None
        release = committed.release
        return ReleaseStatus(
            release.phase,
            release.production.id if release.production is not None else None,
            release.candidate.id if release.candidate is not None else None,
            dict(release.weights),
        )

    def find_verdicts(self, name: str) -> dict[str, VerdictStatus]:
        """Return the last verdict of each monitor of a pipeline."""
        if self.status is None:
            return {}
        start = f"{self.find_namespace(name)}/{name}/"
        verdicts = self.status.verdicts.items()
        return {key.removeprefix(start): each for key, each in verdicts if key.startswith(start)}

    def find_windows(self, name: str) -> dict[str, tuple[JudgedWindow, ...]]:
        """Return the windows of each monitor of a pipeline."""
        start = f"{self.find_namespace(name)}/{name}/"
        windows = self.windows.items()
        return {key.removeprefix(start): each for key, each in windows if key.startswith(start)}

    def find_hold(self, name: str) -> Hold | None:
        """Return what a pipeline waits for a person to approve."""
        if self.status is None:
            return None
        names = self.find_names(name)
        for key in (f"{names.namespace}/{names.release}", f"{names.namespace}/{name}-train"):
            run = self.status.runs.get(key)
            if run is not None and run.hold is not None:
                return run.hold
        return None

    def find_last_run(self, name: str) -> RunStatus | None:
        """Return the newest Workflow of a pipeline: a training, or the rollout it led to."""
        if self.status is None:
            return None
        names = self.find_names(name)
        keys = (f"{names.namespace}/{names.release}", f"{names.namespace}/{name}-train")
        found = [self.status.runs[key] for key in keys if key in self.status.runs]
        going = [run for run in found if run.finished_at is None]
        return (going or sorted(found, key=lambda run: run.finished_at or "", reverse=True) or [None])[0]  # type: ignore[list-item]  # fmt: skip

    def find_runs(self, name: str) -> tuple[ListedRun, ...]:
        """Return the runs of a pipeline, the newest first."""
        return tuple(run for run in self.runs if run.report.pipeline == name)

    def find_run(self, id: str) -> ListedRun | None:
        """Return a run."""
        return next((run for run in self.runs if run.report.run == id), None)

    def find_rate(self, name: str, release: str | None) -> AnswerRate | None:
        """Return the answers of a release in the last seconds; None when they are not counted."""
        if release is None:
            return None
        names = self.find_names(name)
        return self.rates.get(f"{names.namespace}/{names.predictor(release)}")

    @property
    def is_old(self) -> bool:
        """Return True for one that pages should not show without a word: nobody has looked for a while."""
        age = self.measure_age()
        return age is None or age > OLD

    def measure_age(self, now: datetime | None = None) -> float | None:
        """Return the seconds since it was taken; None for one that never was."""
        if self.taken is None:
            return None
        return ((now or datetime.now(UTC)) - self.taken).total_seconds()
