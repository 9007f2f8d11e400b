"""The start of a training run, or of a rollback: an authenticated webhook, and the Sensor that makes a
Workflow of each decision."""

from driftloop.contract.accounts import NatsRole
from driftloop.contract.names import CAUSE, EVENT_BUS, NATS_URL, PLATFORM, WEBHOOK_PORT
from driftloop.contract.platform import NATS_ROLES, WEBHOOK_TOKEN
from driftloop.kube import core, events
from driftloop.plan import Plan
from driftloop.resources import parts, placing

COMPONENT = "retrain"
EVENT, ROLLBACK_EVENT = "retrain", "rollback"
DECIDED, ORDERED = "decided", "ordered"
"""Dependencies of the Sensor: a call of each webhook."""
MAX_PAYLOAD = 64 * 1024
RUNS_A_MINUTE = 20
"""Workflows that the webhook makes at most; all but one of them end at the claim."""

_SMALL = events.ContainerTemplate(
    resources=parts.small_resources("20m", "64Mi", limit="128Mi"), security_context=parts.HARDENED
)


def event_bus(plan: Plan) -> events.EventBus:
    """The namespace's bus, on the platform's own NATS; streams of one replica, or a single
    server makes none."""
    return events.EventBus(
        metadata=parts.object_meta(plan.names, EVENT_BUS, COMPONENT),
        spec=events.EventBusSpec(
            jetstream_exotic=events.SharedJetStream(
                url=NATS_URL,
                access_secret=core.KeySelector(name=PLATFORM, key=NATS_ROLES[NatsRole.BUS].key),
                # a number of messages reserves nothing in the store, and MAX_PAYLOAD bounds each
                stream_config="replicas: 1\nmaxMsgs: 1000\nmaxAge: 168h\nmaxBytes: -1\nduplicates: 300s\n",
            )
        ),
    )


def event_source(plan: Plan) -> events.EventSource:
    """The webhook; its callers send the token of `driftloop-platform`."""
    return events.EventSource(
        metadata=parts.object_meta(plan.names, plan.names.retrain, COMPONENT),
        spec=events.EventSourceSpec(
            event_bus_name=EVENT_BUS,
            replicas=1,
            template=_build_pod(plan),
            webhook={
                EVENT: _build_webhook("/retrain"),
                **({ROLLBACK_EVENT: _build_webhook("/rollback")} if plan.rollback_on else {}),
            },
        ),
    )


def _build_pod(plan: Plan, *, account: str | None = None) -> events.EventPodTemplate:
    """Return the pod that the controller makes: with the settings of all pods."""
    placed = placing.settle(plan)
    meta = events.EventPodMeta(labels=placed.labels or None, annotations=placed.annotations or None)
    return events.EventPodTemplate(
        metadata=meta if meta.dump_object() else None,
        service_account_name=account,
        container=_SMALL,
        security_context=parts.POD,
        node_selector=placing.select_nodes(placed),
        tolerations=placing.tolerate_taints(placed),
        affinity=placing.dump_affinity(placed),
        priority_class_name=placed.priority_class_name,
    )


def _build_webhook(endpoint: str) -> events.WebhookSource:
    return events.WebhookSource(
        port=str(WEBHOOK_PORT),
        endpoint=endpoint,
        method="POST",
        auth_secret=core.KeySelector(name=PLATFORM, key=WEBHOOK_TOKEN.key),
        max_payload_size=MAX_PAYLOAD,
    )


def webhook_service(plan: Plan) -> core.KubernetesService:
    """The Service before the webhook; the one that Argo Events can make is meant for tests only."""
    return core.KubernetesService(
        metadata=parts.object_meta(plan.names, plan.names.retrain, COMPONENT),
        spec=core.ServiceSpec(
            selector={"eventsource-name": plan.names.retrain},
            ports=(core.ServicePort(name="http", port=WEBHOOK_PORT, target_port=WEBHOOK_PORT),),
        ),
    )


def build_sensor(plan: Plan) -> events.Sensor:
    """Names the Workflow after the decision, so that a second delivery meets "already exists"."""
    names = plan.names
    rolls_back = bool(plan.rollback_on)
    return events.Sensor(
        metadata=parts.object_meta(names, names.retrain, COMPONENT),
        spec=events.SensorSpec(
            event_bus_name=EVENT_BUS,
            template=_build_pod(plan, account=names.sensor),
            dependencies=(
                _build_dependency(plan, DECIDED, EVENT),
                *((_build_dependency(plan, ORDERED, ROLLBACK_EVENT),) if rolls_back else ()),
            ),
            triggers=(
                _build_trigger(plan, "train", DECIDED, f"{names.pipeline}-", names.train),
                *(
                    (
                        _build_trigger(
                            plan, "rollback", ORDERED, f"{names.rollback}-", names.rollback
                        ),
                    )
                    if rolls_back
                    else ()
                ),
            ),
        ),
    )


def _build_dependency(plan: Plan, name: str, event: str) -> events.SensorDependency:
    def match_field(path: str, pattern: str) -> events.DataFilter:
        return events.DataFilter(path=path, type="string", value=(pattern,))

    return events.SensorDependency(
        name=name,
        event_source_name=plan.names.retrain,
        event_name=event,
        # Text is matched as a regular expression, unanchored unless it says so.
        filters=events.Filters(
            data=(
                match_field("body.pipeline", f"^{plan.names.pipeline}$"),
                match_field("body.decision", "^[0-9a-f]{12}$"),
                match_field("body.cause", CAUSE),
            )
        ),
    )


def _build_trigger(
    plan: Plan, name: str, dependency: str, prefix: str, template: str
) -> events.SensorTrigger:
    """Build the trigger that makes the Workflow `prefix` + decision of a template."""
    names = plan.names

    def copy_field(key: str, dest: str, *, append: bool = False) -> events.TriggerParameter:
        source = events.ParameterSource(dependency_name=dependency, data_key=f"body.{key}")
        return events.TriggerParameter(
            src=source, dest=dest, operation="append" if append else None
        )

    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": prefix,
            "namespace": names.namespace,
            "labels": parts.object_labels(names, "workflows"),
        },
        "spec": {
            "workflowTemplateRef": {"name": template},
            "arguments": {
                "parameters": [{"name": "decision", "value": ""}, {"name": "cause", "value": ""}],
            },
        },
    }
    return events.SensorTrigger(
        template=events.TriggerTemplate(
            name=name,
            conditions=dependency,
            k8s=events.KubernetesTrigger(
                operation="create",
                source=events.ArtifactLocation(resource=workflow),
                parameters=(
                    copy_field("decision", "metadata.name", append=True),
                    copy_field("decision", "spec.arguments.parameters.0.value"),
                    copy_field("cause", "spec.arguments.parameters.1.value"),
                ),
            ),
        ),
        retry_strategy=events.TriggerRetry(steps=3, duration="10s", factor=2, jitter=0.1),
        at_least_once=True,
        # delays, never drops: whoever holds the token can't flood the API server
        rate_limit=events.RateLimit(unit="Minute", requests_per_unit=RUNS_A_MINUTE),
    )
