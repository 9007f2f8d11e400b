"""Servers of a released model: its node in the graph, and the containers behind that node."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from driftloop.contract.names import NODE, PLATFORM
from driftloop.kube import core, seldon
from driftloop.plan import Plan
from driftloop.plan.backends import is_prepackaged
from driftloop.release.record import Rehearsed, Version
from driftloop.resources import parts, placing, securing
from driftloop.spec.environment import Environment
from driftloop.spec.graph import (
    Combiner,
    FixedModel,
    Node,
    OutputTransformer,
    Own,
    Released,
    Router,
    Transformer,
    below,
    own_nodes,
)
from driftloop.spec.pods import PodSettings
from driftloop.spec.resources import GpuProfile, Resources
from driftloop.spec.serve import (
    MlflowServer,
    PythonServer,
    Serve,
    SklearnServer,
    TensorflowServer,
    TritonServer,
    XgboostServer,
)

MODEL_URI = "/mnt/models"
TEMPORARY = "/tmp"  # noqa: S108 - inside a container
METRICS_PORT = 6000
"""Where a model server shows its own metrics; further containers of a pod take the next ones."""
SHARED_MEMORY = "shared-memory"
LOADING = 600
"""Seconds a server may take to load its model, when it was not measured."""
SLOWER = 6
"""Times as long a start may take as in the rehearsal: nodes differ, and several start at once."""
SHORTEST = 120
"""Seconds that it may take in any case."""
LONGEST_ANSWER = 60
"""Seconds until a request is answered with an error, where the rehearsal saw no slow ones."""
LATER = 10
"""Times as long as in the rehearsal a request may take."""
DRAIN = 10
"""Seconds a pod that is taken away goes on taking requests, until nobody has its address any more; the
executor's image says it, too."""
FINISH = 15
"""Seconds more for the requests it has taken, and for the logger to post the last answers."""
GRACE = DRAIN + FINISH + 5
"""Seconds until it is killed."""
HTTP = "http"
"""The operator's name for the port of a node."""
TFSERVING = "tfserving"
"""The operator's name for TensorFlow Serving behind its proxy."""
TFSERVING_PORT = 2001
"""Where the operator lets it listen."""

NodeType = Literal["MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"]

_IMAGES_OWN = parts.HARDENED.model_copy(update={"run_as_group": 0})
"""Upstream's images are made for any user, but in group 0: to others MLServer's own folder is
shut, and it ends there when it starts (its Dockerfile of 1.3.5; seen)."""
_MODEL_URI = seldon.UnitParameter(name="model_uri", type="STRING", value=MODEL_URI)


def model_graph(plan: Plan, version: Version) -> seldon.PredictiveUnit:
    """The graph that a request passes: the released model, or the spec's graph around it."""
    return (
        _graph_node(plan, version, plan.serve.graph)
        if plan.serve.graph is not None
        else _released_node(plan, version)
    )


def _graph_node(plan: Plan, version: Version, node: Node) -> seldon.PredictiveUnit:
    if isinstance(node, Released):
        return _released_node(plan, version)
    return seldon.PredictiveUnit(
        name=node.name,
        type=_node_type(node),
        model_uri=node.uri,
        env_secret_ref_name=PLATFORM if node.uri is not None else None,
        parameters=(_MODEL_URI,) if node.uri is not None else None,
        children=tuple(_graph_node(plan, version, child) for child in below(node)) or None,
    )


def _node_type(node: Own) -> NodeType:
    match node:
        case FixedModel():
            return "MODEL"
        case Transformer():
            return "TRANSFORMER"
        case OutputTransformer():
            return "OUTPUT_TRANSFORMER"
        case Combiner():
            return "COMBINER"
        case Router():
            return "ROUTER"
        case _:
            assert_never(node)


def _released_node(plan: Plan, version: Version) -> seldon.PredictiveUnit:
    """The model as Seldon's graph has it. What it is asked and answers becomes events, of no
    other node."""
    serve = plan.serve
    implementation = f"{serve.server.upper()}_SERVER" if is_prepackaged(serve) else None
    return seldon.PredictiveUnit(
        name=NODE,
        type="MODEL",
        implementation=implementation,
        model_uri=version.model,
        parameters=_server_parameters(plan),
        logger=seldon.Logger(mode="all", url=plan.names.broker_url),
    )


