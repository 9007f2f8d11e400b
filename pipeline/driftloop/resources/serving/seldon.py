"""The SeldonDeployment: one predictor a version, the weights and the shadow from release.yaml."""

from driftloop.contract.names import MODEL_DIGEST_ANNOTATION, NAME_LABEL, RELEASE_LABEL, component
from driftloop.kube import autoscaling, core, policy, seldon
from driftloop.kube.base import LabelSelector
from driftloop.plan import Plan
from driftloop.release.record import Release, Version
from driftloop.resources import parts
from driftloop.resources.serving import servers
from driftloop.spec.graph import own_names

COMPONENT = "serving"
DIGEST = MODEL_DIGEST_ANNOTATION
"""Annotation of a predictor: what its model's files must add up to."""


def seldon_deployment(plan: Plan, release: Release) -> seldon.SeldonDeployment | None:
    """What serves the release; None before the first one.

    A predictor's pod is the same in every role, so moving from canary to production (and on to previous, if that is
    kept) restarts nothing. The operator itself labels the pods of a shadow, and replaces them once when it is none any
    more.
    """
    versions = served(plan, release)
    if not versions:
        return None
    return seldon.SeldonDeployment(
        metadata=parts.meta(plan.names, plan.names.pipeline, COMPONENT),
        spec=seldon.SeldonSpec(
            protocol=plan.serve.protocol,
            predictors=tuple(_predictor(plan, release, version) for version in versions),
        ),
    )


def served(plan: Plan, release: Release) -> tuple[Version, ...]:
    """The versions that have pods, production first."""
    standby = release.previous if plan.rollout.keep_previous and release.candidate is None else None
    return tuple(version for version in (release.production, release.candidate, standby) if version is not None)


def pods(plan: Plan, version: Version) -> dict[str, str]:
    """Labels of a version's pods; Seldon's operator gives them its own."""
    names = plan.names
    if plan.serve.backend == "seldon":
        return {"seldon-deployment-id": names.pipeline, "seldon-app": names.predictor(version.id)}
    return {NAME_LABEL: names.pipeline, RELEASE_LABEL: version.id}


def budget(plan: Plan, version: Version) -> policy.PodDisruptionBudget | None:
    """A node's drain takes one pod of a version at a time; None where there is never more than one pod."""
    if plan.serve.most == 1:
        return None
    return policy.PodDisruptionBudget(
        metadata=parts.meta(plan.names, plan.names.predictor(version.id), COMPONENT),
        spec=policy.DisruptionBudgetSpec(
            max_unavailable=1,
            selector=LabelSelector(match_labels=pods(plan, version)),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
    )


def _predictor(plan: Plan, release: Release, version: Version) -> seldon.Predictor:
    shadow = release.phase == "shadow" and version is release.candidate
    return seldon.Predictor(
        name=version.id,
        replicas=plan.serve.replicas if plan.serve.autoscale is None else None,
        traffic=None if shadow else release.weights.get(version.id, 0),
        shadow=True if shadow else None,
        # The executor's metrics take `predictor_version` from here, not from the labels.
        annotations={"version": version.id, DIGEST: version.model_digest},
        labels={"version": version.id, **parts.scraped(plan)},
        graph=servers.graph(plan, version),
        component_specs=(_component(plan),),
        # Unset, the executor asks for half a core in every predictor.
        svc_orch_spec=seldon.Orchestrator(resources=parts.small("50m", "64Mi", limit="256Mi")),
    )


def _autoscaler(plan: Plan) -> seldon.Autoscaler | None:
    wanted = plan.serve.autoscale
    if wanted is None:
        return None
    used = autoscaling.ResourceMetric(target=autoscaling.Target(average_utilization=wanted.cpu))
    return seldon.Autoscaler(
        min_replicas=wanted.min, max_replicas=wanted.max, metricsv2=(autoscaling.Metric(resource=used),)
    )


def _component(plan: Plan) -> seldon.ComponentSpec:
    containers = servers.containers(plan)
    pod = core.PodSpec(
        service_account_name=plan.names.model,
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=parts.POD,
        containers=containers,
        termination_grace_period_seconds=20,
    )
    return seldon.ComponentSpec(
        # whoever waits for a release looks for the Deployment of this name
        metadata=seldon.Named(name=component(own_names(plan.serve.graph))) if len(containers) > 1 else None,
        spec=servers.placed(pod, servers.gpu(plan)),
        hpa_spec=_autoscaler(plan),
    )
