"""What holds a released model: its node in the graph, and the containers behind that node."""

from typing import Literal, assert_never

from pipeline.kube import core, seldon
from pipeline.plan import Plan
from pipeline.plan.names import NODE, PLATFORM
from pipeline.release.record import Version
from pipeline.resources import parts
from pipeline.spec.graph import (
    Combiner,
    FixedModel,
    Node,
    OutputTransformer,
    Own,
    Released,
    Router,
    Transformer,
    below,
    own,
)
from pipeline.spec.resources import Resources
from pipeline.spec.serve import (
    MlflowServer,
    PythonServer,
    SklearnServer,
    TensorflowServer,
    TritonServer,
    XgboostServer,
)

MODEL_URI = "/mnt/models"
METRICS_PORT = 6000
"""Where a model server shows its own metrics; further containers of a pod take the next ones."""
TFSERVING = "tfserving"
"""The operator's name for TensorFlow Serving behind its proxy."""

NodeType = Literal["MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"]

_MODEL_URI = seldon.Parameter(name="model_uri", type="STRING", value=MODEL_URI)


def graph(plan: Plan, version: Version) -> seldon.Node:
    """What a request passes: the released model, or the spec's graph around it."""
    return _node(plan, version, plan.serve.graph) if plan.serve.graph is not None else _released(plan, version)


def _node(plan: Plan, version: Version, node: Node) -> seldon.Node:
    if isinstance(node, Released):
        return _released(plan, version)
    return seldon.Node(
        name=node.name,
        type=_type(node),
        model_uri=node.uri,
        env_secret_ref_name=PLATFORM if node.uri is not None else None,
        parameters=(_MODEL_URI,) if node.uri is not None else None,
        children=tuple(_node(plan, version, child) for child in below(node)) or None,
    )


def _type(node: Own) -> NodeType:
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


def _released(plan: Plan, version: Version) -> seldon.Node:
    """The model as Seldon's graph has it. What it is asked and answers becomes events, of no other node."""
    serve = plan.serve
    implementation = None if isinstance(serve, PythonServer) else f"{serve.server.upper()}_SERVER"
    return seldon.Node(
        name=NODE,
        type="MODEL",
        implementation=implementation,
        model_uri=version.model,
        env_secret_ref_name=PLATFORM,
        parameters=_parameters(plan),
        logger=seldon.Logger(mode="all", url=plan.names.broker_url),
    )


def _parameters(plan: Plan) -> tuple[seldon.Parameter, ...] | None:
    match plan.serve:
        case PythonServer():
            return (_MODEL_URI,)
        case SklearnServer(protocol="seldon", method=method):
            return (seldon.Parameter(name="method", type="STRING", value=method),)
        case _:
            return None


def containers(plan: Plan) -> tuple[core.Container, ...]:
    """All of a version's pod but the executor: the released model's, then those of the graph's classes."""
    first, *rest = _model(plan)
    classes = own(plan.serve.graph)
    if isinstance(plan.serve, PythonServer) and not classes:
        return (first,)
    # The operator would count these ports on from one version to the next, and a version that is left alone would get
    # new numbers, and so new pods.
    return (
        first.model_copy(update={"ports": _metrics(0)}),
        *rest,
        *(
            python(
                node.name,
                plan.images[node.image],
                node.class_,
                "TRANSFORMER" if isinstance(node, OutputTransformer) else _type(node),
                user_resources(node.resources),
            ).model_copy(update={"ports": _metrics(number)})
            for number, node in enumerate(classes, start=1)
        ),
    )


def _metrics(number: int) -> tuple[core.ContainerPort, ...]:
    return (core.ContainerPort(name="metrics", container_port=METRICS_PORT + number),)


def _model(plan: Plan) -> tuple[core.Container, ...]:
    """What the operator can't know of it; it adds image, arguments and ports of a server that it brings along."""
    serve, image = plan.serve, plan.serve_image
    asked = user_resources(serve.resources)
    match serve:
        case PythonServer(model=model):
            assert image is not None  # noqa: S101 - the spec has a default
            return (python(NODE, image, model, "MODEL", asked),)
        case TensorflowServer(protocol="seldon"):
            # the operator gives its proxy's own image to the node's container
            return (_server(NODE, None, parts.small("100m", "256Mi")), _server(TFSERVING, image, asked))
        case SklearnServer() | XgboostServer() | MlflowServer() | TensorflowServer() | TritonServer():
            return (_server(NODE, image, asked),)
        case _:
            assert_never(serve)


def python(name: str, image: str, model: str, service: str, resources: core.Resources) -> core.Container:
    """A class behind seldon-core's microservice."""
    return core.Container(
        name=name,
        image=image,
        command=("seldon-core-microservice",),
        args=(model, "--service-type", service),
        env=parts.plain_environment(GRPC_WORKERS="0", HOME="/tmp"),  # noqa: S108 - inside the container
        resources=resources,
        security_context=parts.HARDENED,
    )


def _server(name: str, image: str | None, resources: core.Resources) -> core.Container:
    return core.Container(name=name, image=image, resources=resources, security_context=parts.HARDENED)


def user_resources(resources: Resources) -> core.Resources:
    """What the spec asks for: memory is also the limit, GPUs are whole."""
    gpus = {"nvidia.com/gpu": str(resources.gpu)} if resources.gpu else {}
    return core.Resources(
        requests={"cpu": resources.cpu, "memory": resources.memory, **gpus},
        limits={"memory": resources.memory, **gpus},
    )
