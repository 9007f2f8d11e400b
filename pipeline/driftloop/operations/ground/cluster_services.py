"""Services of a cluster's pipeline that want the platform's token, reached with the rights of the person."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from driftloop.cluster.forward import reach_url
from driftloop.cluster.reader import ApiReader
from driftloop.contract.names import PLATFORM
from driftloop.contract.platform import GATEWAY, WEBHOOK_TOKEN
from driftloop.errors import PipelineError


@contextlib.contextmanager
def reach_service(
    url: str,
    namespace: str,
    environment: Mapping[str, str],
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield an URL that leads from here to a Service of a namespace, and the token that it wants: that of
    the environment, else of the namespace's Secret."""
    token = environment.get(WEBHOOK_TOKEN.environment) or read_cluster_token(
        ApiReader(kubeconfig, context), namespace
    )
    with reach_url(url, kubeconfig=kubeconfig, context=context) as reached:
        yield reached, token


def read_cluster_token(reader: ApiReader, namespace: str) -> str:
    """Return the token of a namespace's webhooks; PipelineError when it has none."""
    secret = reader.get(f"/api/v1/namespaces/{namespace}/secrets/{PLATFORM}")
    held = (secret or {}).get("data") or {}
    if WEBHOOK_TOKEN.key not in held:
        raise PipelineError(
            f"namespace `{namespace}` has no Secret {PLATFORM} with `{WEBHOOK_TOKEN.key}`",
            hint="name the pipeline's namespace with -n, or set "
            f"{WEBHOOK_TOKEN.environment}; `driftloop secrets init` writes the Secret",
        )
    return base64.b64decode(held[WEBHOOK_TOKEN.key]).decode()


@contextlib.contextmanager
def reach_gateway(
    namespace: str, *, kubeconfig: Path | None = None, context: str | None = None
) -> Iterator[str]:
    """Yield an URL of the gateway that the pipelines of a namespace are asked through."""
    settings = ApiReader(kubeconfig, context).get(
        f"/api/v1/namespaces/{namespace}/configmaps/{PLATFORM}"
    )
    url = ((settings or {}).get("data") or {}).get(GATEWAY.key, GATEWAY.example)
    with reach_url(url, kubeconfig=kubeconfig, context=context) as reached:
        yield reached
