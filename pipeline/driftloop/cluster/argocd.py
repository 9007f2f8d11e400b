"""Diagnosis of Argo CD: the Application that a platform file names, those of the pipelines, and the health of kinds that
Argo CD does not know by itself."""

from typing import Any

from driftloop.cluster import applications
from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import Reader, items
from driftloop.contract.names import MANAGED_BY_LABEL, OWNER
from driftloop.platform import PlatformFile
from driftloop.platform.argocd import ArgoCd
from driftloop.resources.argocd_health import HEALTH, SETTINGS, name_health_setting


def examine_applications(reader: Reader, ground: PlatformFile, own: ArgoCd) -> Findings:
    """Find Applications of the repository that are not applied, not healthy or suspended, and what the one that reads
    the cluster's folder has otherwise than the platform file."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{own.namespace}/applications"
    found = [each for each in items(reader, path) or [] if _belongs_to(each, own)]
    names = {each["metadata"]["name"]: each for each in found}
    if own.application in names:
        yield from _examine_root(names[own.application], ground, own)
    else:
        yield DoctorFinding(
            Level.WRONG,
            f"Application {own.namespace}/{own.application} does not exist, or is of another repository than "
            f"{own.repository}",
            f"`driftloop platform argocd {ground.path} | kubectl apply -f -` makes it; "
            "`argocd.application` names another",
        )
    for each in found:
        yield from _examine(each)
    yield from _examine_health(reader, own, ground.path)


def _belongs_to(application: dict[str, Any], own: ArgoCd) -> bool:
    labels = application["metadata"].get("labels") or {}
    source = application["spec"].get("source") or {}
    return labels.get(MANAGED_BY_LABEL) == OWNER or source.get("repoURL") == own.repository


def _examine_root(root: dict[str, Any], ground: PlatformFile, own: ArgoCd) -> Findings:
    source, name = root["spec"]["source"], f"Application {own.namespace}/{own.application}"
    path, branch = ground.layout.path, ground.spec.branch
    if str(source.get("path", "")).removeprefix("./").rstrip("/") != path:
        yield DoctorFinding(
            Level.WRONG,
            f"{name} reads the folder `{source.get('path', '')}`, {ground.path} says `{path}`",
            "set its `spec.source.path`, or `spec.path` of the platform file",
        )
    if source.get("targetRevision") != branch:
        yield DoctorFinding(
            Level.WRONG,
            f"{name} follows `{source.get('targetRevision', 'HEAD')}`, {ground.path} says `{branch}`",
            "set its `spec.source.targetRevision`, or `spec.branch` of the platform file",
        )
    if not (source.get("directory") or {}).get("recurse"):
        yield DoctorFinding(
            Level.NOTE,
            f"{name} reads the files of `{path}` itself, and none of the folders in it",
            "pipelines are in folders: give it `directory: {recurse: true}`, unless a kustomization.yaml lists them",
        )


def _examine(application: dict[str, Any]) -> Findings:
    metadata = application["metadata"]
    name = f"Application {metadata['namespace']}/{metadata['name']}"
    if applications.is_suspended(application):
        yield DoctorFinding(Level.NOTE, f"{name} is suspended: no commit is applied by itself")
    if not application.get("status"):
        yield DoctorFinding(
            Level.WRONG,
            f"{name}: no controller has reconciled it",
            "Argo CD's application-controller does; it looks at its own namespace, unless it is told of others",
        )
    elif refusal := applications.describe_refusal(application):
        yield DoctorFinding(
            Level.WRONG,
            f"{name}: {refusal}",
            f"the message has the reason; `argocd app sync {metadata['name']}` tries again",
        )
    elif health := applications.describe_health(application):
        yield DoctorFinding(
            Level.WRONG,
            f"{name} is not healthy: {health}",
            f"`argocd app get {metadata['name']}` says which object it is",
        )


def _examine_health(reader: Reader, own: ArgoCd, file: str) -> Findings:
    path = f"/api/v1/namespaces/{own.namespace}/configmaps/{SETTINGS}"
    settings = (reader.get(path) or {}).get("data") or {}
    unknown = [kind for kind in HEALTH if name_health_setting(kind) not in settings]
    if unknown:
        yield DoctorFinding(
            Level.NOTE,
            f"Argo CD takes objects of these kinds for healthy as soon as they are made: {', '.join(unknown)}",
            f"`driftloop platform argocd {file} --health` prints the patch of its ConfigMap {SETTINGS}",
        )
