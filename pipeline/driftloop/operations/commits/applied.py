"""Find out from Flux's Kustomizations or Argo CD's Applications whether a commit is applied, in a cluster or on this
machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, assert_never

from driftloop import spec
from driftloop.clients.kubernetes import KubernetesClient, KubernetesUnreachableError
from driftloop.cluster import applications
from driftloop.cluster.pods import describe_waiting
from driftloop.contract.layout import default_layout
from driftloop.contract.names import Names
from driftloop.contract.trees import spec_path
from driftloop.errors import StepError
from driftloop.git.repository import Repository
from driftloop.spec.graph import own_names

POLL = 1.0
"""Seconds between two reads of the API."""


@dataclass(frozen=True)
class _Folder:
    """How far one tree of a pipeline is applied, as the object says that applies it."""

    name: str
    """Kind and name of the object."""
    revision: str
    """The commit that was applied last; empty before the first."""
    refusal: str
    """Why another is not applied; empty where nothing says so."""
    unready: str | None
    """What keeps it from being ready; None when it is, empty where nothing says so."""


@dataclass(frozen=True)
class AppliedCommits:
    """Tells whether a commit is applied."""

    kubernetes: KubernetesClient
    repository: Repository
    names: Names

    def describe_missing(
        self,
        commit: str,
        *,
        trees: tuple[str, ...] = ("deployments",),
        releases: tuple[str, ...] = (),
    ) -> str:
        """Describe what is missing before a commit counts as applied; empty when it is applied.

        `releases` are the ids of the versions whose Deployments must be available; pods of theirs
        that no node has room for are named.
        """
        missing = self._describe_state(commit, trees, releases)
        if not missing:
            return ""
        return "; ".join(
            (missing, *(line for each in releases for line in self._list_waiting(each)))
        )

    def request_comparison(self, tree: str) -> None:
        """Have Argo CD look at the repository now, where the caller may; it does so by itself every few minutes, Flux
        every minute."""
        layout = self.repository.layout or default_layout("")
        match layout.follows:
            case "flux":
                pass
            case "argocd":
                name = self.names.kustomization_name(tree)
                self.kubernetes.request_refresh(layout.follower_namespace, name)
            case _:
                assert_never(layout.follows)

    def _describe_state(
        self, commit: str, trees: tuple[str, ...], releases: tuple[str, ...]
    ) -> str:
        runs = commit
        for tree in trees:
            folder = self._read_folder(self.names.kustomization_name(tree))
            if isinstance(folder, str):
                return f"{folder} does not exist"
            if reason := self._describe_folder(folder, commit):
                return f"{folder.name} {reason}"
            runs = folder.revision
        for release in releases:
            if reason := self._describe_deployment(release, runs):
                return reason
        return ""

    def _list_waiting(self, release: str) -> tuple[str, ...]:
        try:
            pods = self.kubernetes.list_pods(self.names.namespace)
        except KubernetesUnreachableError as error:
            return (f"its pods can't be read: {error.message}",)
        return describe_waiting(pods, f"{self.names.predictor(release)}-")

    def _read_folder(self, name: str) -> _Folder | str:
        """Return how far a folder is applied; kind and name of the object when it does not exist."""
        layout = self.repository.layout or default_layout("")
        match layout.follows:
            case "flux":
                kustomization = self.kubernetes.get_kustomization(layout.follower_namespace, name)
                label = f"Kustomization {name}"
                return label if kustomization is None else _read_kustomization(label, kustomization)
            case "argocd":
                application = self.kubernetes.get_application(layout.follower_namespace, name)
                label = f"Application {name}"
                return label if application is None else _read_application(label, application)
            case _:
                assert_never(layout.follows)

    def _describe_folder(self, folder: _Folder, commit: str) -> str:
        revision = folder.revision
        if not revision or not self.repository.contains(revision, ancestor=commit):
            reason = f": {folder.refusal}" if folder.refusal else ""
            return f"has applied {revision[:12] or 'nothing'}, not yet {commit[:12]}{reason}"
        if folder.unready is None:
            return ""
        return f"is not ready: {folder.unready}" if folder.unready else "is not ready"

    def _describe_deployment(self, release: str, commit: str) -> str:
        # with a SeldonDeployment the name of the Deployment is the operator's
        name = ours = self.names.predictor(release)
        deployment = self.kubernetes.get_deployment(self.names.namespace, name)
        if deployment is None:
            name = self._operator_name(release, commit)
            deployment = self.kubernetes.get_deployment(self.names.namespace, name)
        if deployment is None:
            return f"Deployment {ours} does not exist"
        return "" if _is_available(deployment) else f"Deployment {name} is not ready"

    def _operator_name(self, release: str, commit: str) -> str:
        path = spec_path(self.names.pipeline)
        graph = spec.load_spec(self.repository.tree(commit)[path], path=path).spec.serve.graph
        return self.names.operated(release, own_names(graph))


def wait_until_applied(look: Callable[[], str], *, seconds: float, what: str) -> Iterator[str]:
    """Call `look` until it returns nothing, and yield each new text; StepError after `seconds`.

    An API that does not answer is asked again: it may be restarting.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            missing = look()
        except KubernetesUnreachableError as error:
            if error.hint is not None:
                raise
            missing = error.message
        if not missing:
            return
        if missing != last:
            yield missing
            last = missing
        if time.monotonic() > deadline:
            raise StepError(
                f"{what} is not applied after {seconds:.0f} s: {missing}",
                hint="`driftloop status` shows why",
            )
        time.sleep(POLL)


def _read_kustomization(label: str, kustomization: dict[str, Any]) -> _Folder:
    status = kustomization.get("status") or {}
    ready = _find_condition(status, "Ready")
    failure = str(ready.get("message") or "") if ready.get("status") == "False" else ""
    return _Folder(
        label,
        str(status.get("lastAppliedRevision") or "").rpartition(":")[2],
        failure,
        None if ready.get("status", "True") == "True" else failure,
    )


def _read_application(label: str, application: dict[str, Any]) -> _Folder:
    return _Folder(
        label,
        applications.read_applied_commit(application),
        applications.describe_refusal(application),
        applications.describe_health(application) or None,
    )


def _find_condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = status.get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _is_available(deployment: dict[str, Any]) -> bool:
    status = deployment.get("status") or {}
    replicas = (deployment.get("spec") or {}).get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= (deployment.get("metadata") or {}).get(
        "generation", 0
    )
    counts = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas"))
    return (
        observed
        and all(count >= replicas for count in counts)
        and status.get("replicas", replicas) == replicas
    )