def model_container(plan: Plan) -> str:
    """Name of the container that reads the released model's files."""
    match plan.serve:
        case TensorflowServer(protocol="seldon"):
            return TFSERVING
        case (
            PythonServer()
            | SklearnServer()
            | XgboostServer()
            | MlflowServer()
            | TensorflowServer()
            | TritonServer()
        ):
            return NODE
        case _:
            assert_never(plan.serve)


def initializer_name(container: str) -> str:
    """Name of the init container that fetches the model of a container.

    The operator adds one of this name, which compares nothing, unless the pod has it already
    (1.17.1, `model_initializer_injector.go`).
    """
    return f"{container}-model-initializer"


def model_volume(container: str) -> core.Volume:
    """The folder that it fetches into: the operator mounts this name in the container."""
    return core.Volume(name=f"{container}-provision-location", empty_dir=core.EmptyDir())


def fetch_model(
    plan: Plan | None,
    container: str,
    *,
    image: str,
    uri: str,
    digest: str | None,
    signed: tuple[str, ...] = (),
) -> core.Container:
    """The init container that fetches a model, and ends the pod's start unless it is the model of
    the release."""
    return parts.fetch_container(
        plan,
        initializer_name(container),
        image=image,
        uri=uri,
        path=MODEL_URI,
        volume=model_volume(container).name,
        digest=digest,
        signed=signed,
    )


def model_parameters(plan: Plan) -> tuple[seldon.UnitParameter, ...]:
    """The parameters that the released model's class gets."""
    return _server_parameters(plan) or ()


def _server_parameters(plan: Plan) -> tuple[seldon.UnitParameter, ...] | None:
    match plan.serve:
        case PythonServer():
            return (_MODEL_URI,)
        case SklearnServer(protocol="seldon", method=method):
            return (seldon.UnitParameter(name="method", type="STRING", value=method),)
        case (
            SklearnServer() | XgboostServer() | MlflowServer() | TensorflowServer() | TritonServer()
        ):
            return None
        case _:
            assert_never(plan.serve)


def model_containers(plan: Plan, rehearsed: Rehearsed | None = None) -> tuple[core.Container, ...]:
    """All of a version's pod but the executor: the released model's, then those of the graph's
    classes. Probes leave it the time that it took in its rehearsal."""
    first, *rest = _model_containers(plan, rehearsed)
    classes = own_nodes(plan.serve.graph)
    # The operator would count these ports on from one version to the next, and a version that is left alone would get
    # new numbers, and so new pods.
    containers = (
        first.model_copy(update={"ports": _metrics_port(0)}),
        *rest,
        *(
            _class_container(plan, node).model_copy(update={"ports": _metrics_port(n)})
            for n, node in enumerate(classes, start=1)
        ),
    )
    return tuple(securing.secure_container(each, plan.serve.pod) for each in containers)


def _class_container(plan: Plan, node: Own) -> core.Container:
    # the microservice has one word for both kinds of transformer
    service = "TRANSFORMER" if isinstance(node, OutputTransformer) else _node_type(node)
    server = _python_container(node.name, plan.images[node.image], node.class_, service)
    server = server.model_copy(update={"liveness_probe": ask_worker(None)})
    return _with_variables(_with_resources(plan, server, node.resources), node.environment)


def _metrics_port(number: int) -> tuple[core.ContainerPort, ...]:
    return (core.ContainerPort(name="metrics", container_port=METRICS_PORT + number),)


def _model_containers(plan: Plan, rehearsed: Rehearsed | None) -> tuple[core.Container, ...]:
    """Return the parts of the container that the operator does not know; it adds image,
    arguments and ports of a server that it brings along."""
    serve, image = plan.serve, plan.serve_image
    match serve:
        case PythonServer(model=model):
            assert image is not None  # noqa: S101 - the spec has a default
            server = _leave_time(_python_container(NODE, image, model, "MODEL"), rehearsed)
            return (_with_spec(plan, server, serve),)
        case TensorflowServer(protocol="seldon"):
            # the operator gives its proxy's own image to the node's container; the proxy imports all of TensorFlow
            proxy = _server_container(NODE, None).model_copy(
                update={"resources": parts.small_resources("100m", "512Mi", limit="1Gi")}
            )
            # of the operator's own, only the proxy's probes: it listens while TensorFlow Serving still loads
            ready = core.Probe(tcp_socket=core.TCPSocket(port=TFSERVING_PORT), period_seconds=5)
            behind = _server_container(TFSERVING, image).model_copy(
                update={"readiness_probe": ready}
            )
            return (proxy, _with_spec(plan, behind, serve))
        case (
            SklearnServer() | XgboostServer() | MlflowServer() | TensorflowServer() | TritonServer()
        ):
            loading = _wait_for_loading(_server_container(NODE, image))
            if serve.protocol == "seldon":
                # a class behind seldon-core's microservice, too
                loading = loading.model_copy(update={"liveness_probe": ask_worker(None)})
            return (_with_spec(plan, loading, serve),)
        case _:
            assert_never(serve)


