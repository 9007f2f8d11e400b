"""The SeldonDeployment: one predictor a version, the weights from release.yaml; and the
VirtualService that copies requests to a shadow."""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from pydantic import BaseModel

from driftloop.contract.names import (
    GATEWAY,
    MODEL_DIGEST_ANNOTATION,
    Names,
    component_name,
)
from driftloop.kube import autoscaling, core, flux, istio, prometheus, seldon
from driftloop.plan import Plan
from driftloop.plan.backends import is_prepackaged
from driftloop.release.record import Release, Version
from driftloop.release.statement import MODEL
from driftloop.resources import parts, placing, securing
from driftloop.resources.serving import routes, servers
from driftloop.resources.serving.backend import Backend, Labels, TrafficSeries
from driftloop.spec.graph import own_names, own_nodes

COMPONENT = "serving"
"""Annotation of a predictor: what its model's files must add up to."""
REST_TIMEOUT = "seldon.io/rest-timeout"
"""Annotation of a predictor: milliseconds that its executor waits for an answer, and gunicorn for a
worker."""


def seldon_deployment(plan: Plan, release: Release) -> seldon.SeldonDeployment | None:
    """The SeldonDeployment of the release; None before the first one.

    A predictor is the same in every role but for its traffic, which its pods don't hold: moving
    from shadow to canary, production and on to previous, if that is kept, restarts nothing. So a
    shadow is a predictor without traffic, and not one with `shadow: true`, of which the operator
    labels the pods.
    """
    versions = served_versions(plan, release)
    if not versions:
        return None
    external = parts.name_external(servers.model_containers(plan), servers.own_volumes(plan))
    return seldon.SeldonDeployment(
        metadata=parts.object_meta(
            plan.names, plan.names.pipeline, COMPONENT, annotations=external
        ),
        spec=seldon.SeldonSpec(
            annotations=_bind_gateway(plan),
            protocol=plan.serve.protocol,
            predictors=tuple(_build_predictor(plan, release, version) for version in versions),
        ),
    )


def _bind_gateway(plan: Plan) -> dict[str, str] | None:
    """Say to the operator which Gateway its routes are for; None for the one that it takes by itself."""
    gateway = plan.ground.spec.gateway
    bound = {} if gateway.ref == GATEWAY else {"seldon.io/istio-gateway": gateway.ref}
    named = {} if gateway.host is None else {"seldon.io/istio-host": gateway.host}
    return {**bound, **named} or None


def served_versions(plan: Plan, release: Release) -> tuple[Version, ...]:
    """The versions that have pods, production first."""
    standby = release.previous if plan.rollout.keep_previous and release.candidate is None else None
    return tuple(
        version
        for version in (release.production, release.candidate, standby)
        if version is not None
    )


def _build_predictor(plan: Plan, release: Release, version: Version) -> seldon.Predictor:
    return seldon.Predictor(
        name=version.id,
        replicas=plan.serve.replicas if plan.serve.autoscale is None else None,
        traffic=release.weights.get(version.id, 0),
        # The executor's metrics take `predictor_version` from here, not from the labels.
        annotations={
            "version": version.id,
            MODEL_DIGEST_ANNOTATION: version.model_digest,
            REST_TIMEOUT: str(1000 * servers.limit_answer(version)),
        },
        labels={"version": version.id, **parts.scraping_labels(plan)},
        graph=servers.model_graph(plan, version),
        component_specs=(_component_spec(plan, version),),
        # Unset, the executor asks for half a core in every predictor.
        svc_orch_spec=seldon.Orchestrator(
            resources=parts.small_resources("50m", "64Mi", limit="256Mi")
        ),
    )


def find_mirrored(release: Release) -> Version | None:
    """Return the version that gets a copy of all requests; None when none does."""
    match release.phase:
        case "shadow":
            return release.candidate
        case "empty" | "stable" | "canary":
            return None
        case _:
            assert_never(release.phase)


def mirror_service(plan: Plan, release: Release) -> istio.VirtualService | None:
    """Build the VirtualService that copies production's requests to the candidate in shadow.

    The operator's own stays bound to the gateway beside it, with the same weights, and moves when
    all Deployments are ready: it routes whatever comes before and after this one. Istio takes what
    is exported to the gateway's namespace by name before what is exported to all, as the
    operator's is.
    """
    candidate = find_mirrored(release)
    if candidate is None:
        return None
    names, gateway = plan.names, plan.ground.spec.gateway
    name, namespace = names.pipeline, names.namespace
    http = [
        routes.route_predictions(
            name,
            namespace,
            release.weights,
            timeout=max(map(servers.limit_answer, served_versions(plan, release))),
            mirrored=candidate.id,
            access=plan.access,
        ),
    ]
    if is_prepackaged(plan.serve):
        grpc = routes.route_grpc(name, namespace, release.weights, mirrored=candidate.id)
        http.append(grpc)
    return istio.VirtualService(
        metadata=parts.object_meta(names, names.mirror, COMPONENT),
        spec=istio.VirtualServiceSpec(
            hosts=(gateway.hosts,),
            gateways=(gateway.ref,),
            export_to=(gateway.pods.namespace,),
            http=tuple(http),
        ),
    )


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
    loading = servers.model_container(plan)
    pod = core.PodSpec(
        service_account_name=plan.names.model,
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=securing.secure_pod(plan.serve.pod),
        init_containers=(
            servers.fetch_model(
                plan,
                loading,
                image=plan.platform.driftloop,
                uri=version.model,
                digest=version.model_digest,
                signed=parts.signed_options(plan, version, MODEL),
            ),
        ),
        containers=containers,
        volumes=(
            servers.model_volume(loading),
            *servers.temporary_volumes(containers),
            *servers.own_volumes(plan),
        ),
        termination_grace_period_seconds=servers.GRACE,
    )
    settings = placing.settle(plan, plan.serve.pod)
    meta = seldon.ComponentMeta(
        # whoever waits for a release looks for the Deployment of this name
        name=component_name(own_names(plan.serve.graph)) if len(containers) > 1 else None,
        labels=settings.labels or None,
        annotations=settings.annotations or None,
    )
    return seldon.ComponentSpec(
        metadata=meta if meta.dump_object() else None,
        spec=servers.place_pod(pod, settings, servers.served_gpu(plan)),
        hpa_spec=_build_autoscaler(plan),
    )


def unready_service(plan: Plan, release: Release) -> istio.VirtualService | None:
    """Build the VirtualService that answers for a pipeline before its first release."""
    if release.phase != "empty":
        return None
    names, gateway = plan.names, plan.ground.spec.gateway
    return istio.VirtualService(
        metadata=parts.object_meta(names, names.unready, COMPONENT),
        spec=istio.VirtualServiceSpec(
            hosts=(gateway.hosts,),
            gateways=(gateway.ref,),
            http=(routes.answer_unready(names.pipeline, names.namespace, plan.access),),
        ),
    )


def _render_objects(plan: Plan, release: Release) -> Mapping[str, BaseModel | None]:
    return {
        "unready.virtualservice": unready_service(plan, release),
        "model.seldondeployment": seldon_deployment(plan, release),
        "mirror.virtualservice": mirror_service(plan, release),
    }


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
