"""Find out from Flux's Kustomizations whether a commit is applied, in a cluster or on this
machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from driftloop import spec
from driftloop.clients.kubernetes import KubernetesClient, KubernetesUnreachableError
from driftloop.cluster.pods import describe_waiting
from driftloop.contract.names import FLUX_NAMESPACE, Names
from driftloop.contract.trees import spec_path
from driftloop.errors import StepError
from driftloop.git.repository import Repository
from driftloop.spec.graph import own_names

POLL = 1.0
"""Seconds between two reads of the API."""


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

    def _describe_state(
        self, commit: str, trees: tuple[str, ...], releases: tuple[str, ...]
    ) -> str:
        runs = commit
        for tree in trees:
            name = self.names.kustomization_name(tree)
            layout = self.repository.layout
            home = FLUX_NAMESPACE if layout is None else layout.flux_namespace
            kustomization = self.kubernetes.get_kustomization(home, name)
            if reason := self._describe_kustomization(kustomization, commit):
                return f"Kustomization {name} {reason}"
            runs = _read_revision(kustomization)
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

    def _describe_kustomization(self, kustomization: dict[str, Any] | None, commit: str) -> str:
        if kustomization is None:
            return "does not exist"
        status, revision = kustomization.get("status") or {}, _read_revision(kustomization)
        if not revision or not self.repository.contains(revision, ancestor=commit):
            return f"has applied {revision[:12] or 'nothing'}, not yet {commit[:12]}{_describe_failure(status)}"
        ready = _find_condition(status, "Ready")
        return (
            ""
            if ready.get("status", "True") == "True"
            else f"is not ready{_describe_failure(status)}"
        )

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


def _read_revision(kustomization: dict[str, Any] | None) -> str:
    """Return the commit that Flux applied last; empty before the first."""
    status = (kustomization or {}).get("status") or {}
    return str(status.get("lastAppliedRevision") or "").rpartition(":")[2]


def _find_condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = status.get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _describe_failure(status: dict[str, Any]) -> str:
    ready = _find_condition(status, "Ready")
    message = str(ready.get("message") or "")
    return f": {message}" if ready.get("status") == "False" and message else ""


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
