"""Sources of the console: a state folder, or a cluster. Everything here blocks, and is
called by the one collector for all visitors."""

import contextlib
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.documents import DocumentError
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.trees import PAGE_FILE, release_path, run_key, spec_path
from driftloop.contract.verdicts import WindowRecord
from driftloop.errors import LocalError, PipelineError, StoreError
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.local.ground import addresses, files
from driftloop.local.ground.state import StateFolder
from driftloop.local.ground.timeline import TimelineEntry
from driftloop.operations.commits import released, releases
from driftloop.operations.commits.commit_kinds import ReleaseStand
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.release_history import ReleaseEntry, complete_entry, list_entries
from driftloop.operations.commits.release_history import read_release as read_release_at
from driftloop.operations.runs.run_store import (
    ListedRun,
    RunFilter,
    RunPlace,
    list_runs,
    open_local_runs,
)
from driftloop.operations.stories.cards import read_card
from driftloop.operations.traces import window_samples
from driftloop.operations.traces.kept_requests import find_nats
from driftloop.operations.traces.traces import TracePlace
from driftloop.operations.traces.window_samples import SampledEvent, list_private
from driftloop.operations.watching import verdict_windows
from driftloop.operations.watching.status import (
    PlatformStatus,
    read_cluster_status,
    read_local_status,
)
from driftloop.operations.watching.suspend import find_decision
from driftloop.operations.watching.verdict_windows import ReadWindows
from driftloop.operations.watching.why import LoopAnswer, ask_cluster_why, ask_why, describe_windows
from driftloop.pages.cards import ModelCard
from driftloop.release.record import Release
from driftloop.spec import Pipeline, load_spec

MOST_RUNS = 200
MOST_RELEASES = 30
MOST_COMMITS = 200
"""Commits of a pipeline's release that the time axis can show."""
MOST_EVENTS = 400
"""Lines of the timeline that are kept."""
PATIENCE = 3.0
"""Seconds that the store may take to say something."""
GIT_PERIOD = 10.0
"""Seconds between two fetches of a cluster's repository."""
TAIL = 256 * 1024
"""Bytes at the end of the timeline that are read."""


@dataclass(frozen=True)
class WeighedCommit:
    """A commit of a pipeline's release, and how it splits the traffic."""

    logged: LoggedCommit
    stand: ReleaseStand = field(default_factory=ReleaseStand)
    """Who has the traffic after it."""


@dataclass(frozen=True)
class CommittedState:
    """A pipeline as git has it."""

    name: str
    namespace: str
    spec: str
    text: str
    """Of its release.yaml."""
    release: Release
    releases: tuple[ReleaseEntry, ...]
    """The newest first."""
    commits: tuple[WeighedCommit, ...]
    """Of its release.yaml, the newest first."""
    detectors: Mapping[str, str] = field(default_factory=dict)
    """Monitor to its detector."""
    private: frozenset[str] | None = None
    """Columns whose values no page shows; None when the spec can't tell."""
    captures: bool = False
    """Its requests are recorded."""


@dataclass(frozen=True)
class RepositoryPicture:
    """All pipelines of the cluster repository at a commit."""

    tip: str | None = None
    pipelines: Mapping[str, CommittedState] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """Pipeline to why it can't be read."""


class Source(Protocol):
    """Everything that the collector asks for."""

    @property
    def place(self) -> str:
        """The state folder, or the cluster, in words."""

    def read_status(self) -> PlatformStatus:
        """Read what runs; PipelineError when nothing does, or it can't be read."""

    def find_tip(self) -> str | None:
        """Return the newest commit of the branch; PipelineError."""

    def read_repository(self, before: RepositoryPicture) -> RepositoryPicture:
        """Read the pipelines at the tip; what has not changed is taken from before."""

    def read_runs(self, known: Mapping[str, ListedRun]) -> tuple[ListedRun, ...]:
        """Read the newest runs; those that are known to have ended are not read again."""

    def read_windows(self, after: int, most: int) -> ReadWindows:
        """Read the windows that came after a sequence."""

    def read_window(self, sequence: int) -> WindowRecord:
        """Read one window in full."""

    def read_sample(
        self, streams: DetectorStreams, first: int, last: int, private: frozenset[str]
    ) -> tuple[SampledEvent, ...]:
        """Read some of the events of a window, without private values."""

    def read_events(self) -> tuple[TimelineEntry, ...]:
        """Read the end of the timeline, the oldest first."""

    def explain(self, namespace: str, pipeline: str) -> LoopAnswer:
        """Ask what the loop of a pipeline waits for."""

    def read_card(self, pipeline: str, release: str) -> ModelCard:
        """Read the model card of a release."""

    def read_report(self, run: str) -> str:
        """Read the page that is stored with a run; StoreError without one."""


