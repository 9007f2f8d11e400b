"""Has what was committed become what runs? Asked of Flux's Kustomizations, in the cluster or of the local stand-in."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from driftloop import spec
from driftloop.clients.kubernetes import Kubernetes, KubernetesUnreachableError
from driftloop.contract.names import FLUX_NAMESPACE, Names
from driftloop.contract.trees import spec_path
from driftloop.errors import StepError
from driftloop.git.repository import Repository
from driftloop.spec.graph import own_names

POLL = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Applied:
    """Looks whether a commit runs."""

    kubernetes: Kubernetes
    repository: Repository
    names: Names

    def missing(self, commit: str, *, trees: tuple[str, ...] = ("deployments",), releases: tuple[str, ...] = ()) -> str:
        """What is still missing before a commit counts as applied; empty when nothing is.

        `releases` are the versions whose Deployments must be current.
        """
        runs = commit
        for tree in trees:
            name = self.names.flux(tree)
            found = self.kubernetes.kustomization(FLUX_NAMESPACE, name)
            if reason := self._behind(found, commit):
                return f"Kustomization {name} {reason}"
            runs = _revision(found)
        for release in releases:
            if reason := self._starting(release, runs):
                return reason
        return ""

    def _behind(self, kustomization: dict[str, Any] | None, commit: str) -> str:
        if kustomization is None:
            return "does not exist"
        status, revision = kustomization.get("status") or {}, _revision(kustomization)
        if not revision or not self.repository.contains(revision, ancestor=commit):
            return f"has applied {revision[:12] or 'nothing'}, not yet {commit[:12]}{_said(status)}"
        ready = _condition(status, "Ready")
        return "" if ready.get("status", "True") == "True" else f"is not ready{_said(status)}"

    def _starting(self, release: str, commit: str) -> str:
        # the name is ours with the plain back end, and with a SeldonDeployment the operator's
        name = ours = self.names.predictor(release)
        deployment = self.kubernetes.deployment(self.names.namespace, name)
        if deployment is None:
            name = self._operated(release, commit)
            deployment = self.kubernetes.deployment(self.names.namespace, name)
        if deployment is None:
            return f"Deployment {ours} does not exist"
        return "" if _current(deployment) else f"Deployment {name} is not ready"

    def _operated(self, release: str, commit: str) -> str:
        path = spec_path(self.names.pipeline)
        graph = spec.load(self.repository.tree(commit)[path], path=path).spec.serve.graph
        return self.names.operated(release, own_names(graph))


def wait(look: Callable[[], str], *, seconds: float, what: str) -> Iterator[str]:
    """Look until nothing is missing, yielding what is each time it changes; StepError when the time is over.

    An API that does not answer counts as not yet: it may be restarting.
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
                f"{what} is not applied after {seconds:.0f} s: {missing}", hint="`driftloop status` shows why"
            )
        time.sleep(POLL)


def _revision(kustomization: dict[str, Any] | None) -> str:
    """The commit that Flux applied last; empty when there is none."""
    status = (kustomization or {}).get("status") or {}
    return str(status.get("lastAppliedRevision") or "").rpartition(":")[2]


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((found for found in status.get("conditions") or [] if found.get("type") == kind), {})


def _said(status: dict[str, Any]) -> str:
    ready = _condition(status, "Ready")
    message = str(ready.get("message") or "")
    return f": {message}" if ready.get("status") == "False" and message else ""


def _current(deployment: dict[str, Any]) -> bool:
    status = deployment.get("status") or {}
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= (deployment.get("metadata") or {}).get("generation", 0)
    counts = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas"))
    return seen and all(count >= wanted for count in counts) and status.get("replicas", wanted) == wanted
