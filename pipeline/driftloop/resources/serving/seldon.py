"""The SeldonDeployment: one predictor a version, the weights and the shadow from release.yaml."""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from pydantic import BaseModel

from driftloop.contract.names import MODEL_DIGEST_ANNOTATION, Names, component_name
from driftloop.kube import autoscaling, core, flux, prometheus, seldon
from driftloop.plan import Plan
from driftloop.release.record import Release, Version
from driftloop.resources import parts
from driftloop.resources.serving import servers
from driftloop.resources.serving.backend import Backend, Labels, TrafficSeries
from driftloop.spec.graph import own_names, own_nodes

COMPONENT = "serving"
"""Annotation of a predictor: what its model's files must add up to."""


def seldon_deployment(plan: Plan, release: Release) -> seldon.SeldonDeployment | None:
    """The SeldonDeployment of the release; None before the first one.

    A predictor's pod is the same in every role, so moving from canary to production (and on to
    previous, if that is kept) restarts nothing. The operator itself labels the pods of a shadow,
    and replaces them once when it is none any more.
    """
    versions = served_versions(plan, release)
    if not versions:
        return None
    return seldon.SeldonDeployment(
        metadata=parts.object_meta(plan.names, plan.names.pipeline, COMPONENT),
        spec=seldon.SeldonSpec(
            protocol=plan.serve.protocol,
            predictors=tuple(_build_predictor(plan, release, version) for version in versions),
        ),
    )


def served_versions(plan: Plan, release: Release) -> tuple[Version, ...]:
    """The versions that have pods, production first."""
    standby = release.previous if plan.rollout.keep_previous and release.candidate is None else None
    return tuple(
        version
        for version in (release.production, release.candidate, standby)
        if version is not None
    )


def _build_predictor(plan: Plan, release: Release, version: Version) -> seldon.Predictor:
    shadow = _is_shadow(release, version)
    return seldon.Predictor(
        name=version.id,
        replicas=plan.serve.replicas if plan.serve.autoscale is None else None,
        traffic=None if shadow else release.weights.get(version.id, 0),
        shadow=True if shadow else None,
        # The executor's metrics take `predictor_version` from here, not from the labels.
        annotations={"version": version.id, MODEL_DIGEST_ANNOTATION: version.model_digest},
        labels={"version": version.id, **parts.scraping_labels(plan)},
        graph=servers.model_graph(plan, version),
        component_specs=(_component_spec(plan, version),),
        # Unset, the executor asks for half a core in every predictor.
        svc_orch_spec=seldon.Orchestrator(
            resources=parts.small_resources("50m", "64Mi", limit="256Mi")
        ),
    )


def _is_shadow(release: Release, version: Version) -> bool:
    match release.phase:
        case "shadow":
            return version is release.candidate
        case "empty" | "stable" | "canary":
            return False
        case _:
            assert_never(release.phase)


def _build_autoscaler(plan: Plan) -> seldon.Autoscaler | None:
    autoscale = plan.serve.autoscale
    if autoscale is None:
        return None
    used = autoscaling.ResourceMetric(
        target=autoscaling.MetricTarget(average_utilization=autoscale.cpu)
    )
    return seldon.Autoscaler(
        min_replicas=autoscale.min,
        max_replicas=autoscale.max,
        metricsv2=(autoscaling.Metric(resource=used),),
    )


def _component_spec(plan: Plan, version: Version) -> seldon.ComponentSpec:
    containers = servers.model_containers(plan, version.rehearsed)
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
        metadata=seldon.Named(name=component_name(own_names(plan.serve.graph)))
        if len(containers) > 1
        else None,
        spec=servers.place_pod(pod, servers.served_gpu(plan)),
        hpa_spec=_build_autoscaler(plan),
    )


def _render_objects(plan: Plan, release: Release) -> Mapping[str, BaseModel | None]:
    return {"model.seldondeployment": seldon_deployment(plan, release)}


def _pod_labels(names: Names) -> Labels:
    return {"seldon-deployment-id": names.pipeline}


def _release_labels(names: Names, release: str) -> Labels:
    return {**_pod_labels(names), "seldon-app": names.predictor(release)}


def _metrics_ports(plan: Plan) -> tuple[int, ...]:
    """Ports of the model server and of each class of the graph; the executor's own is the
    predictor's."""
    return tuple(
        range(servers.METRICS_PORT, servers.METRICS_PORT + 1 + len(own_nodes(plan.serve.graph)))
    )


def _series_labels(names: Names, release: str | None) -> Labels:
    labels = {
        "namespace": names.namespace,
        "deployment_name": names.pipeline,
        "service": "predictions",
    }
    return labels | ({"predictor_name": release} if release else {})


_SERIES = "seldon_api_executor_server_requests_seconds"

BACKEND = Backend(
    render=_render_objects,
    health=(
        flux.HealthCheck(
            api_version="machinelearning.seldon.io/v1",
            kind="SeldonDeployment",
            # The operator says Failed for a moment while it still tries; only Available is an answer. It tells no
            # observedGeneration either: until it has looked, Available is said of the predictors before (seen).
            current="has(status.state) && status.state == 'Available' && has(status.serviceStatus)"
            " && spec.predictors.all(p, metadata.name + '-' + p.name in status.serviceStatus)",
        ),
    ),
    # The operator (1.17.1, `seldondeployment_engine.go`) gives its executor a securityContext that keeps
    # capabilities, and a spec can't change it.
    pod_security="baseline",
    pod_labels=_pod_labels,
    release_labels=_release_labels,
    metrics_ports=_metrics_ports,
    # The ports of executor and model server are both named `metrics`. A ServiceMonitor would rename the
    # executor's own label `service`.
    scraped=prometheus.MetricsEndpoint(port="metrics", path="/prometheus"),
    target_labels=("version",),
    target_release="version",
    answering="seldon-container-engine",
    traffic=TrafficSeries(
        requests=f"{_SERIES}_count",
        errors=f"{_SERIES}_count",
        error_labels={"code": "~5.."},
        buckets=f"{_SERIES}_bucket",
        unit=timedelta(seconds=1),
        release="predictor_name",
        labels=_series_labels,
    ),
)
"""Serving by Seldon's operator."""
