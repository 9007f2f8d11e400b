"""Rights that a pipeline can't give itself: its namespace, the account by which Flux or Argo CD applies it, the
tokens of Argo's own containers, and its login at the gateway.

The cluster's own Kustomization or Application applies them, with Flux's or Argo CD's rights; the pipeline's three are
applied by an account that may write no other namespace, no Secret, and no right that it doesn't have.
"""

from typing import assert_never

from driftloop.contract.trees import TREES
from driftloop.kube import core, rbac
from driftloop.kube.base import KubernetesObject, ObjectMeta
from driftloop.plan import Plan
from driftloop.plan.backends import backend_limits
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Flux
from driftloop.platform.secrets import (
    ExternalSecrets,
    MadeByOthers,
    SealedSecrets,
    SecretKind,
    Sops,
)
from driftloop.resources import parts
from driftloop.resources.guarding.access import build_binding, build_rule
from driftloop.resources.guarding.login import gateway_login
from driftloop.resources.workflows.rollout import is_held

COMPONENT = "access"
APPLY = ("get", "list", "watch", "create", "patch", "delete")
"""Verbs by which Flux applies an object, waits for it and removes it."""
APPLIED = (
    ("", "configmaps", "services", "serviceaccounts"),
    ("apps", "deployments"),
    ("argoproj.io", "cronworkflows", "eventbus", "eventsources", "sensors", "workflowtemplates"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("eventing.knative.dev", "brokers", "triggers"),
    ("machinelearning.seldon.io", "seldondeployments"),
    ("monitoring.coreos.com", "podmonitors", "prometheusrules"),
    ("networking.istio.io", "virtualservices"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "rolebindings", "roles"),
    ("security.istio.io", "authorizationpolicies", "peerauthentications"),
)
"""API group and kinds that a pipeline may have, whatever its spec says today: what it no longer
renders has to be removed."""


def pipeline_entry(plan: Plan) -> tuple[KubernetesObject, ...]:
    """Everything that stands before the pipeline's first tree, in order."""
    names = plan.names
    return (
        pipeline_namespace(plan),
        *_follower_rights(plan),
        *_token(plan, names.executor),
        _executor_role(plan),
        build_binding(plan, names.executor, COMPONENT),
        *_token(plan, names.starter),
        _starter_role(plan),
        build_binding(plan, names.starter, COMPONENT),
        *_grant_reading(plan),
        *gateway_login(plan),
    )


def pipeline_namespace(plan: Plan) -> core.Namespace:
    """The pipeline's home, under the restricted Pod Security Standard; in a mesh all of its pods
    take part.

    Under a serving back end whose pods keep the baseline only, that is enforced, and the rest is
    warned of.
    """
    levels = {
        "enforce": backend_limits(plan.serve).pod_standard,
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


def _follower_rights(plan: Plan) -> tuple[KubernetesObject, ...]:
    """The account by which the pipeline is applied, and its rights; none where a platform team gives Flux one."""
    match plan.ground.spec.follower:
        case Flux(service_account_name=None) as own:
            rights = _applier_rights(plan, plan.names.flux, own.namespace)
            return (*rights, *_leftovers(plan, own.namespace))
        case Flux():
            return ()
        case ArgoCd() as own:
            return _applier_rights(plan, plan.names.argocd, own.namespace)
        case other:
            assert_never(other)


def _applier_rights(plan: Plan, account: str, home: str) -> tuple[KubernetesObject, ...]:
    """The account by which the pipeline is applied, and its rights."""
    return (
        _applier_account(plan, account, home),
        _applier_role(plan, account),
        _applier_binding(plan, account, home),
    )


def _applier_account(plan: Plan, account: str, home: str) -> core.ServiceAccount:
    """Flux or Argo CD takes its name; no pod ever runs under it."""
    return core.ServiceAccount(
        metadata=_in_follower(plan, account, home), automount_service_account_token=False
    )


def _applier_role(plan: Plan, account: str) -> rbac.Role:
    """The kinds of a pipeline, in its namespace; and what its own Roles grant, since nobody may
    grant more than he has.

    Flux tries all objects before it applies one, when the Role of a binding is not there yet: the
    API server then takes the binding only from who may `bind` that Role by its name. What is in
    it is bounded all the same.
    """
    names = plan.names
    bind = rbac.PolicyRule(
        api_groups=("rbac.authorization.k8s.io",),
        resources=("roles",),
        resource_names=(names.advance, names.decision, names.finish, names.sensor),
        verbs=("bind",),
    )
    return rbac.Role(
        metadata=parts.object_meta(names, account, COMPONENT),
        rules=(
            *(
                rbac.PolicyRule(api_groups=(group,), resources=resources, verbs=APPLY)
                for group, *resources in list_applied(plan)
            ),
            build_rule("", "namespaces", "get"),
            build_rule("", "pods", "get", "list"),
            build_rule("apps", "replicasets", "get", "list"),
            build_rule(
                "argoproj.io", "workflows", "create", "get", *(("patch",) if is_held(plan) else ())
            ),
            bind,
        ),
    )


def list_applied(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return the kinds that are applied, in order: with those of alerts' routes where the cluster has receivers, and the
    kind of object that people add their Secrets as."""
    routes = {"monitoring.coreos.com": ("alertmanagerconfigs",)}
    more = routes if plan.ground.spec.notifications.receivers else {}
    applied = [(group, *kinds, *more.get(group, ())) for group, *kinds in APPLIED]
    return tuple(sorted([*applied, *_list_secret_kinds(plan.ground.spec.secrets)]))


def _list_secret_kinds(kind: SecretKind) -> tuple[tuple[str, ...], ...]:
    """Return the kinds of objects that Secrets are made of. Secrets themselves are none that a pipeline's account may
    write: those encrypted by sops are applied with the platform's settings."""
    match kind:
        case SealedSecrets():
            return (("bitnami.com", "sealedsecrets"),)
        case ExternalSecrets():
            return (("external-secrets.io", "externalsecrets"),)
        case Sops() | MadeByOthers():
            return ()
        case _:
            assert_never(kind)


def _applier_binding(plan: Plan, account: str, home: str) -> rbac.RoleBinding:
    """Grants the account its role in the pipeline's namespace."""
    return rbac.RoleBinding(
        metadata=parts.object_meta(plan.names, account, COMPONENT),
        role_ref=rbac.RoleRef(name=account),
        subjects=(rbac.Subject(name=account, namespace=home),),
    )


def _leftovers(plan: Plan, home: str) -> tuple[rbac.Role, rbac.RoleBinding]:
    """Remove the one Role that a pipeline's first tree once had in Flux's namespace."""
    names = plan.names
    rule = rbac.PolicyRule(
        api_groups=("rbac.authorization.k8s.io",),
        resources=("roles", "rolebindings"),
        resource_names=(names.train,),
        verbs=("get", "delete"),
    )
    return _grant_in_follower(plan, names.flux, home, rule, where=home)


def _token(plan: Plan, account: str) -> tuple[core.ServiceAccount, core.TokenSecret]:
    """An account of Argo's own containers: they mount its token themselves, and no other does."""
    names = plan.names
    secret = names.token(account)
    named = {"workflows.argoproj.io/service-account-token.name": secret}
    return (
        core.ServiceAccount(
            metadata=parts.object_meta(names, account, COMPONENT, annotations=named),
            image_pull_secrets=parts.pull_secrets(plan),
            automount_service_account_token=False,
        ),
        core.TokenSecret(
            metadata=parts.object_meta(
                names,
                secret,
                COMPONENT,
                annotations={"kubernetes.io/service-account.name": account},
            )
        ),
    )


def _executor_role(plan: Plan) -> rbac.Role:
    """Report the results of steps."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.executor, COMPONENT),
        rules=(build_rule("argoproj.io", "workflowtaskresults", "create", "patch"),),
    )


def _starter_role(plan: Plan) -> rbac.Role:
    """Start the rollout, and report that."""
    return rbac.Role(
        metadata=parts.object_meta(plan.names, plan.names.starter, COMPONENT),
        rules=(
            build_rule("argoproj.io", "workflowtaskresults", "create", "patch"),
            build_rule("argoproj.io", "workflows", "create", "get"),
        ),
    )


def _grant_reading(plan: Plan) -> tuple[rbac.Role, rbac.RoleBinding]:
    """Read the pipeline's own Kustomizations or Applications, which say what is applied."""
    match plan.ground.spec.follower:
        case Flux() as own:
            group, resource = "kustomize.toolkit.fluxcd.io", "kustomizations"
        case ArgoCd() as own:
            group, resource = "argoproj.io", "applications"
        case other:
            assert_never(other)
    names = plan.names
    rule = rbac.PolicyRule(
        api_groups=(group,),
        resources=(resource,),
        resource_names=tuple(names.kustomization_name(tree) for tree in TREES),
        verbs=("get",),
    )
    return _grant_in_follower(plan, names.advance, names.namespace, rule, where=own.namespace)


def _grant_in_follower(
    plan: Plan, account: str, home: str, rule: rbac.PolicyRule, *, where: str
) -> tuple[rbac.Role, rbac.RoleBinding]:
    """Grant an account a rule in Flux's or Argo CD's namespace."""
    return (
        rbac.Role(metadata=_in_follower(plan, account, where), rules=(rule,)),
        rbac.RoleBinding(
            metadata=_in_follower(plan, account, where),
            role_ref=rbac.RoleRef(name=account),
            subjects=(rbac.Subject(name=account, namespace=home),),
        ),
    )


def _in_follower(plan: Plan, name: str, where: str) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=where,
        labels=parts.object_labels(plan.names, COMPONENT),
    )
