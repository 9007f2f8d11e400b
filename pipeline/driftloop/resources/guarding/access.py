"""ServiceAccounts and Roles: each pod may do what its part needs, and nothing else."""

from typing import assert_never

from driftloop.kube import core, rbac
from driftloop.kube.base import ObjectMeta
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.workflows.rollout import is_held

WORKFLOWS = "workflows"


def namespace_stub(plan: Plan) -> core.Namespace | None:
    """The pipeline's namespace as its first tree names it: made elsewhere (`entry`), and left as
    it is.

    A tree that named it no longer would have Flux remove it, with all that it holds. None with Argo CD, which can't
    leave an object as it is that another Application makes.
    """
    match plan.ground.spec.follows:
        case "flux":
            pass
        case "argocd":
            return None
        case other:
            assert_never(other)
    return core.Namespace(
        metadata=ObjectMeta(
            name=plan.names.namespace,
            labels=parts.object_labels(plan.names, "namespace"),
            annotations={
                "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
                "kustomize.toolkit.fluxcd.io/prune": "disabled",
            },
        )
    )


def train_account(plan: Plan) -> core.ServiceAccount:
    """The account of a person's code: no right, no token."""
    own = plan.train.pod.service_account
    return parts.service_account(plan, plan.names.train, WORKFLOWS, own=own)


def steps_account(plan: Plan) -> core.ServiceAccount:
    """The account of our own steps that never talk to the API server."""
    return parts.service_account(plan, plan.names.steps, WORKFLOWS)


def finish_account(plan: Plan) -> core.ServiceAccount:
    """The account of the step that tells how a run has ended."""
    return parts.service_account(plan, plan.names.finish, WORKFLOWS, token=True)


def finish_role(plan: Plan) -> rbac.Role:
    """Read how a Workflow has failed, or who has stopped it."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.finish, WORKFLOWS),
        rules=(build_rule("argoproj.io", "workflows", "get"),),
    )


def finish_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-finish` its role."""
    return build_binding(plan, plan.names.finish, WORKFLOWS)


def advance_account(plan: Plan) -> core.ServiceAccount:
    """The account of the steps that see whether a stage is applied."""
    return parts.service_account(plan, plan.names.advance, WORKFLOWS, token=True)


def advance_role(plan: Plan) -> rbac.Role:
    """See whether what serves a release runs; what Flux has applied stands in its own namespace
    (`entry`)."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.advance, WORKFLOWS),
        rules=(
            build_rule("apps", "deployments", "get", "list"),
            build_rule("", "pods", "list"),
            # what watches a candidate that waits for a person ends the wait when it turns bad
            *((build_rule("argoproj.io", "workflows", "get", "patch"),) if is_held(plan) else ()),
        ),
    )


def advance_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-advance` its role."""
    return build_binding(plan, plan.names.advance, WORKFLOWS)


def sensor_account(plan: Plan) -> core.ServiceAccount:
    """The Sensor's account."""
    return parts.service_account(plan, plan.names.sensor, "retrain", token=True, stores=False)


def sensor_role(plan: Plan) -> rbac.Role:
    """Create Workflows, nothing else."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.sensor, "retrain"),
        rules=(build_rule("argoproj.io", "workflows", "create"),),
    )


def sensor_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-sensor` its role."""
    return build_binding(plan, plan.names.sensor, "retrain")


def decision_account(plan: Plan) -> core.ServiceAccount:
    """The decision service's account."""
    return parts.service_account(plan, plan.names.decision, "decision", token=True)


def decision_role(plan: Plan) -> rbac.Role:
    """See whether the run that holds the lease still lives."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.decision, "decision"),
        rules=(build_rule("argoproj.io", "workflows", "get"),),
    )


def decision_binding(plan: Plan) -> rbac.RoleBinding:
    """Grants `P-decision` its role."""
    return build_binding(plan, plan.names.decision, "decision")


def model_account(plan: Plan) -> core.ServiceAccount:
    """The model servers' account; they never talk to the API server."""
    own = plan.serve.pod.service_account
    return parts.service_account(plan, plan.names.model, "serving", own=own)


def build_rule(group: str, resource: str, *verbs: str) -> rbac.PolicyRule:
    """Build a rule for one resource."""
    return rbac.PolicyRule(api_groups=(group,), resources=(resource,), verbs=verbs)


def build_binding(plan: Plan, name: str, component: str) -> rbac.RoleBinding:
    """Grant the account of a name the Role of that name, in the pipeline's namespace."""
    return rbac.RoleBinding(
        metadata=parts.object_meta(plan.names, name, component),
        role_ref=rbac.RoleRef(name=name),
        subjects=(rbac.Subject(name=name, namespace=plan.names.namespace),),
    )
