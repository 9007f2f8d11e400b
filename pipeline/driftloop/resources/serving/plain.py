"""Serving without an operator: what Seldon's operator would make of a SeldonDeployment, written
out.

One pure function, used twice: by the `plain` back end when it renders, and by the local runtime
when it runs a SeldonDeployment. It takes one Python-wrapper node per predictor; anything else is
refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from driftloop.contract.limits import DEFAULT_REQUEST_LIMIT
from driftloop.contract.names import (
    COMPONENT_LABEL,
    GATEWAY,
    MODEL_DIGEST_ANNOTATION,
    MODEL_PORT,
    NAME_LABEL,
    PREDICTOR_PORT,
    RELEASE_LABEL,
    Names,
)
from driftloop.errors import PipelineError
from driftloop.kube import apps, autoscaling, core, istio, prometheus, seldon
from driftloop.kube.base import KubernetesObject, LabelSelector, ObjectMeta, ObjectReference
from driftloop.plan import Plan
from driftloop.plan.images import PlatformImages
from driftloop.release.record import Release
from driftloop.resources import parts
from driftloop.resources.serving import logger, routes
from driftloop.resources.serving.backend import Backend, Labels, TrafficSeries
from driftloop.resources.serving.seldon import (
    COMPONENT,
    REST_TIMEOUT,
    find_mirrored,
    seldon_deployment,
    unready_service,
)
from driftloop.resources.serving.servers import (
    DRAIN,
    FINISH,
    GRACE,
    HTTP,
    LONGEST_ANSWER,
    METRICS_PORT,
    MODEL_URI,
    Microservice,
    ask_worker,
    fetch_model,
    initializer_name,
    model_volume,
)
from driftloop.spec.access import Access
from driftloop.text.dump import dump_yaml


class UnsupportedServing(PipelineError):  # noqa: N818 - reads as what it says
    """A SeldonDeployment that only the operator can run."""


@dataclass(frozen=True)
class PredictorObjects:
    """The objects of one predictor."""

    name: str
    """Release id."""
    deployment: apps.Deployment
    service: core.KubernetesService
    logger: core.ConfigMap | None
    """Envoy's configuration; None when nothing is logged."""
    autoscaler: autoscaling.HorizontalPodAutoscaler | None
    """None when the number of pods is fixed."""


@dataclass(frozen=True)
class ServingObjects:
    """Everything that serves a SeldonDeployment."""

    predictors: tuple[PredictorObjects, ...]
    traffic: istio.VirtualService

    @property
    def objects(self) -> tuple[KubernetesObject, ...]:
        """All of them, in the order in which they are applied."""
        each = (
            part
            for predictor in self.predictors
            for part in (
                predictor.logger,
                predictor.deployment,
                predictor.autoscaler,
                predictor.service,
            )
            if part is not None
        )
        return (*each, self.traffic)


def unroll_deployment(
    deployment: seldon.SeldonDeployment,
    *,
    mirrored: str | None = None,
    gateway: str = GATEWAY,
    host: str = "*",
    images: PlatformImages = PlatformImages(),  # noqa: B008 - frozen
    limit: str = DEFAULT_REQUEST_LIMIT,
    access: Access | None = None,
) -> ServingObjects:
    """The Deployments, Services, logger ConfigMaps and the VirtualService that serve it.

    The predictor named `mirrored` gets a copy of all requests. UnsupportedServing names what only
    the operator could do: graphs of several nodes, prepackaged servers.
    """
    spec = deployment.spec
    _check_supported(deployment)
    return ServingObjects(
        predictors=tuple(
            _unroll_predictor(deployment, predictor, images) for predictor in spec.predictors
        ),
        traffic=_traffic_route(deployment, mirrored, limit, access, gateway=gateway, host=host),
    )


def parse_deployment(document: dict[str, Any]) -> seldon.SeldonDeployment:
    """A SeldonDeployment read from YAML; UnsupportedServing names the field that has no meaning
    here."""
    from pydantic import ValidationError

    try:
        return seldon.SeldonDeployment.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        name = (document.get("metadata") or {}).get("name", "?")
        field = ".".join(map(str, first["loc"]))
        raise UnsupportedServing(
            f"SeldonDeployment {name}: {field}: {first['msg']}",
            hint="without Seldon's operator only what `driftloop render` writes can be served",
        ) from error


