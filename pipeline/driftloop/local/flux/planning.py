"""Planning of one Kustomization: its pods, Services and routes, or the error that refuses it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from driftloop.errors import LocalError, PipelineError
from driftloop.local.flux import admission, source
from driftloop.local.flux.source import FluxKustomization, ReadKustomization
from driftloop.local.ground import kinds
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import images, pods
from driftloop.local.kubelet.fleet import Key
from driftloop.local.kubelet.pods import PlannedPod
from driftloop.local.kubelet.values import ConfigValues, require_own, require_volumes
from driftloop.local.seldon import serving

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PlannedKustomization:
    """Planned Kustomization of one commit, after all checks that can refuse it."""

    kustomization: FluxKustomization
    objects: tuple[dict[str, Any], ...]
    pods: tuple[PlannedPod, ...] = ()
    services: tuple[Object, ...] = ()
    virtual_services: tuple[Object, ...] = ()


@dataclass(frozen=True)
class ReadyCondition:
    """Ready condition of a Kustomization."""

    ready: bool
    revision: str | None
    """The commit it was last applied from."""
    message: str


def collect_config_maps(
    kustomizations: Iterable[ReadKustomization],
) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return the data of all ConfigMaps by (namespace, name)."""
    return {
        (item["metadata"].get("namespace", "default"), item["metadata"]["name"]): item.get("data")
        or {}
        for entry in kustomizations
        for item in entry.objects
        if kinds.object_kind(item) == ("", "ConfigMap")
    }


def plan_kustomization(
    state: StateFolder, entry: ReadKustomization, values: ConfigValues
) -> PlannedKustomization | ReadKustomization:
    """Plan the objects of a Kustomization; an error is returned in its entry."""
    if entry.error is not None:
        return entry
    try:
        expanded = [other for item in entry.objects for other in serving.expand_object(item)]
        own = {
            (item["metadata"].get("namespace", "default"), item["metadata"]["name"]): item.get(
                "data"
            )
            or {}
            for item in expanded
            if kinds.object_kind(item) == ("", "ConfigMap")
        }
        values = replace(values, config_maps={**values.config_maps, **own})
        virtual = tuple(
            item
            for item in expanded
            if kinds.object_kind(item) == ("networking.istio.io", "VirtualService")
        )
        services = tuple(item for item in expanded if kinds.object_kind(item) == ("", "Service"))
        for item in (*virtual, *services):
            admission.validate_object(item)
        for item in expanded:
            if kinds.object_kind(item) == ("argoproj.io", "WorkflowTemplate"):
                _require_values(item, values, entry.files.get(kinds.object_identity(item)))
        scaled = pods.read_min_replicas(expanded)
        return PlannedKustomization(
            kustomization=entry.kustomization,
            objects=entry.objects,
            pods=tuple(
                _plan_pods(
                    state, item, values, scaled, entry.files.get(kinds.object_identity(item))
                )
                for item in expanded
                if kinds.object_kind(item) == ("apps", "Deployment")
            ),
            services=services,
            virtual_services=virtual,
        )
    except PipelineError as error:
        return ReadKustomization(entry.kustomization, error=error)
    except source.MALFORMED as error:
        return ReadKustomization(
            entry.kustomization, error=source.build_shape_error(entry.kustomization.path, error)
        )


def list_unready(
    parts: Iterable[PlannedKustomization | ReadKustomization], routed: Iterable[Object]
) -> tuple[Object, ...]:
    """VirtualServices of the tip that are not routed, also of Kustomizations that still wait."""
    names = set(map(kinds.object_identity, routed))
    return tuple(
        item
        for part in parts
        if isinstance(part, PlannedKustomization) and not part.kustomization.suspended
        for item in part.virtual_services
        if kinds.object_identity(item) not in names
    )


def _require_values(template: Object, values: ConfigValues, file: str | None) -> None:
    """Raise LocalError unless the values are there that steps take from a person's own objects: a run would train
    first, and fail later."""
    namespace = template["metadata"].get("namespace", "default")
    for step in template["spec"].get("templates") or ():
        where = f"{kinds.format_object(template)}: template {step['name']}"
        for container in (step.get("container"), *(step.get("sidecars") or ())):
            try:
                require_own(where, namespace, container or {}, values)
                require_volumes(where, namespace, step.get("volumes") or (), values)
            except LocalError as error:
                raise error if file is None else admission.locate_error(file, error) from error


def _plan_pods(
    state: StateFolder,
    deployment: Object,
    values: ConfigValues,
    scaled: Mapping[Key, int],
    file: str | None,
) -> PlannedPod:
    """Plan the pods of a Deployment; an error names the file, unless an operator wrote the
    object.
    """
    metadata = deployment["metadata"]
    least = scaled.get((metadata.get("namespace", "default"), metadata["name"]), 1)
    try:
        return pods.plan_pod(
            deployment, values, lambda ref: images.resolve_image(state, ref), least=least
        )
    except LocalError as error:
        if file is None:
            raise
        raise admission.locate_error(file, error) from error
