"""Where pods run, and what they are marked with: the settings of a role over those of all, and the GPU's over both."""

from typing import Any

from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.spec.pods import NO_SETTINGS, PodSettings
from driftloop.spec.resources import GpuProfile


def settle(plan: Plan, own: PodSettings = NO_SETTINGS) -> PodSettings:
    """Return the settings of a role's pods."""
    return own.over(plan.pods)


def select_nodes(settings: PodSettings, gpu: GpuProfile | None = None) -> dict[str, str] | None:
    """Return the labels of the nodes that pods run on; None for all nodes."""
    return {**settings.node_selector, **(gpu.node_selector if gpu is not None else {})} or None


def tolerate_taints(
    settings: PodSettings, gpu: GpuProfile | None = None
) -> tuple[core.Toleration, ...] | None:
    """Return the taints that keep pods from no node; None without any."""
    own = tuple(
        core.Toleration(
            key=each.key,
            operator=each.operator,
            value=each.value,
            effect=each.effect,
            toleration_seconds=each.toleration_seconds,
        )
        for each in settings.tolerations
    )
    theirs = tuple(core.Toleration(key=key) for key in gpu.tolerations) if gpu is not None else ()
    return (*own, *theirs) or None


def dump_affinity(settings: PodSettings) -> dict[str, Any] | None:
    """Return the rules of the scheduler as the API has them; None without any."""
    if settings.affinity is None:
        return None
    return settings.affinity.model_dump(mode="json", by_alias=True, exclude_unset=True) or None


def place(pod: core.PodSpec, settings: PodSettings, gpu: GpuProfile | None = None) -> core.PodSpec:
    """Return a pod where its settings and its GPU send it."""
    return pod.model_copy(
        update={
            "node_selector": select_nodes(settings, gpu),
            "tolerations": tolerate_taints(settings, gpu),
            "affinity": dump_affinity(settings),
            "priority_class_name": settings.priority_class_name,
        }
    )


def mark(
    settings: PodSettings, labels: dict[str, str], annotations: dict[str, str] | None = None
) -> core.TemplateMeta:
    """Return the marks of pods: a person's, and ours over them."""
    return core.TemplateMeta(
        labels={**settings.labels, **labels} or None,
        annotations={**settings.annotations, **(annotations or {})} or None,
    )
