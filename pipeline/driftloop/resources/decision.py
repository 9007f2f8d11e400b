"""The service that decides to retrain, and the events it decides by."""

from driftloop.contract.accounts import NatsRole
from driftloop.contract.events import RUN_FINISHED, detector_type
from driftloop.contract.names import SERVICE_PORT
from driftloop.kube import apps, core, knative
from driftloop.plan import Plan
from driftloop.release.record import Release
from driftloop.release.refits import find_lacks
from driftloop.resources import detector, parts
from driftloop.resources.broker import build_trigger

COMPONENT = "decision"


def decision_deployment(plan: Plan, release: Release) -> apps.Deployment:
    """Its state is in NATS; it reads the Workflow that holds the lease, the release in git, and
    the list of batches while alarms wait for new ones. A tracking server is told by it, too."""
    names = plan.names
    return parts.service_deployment(
        plan,
        names.decision,
        COMPONENT,
        image=plan.platform.driftloop,
        command="driftloop-decision",
        args=(
            *(
                "--port",
                str(SERVICE_PORT),
                "--namespace",
                names.namespace,
                "--pipeline",
                names.pipeline,
            ),
            *(
                "--policy",
                plan.write_policy(find_lacks(release.production, detector.digest_monitors(plan))),
                "--webhook",
                names.webhook_url,
                "--broker",
                names.broker_url,
            ),
            *("--data", plan.data),
            *(("--sources",) if plan.sources else ()),
            *(("--labels",) if plan.takes_labels else ()),
            *_tracking_options(plan),
            *(("--rollback-webhook", names.rollback_url) if plan.rollback_on else ()),
        ),
        env=parts.platform_environment(
            plan,
            *parts.nats(NatsRole.DECISION, NatsRole.READER),
            *parts.S3,
            *parts.GIT,
            *parts.KUBERNETES,
            *parts.WEBHOOK,
            *parts.CONSOLE,
            *(parts.TRACKING if plan.tracking is not None else ()),
        ),
        resources=parts.small_resources("20m", "96Mi", limit="256Mi"),
        token=True,
    )


def _tracking_options(plan: Plan) -> tuple[str, ...]:
    if plan.tracking is None:
        return ()
    name = plan.tracking.name
    return (
        *("--tracking", plan.tracking.mlflow),
        *(("--tracking-name", name) if name is not None else ()),
    )


def decision_endpoint(plan: Plan) -> core.KubernetesService:
    """The Service that takes alarms, ends of runs and dead letters."""
    return parts.service_endpoint(plan, plan.names.decision, COMPONENT)


def on_runs(plan: Plan) -> knative.Trigger:
    """Every end of a run."""
    names = plan.names
    return build_trigger(
        plan, f"{names.decision}-runs", COMPONENT, names.decision, type=RUN_FINISHED
    )


def on_alarms(plan: Plan) -> tuple[tuple[str, knative.Trigger], ...]:
    """(monitor, Trigger) for each monitor whose alarms start runs, halt the loop or go back."""
    names = plan.names
    return tuple(
        (
            name,
            build_trigger(
                plan,
                names.alarms(name),
                COMPONENT,
                names.decision,
                type=detector_type(name),
            ),
        )
        for name in (*plan.retrain_on, *plan.halt_on, *plan.rollback_on)
    )
