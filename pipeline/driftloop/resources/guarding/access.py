"""Namespace, ServiceAccounts, Roles: each pod may do what its part needs, and nothing else."""

from driftloop.contract.names import FLUX_NAMESPACE
from driftloop.contract.trees import TREES
from driftloop.kube import core, rbac
from driftloop.kube.base import ObjectMeta
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.serving import serving_backend

WORKFLOWS = "workflows"


def pipeline_namespace(plan: Plan) -> core.Namespace:
    """The pipeline's home, under the restricted Pod Security Standard; in a mesh all of its pods
    take part.

    Under a serving back end whose pods keep the baseline only, that is enforced, and the rest is
    warned of.
    """
    levels = {
        "enforce": serving_backend(plan).pod_security,
        "audit": "restricted",
        "warn": "restricted",
    }
    levels = {f"pod-security.kubernetes.io/{mode}": level for mode, level in levels.items()}
    enrolled = {"istio.io/dataplane-mode": "ambient"} if plan.mesh is not None else {}
    return core.Namespace(
        metadata=ObjectMeta(
            name=plan.names.namespace,
            labels={**parts.object_labels(plan.names, "namespace"), **levels, **enrolled},
        )
    )


def train_account(plan: Plan) -> core.ServiceAccount:
    """The account of workflow pods; Argo's executor reports their results with its token."""
    return parts.service_account(plan, plan.names.train, WORKFLOWS, token=True)


def train_role(plan: Plan) -> rbac.Role:
    """Report results, start the rollout, and see whether a release is applied."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.train, WORKFLOWS),
        rules=(
            _build_rule("argoproj.io", "workflowtaskresults", "create", "patch"),
            _build_rule("argoproj.io", "workflows", "create", "get"),
            _build_rule("apps", "deployments", "get", "list"),
            _build_rule("", "pods", "list"),
        ),
    )


def train_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-train` its role."""
    return _build_binding(plan, plan.names.train, WORKFLOWS)


def applied_role(plan: Plan) -> rbac.Role:
    """In Flux's namespace: read the pipeline's own Kustomizations, which say what is applied."""
    names = plan.names
    own = tuple(names.kustomization_name(tree) for tree in TREES)
    return rbac.Role(
        metadata=_in_flux(plan),
        rules=(
            rbac.PolicyRule(
                api_groups=("kustomize.toolkit.fluxcd.io",),
                resources=("kustomizations",),
                resource_names=own,
                verbs=("get",),
            ),
        ),
    )


def applied_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-train` that role."""
    subject = rbac.Subject(name=plan.names.train, namespace=plan.names.namespace)
    return rbac.RoleBinding(
        metadata=_in_flux(plan), role_ref=rbac.RoleRef(name=plan.names.train), subjects=(subject,)
    )


def sensor_account(plan: Plan) -> core.ServiceAccount:
    """The Sensor's account."""
    return parts.service_account(plan, plan.names.sensor, "retrain", token=True)


def sensor_role(plan: Plan) -> rbac.Role:
    """Create Workflows, nothing else."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.sensor, "retrain"),
        rules=(_build_rule("argoproj.io", "workflows", "create"),),
    )


def sensor_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-sensor` its role."""
    return _build_binding(plan, plan.names.sensor, "retrain")


def decision_account(plan: Plan) -> core.ServiceAccount:
    """The decision service's account."""
    return parts.service_account(plan, plan.names.decision, "decision", token=True)


def decision_role(plan: Plan) -> rbac.Role:
    """See whether the run that holds the lease still lives."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.decision, "decision"),
        rules=(_build_rule("argoproj.io", "workflows", "get"),),
    )


def decision_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-decision` its role."""
    return _build_binding(plan, plan.names.decision, "decision")


def model_account(plan: Plan) -> core.ServiceAccount:
    """The model servers' account; they never talk to the API server."""
    return parts.service_account(plan, plan.names.model, "serving")


def _build_rule(group: str, resource: str, *verbs: str) -> rbac.PolicyRule:
    return rbac.PolicyRule(api_groups=(group,), resources=(resource,), verbs=verbs)


def _build_binding(plan: Plan, name: str, component: str) -> rbac.RoleBinding:
    return rbac.RoleBinding(
        metadata=parts.object_meta(plan.names, name, component),
        role_ref=rbac.RoleRef(name=name),
        subjects=(rbac.Subject(name=name, namespace=plan.names.namespace),),
    )


def _in_flux(plan: Plan) -> ObjectMeta:
    return ObjectMeta(
        name=plan.names.train,
        namespace=FLUX_NAMESPACE,
        labels=parts.object_labels(plan.names, WORKFLOWS),
    )