def _python_container(name: str, image: str, model: str, service: str) -> core.Container:
    """A class behind seldon-core's microservice."""
    return core.Container(
        name=name,
        image=image,
        command=("seldon-core-microservice",),
        args=(model, "--service-type", service),
        env=parts.plain_environment(GRPC_WORKERS="0", HOME=TEMPORARY),
        volume_mounts=(core.VolumeMount(name=_temporary_volume(name), mount_path=TEMPORARY),),
        security_context=parts.READ_ONLY,
    )


def _temporary_volume(container: str) -> str:
    return f"{container}-tmp"


def temporary_volumes(containers: tuple[core.Container, ...]) -> tuple[core.Volume, ...]:
    """The folders behind the containers' /tmp, all that they write into."""
    names = [_temporary_volume(container.name) for container in containers]
    mounted = {mount.name for container in containers for mount in container.volume_mounts or ()}
    return tuple(
        core.Volume(name=name, empty_dir=core.EmptyDir()) for name in names if name in mounted
    )


@dataclass(frozen=True)
class Microservice:
    """Environment that a class behind seldon-core's microservice is told about itself by: the operator sets it."""

    deployment: str
    predictor: str
    unit: str
    image: str
    port: int
    metrics_port: int
    parameters: tuple[seldon.UnitParameter, ...]
    labels: Mapping[str, str]

    def environment(self) -> tuple[core.EnvVar, ...]:
        """The variables that say so."""
        return parts.plain_environment(
            PREDICTIVE_UNIT_SERVICE_PORT=str(self.port),
            PREDICTIVE_UNIT_HTTP_SERVICE_PORT=str(self.port),
            PREDICTIVE_UNIT_METRICS_SERVICE_PORT=str(self.metrics_port),
            PREDICTIVE_UNIT_METRICS_ENDPOINT="/prometheus",
            PREDICTIVE_UNIT_ID=self.unit,
            PREDICTIVE_UNIT_IMAGE=self.image,
            PREDICTIVE_UNIT_PARAMETERS=json.dumps(
                [parameter.model_dump(mode="json") for parameter in self.parameters]
            ),
            PREDICTOR_ID=self.predictor,
            PREDICTOR_LABELS=json.dumps(dict(self.labels)),
            SELDON_DEPLOYMENT_ID=self.deployment,
            SELDON_EXECUTOR_ENABLED="true",
        )


def _server_container(name: str, image: str | None) -> core.Container:
    return core.Container(name=name, image=image, security_context=_IMAGES_OWN)


def _wait_for_loading(server: core.Container) -> core.Container:
    """It listens when it has loaded; without a probe of its own for that time, the operator's
    liveness probe ends it a minute and a quarter after it has started."""
    listens = core.Probe(tcp_socket=core.TCPSocket(port=HTTP))
    return server.model_copy(update={"startup_probe": _allow_seconds(listens, LOADING, period=10)})


def _leave_time(server: core.Container, rehearsed: Rehearsed | None) -> core.Container:
    """A class may be built before the server listens, or in each worker after it does: it is asked
    whether it answers, for as long as that may take."""
    server = server.model_copy(update={"liveness_probe": ask_worker(rehearsed)})
    answers = core.Probe(http_get=core.HTTPGet(path="/health/ping", port=HTTP))
    if rehearsed is None:
        return server.model_copy(update={"startup_probe": _allow_seconds(answers, LOADING)})
    seconds = max(SHORTEST, math.ceil(SLOWER * rehearsed.start))
    # a worker that answers a request answers no probe meanwhile
    patience = max(5, math.ceil(2 * (rehearsed.p99 or 0)))
    ready = answers.model_copy(update={"period_seconds": 2, "timeout_seconds": patience})
    started = answers.model_copy(update={"timeout_seconds": patience})
    return server.model_copy(
        update={"startup_probe": _allow_seconds(started, seconds), "readiness_probe": ready}
    )


