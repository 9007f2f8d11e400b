"""What Flux or Argo CD has applied of the repository that pipelines come from."""

from dataclasses import dataclass
from typing import Any, assert_never

from driftloop.cluster import applications
from driftloop.cluster.reader import ForbiddenError, TextReader, find_condition, items
from driftloop.contract.names import (
    ARGOCD_NAMESPACE,
    FLUX_NAMESPACE,
    FLUX_SOURCE,
    MANAGED_BY_LABEL,
    OWN_SELECTOR,
    OWNER,
)

Json = dict[str, Any]

_ONGOING = ("DependencyNotReady", "Progressing", "ProgressingWithRetry", "")
_APPLICATIONS = "/apis/argoproj.io/v1alpha1"


@dataclass(frozen=True)
class _Source:
    """Where Flux has the pipelines' Kustomizations, and the source that they are from."""

    home: str = FLUX_NAMESPACE
    namespace: str = FLUX_NAMESPACE
    name: str = FLUX_SOURCE


@dataclass(frozen=True)
class _Applications:
    """Where Argo CD has the pipelines' Applications, and the repository that they are from."""

    home: str
    repository: str


def _find_source(reader: TextReader) -> _Source | _Applications:
    """Return the source of the pipelines, as their Kustomizations or Applications name it; that of `flux bootstrap`
    before there is a pipeline. Other namespaces than Flux's and Argo CD's own are looked at last, and what the caller
    may not list is passed over as long as another place has them: the console may list in one place only."""
    refused: ForbiddenError | None = None
    kustomizations = "/apis/kustomize.toolkit.fluxcd.io/v1"
    for path in (
        f"{kustomizations}/namespaces/{FLUX_NAMESPACE}/kustomizations",
        f"{_APPLICATIONS}/namespaces/{ARGOCD_NAMESPACE}/applications?{OWN_SELECTOR}",
        f"{kustomizations}/kustomizations?{OWN_SELECTOR}",
        f"{_APPLICATIONS}/applications?{OWN_SELECTOR}",
    ):
        try:
            listed = _list(reader, path)
        except ForbiddenError as error:
            refused = refused or error
            continue
        for item in listed:
            if (item["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) != OWNER:
                continue
            home = str(item["metadata"]["namespace"])
            if path.startswith(_APPLICATIONS):
                return _Applications(home, str(item["spec"]["source"]["repoURL"]))
            ref = item["spec"]["sourceRef"]
            return _Source(home, str(ref.get("namespace") or home), str(ref["name"]))
    if refused is not None:
        raise refused
    return _Source()


def read_applied(reader: TextReader) -> Json:
    """Return the tip of the source, what of it is applied, and what Flux or Argo CD refuses or waits for;
    ClusterError."""
    match _find_source(reader):
        case _Source() as named:
            return _read_kustomizations(reader, named)
        case _Applications() as named:
            return _read_applications(reader, named)
        case other:
            assert_never(other)


def _read_applications(reader: TextReader, named: _Applications) -> Json:
    """Read what Argo CD says; the tip is the commit that it has compared with last."""
    listed = [
        item
        for item in _list(reader, f"{_APPLICATIONS}/namespaces/{named.home}/applications")
        if (item["spec"].get("source") or {}).get("repoURL") == named.repository
    ]
    compared = [
        (str((item.get("status") or {}).get("reconciledAt") or ""), commit)
        for item in listed
        if (commit := applications.read_compared_commit(item))
    ]
    tip = max(compared)[1] if compared else None
    refused, waiting, behind = [], [], None
    for item in sorted(listed, key=lambda each: str(each["metadata"]["name"])):
        name, applied = item["metadata"]["name"], applications.read_applied_commit(item) or None
        if applications.is_suspended(item):
            waiting.append(f"{name} is suspended")
        elif refusal := applications.describe_refusal(item):
            refused.append(f"{name}: {refusal}")
        elif health := applications.describe_health(item):
            waiting.append(f"{name}: {health}")
        elif applied != tip:
            waiting.append(f"{name} has applied {(applied or 'nothing')[:12]}")
        if applied != tip:
            behind = behind or applied
    return {
        "tip": tip,
        "applied": behind or tip,
        "refused": "\n".join(refused) or None,
        "waiting": waiting,
    }


def _read_kustomizations(reader: TextReader, named: _Source) -> Json:
    """Read what Flux says."""
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
        ready = find_condition(item, "Ready") or {}
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