class LocalSource:
    """A state folder, whether something runs in it or not."""

    def __init__(self, state: StateFolder, environment: Mapping[str, str] | None = None) -> None:
        self.state = state
        self._environment = dict(os.environ if environment is None else environment)

    @property
    def place(self) -> str:
        """The state folder."""
        return str(self.state.root)

    def read_status(self) -> PlatformStatus:
        """Read what runs."""
        return read_local_status(self.state)

    def find_tip(self) -> str | None:
        """Return the newest commit of the branch."""
        with self._open_repository() as repository:
            return repository.tip() if repository is not None else None

    def read_repository(self, before: RepositoryPicture) -> RepositoryPicture:
        """Read the pipelines at the tip."""
        with self._open_repository() as repository:
            tip = repository.tip() if repository is not None else None
            if repository is None or tip is None:
                return RepositoryPicture()
            if tip == before.tip:
                return before
            return _read_pipelines(repository, tip, before)

    def read_runs(self, known: Mapping[str, ListedRun]) -> tuple[ListedRun, ...]:
        """Read the newest runs."""
        with self._open_runs() as place:
            return list_runs(place, RunFilter(), MOST_RUNS, known=known)

    def read_windows(self, after: int, most: int) -> ReadWindows:
        """Read the windows that came after a sequence."""
        return verdict_windows.read_windows(self._require_nats(), after=after, most=most)

    def read_window(self, sequence: int) -> WindowRecord:
        """Read one window in full."""
        return verdict_windows.read_window(self._require_nats(), sequence)

    def read_sample(
        self, streams: DetectorStreams, first: int, last: int, private: frozenset[str]
    ) -> tuple[SampledEvent, ...]:
        """Read some of the events of a window, without private values."""
        return window_samples.read_sample(self._require_nats(), streams, first, last, private)

    def read_events(self) -> tuple[TimelineEntry, ...]:
        """Read the end of the timeline."""
        return read_tail(self.state.timeline)

    def explain(self, namespace: str, pipeline: str) -> LoopAnswer:
        """Ask the decision service, and the detectors for their open windows."""
        answer = ask_why(find_decision(pipeline, self.state, None, self._environment))
        return replace(answer, windows=describe_windows(self.state, pipeline))

    def read_card(self, pipeline: str, release: str) -> ModelCard:
        """Read the model card of a release from git, the bucket of runs and the verdicts."""
        with (
            self._open_runs() as runs,
            self._open_repository() as repository,
        ):
            if repository is None:
                raise LocalError(f"{self.state.root} has no cluster repository")
            nats_url = find_nats(self.state, self._environment)
            place = TracePlace(runs, repository, repository.tip(), nats_url)
            return read_card(place, pipeline, release)

    def read_report(self, run: str) -> str:
        """Read the page that is stored with a run."""
        with self._open_runs() as runs:
            try:
                return runs.store.read_object(runs.bucket / run_key(run, PAGE_FILE)).decode()
            except MissingObjectError as error:
                raise StoreError(
                    f"no report is stored with {run}", hint="`driftloop report NAME` writes one"
                ) from error

    def _open_runs(self) -> contextlib.AbstractContextManager[RunPlace]:
        # a store that hangs must not keep the other parts of a page from being read
        return open_local_runs(self.state, self._environment, attempts=2, patience=PATIENCE)

    def _require_nats(self) -> str:
        url = find_nats(self.state, self._environment)
        if url is None:
            raise LocalError(f"nothing runs in {self.state.root}", hint="start it: `driftloop up`")
        return url

    @contextlib.contextmanager
    def _open_repository(self) -> Iterator[Repository | None]:
        if not self.state.repository.exists():
            yield None
            return
        self.state.require_repository()
        with tempfile.TemporaryDirectory(prefix="driftloop-git-") as folder:
            yield Repository(
                self.state.repository_url,
                branch=addresses.BRANCH,
                workdir=Path(folder),
                guard=refuse_harm,
            )