def _check_supported(deployment: seldon.SeldonDeployment) -> None:
    def refuse_deployment(what: str) -> UnsupportedServing:
        return UnsupportedServing(
            f"SeldonDeployment {deployment.metadata.name}: {what}",
            hint="only Seldon's operator can serve this: use serve.backend `seldon` on a cluster that has it, "
            "or serve the model from one Python class (`server: python`)",
        )

    predictors = deployment.spec.predictors
    names = [predictor.name for predictor in predictors]
    if len(set(names)) != len(names):
        raise refuse_deployment(f"two predictors have the same name ({', '.join(names)})")
    shadows = [predictor for predictor in predictors if predictor.shadow]
    live = [predictor for predictor in predictors if not predictor.shadow]
    if not live or len(shadows) > 1:
        raise refuse_deployment(
            f"{len(live)} live predictors and {len(shadows)} shadows, must be at least 1 and at most 1"
        )
    total = sum(predictor.traffic or 0 for predictor in live)
    if total != 100 and (len(live) > 1 or total != 0):
        raise refuse_deployment(f"the live predictors' traffic sums to {total}, must be 100")
    for predictor in predictors:
        graph = predictor.graph
        at = f"predictor {predictor.name}"
        if graph.children:
            raise refuse_deployment(f"{at} has a graph of several nodes")
        if graph.implementation:
            raise refuse_deployment(f"{at} uses the prepackaged server {graph.implementation}")
        if graph.type not in (None, "MODEL"):
            raise refuse_deployment(f"{at} has a node of type {graph.type}")
        if len(predictor.component_specs) != 1:
            raise refuse_deployment(
                f"{at} has {len(predictor.component_specs)} componentSpecs, must be 1"
            )
        containers = predictor.component_specs[0].spec.containers
        if [container.name for container in containers] != [graph.name]:
            raise refuse_deployment(
                f"{at}: the one container must be named `{graph.name}` like the graph's node"
            )
        if not containers[0].command:
            raise refuse_deployment(f"{at}: container `{graph.name}` spells no command")
        if not containers[0].image:
            raise refuse_deployment(f"{at}: container `{graph.name}` names no image")


def _unroll_predictor(
    deployment: seldon.SeldonDeployment, predictor: seldon.Predictor, images: PlatformImages
) -> PredictorObjects:
    name = f"{deployment.metadata.name}-{predictor.name}"
    namespace = deployment.metadata.namespace or "default"
    selector = {NAME_LABEL: deployment.metadata.name, RELEASE_LABEL: predictor.name}
    own = {**(deployment.metadata.labels or {}), **selector}

    def predictor_meta(named: str) -> ObjectMeta:
        return ObjectMeta(name=named, namespace=namespace, labels=own)

    scaled = predictor.component_specs[0].hpa_spec
    marks = predictor.component_specs[0].metadata or seldon.ComponentMeta()
    config = _request_logger(deployment, predictor, name, namespace)
    logged = f"{name}-logger"
    return PredictorObjects(
        name=predictor.name,
        deployment=apps.Deployment(
            metadata=predictor_meta(name).model_copy(
                update={
                    "annotations": parts.name_external(
                        predictor.component_specs[0].spec.containers,
                        predictor.component_specs[0].spec.volumes or (),
                    )
                }
            ),
            spec=apps.DeploymentSpec(
                # with a number here, every turn of Flux would undo what the autoscaler did
                replicas=None
                if scaled is not None
                else 1
                if predictor.replicas is None
                else predictor.replicas,
                selector=LabelSelector(match_labels=selector),
                strategy=parts.REPLACED_WHEN_READY,
                template=core.PodTemplate(
                    metadata=core.TemplateMeta(
                        labels=(marks.labels or {})
                        | own
                        | {
                            key: value
                            for key, value in (predictor.labels or {}).items()
                            if key != "version"
                        },
                        annotations=(marks.annotations or {})
                        | {
                            "prometheus.io/scrape": "true",
                            "prometheus.io/path": "/prometheus",
                            "prometheus.io/port": str(PREDICTOR_PORT),
                        },
                    ),
                    spec=_predictor_pod(
                        deployment, predictor, images, logged if config is not None else None
                    ),
                ),
            ),
        ),
        service=core.KubernetesService(
            metadata=predictor_meta(name),
            spec=core.ServiceSpec(
                selector=selector,
                ports=(
                    core.ServicePort(name="http", port=PREDICTOR_PORT, target_port=PREDICTOR_PORT),
                ),
            ),
        ),
        autoscaler=None
        if scaled is None
        else autoscaling.HorizontalPodAutoscaler(
            metadata=predictor_meta(name),
            spec=autoscaling.AutoscalerSpec(
                scale_target_ref=ObjectReference(
                    api_version="apps/v1", kind="Deployment", name=name
                ),
                min_replicas=scaled.min_replicas,
                max_replicas=scaled.max_replicas,
                metrics=scaled.metricsv2,
            ),
        ),
        logger=None
        if config is None
        else core.ConfigMap(
            metadata=predictor_meta(logged),
            data={"envoy.yaml": dump_yaml(logger.envoy_bootstrap(config))},
        ),
    )


