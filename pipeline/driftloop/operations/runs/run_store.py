"""The runs of a place: those of this machine or of a cluster, listed and found."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.cluster.reader import ApiReader
from driftloop.contract import platform
from driftloop.contract.outcomes import OutcomeKind
from driftloop.contract.runs import RunReport, Trigger
from driftloop.contract.trees import OUTCOME_FILE, report_key, run_key
from driftloop.errors import LocalError, PipelineError, StoreError
from driftloop.git.repository import Repository
from driftloop.local.ground import addresses
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.ground.cluster_store import open_cluster_bucket
from driftloop.operations.ground.environment import read_environment
from driftloop.operations.ground.runtime import find_runtime
from driftloop.operations.runs.run_reports import KnownRun, RunFolder, read_report
from driftloop.operations.runs.run_workflows import Json
from driftloop.operations.runs.runs import find_namespace

FindWorkflow = Callable[[str, str], Json | None]
"""A Workflow by namespace and name; None when it is gone. PipelineError when that is not known."""
FindTrailers = Callable[[str], Mapping[str, str]]
"""Trailers of the newest commit of a run; none when it made none."""

NOT_BEGUN: OutcomeKind = "not-started"


@dataclass(frozen=True)
class RunPlace:
    """The bucket of runs, and where the rest of a run is seen."""

    store: ObjectStore
    bucket: StoreLocation
    namespace: str
    """Namespace of the pipelines; empty when each has its own."""
    find_workflow: FindWorkflow
    find_trailers: FindTrailers


@dataclass(frozen=True)
class RunFilter:
    """Filter of the runs that are listed; None and empty mean all."""

    pipeline: str | None = None
    outcomes: tuple[OutcomeKind, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    since: str | None = None
    """Start at least, as RFC 3339 in UTC writes it."""
    idle: bool = False
    """Also runs that never began."""

    def matches(self, report: RunReport) -> bool:
        """Return True for a run that is listed."""
        kind = report.outcome.kind if report.outcome is not None else None
        if self.pipeline is not None and report.pipeline != self.pipeline:
            return False
        if self.outcomes and kind not in self.outcomes:
            return False
        if self.triggers and report.trigger not in self.triggers:
            return False
        if self.since is not None and (report.started or report.finished or "") < self.since:
            return False
        return self.idle or kind != NOT_BEGUN or NOT_BEGUN in self.outcomes


@dataclass(frozen=True)
class ListedRun:
    """A run and where it stands now."""

    report: RunReport
    phase: str
    """Its outcome; `running`, `rolling out` while it goes on; `lost` when its Workflow is gone."""


@contextlib.contextmanager
def open_local_runs(
    state: StateFolder,
    environment: Mapping[str, str],
    *,
    attempts: int = 8,
    patience: float = 60,
) -> Iterator[RunPlace]:
    """Open the runs of a state folder; LocalError when nothing was started in it yet. Calls of the store are
    tried `attempts` times, each for `patience` seconds."""
    store = ObjectStore.from_environment(
        read_environment(state), attempts=attempts, patience=patience
    )
    bucket = StoreLocation(LocalSettings.load(state)[platform.S3_BUCKET])
    api = find_runtime(state, environment, repository=state.repository_url)

    def find_workflow(namespace: str, name: str) -> Json | None:
        if api is None:
            raise LocalError("nothing runs here")
        return api.get_workflow(namespace or find_namespace(state, name), name)

    with tempfile.TemporaryDirectory(prefix="driftloop-git-") as folder:
        find_trailers = _search_repository(state, Path(folder))
        yield RunPlace(store, bucket, "", find_workflow, find_trailers)


@contextlib.contextmanager
def open_cluster_runs(
    kubeconfig: Path | None, context: str | None, namespace: str
) -> Iterator[RunPlace]:
    """Open the runs of a namespace of a cluster, with the rights of the person: `get` on its
    settings and Workflows, and to forward a port where the store is inside the cluster."""
    reader = ApiReader(kubeconfig, context)

    def find_workflow(space: str, name: str) -> Json | None:
        return reader.get(
            f"/apis/argoproj.io/v1alpha1/namespaces/{space or namespace}/workflows/{name}"
        )

    with open_cluster_bucket(reader, namespace, kubeconfig=kubeconfig, context=context) as (
        store,
        bucket,
    ):
        yield RunPlace(store, StoreLocation(bucket), namespace, find_workflow, lambda _: {})


def list_runs(
    place: RunPlace,
    wanted: RunFilter,
    most: int,
    *,
    known: Mapping[str, ListedRun] | None = None,
) -> tuple[ListedRun, ...]:
    """Return the newest runs that match, the newest first, `most` of them; those `known` to have ended
    are not read again."""
    ended = {run: each for run, each in (known or {}).items() if each.report.outcome is not None}
    prefix = f"{wanted.pipeline}-" if wanted.pipeline is not None else ""
    begun: dict[str, float] = {}
    empty: set[str] = set()
    for entry in place.store.list_objects(place.bucket / run_key(prefix)):
        run, _, name = entry.key.removeprefix(run_key("")).partition("/")
        if run not in begun:
            empty.add(run)
        if name != OUTCOME_FILE and not name.startswith("logs/"):
            empty.discard(run)
        begun[run] = min(begun.get(run, entry.modified), entry.modified)
    if not wanted.idle and not wanted.outcomes:
        # each look for new data of an older version left an outcome
        begun = {run: time for run, time in begun.items() if run not in empty}
    listed: list[ListedRun] = []
    for run in sorted(begun, key=lambda name: (begun[name], name), reverse=True):
        found = ended.get(run) or find_run(place, run, pipeline=wanted.pipeline)
        if found is not None and wanted.matches(found.report):
            listed.append(found)
        if len(listed) == most:
            break
    return tuple(
        sorted(listed, key=lambda item: (item.report.started or "", item.report.run), reverse=True)
    )


def find_run(place: RunPlace, run: str, *, pipeline: str | None = None) -> ListedRun | None:
    """Return a run, from its run.json or from what else is left of it; None when nothing is."""
    seen: list[Json | None] = []

    def find_workflow() -> Json | None:
        try:
            seen.append(place.find_workflow(place.namespace, run))
        except (KubernetesUnreachableError, PipelineError):
            return None
        return seen[-1]

    trailers: Mapping[str, str] = {}
    folder = RunFolder(place.store, place.bucket, run)
    if not place.store.has_object(place.bucket / report_key(run)):
        trailers = place.find_trailers(run)
    known = KnownRun(
        pipeline=trailers.get("Driftloop-Pipeline") or pipeline or run.rpartition("-")[0] or run,
        namespace=place.namespace,
        cause=trailers.get("Driftloop-Cause"),
        release=trailers.get("Driftloop-Release"),
    )
    report = read_report(folder, known, find_workflow)
    if report is None:
        return None
    if report.outcome is not None:
        return ListedRun(report, report.outcome.kind)
    if seen == [None]:
        # its Workflow is deleted some time after its end, which writes the outcome
        rollout = report.rollout and _is_there(place, report.rollout)
        return ListedRun(report, "rolling out" if rollout else "lost")
    return ListedRun(report, "rolling out" if report.rollout else "running")


def require_run(place: RunPlace, run: str) -> ListedRun:
    """Return a run; StoreError when the bucket has nothing of it."""
    found = find_run(place, run)
    if found is None:
        raise StoreError(
            f"{place.bucket / run_key(run)} does not exist: no run `{run}` is stored",
            hint="`driftloop runs` lists them",
        )
    return found


def _is_there(place: RunPlace, workflow: str) -> bool:
    try:
        return place.find_workflow(place.namespace, workflow) is not None
    except PipelineError:
        return True


def _search_repository(state: StateFolder, folder: Path) -> FindTrailers:
    """Return a search for the newest commit of a run in the state folder's repository."""
    repository = Repository(
        state.repository_url, branch=addresses.BRANCH, workdir=folder, guard=refuse_harm
    )
    tips: list[str | None] = []

    def find_trailers(run: str) -> Mapping[str, str]:
        if not tips:
            tips.append(repository.tip() if state.repository.exists() else None)
        if tips[0] is None:
            return {}
        commit = repository.find(tips[0], "Driftloop-Run", run)
        return commit.trailers if commit is not None else {}

    return find_trailers
