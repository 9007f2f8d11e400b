"""The API server of a kubeconfig, as what follows, stops and approves Workflows asks it."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.request import Request

from driftloop.clients.kubernetes import (
    ConflictError,
    KubernetesClient,
    KubernetesUnreachableError,
)
from driftloop.cluster.reader import ApiReader, ClusterError


@dataclass(frozen=True, kw_only=True)
class KubeconfigClient(KubernetesClient):
    """A client whose requests go with the rights that a kubeconfig gives to a person."""

    reader: ApiReader

    @classmethod
    def from_reader(cls, reader: ApiReader) -> "KubeconfigClient":
        """Return the client of the API server that is read."""
        return cls(reader.address.rstrip("/"), reader=reader)

    def _send(
        self, request: Request, path: str, *, verb: str, timeout: float
    ) -> dict[str, Any] | None:
        headers = {name.title(): value for name, value in request.header_items()}
        body = json.loads(request.data) if isinstance(request.data, bytes) else None
        resource = request.full_url.removeprefix(self.url)
        try:
            answer = self.reader.send(
                request.get_method(),
                resource,
                {"Accept": "application/json", **headers},
                body,
                timeout=timeout,
            )
        except ClusterError as error:
            raise KubernetesUnreachableError(error.message, hint=error.hint) from error
        if answer.status == 404:
            return None
        if answer.status == 409:
            raise ConflictError(f"{self.url}{path} was written meanwhile")
        if not 200 <= answer.status < 300:
            denied = answer.status in (401, 403)
            raise KubernetesUnreachableError(
                f"{self.url}{path} answered {answer.status} {answer.reason}",
                hint=f"your rights in the cluster must include `{verb}` on it" if denied else None,
            )
        document: dict[str, Any] = json.loads(answer.body)
        return document
