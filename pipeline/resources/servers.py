"""What holds a released model: its node in the graph, and the containers behind that node."""

from typing import assert_never

from pipeline.kube import core, seldon
from pipeline.plan import Plan
from pipeline.plan.names import NODE, PLATFORM
from pipeline.release.record import Version
from pipeline.resources import parts
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
TFSERVING = "tfserving"
"""The operator's name for TensorFlow Serving behind its proxy."""


def node(plan: Plan, version: Version) -> seldon.Node:
    """The model as Seldon's graph has it. What it is asked and answers becomes events."""
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
            return (seldon.Parameter(name="model_uri", type="STRING", value=MODEL_URI),)
        case SklearnServer(protocol="seldon", method=method):
            return (seldon.Parameter(name="method", type="STRING", value=method),)
        case _:
            return None


def containers(plan: Plan) -> tuple[core.Container, ...]:
    """What the operator can't know of them; it adds image, arguments and ports of a server that it brings along."""
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