def _request_logger(
    deployment: seldon.SeldonDeployment, predictor: seldon.Predictor, name: str, namespace: str
) -> logger.RequestLogger | None:
    logger_spec = predictor.graph.logger
    if logger_spec is None:
        return None
    if logger_spec.mode != "all":
        raise UnsupportedServing(
            f"SeldonDeployment {deployment.metadata.name}: predictor {predictor.name} logs only {logger_spec.mode}s",
            hint="write `mode: all`; a Trigger's filter chooses the type",
        )
    url = urlsplit(logger_spec.url)
    return logger.RequestLogger(
        service=name,
        namespace=namespace,
        deployment=deployment.metadata.name,
        predictor=predictor.name,
        node=predictor.graph.name,
        protocol=deployment.spec.protocol,
        broker_host=url.hostname or "",
        broker_port=url.port or 80,
        broker_path=url.path or "/",
        port=PREDICTOR_PORT,
        model_port=MODEL_PORT,
        timeout=_read_timeout(deployment, predictor),
    )


def _read_timeout(deployment: seldon.SeldonDeployment, predictor: seldon.Predictor) -> int:
    """Seconds that an answer of a predictor may take."""
    text = (predictor.annotations or {}).get(REST_TIMEOUT, str(1000 * LONGEST_ANSWER))
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UnsupportedServing(
            f"SeldonDeployment {deployment.metadata.name}: {REST_TIMEOUT} of predictor"
            f" {predictor.name} is `{text[:20]}`, must be milliseconds",
            hint=f'write `{REST_TIMEOUT}: "60000"` for a minute',
        )
    return max(1, int(text) // 1000)


def _predictor_pod(
    deployment: seldon.SeldonDeployment,
    predictor: seldon.Predictor,
    images: PlatformImages,
    logged: str | None,
) -> core.PodSpec:
    pod = predictor.component_specs[0].spec
    graph = predictor.graph
    (model,) = pod.containers
    folder = model_volume(graph.name)
    models = core.VolumeMount(name=folder.name, mount_path=MODEL_URI, read_only=True)
    mounts = (*(model.volume_mounts or ()), models) if graph.model_uri else model.volume_mounts
    port = MODEL_PORT if logged is not None else PREDICTOR_PORT
    microservice = Microservice(
        deployment=deployment.metadata.name,
        predictor=predictor.name,
        unit=graph.name,
        image=model.image or "",
        port=port,
        metrics_port=METRICS_PORT,
        parameters=graph.parameters or (),
        labels={"version": predictor.name, **(predictor.labels or {})},
    )
    ready = core.Probe(
        http_get=core.HTTPGet(path="/health/ping", port=port), period_seconds=2, timeout_seconds=5
    )
    server = model.model_copy(
        update={
            "env": (*(model.env or ()), *microservice.environment()),
            "volume_mounts": mounts,
            "ports": (
                core.ContainerPort(name="model", container_port=port),
                core.ContainerPort(name="metrics", container_port=METRICS_PORT),
            ),
            "startup_probe": _probe_port(model.startup_probe, port),
            "readiness_probe": _probe_port(model.readiness_probe, port) or ready,
            "liveness_probe": _probe_port(model.liveness_probe or ask_worker(None), port),
            "lifecycle": model.lifecycle or _stop_after(DRAIN),
        }
    )
    fetched: tuple[core.Container, ...] = ()
    volumes = [*(pod.volumes or ())]
    fetching = (container.name for container in pod.init_containers or ())
    # a tree of before this init container has the digest in an annotation only
    if graph.model_uri and initializer_name(graph.name) not in fetching:
        digest = (predictor.annotations or {}).get(MODEL_DIGEST_ANNOTATION)
        model = fetch_model(
            None, graph.name, image=images.driftloop, uri=graph.model_uri, digest=digest
        )
        fetched = (model,)
        volumes.append(folder)
    if logged is not None:
        volumes.append(core.Volume(name="logger", config_map=core.ConfigMapVolume(name=logged)))
    return pod.model_copy(
        update={
            "init_containers": (*(pod.init_containers or ()), *fetched) or None,
            "containers": (server, *(() if logged is None else (_logger_container(images.envoy),))),
            "volumes": tuple(volumes) or None,
            "termination_grace_period_seconds": max(
                pod.termination_grace_period_seconds or 0, GRACE
            ),
        }
    )


def _probe_port(probe: core.Probe | None, port: int) -> core.Probe | None:
    """The probe with the number for which the operator has a name."""
    if probe is None:
        return None
    http, tcp = probe.http_get, probe.tcp_socket
    if http is not None and http.port == HTTP:
        http = http.model_copy(update={"port": port})
    if tcp is not None and tcp.port == HTTP:
        tcp = tcp.model_copy(update={"port": port})
    return probe.model_copy(update={"http_get": http, "tcp_socket": tcp})


def _stop_after(seconds: int) -> core.Lifecycle:
    return core.Lifecycle(pre_stop=core.Handler(sleep=core.Sleep(seconds=seconds)))


def _logger_container(image: str) -> core.Container:
    """The logger. Envoy ends at once when told to, so it is told last."""
    return core.Container(
        name="logger",
        image=image,
        command=("envoy",),
        args=("-c", "/etc/logger/envoy.yaml", "--concurrency", "1", "--log-level", "warn"),
        ports=(core.ContainerPort(name="http", container_port=PREDICTOR_PORT),),
        resources=parts.small_resources("50m", "64Mi", limit="256Mi"),
        volume_mounts=(core.VolumeMount(name="logger", mount_path="/etc/logger", read_only=True),),
        readiness_probe=core.Probe(
            tcp_socket=core.TCPSocket(port=PREDICTOR_PORT), period_seconds=2
        ),
        lifecycle=_stop_after(DRAIN + FINISH),
        security_context=parts.READ_ONLY,
    )


def _traffic_route(
    deployment: seldon.SeldonDeployment,
    mirrored: str | None,
    limit: str,
    access: Access | None,
    *,
    gateway: str,
    host: str,
) -> istio.VirtualService:
    name, namespace = deployment.metadata.name, deployment.metadata.namespace or "default"
    predictors = deployment.spec.predictors
    live = [predictor for predictor in predictors if not predictor.shadow]
    shadow = next((predictor for predictor in predictors if predictor.shadow), None)
    weights = {predictor.name: predictor.traffic or 0 for predictor in live}
    percent: float = 100
    if shadow is not None:
        mirrored, percent = shadow.name, shadow.traffic or 100
    route = routes.route_predictions(
        name,
        namespace,
        {live[0].name: 100} if len(live) == 1 else {id: n for id, n in weights.items() if n},
        timeout=max(_read_timeout(deployment, predictor) for predictor in predictors),
        mirrored=mirrored,
        percent=percent,
        limit=limit,
        access=access,
    )
    return istio.VirtualService(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=deployment.metadata.labels),
        spec=istio.VirtualServiceSpec(hosts=(host,), gateways=(gateway,), http=(route,)),
    )


