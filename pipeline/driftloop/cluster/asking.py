"""Services of a pipeline, asked through the API server."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from driftloop.cluster.reader import ClusterError, ForbiddenError, TextReader
from driftloop.contract.documents import DocumentError
from driftloop.contract.names import SERVICE_PORT, Names
from driftloop.release.judgement import describe_last, read_last


def ask_service(reader: TextReader, names: Names, service: str, path: str) -> str | None:
    """Return a service's answer; None where it does not exist."""
    try:
        return reader.text(
            f"/api/v1/namespaces/{names.namespace}/services/{service}:{SERVICE_PORT}/proxy/{path}"
        )
    except ForbiddenError:
        raise
    except ClusterError as error:
        raise ClusterError(
            f"{error.message} (it is not ready, or a NetworkPolicy blocks the API server; "
            f"`kubectl -n {names.namespace} port-forward service/{service} {SERVICE_PORT}` makes /{path} reachable)"
        ) from error


def read_analysis(reader: TextReader, names: Names, release: Mapping[str, Any]) -> dict[str, str]:
    """Return in words what the analysis of a rollout measured last, and what its stage waits for; nothing without a
    rollout, or before its first measurement."""
    pair = {side: release.get(side) for side in ("production", "candidate")}
    if not all(pair.values()):
        return {}
    text = ask_service(reader, names, names.judge, f"judgement?{urlencode(pair)}")
    try:
        last = read_last(text) if text else None
    except DocumentError as error:
        raise ClusterError(f"{names.judge}: {error.message}") from error
    return describe_last(last) if last is not None else {}
