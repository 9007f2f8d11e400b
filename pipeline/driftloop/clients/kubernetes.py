"""The Kubernetes API (or its local stand-in) without its client library: reads of one object at a
time, and the patches that stop a Workflow, end a suspended node of it, and ask Flux to fetch a repository
now."""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPSHandler, Request, build_opener

from driftloop.contract.names import CANCELLED_BY_ANNOTATION
from driftloop.errors import PipelineError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


OPEN_WORKFLOWS = "workflows.argoproj.io/completed!=true"
"""Selector of the Workflows that are not over."""


class KubernetesUnreachableError(PipelineError):
    """The API did not answer, or refused: nothing is known about the object."""


class ConflictError(KubernetesUnreachableError):
    """The object is not as it was when it was read."""


@dataclass(frozen=True)
class KubernetesClient:
    """Address of the API server, and the token for it."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def from_url(cls, url: str, *, service_account: Path = SERVICE_ACCOUNT) -> "KubernetesClient":
        """The API at `url`, with the pod's service account when one is mounted."""
        token, authority = service_account / "token", service_account / "ca.crt"
        return cls(
            url.rstrip("/"),
            token if os.access(token, os.R_OK) else None,
            authority if authority.exists() else None,
        )

    def get_object(
        self,
        group: str,
        version: str,
        namespace: str,
        plural: str,
        name: str,
        *,
        timeout: float = 5.0,
    ) -> dict[str, Any] | None:
        """The object, or None when it does not exist. KubernetesUnreachableError when that can't
        be known."""
        path = f"/apis/{group}/{version}/namespaces/{quote(namespace)}/{plural}/{quote(name)}"
        return self._send(Request(self.url + path), path, verb="get", timeout=timeout)  # noqa: S310

    def stop_workflow(self, namespace: str, name: str, by: str) -> dict[str, Any] | None:
        """Set a Workflow's `shutdown`, and who did it; its exit handler still runs. None when it
        does not exist."""
        path = _workflow_path(namespace, name)
        patch = {
            "metadata": {"annotations": {CANCELLED_BY_ANNOTATION: by}},
            "spec": {"shutdown": "Stop"},
        }
        return self._patch(path, patch)

    def end_suspended(
        self, namespace: str, workflow: Mapping[str, Any], node: str, change: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """End a suspended node of a Workflow as it was read; None when the Workflow does not exist any more.

        ConflictError when the Workflow was written since.
        """
        metadata = workflow["metadata"]
        path = _workflow_path(namespace, metadata["name"])
        patch: dict[str, Any] = {"status": {"nodes": {node: change}}}
        if "resourceVersion" in metadata:
            patch["metadata"] = {"resourceVersion": metadata["resourceVersion"]}
        return self._patch(path, patch)

    def list_open_workflows(self, namespace: str) -> list[dict[str, Any]]:
        """The Workflows of a namespace that are not over; KubernetesUnreachableError when they can't be
        read."""
        path = _workflow_path(namespace)
        url = f"{self.url}{path}?labelSelector={quote(OPEN_WORKFLOWS)}"
        answer = self._send(Request(url), path, verb="list", timeout=10.0)  # noqa: S310
        return list((answer or {}).get("items") or ())

    def find_user(self) -> str | None:
        """Return who the API server takes the caller for; None where it does not say: the stand-in of one
        machine, and Kubernetes before 1.28."""
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        request = Request(self.url + path, data=json.dumps(body).encode(), method="POST")  # noqa: S310
        request.add_header("Content-Type", "application/json")
        answer = self._send(request, path, verb="create", timeout=10.0)
        user = ((answer or {}).get("status") or {}).get("userInfo") or {}
        return str(user["username"]) if user.get("username") else None

    def _patch(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        request = Request(self.url + path, data=json.dumps(patch).encode(), method="PATCH")  # noqa: S310
        request.add_header("Content-Type", "application/merge-patch+json")
        return self._send(request, path, verb="patch", timeout=10.0)

    def _send(
        self, request: Request, path: str, *, verb: str, timeout: float
    ) -> dict[str, Any] | None:
        request.add_header("Accept", "application/json")
        if self.token_file is not None:
            # read each time: the kubelet rotates it
            request.add_header("Authorization", f"Bearer {self.token_file.read_text().strip()}")
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        opener = build_opener(HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=timeout) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except HTTPError as error:
            if error.code == 404:
                return None
            if error.code == 409:
                raise ConflictError(f"{self.url}{path} was written meanwhile") from error
            raise KubernetesUnreachableError(
                f"{self.url}{path} answered {error.code}",
                hint=f"the service account's Role must allow `{verb}` on it"
                if error.code in (401, 403)
                else None,
            ) from error
        except (URLError, TimeoutError, OSError, ValueError) as error:
            raise KubernetesUnreachableError(f"{self.url}{path} can't be read: {error}") from error

    def get_workflow(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An Argo Workflow, or None."""
        return self.get_object("argoproj.io", "v1alpha1", namespace, "workflows", name)

    def get_deployment(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Deployment, or None."""
        return self.get_object("apps", "v1", namespace, "deployments", name)

    def list_pods(self, namespace: str) -> list[dict[str, Any]]:
        """The pods of a namespace; KubernetesUnreachableError when they can't be read."""
        path = f"/api/v1/namespaces/{quote(namespace)}/pods"
        answer = self._send(Request(self.url + path), path, verb="list", timeout=5.0)  # noqa: S310
        return list((answer or {}).get("items") or ())

    def get_kustomization(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Flux Kustomization, or None."""
        return self.get_object(
            "kustomize.toolkit.fluxcd.io", "v1", namespace, "kustomizations", name
        )

    def get_application(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An Application of Argo CD, or None."""
        return self.get_object("argoproj.io", "v1alpha1", namespace, "applications", name)

    def request_refresh(self, namespace: str, application: str) -> str | None:
        """Ask Argo CD to look at the repository now, as `argocd app get --refresh` does; the reason when the API does
        not take it."""
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{quote(namespace)}/applications/{quote(application)}"
        return self._annotate(path, {"argocd.argoproj.io/refresh": "normal"})

    def request_fetch(self, namespace: str, source: str) -> str | None:
        """Ask Flux to fetch a GitRepository now, as `flux reconcile source git` does; the reason
        when the API does not take it."""
        base = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{quote(namespace)}"
        path = f"{base}/gitrepositories/{quote(source)}"
        now = datetime.now(UTC).isoformat()
        return self._annotate(path, {"reconcile.fluxcd.io/requestedAt": now})

    def _annotate(self, path: str, annotations: Mapping[str, str]) -> str | None:
        """Add annotations to an object; the reason when the API does not take it."""
        try:
            answer = self._patch(path, {"metadata": {"annotations": dict(annotations)}})
        except KubernetesUnreachableError as error:
            return error.message
        return None if answer is not None else f"{path} does not exist"


def workflow_ended(workflow: dict[str, Any] | None) -> bool:
    """Return True if a Workflow is over (or gone); its exit handler counts as running."""
    return workflow is None or (workflow.get("status") or {}).get("phase") in (
        "Succeeded",
        "Failed",
        "Error",
    )


def _workflow_path(namespace: str, name: str | None = None) -> str:
    """Path of a Workflow, or of all of a namespace."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{quote(namespace)}/workflows"
    return path if name is None else f"{path}/{quote(name)}"
