"""Files of a run that may go: a decision of its own, without the store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from driftloop.contract.names import release_id
from driftloop.contract.streams import DAY, HOUR
from driftloop.contract.trees import (
    CARD_FILES,
    METADATA_FILE,
    OUTCOME_FILE,
    PAGE_FILE,
    RUN_FILE,
    TRACKING_FILE,
)

FileKind = Literal["record", "work", "step", "trial", "log", "model"]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)

WORK_FOLDERS = (
    "data",
    "split",
    "production",
    "checkpoints",
    "detectors",
    "requests",
    "given",
    "sources",
)
"""Folders by which the steps of a run hand files on: once it has ended nothing reads them."""
SETTLED = HOUR
"""Seconds after the end of a run in which nothing of it goes: its rollout is just being committed."""
LOST_AFTER = 30 * DAY
"""Seconds since the last file of a run without an outcome after which it counts as ended."""
CACHE_SLACK = 2 * DAY
"""Seconds that a cached output stays longer than it may be taken: a run that took it may still go on."""
UNHEARD = 30 * DAY
"""Seconds for which events wait for a release's detector; as long its window may be open."""


@dataclass(frozen=True)
class RetentionPolicy:
    """Ages in seconds."""

    trials: float
    runs: float
    releases: float
    logs: float
    cache: float = 0.0
    """Longest age at which a trial or a data step is taken again; 0 without a cache."""

    @property
    def keeps_releases(self) -> float:
        """Seconds for which a release stays after it had its last role."""
        return max(self.releases, UNHEARD)


@dataclass(frozen=True)
class StoredFile:
    """One file of a run."""

    name: str
    """Key below the run's folder."""
    size: int
    modified: float


@dataclass(frozen=True)
class StoredRun:
    """A run as the bucket and git show it."""

    run: str
    files: tuple[StoredFile, ...]
    ended: float | None
    """End (seconds since 1970); None for one without an outcome."""
    release: str | None
    """Release that it became."""
    homes: tuple[str, ...] = ()
    """Runs whose trials it uses."""


@dataclass(frozen=True)
class Removal:
    """Files of one kind of a run that go together, and why."""

    run: str
    kind: FileKind
    why: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(file.size for file in self.files)


def kind_of(name: str) -> FileKind:
    """Return the kind of a file by its key below the run's folder; what is not known is part of the
    model."""
    top, _, rest = name.partition("/")
    if name in (RUN_FILE, OUTCOME_FILE, TRACKING_FILE, PAGE_FILE, *CARD_FILES) or top == "snapshot":
        return "record"
    if top == "release" and rest == METADATA_FILE:
        return "record"
    if top in WORK_FOLDERS:
        return "work"
    if top == "steps":
        return "step"
    if top == "trials":
        return "trial"
    if top == "logs":
        return "log"
    return "model"


def choose_removals(
    runs: Iterable[StoredRun], held: Mapping[str, str], policy: RetentionPolicy, now: float
) -> tuple[Removal, ...]:
    """Return what may go of the runs of one pipeline; `held` maps each release that must stay to the
    reason: those that had a role in the last `policy.keeps_releases` seconds."""
    stored = tuple(runs)
    active = tuple(run for run in stored if _is_active(run, now))
    used = frozenset(home for run in active for home in run.homes)
    judge = _Judge(held, policy, bool(active))
    removals = []
    for run in stored:
        if run in active or run.run in used:
            continue
        age = now - (run.ended if run.ended is not None else _last_change(run))
        for kind in FILE_KINDS:
            files = tuple(file for file in run.files if kind_of(file.name) == kind)
            why = judge.find_reason(kind, run, age) if files else ""
            if why:
                removals.append(Removal(run.run, kind, why, files))
    return tuple(removals)


@dataclass(frozen=True)
class _Judge:
    held: Mapping[str, str]
    policy: RetentionPolicy
    busy: bool
    """A run of the pipeline is on."""

    def find_reason(self, kind: FileKind, run: StoredRun, age: float) -> str:
        """Return why files of a kind may go; empty when they stay."""
        if age < SETTLED:
            return ""
        match kind:
            case "record":
                return ""
            case "work":
                return "the run has ended"
            case "step":
                return self._judge_output(age, 0.0)
            case "trial":
                return self._judge_output(age, self.policy.trials)
            case "log":
                return _name_age(age, self.policy.logs)
            case "model":
                return self._judge_model(run, age)
            case _:
                assert_never(kind)

    def _judge_output(self, age: float, keep: float) -> str:
        """Judge what a cache may take again, or a run that is on has just taken."""
        if self.policy.cache:
            keep = max(keep, self.policy.cache + CACHE_SLACK)
            if self.busy:
                return ""
        return _name_age(age, keep)

    def _judge_model(self, run: StoredRun, age: float) -> str:
        # its id follows from the run's, whatever is known of the run
        if release_id(run.run) in self.held:
            return ""
        if run.release is None:
            return _name_age(age, self.policy.runs, "no release")
        return _name_age(age, self.policy.keeps_releases, f"{run.release} is replaced")


def _is_active(run: StoredRun, now: float) -> bool:
    return run.ended is None and now - _last_change(run) < LOST_AFTER


def _last_change(run: StoredRun) -> float:
    return max((file.modified for file in run.files), default=0.0)


def _name_age(age: float, keep: float, what: str = "") -> str:
    """Return why something of this age goes; empty when it stays."""
    if age < keep:
        return ""
    days = f"{keep / DAY:g} days" if keep != DAY else "1 day"
    older = f"older than {days}" if keep else "the run has ended"
    return f"{what}, {older}" if what else older
