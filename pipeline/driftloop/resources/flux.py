"""Flux Kustomizations of a pipeline: workflows, then deployments, then monitors."""

from driftloop.contract import trees
from driftloop.contract.names import (
    FLUX_APPLIED_ONCE,
    FLUX_CONFIGS,
    FLUX_NAMESPACE,
    FLUX_SOURCE,
)
from driftloop.kube import flux
from driftloop.kube.base import ObjectMeta, ObjectReference
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.serving import serving_backend


def workflows_kustomization(plan: Plan) -> flux.Kustomization:
    """First: the namespace, templates, webhook."""
    return _build_kustomization(plan, trees.WORKFLOWS, after=FLUX_CONFIGS)


def deployments_kustomization(plan: Plan) -> flux.Kustomization:
    """Then: what serves."""
    health = serving_backend(plan).health
    return _build_kustomization(
        plan,
        trees.DEPLOYMENTS,
        after=plan.names.kustomization_name(trees.WORKFLOWS),
        health=health,
    )


def monitors_kustomization(plan: Plan) -> flux.Kustomization:
    """Last: what watches."""
    return _build_kustomization(
        plan, trees.MONITORS, after=plan.names.kustomization_name(trees.DEPLOYMENTS)
    )


def _build_kustomization(
    plan: Plan, tree: str, *, after: str, health: tuple[flux.HealthCheck, ...] | None = None
) -> flux.Kustomization:
    names = plan.names
    return flux.Kustomization(
        metadata=ObjectMeta(
            name=names.kustomization_name(tree),
            namespace=FLUX_NAMESPACE,
            labels=parts.object_labels(names, tree),
        ),
        spec=flux.KustomizationSpec(
            interval="1m",
            retry_interval="30s",
            timeout="10m",
            path=f"./{trees.tree_folder(tree, names.pipeline)}",
            prune=True,
            wait=True,
            service_account_name=names.flux,
            source_ref=ObjectReference(kind="GitRepository", name=FLUX_SOURCE),
            depends_on=(flux.KustomizationDependency(name=after, ready_expr=FLUX_APPLIED_ONCE),),
            health_check_exprs=health,
        ),
    )
