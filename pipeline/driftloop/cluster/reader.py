"""Reads of a Kubernetes API that may be half installed: what is not there is None, what is
forbidden is said."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from driftloop.errors import PipelineError


class ClusterError(PipelineError):
    """The API server can't be reached, or refuses."""


class ForbiddenError(ClusterError):
    """The credentials in use may not read this."""


class Reader(Protocol):
    """Everything that is asked of a cluster."""

    def get(self, path: str) -> dict[str, Any] | None:
        """The JSON at an API path; None when there is nothing (no such object, or no such kind)."""


class TextReader(Reader, Protocol):
    """The same, and what services say through the API server."""

    def text(self, path: str) -> str | None:
        """The body at an API path, as it is; None when there is nothing."""


def is_in_pod() -> bool:
    """Return True in a pod of a cluster where nobody has named another one."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


@dataclass(frozen=True)
class ApiAnswer:
    """What the API server said to a request."""

    status: int
    reason: str
    body: bytes


class ApiReader:
    """A cluster by way of a kubeconfig, or of the pod's own service account."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        from kubernetes import client, config

        try:
            if kubeconfig is None and context is None and is_in_pod():
                config.load_incluster_config()  # type: ignore[no-untyped-call]
            else:
                file = str(kubeconfig) if kubeconfig else None
                config.load_config(config_file=file, context=context)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise ClusterError(
                f"no cluster is configured: {error}", hint="set KUBECONFIG, or pass --kubeconfig"
            ) from error
        self._api = client.ApiClient()

    @property
    def address(self) -> str:
        """The API server's URL."""
        return str(self._api.configuration.host)

    def get(self, path: str) -> dict[str, Any] | None:
        """The JSON at an API path; None when there is nothing (no such object, or no such kind)."""
        body = self._read(path, "application/json")
        if body is None:
            return None
        answer: dict[str, Any] = json.loads(body)
        return answer

    def text(self, path: str) -> str | None:
        """The body at an API path, as it is; None when there is nothing."""
        body = self._read(path, "*/*")
        return None if body is None else body.decode(errors="replace")

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Any = None,
        *,
        timeout: float = 10.0,
    ) -> ApiAnswer:
        """Return the answer to a request, whatever it is; ClusterError when there is none."""
        from urllib3.exceptions import HTTPError

        request = self._api.param_serialize(
            method=method,
            resource_path=path,
            header_params=dict(headers),
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._api.call_api(*request, _request_timeout=timeout)
            content: bytes = answer.read()  # type: ignore[no-untyped-call]
        except HTTPError as error:
            raise ClusterError(
                f"the API server does not answer: {error}",
                hint="check that the cluster is running: `kubectl version`",
            ) from error
        return ApiAnswer(answer.status, answer.reason or "", content)

    def _read(self, path: str, accept: str) -> bytes | None:
        answer = self.send("GET", path, {"Accept": accept})
        if answer.status == 404:
            return None
        if answer.status in (401, 403):
            raise ForbiddenError(f"{path}: {answer.reason}")
        if answer.status != 200:
            raise ClusterError(f"{path} answered {answer.status} {answer.reason}")
        return answer.body


def items(reader: Reader, path: str) -> list[dict[str, Any]] | None:
    """The objects of a list; None when the kind does not exist in this cluster."""
    listing = reader.get(path)
    return None if listing is None else list(listing.get("items") or [])


def find_condition(found: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Return a condition of an object's status by its type; None without it."""
    conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), None)


def name_item(found: dict[str, Any]) -> str:
    """Return an object's namespace and name as people write them."""
    metadata = found["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
