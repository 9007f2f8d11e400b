"""Flux Kustomizations of a pipeline: workflows, then deployments, then monitors."""

from driftloop.contract import trees
from driftloop.contract.names import (
    FLUX_APPLIED_ONCE,
)
from driftloop.kube import flux
from driftloop.kube.base import ObjectMeta, ObjectReference
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.serving import serving_backend


def workflows_kustomization(plan: Plan) -> flux.Kustomization:
    """First: the namespace, templates, webhook."""
    first = plan.ground.spec.flux.depends_on
    return _build_kustomization(
        plan, trees.WORKFLOWS, after=tuple(_wait_for(each.name, each.namespace) for each in first)
    )


def deployments_kustomization(plan: Plan) -> flux.Kustomization:
    """Then: what serves."""
    health = serving_backend(plan).health
    return _build_kustomization(
        plan,
        trees.DEPLOYMENTS,
        after=(_wait_for(plan.names.kustomization_name(trees.WORKFLOWS)),),
        health=health,
    )


def monitors_kustomization(plan: Plan) -> flux.Kustomization:
    """Last: what watches."""
    before = plan.names.kustomization_name(trees.DEPLOYMENTS)
    return _build_kustomization(plan, trees.MONITORS, after=(_wait_for(before),))


def _wait_for(name: str, namespace: str | None = None) -> flux.KustomizationDependency:
    return flux.KustomizationDependency(
        name=name, namespace=namespace, ready_expr=FLUX_APPLIED_ONCE
    )


def _build_kustomization(
    plan: Plan,
    tree: str,
    *,
    after: tuple[flux.KustomizationDependency, ...],
    health: tuple[flux.HealthCheck, ...] | None = None,
) -> flux.Kustomization:
    names, ground = plan.names, plan.ground
    source = ground.spec.flux.source_ref
    return flux.Kustomization(
        metadata=ObjectMeta(
            name=names.kustomization_name(tree),
            namespace=ground.spec.flux.namespace,
            labels=parts.object_labels(names, tree),
        ),
        spec=flux.KustomizationSpec(
            interval="1m",
            retry_interval="30s",
            timeout="10m",
            path=f"./{ground.layout.place(trees.tree_folder(tree, names.pipeline))}",
            prune=True,
            wait=True,
            service_account_name=ground.spec.flux.service_account_name or names.flux,
            source_ref=ObjectReference(
                kind=source.kind, name=source.name, namespace=source.namespace
            ),
            depends_on=after or None,
            health_check_exprs=health,
        ),
    )
