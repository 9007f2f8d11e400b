"""Planning of one Kustomization: its pods, Services and routes, or the error that refuses it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from driftloop.errors import LocalError, PipelineError
from driftloop.local.flux import admission, source
from driftloop.local.flux.source import Found, Kustomization
from driftloop.local.ground import kinds
from driftloop.local.ground.state import State
from driftloop.local.kubelet import images, pods
from driftloop.local.kubelet.fleet import Key
from driftloop.local.kubelet.pods import Pod
from driftloop.local.kubelet.values import Values
from driftloop.local.seldon import serving

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """Planned Kustomization of one commit, after all checks that can refuse it."""

    kustomization: Kustomization
    objects: tuple[dict[str, Any], ...]
    pods: tuple[Pod, ...] = ()
    services: tuple[Object, ...] = ()
    virtual_services: tuple[Object, ...] = ()


def collect_config_maps(kustomizations: Iterable[Found]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return the data of all ConfigMaps by (namespace, name)."""
    return {
        (item["metadata"].get("namespace", "default"), item["metadata"]["name"]): item.get("data") or {}
        for entry in kustomizations
        for item in entry.objects
        if kinds.key(item) == ("", "ConfigMap")
    }


def plan_kustomization(state: State, entry: Found, values: Values) -> Part | Found:
    """Plan the objects of a Kustomization; an error is returned in its entry."""
    if entry.error is not None:
        return entry
    try:
        expanded = [other for item in entry.objects for other in serving.expanded(item)]
        own = {
            (item["metadata"].get("namespace", "default"), item["metadata"]["name"]): item.get("data") or {}
            for item in expanded
            if kinds.key(item) == ("", "ConfigMap")
        }
        values = replace(values, config_maps={**values.config_maps, **own})
        virtual = tuple(item for item in expanded if kinds.key(item) == ("networking.istio.io", "VirtualService"))
        services = tuple(item for item in expanded if kinds.key(item) == ("", "Service"))
        for item in (*virtual, *services):
            admission.validate_object(item)
        scaled = pods.scaled(expanded)
        return Part(
            kustomization=entry.kustomization,
            objects=entry.objects,
            pods=tuple(
                _plan_pods(state, item, values, scaled, entry.files.get(kinds.identity(item)))
                for item in expanded
                if kinds.key(item) == ("apps", "Deployment")
            ),
            services=services,
            virtual_services=virtual,
        )
    except PipelineError as error:
        return Found(entry.kustomization, error=error)
    except source.MALFORMED as error:
        return Found(entry.kustomization, error=source.misshapen(entry.kustomization.path, error))


def _plan_pods(state: State, deployment: Object, values: Values, scaled: Mapping[Key, int], file: str | None) -> Pod:
    """Plan the pods of a Deployment; an error names the file, unless an operator wrote the
    object.
    """
    metadata = deployment["metadata"]
    least = scaled.get((metadata.get("namespace", "default"), metadata["name"]), 1)
    try:
        return pods.plan(deployment, values, lambda ref: images.resolve(state, ref), least=least)
    except LocalError as error:
        if file is None:
            raise
        raise admission.locate_error(file, error) from error
