"""Reads of the Kubernetes API (or its local stand-in) without its client library: one object at
a time. The only write asks Flux to fetch a repository now."""

import json
import os
import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPSHandler, Request, build_opener

from driftloop.errors import PipelineError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubernetesUnreachableError(PipelineError):
    """The API did not answer, or refused: nothing is known about the object."""


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
        try:
            with self._open_request(path, timeout=timeout) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except HTTPError as error:
            if error.code == 404:
                return None
            raise KubernetesUnreachableError(
                f"{self.url}{path} answered {error.code}",
                hint="the service account's Role must allow `get` on it"
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

    def get_kustomization(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Flux Kustomization, or None."""
        return self.get_object(
            "kustomize.toolkit.fluxcd.io", "v1", namespace, "kustomizations", name
        )

    def request_fetch(self, namespace: str, source: str) -> str | None:
        """Ask Flux to fetch a GitRepository now, as `flux reconcile source git` does; the reason
        when the API refuses."""
        base = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{quote(namespace)}"
        now = datetime.now(UTC).isoformat()
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}
        try:
            with self._open_request(f"{base}/gitrepositories/{quote(source)}", patch=patch):
                return None
        except HTTPError as error:
            return f"{error.code} {error.reason}"
        except (URLError, TimeoutError, OSError) as error:
            return str(error)

    def _open_request(
        self, path: str, *, patch: dict[str, Any] | None = None, timeout: float = 5.0
    ) -> AbstractContextManager[HTTPResponse]:
        headers = {"Accept": "application/json"}
        if self.token_file is not None:
            # read each time: the kubelet rotates it
            headers["Authorization"] = f"Bearer {self.token_file.read_text().strip()}"
        if patch is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        request = Request(  # noqa: S310 - the API's own scheme
            self.url + path,
            data=json.dumps(patch).encode() if patch is not None else None,
            headers=headers,
            method="GET" if patch is None else "PATCH",
        )
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        opener = build_opener(HTTPSHandler(context=context))
        opened: AbstractContextManager[HTTPResponse] = opener.open(request, timeout=timeout)
        return opened


def workflow_ended(workflow: dict[str, Any] | None) -> bool:
    """Return True if a Workflow is over (or gone); its exit handler counts as running."""
    return workflow is None or (workflow.get("status") or {}).get("phase") in (
        "Succeeded",
        "Failed",
        "Error",
    )
