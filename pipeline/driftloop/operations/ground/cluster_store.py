"""The object store of a cluster's pipeline, opened with the rights of the person: the address and
keys in its namespace, and a forwarded port where the store is inside the cluster."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftloop.cluster.forward import reach_url
from driftloop.cluster.reader import ApiReader
from driftloop.contract import platform
from driftloop.contract.names import PLATFORM
from driftloop.errors import PipelineError

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore


@contextlib.contextmanager
def open_cluster_store(
    reader: ApiReader, namespace: str, *, kubeconfig: Path | None = None, context: str | None = None
) -> Iterator["ObjectStore"]:
    """Open the store that the pipelines of a namespace use: `get` on its settings is needed, and
    `create` on pods/portforward where the store is inside the cluster."""
    with open_cluster_bucket(reader, namespace, kubeconfig=kubeconfig, context=context) as (
        store,
        _,
    ):
        yield store


@contextlib.contextmanager
def open_cluster_bucket(
    reader: ApiReader, namespace: str, *, kubeconfig: Path | None = None, context: str | None = None
) -> Iterator[tuple["ObjectStore", str]]:
    """Open that store; also the name of its bucket of runs, models and captured traffic."""
    from driftloop.clients.s3 import ObjectStore

    base = f"/api/v1/namespaces/{namespace}"
    settings = _read_settings(reader.get(f"{base}/configmaps/{PLATFORM}"), namespace, "ConfigMap")
    secrets = _read_settings(reader.get(f"{base}/secrets/{PLATFORM}"), namespace, "Secret")
    endpoint = settings[platform.S3_ENDPOINT.key]
    with reach_url(endpoint, kubeconfig=kubeconfig, context=context) as url:
        store = ObjectStore.from_endpoint(
            url,
            access_key=_decode(secrets, platform.ACCESS_KEY.key),
            secret_key=_decode(secrets, platform.SECRET_KEY.key),
            region=settings.get(platform.S3_REGION.key, "us-east-1"),
        )
        yield store, settings.get(platform.S3_BUCKET.key, platform.S3_BUCKET.example)


def _decode(secrets: Mapping[str, Any], key: str) -> str | None:
    """Return a value of a Secret; None where pods have an identity in place of keys, and so has who asks."""
    return base64.b64decode(secrets[key]).decode() if key in secrets else None


def _read_settings(
    settings: Mapping[str, Any] | None, namespace: str, kind: str
) -> Mapping[str, Any]:
    if settings is None:
        raise PipelineError(
            f"namespace `{namespace}` has no {kind} {PLATFORM}",
            hint=f"`driftloop secrets init --namespace {namespace} …` writes it; when its last pipeline has just been "
            "removed, Flux makes it again within 10 minutes, or at once by `flux reconcile kustomization platform`",
        )
    content: Mapping[str, Any] = settings.get("data") or {}
    return content