def _render_objects(plan: Plan, release: Release) -> Mapping[str, BaseModel | None]:
    deployment = seldon_deployment(plan, release)
    if deployment is None:
        return {"unready.virtualservice": unready_service(plan, release)}
    candidate = find_mirrored(release)
    serves = unroll_deployment(
        deployment,
        mirrored=None if candidate is None else candidate.id,
        gateway=plan.ground.spec.gateway.ref,
        host=plan.ground.spec.gateway.hosts,
        images=plan.platform,
        limit=plan.serve.max_request_bytes,
        access=plan.access,
    )
    files: dict[str, BaseModel | None] = {}
    for predictor in serves.predictors:
        files[f"{predictor.name}-logger.configmap"] = predictor.logger
        files[f"{predictor.name}.deployment"] = predictor.deployment
        files[f"{predictor.name}.horizontalpodautoscaler"] = predictor.autoscaler
        files[f"{predictor.name}.service"] = predictor.service
    return files | {"traffic.virtualservice": serves.traffic}


def _pod_labels(names: Names) -> Labels:
    return parts.object_labels(names, COMPONENT)


def _release_labels(names: Names, release: str) -> Labels:
    return {NAME_LABEL: names.pipeline, RELEASE_LABEL: release}


def _series_labels(names: Names, release: str | None) -> Labels:
    if release:
        cluster = f"{names.namespace}/{names.predictor(release)}/model"
        return {"namespace": names.namespace, "envoy_cluster_name": cluster}
    return {
        "namespace": names.namespace,
        "envoy_cluster_name": "~.+/model",
        "app_kubernetes_io_name": names.pipeline,
    }


BACKEND = Backend(
    render=_render_objects,
    health=None,
    pod_labels=_pod_labels,
    release_labels=_release_labels,
    metrics_ports=lambda plan: (),
    scraped=prometheus.MetricsEndpoint(port="http", path="/prometheus"),
    target_labels=(NAME_LABEL, COMPONENT_LABEL, RELEASE_LABEL),
    target_release="driftloop_dev_release",
    answering="logger",
    traffic=TrafficSeries(
        # not `rq_total`, which leaves out what never reached a model, and counts what is tried again
        requests="envoy_cluster_upstream_rq_completed",
        errors="envoy_cluster_upstream_rq_xx",
        error_labels={"envoy_response_code_class": "5"},
        buckets="envoy_cluster_upstream_rq_time_bucket",
        unit=timedelta(milliseconds=1),
        release="driftloop_dev_release",
        labels=_series_labels,
    ),
)
"""Serving by Deployments, without an operator."""
