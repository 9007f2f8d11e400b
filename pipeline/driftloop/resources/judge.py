"""The service that measures a rollout: it joins answers by request id and reads the predictors'
own metrics."""

from driftloop.contract.accounts import NatsRole
from driftloop.contract.events import INFERENCE_RESPONSE, LABELS_GIVEN
from driftloop.contract.names import PREDICTOR_PORT, SERVICE_PORT
from driftloop.kube import apps, core, knative
from driftloop.plan import Plan
from driftloop.release.record import Version
from driftloop.resources import parts
from driftloop.resources.broker import build_trigger
from driftloop.resources.serving import serving_backend

COMPONENT = "judge"


def account(plan: Plan) -> core.ServiceAccount:
    """It never talks to the API server."""
    return parts.service_account(plan, plan.names.judge, COMPONENT, stores=False)


def deployment(plan: Plan) -> apps.Deployment:
    """Answers what was measured of production and candidate since a moment."""
    names = plan.names
    each = ("--each-pod",) if plan.serve.most > 1 else ()
    return parts.service_deployment(
        plan,
        names.judge,
        COMPONENT,
        image=plan.platform.driftloop,
        command="driftloop-judge",
        args=(
            "--port",
            str(SERVICE_PORT),
            "--namespace",
            names.namespace,
            "--pipeline",
            names.pipeline,
            *each,
            *(("--labels",) if plan.rollout.canary.quality is not None else ()),
        ),
        env=parts.platform_environment(plan, *parts.nats(NatsRole.JUDGE)),
        resources=parts.small_resources("20m", "64Mi", limit="192Mi"),
    )


def pods(plan: Plan, version: Version) -> core.KubernetesService:
    """The pods of a version, one address each: behind its Service their counters could not be
    told apart."""
    names = plan.names
    return core.KubernetesService(
        metadata=parts.object_meta(names, names.pods(version.id), COMPONENT),
        spec=core.ServiceSpec(
            selector=serving_backend(plan).release_labels(names, version.id),
            ports=(core.ServicePort(name="http", port=PREDICTOR_PORT, target_port=PREDICTOR_PORT),),
            cluster_ip="None",
        ),
    )


def service(plan: Plan) -> core.KubernetesService:
    """The Service of the analysis: it takes answers and returns measures."""
    return parts.service_endpoint(plan, plan.names.judge, COMPONENT)


def on_responses(plan: Plan) -> knative.Trigger:
    """Every answer of every predictor."""
    names = plan.names
    return build_trigger(plan, names.judge, COMPONENT, names.judge, type=INFERENCE_RESPONSE)


def on_labels(plan: Plan) -> knative.Trigger | None:
    """All labels, where a canary has a bound on live quality; None elsewhere."""
    if plan.rollout.canary.quality is None:
        return None
    names = plan.names
    return build_trigger(plan, names.judged_labels, COMPONENT, names.judge, type=LABELS_GIVEN)
