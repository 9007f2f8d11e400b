"""What Flux has applied of the repository that pipelines come from."""

from dataclasses import dataclass
from typing import Any

from driftloop.cluster.reader import TextReader, items
from driftloop.contract.names import (
    FLUX_NAMESPACE,
    FLUX_SOURCE,
    MANAGED_BY_LABEL,
    OWN_SELECTOR,
    OWNER,
)

Json = dict[str, Any]

_ONGOING = ("DependencyNotReady", "Progressing", "ProgressingWithRetry", "")


@dataclass(frozen=True)
class _Source:
    """Where Flux has the pipelines' Kustomizations, and the source that they are from."""

    home: str = FLUX_NAMESPACE
    namespace: str = FLUX_NAMESPACE
    name: str = FLUX_SOURCE


def _find_source(reader: TextReader) -> _Source:
    """Return the source of the pipelines, as their Kustomizations name it; that of `flux bootstrap` before there is
    a pipeline. Other namespaces than its own are looked at last: the console may not list there."""
    kind = "/apis/kustomize.toolkit.fluxcd.io/v1"
    for path in (
        f"{kind}/namespaces/{FLUX_NAMESPACE}/kustomizations",
        f"{kind}/kustomizations?{OWN_SELECTOR}",
    ):
        for item in _list(reader, path):
            if (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == OWNER:
                home, ref = str(item["metadata"]["namespace"]), item["spec"]["sourceRef"]
                return _Source(home, str(ref.get("namespace") or home), str(ref["name"]))
    return _Source()


def read_applied(reader: TextReader) -> Json:
    """Return the tip of the source, what of it is applied, and what Flux refuses or waits for; ClusterError."""
    named = _find_source(reader)
    source = reader.get(
        f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{named.namespace}/gitrepositories/{named.name}"
    )
    tip = _commit(((source or {}).get("status", {}).get("artifact") or {}).get("revision"))
    kustomizations = _list(
        reader, f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{named.home}/kustomizations"
    )
    releases = _list(
        reader, f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{named.home}/helmreleases"
    )
    refused, waiting, behind, own = [], [], None, 0
    for item in sorted(
        (*kustomizations, *releases), key=lambda each: str(each["metadata"]["name"])
    ):
        name, status = item["metadata"]["name"], item.get("status", {})
        ready: Json = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})
        # the platform's Kustomizations of other projects have commits of their own
        follows = (item["spec"].get("sourceRef") or {}).get("name") == named.name
        applied = _commit(status.get("lastAppliedRevision")) if follows else tip
        own += follows
        if item["spec"].get("suspend"):
            waiting.append(f"{name} is suspended")
        elif ready.get("status") == "False" and ready.get("reason", "") not in _ONGOING:
            refused.append(f"{name}: {ready.get('message', '')}")
        elif ready.get("status") != "True":
            waiting.append(f"{name}: {ready.get('message') or 'no controller has reconciled it'}")
        elif tip is not None and applied != tip:
            waiting.append(f"{name} has applied {(applied or 'nothing')[:12]}")
        if applied != tip:
            behind = behind or applied
    return {
        "tip": tip,
        "applied": behind or (tip if own else None),
        "refused": "\n".join(refused) or None,
        "waiting": waiting,
    }


def _list(reader: TextReader, path: str) -> list[Json]:
    return items(reader, path) or []


def _commit(revision: str | None) -> str | None:
    """`main@sha1:<commit>` -> the commit."""
    return revision.rpartition(":")[2] if revision else None
