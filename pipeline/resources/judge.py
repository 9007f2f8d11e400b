"""The service that measures a rollout: it joins answers by request id and reads the predictors' own metrics."""

from pipeline.kube import apps, core, knative
from pipeline.plan import Plan, images
from pipeline.plan.names import SERVICE_PORT
from pipeline.resources import parts
from pipeline.resources.broker import trigger

COMPONENT = "judge"


def account(plan: Plan) -> core.ServiceAccount:
    """It never talks to the API server."""
    return parts.service_account(plan, plan.names.judge, COMPONENT)


def deployment(plan: Plan) -> apps.Deployment:
    """Answers what was measured of production and candidate since a moment."""
    names = plan.names
    return parts.deployment(
        plan,
        names.judge,
        COMPONENT,
        image=images.DRIFTLOOP,
        command="driftloop-judge",
        args=("--port", str(SERVICE_PORT), "--namespace", names.namespace, "--pipeline", names.pipeline),
        env=parts.environment(*parts.NATS),
        resources=parts.small("20m", "64Mi", limit="192Mi"),
    )


def service(plan: Plan) -> core.Service:
    """Where answers arrive and judgements are asked for."""
    return parts.service(plan, plan.names.judge, COMPONENT)


def on_responses(plan: Plan) -> knative.Trigger:
    """Every answer of every predictor."""
    names = plan.names
    return trigger(plan, names.judge, COMPONENT, names.judge, type="io.seldon.serving.inference.response")