class ClusterSource:
    """A cluster, read through its API server: what runs and why, and its repository where that is
    named. Runs and windows are read from the cluster's own stores by the command line only."""

    def __init__(
        self,
        kubeconfig: Path | None,
        context: str | None,
        namespaces: tuple[str, ...],
        repository: Repository | None = None,
    ) -> None:
        self.kubeconfig, self.context, self.namespaces = kubeconfig, context, namespaces
        self._repository = repository
        self._fetched = -math.inf

    @property
    def place(self) -> str:
        """The cluster in words."""
        return f"the cluster of context {self.context}" if self.context else "the cluster"

    def read_status(self) -> PlatformStatus:
        """Read what runs."""
        return read_cluster_status(self.kubeconfig, self.context, self.namespaces)

    def find_tip(self) -> str | None:
        """Return the newest commit of the branch; None where the repository is not named."""
        return self._repository.tip() if self._repository is not None else None

    def read_repository(self, before: RepositoryPicture) -> RepositoryPicture:
        """Read the pipelines at the tip, now and then: it is fetched from a server. Where the repository
        is not named, what was there before."""
        if self._repository is None or time.monotonic() - self._fetched < GIT_PERIOD:
            return before
        tip = self._repository.tip()
        self._fetched = time.monotonic()
        if tip is None or tip == before.tip:
            return before
        return _read_pipelines(self._repository, tip, before)

    def read_runs(self, known: Mapping[str, ListedRun]) -> tuple[ListedRun, ...]:
        """Return none: the store is not read."""
        return ()

    def read_windows(self, after: int, most: int) -> ReadWindows:
        """Return none: NATS is not read."""
        return ReadWindows((), after)

    def read_window(self, sequence: int) -> WindowRecord:
        """Refuse: NATS is not read."""
        raise LocalError("windows of a cluster are not read by the console")

    def read_sample(
        self, streams: DetectorStreams, first: int, last: int, private: frozenset[str]
    ) -> tuple[SampledEvent, ...]:
        """Refuse: NATS is not read."""
        raise LocalError("requests of a cluster are not read by the console")

    def read_events(self) -> tuple[TimelineEntry, ...]:
        """Return none: a cluster has no timeline."""
        return ()

    def explain(self, namespace: str, pipeline: str) -> LoopAnswer:
        """Ask the decision service through the API server."""
        return ask_cluster_why(self.kubeconfig, self.context, namespace, pipeline)

    def read_report(self, run: str) -> str:
        """Refuse: the store is not read."""
        raise LocalError("reports of a cluster's runs are not read by the console")

    def read_card(self, pipeline: str, release: str) -> ModelCard:
        """Refuse: git and the store are not read."""
        raise LocalError(
            "cards of a cluster's releases are not read by the console: `driftloop card` does"
        )


def read_tail(timeline: Path) -> tuple[TimelineEntry, ...]:
    """Return the last entries of a timeline; damaged lines are left out."""
    try:
        handle = files.open_file(timeline)
    except FileNotFoundError:
        return ()
    with os.fdopen(handle, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL))
        lines = stream.read().splitlines()
    entries: deque[TimelineEntry] = deque(maxlen=MOST_EVENTS)
    for line in lines:
        with contextlib.suppress(DocumentError):
            entries.append(TimelineEntry.parse(line))
    return tuple(entries)


def _read_pipelines(
    repository: Repository, tip: str, before: RepositoryPicture
) -> RepositoryPicture:
    tree = repository.tree(tip)
    pipelines: dict[str, CommittedState] = {}
    broken: dict[str, str] = {}
    for name in released.list_pipelines(tree):
        kept = before.pipelines.get(name)
        try:
            if kept is not None and _is_unchanged(tree, kept):
                pipelines[name] = kept
            else:
                pipelines[name] = _read_committed(repository, tip, name, kept)
        except PipelineError as error:
            broken[name] = error.message
    return RepositoryPicture(tip, pipelines, broken)


def _is_unchanged(tree: Mapping[str, str], kept: CommittedState) -> bool:
    """Return True when a pipeline's two files are those that were read before."""
    texts = tree.get(spec_path(kept.name)), tree.get(release_path(kept.name))
    return texts == (kept.spec, kept.text)


def _read_committed(
    repository: Repository, tip: str, name: str, kept: CommittedState | None
) -> CommittedState:
    """Read a pipeline; of its commits those that were not read before."""
    known = {each.logged.commit.sha: each for each in kept.commits} if kept is not None else {}
    committed = releases.read_pipeline(repository.tree(tip), name)
    logged = repository.history(tip, release_path(name), MOST_COMMITS)
    entries = list_entries(repository, tip, name)[:MOST_RELEASES]
    pipeline = _read_spec(committed.spec, name)
    monitors = pipeline.spec.monitors if pipeline is not None else {}
    return CommittedState(
        name=name,
        namespace=committed.release.namespace,
        spec=committed.spec,
        text=committed.files[release_path(name)],
        release=committed.release,
        releases=tuple(complete_entry(repository, committed.release, each) for each in entries),
        commits=tuple(
            known.get(each.commit.sha) or _weigh_commit(repository, each, name) for each in logged
        ),
        detectors={monitor: str(each.detector) for monitor, each in monitors.items()},
        private=list_private(pipeline.spec) if pipeline is not None else None,
        captures=pipeline is not None and pipeline.spec.capture is not None,
    )


def _read_spec(text: str, name: str) -> Pipeline | None:
    """Return a committed spec; None for one of another version."""
    try:
        return load_spec(text, path=spec_path(name))
    except PipelineError:
        return None


def _weigh_commit(repository: Repository, logged: LoggedCommit, name: str) -> WeighedCommit:
    release = read_release_at(repository, logged.commit.sha, name)
    return WeighedCommit(logged, ReleaseStand.of(release))