def ask_worker(rehearsed: Rehearsed | None) -> core.Probe:
    """The liveness of a class behind seldon-core's microservice. Its port is open whatever becomes
    of the worker, and a worker that was killed may leave the lock of the metrics locked for ever:
    this path is answered by the worker, after it has had that lock. A worker answers no probe while
    it answers a request."""
    return core.Probe(
        http_get=core.HTTPGet(path="/health/status", port=HTTP),
        period_seconds=5,
        timeout_seconds=max(10, math.ceil(3 * _find_slowest(rehearsed))),
        failure_threshold=2,
        # what hangs does not end by itself
        termination_grace_period_seconds=2,
    )


def limit_answer(version: Version) -> int:
    """Seconds that a request to a version may take."""
    return max(LONGEST_ANSWER, math.ceil(LATER * _find_slowest(version.rehearsed)))


def _find_slowest(rehearsed: Rehearsed | None) -> float:
    """Seconds of the rehearsal's slowest answers; 0 without one."""
    return rehearsed.p99 or 0 if rehearsed is not None else 0


def _allow_seconds(probe: core.Probe, seconds: int, *, period: int = 2) -> core.Probe:
    return probe.model_copy(
        update={"period_seconds": period, "failure_threshold": math.ceil(seconds / period)}
    )


def installs_packages(serve: Serve) -> bool:
    """Return True if the server makes the conda environment that its model names, from the
    internet, whenever it starts."""
    match serve:
        case MlflowServer(protocol="seldon"):
            return True
        case (
            PythonServer()
            | SklearnServer()
            | XgboostServer()
            | MlflowServer()
            | TensorflowServer()
            | TritonServer()
        ):
            return False
        case _:
            assert_never(serve)


def served_gpu(plan: Plan) -> GpuProfile | None:
    """The kind of GPU in a version's pod; the plan has checked that there is one kind at most."""
    asking = (plan.serve.resources, *(node.resources for node in own_nodes(plan.serve.graph)))
    return next(
        (profile for resources in asking if (profile := plan.gpu_profile(resources)) is not None),
        None,
    )


def place_pod(pod: core.PodSpec, settings: PodSettings, profile: GpuProfile | None) -> core.PodSpec:
    """A pod where its settings and its GPUs send it, with the RuntimeClass and the /dev/shm of these."""
    placed = placing.place(pod, settings, profile)
    if profile is None:
        return placed
    return placed.model_copy(
        update={
            "runtime_class_name": profile.runtime_class,
            "volumes": (*(pod.volumes or ()), *_shared_memory(profile)) or None,
        }
    )


def _shared_memory(profile: GpuProfile) -> tuple[core.Volume, ...]:
    """The volume behind /dev/shm, which counts as the memory of the containers that mount it."""
    if profile.shared_memory is None:
        return ()
    folder = core.EmptyDir(medium="Memory", size_limit=profile.shared_memory)
    return (core.Volume(name=SHARED_MEMORY, empty_dir=folder),)


def _with_spec(plan: Plan, container: core.Container, serve: Serve) -> core.Container:
    """With the resources and variables that the spec gives the released model's server."""
    return _with_variables(_with_resources(plan, container, serve.resources), serve.environment)


def _with_variables(container: core.Container, environment: Environment) -> core.Container:
    """With a person's own variables after ours, which they may name in `$(NAME)`, and volumes."""
    variables = (*(container.env or ()), *parts.own_environment(environment))
    mounts = (*(container.volume_mounts or ()), *parts.own_mounts(environment))
    return container.model_copy(
        update={
            "env": variables or None,
            "env_from": parts.own_sources(environment),
            "volume_mounts": mounts or None,
        }
    )


def own_volumes(plan: Plan) -> tuple[core.Volume, ...]:
    """The volumes that the spec gives the released model's server and the graph's classes."""
    nodes = (node.environment for node in own_nodes(plan.serve.graph))
    return parts.own_volumes(plan.serve.environment, *nodes)


def _with_resources(plan: Plan, container: core.Container, resources: Resources) -> core.Container:
    """With what the spec asks for: memory is also the limit, GPUs are whole."""
    profile = plan.gpu_profile(resources)
    gpus = {profile.resource: str(resources.gpu)} if profile is not None else {}
    shared = profile is not None and profile.shared_memory is not None
    return container.model_copy(
        update={
            "resources": core.ContainerResources(
                requests={"cpu": resources.cpu, "memory": resources.memory, **gpus},
                limits={"memory": resources.memory, **gpus},
            ),
            "volume_mounts": (
                *(container.volume_mounts or ()),
                *((core.VolumeMount(name=SHARED_MEMORY, mount_path="/dev/shm"),) if shared else ()),  # noqa: S108
            )
            or None,
        }
    )
