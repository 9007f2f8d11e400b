"""Admission of objects: each is applied whole, has no effect by its kind, or is refused.

A field that a stand-in would ignore is refused here, while the commit is read, not during a run.
"""

from collections.abc import Callable, Mapping
from typing import Any

from driftloop.contract.trees import ACCESS, CLUSTER
from driftloop.errors import LocalError, PipelineError
from driftloop.local.argo_events import validation as argo_events
from driftloop.local.argo_workflows import validation as argo_workflows
from driftloop.local.ground import kinds
from driftloop.local.istio import envoy
from driftloop.local.istio.login import is_login, validate_login
from driftloop.local.knative import objects as knative
from driftloop.local.seldon import serving

Object = Mapping[str, Any]

TOP = frozenset({"apiVersion", "kind", "metadata", "spec"})
CONFIG_MAP = frozenset({"apiVersion", "kind", "metadata", "data"})
NAMESPACE = frozenset({"apiVersion", "kind", "metadata"})
SERVICE = frozenset({"selector", "ports", "clusterIP", "publishNotReadyAddresses"})
SERVICE_PORT = frozenset({"name", "port", "targetPort"})
AUTOSCALER = frozenset({"scaleTargetRef", "minReplicas", "maxReplicas", "metrics"})


def admit_object(item: Object, file: str) -> str | None:
    """Return None for an object that is acted on, or the reason for which it has no effect here.

    LocalError names the file, the object and the field of anything that would not be followed.
    """
    if is_login(item):
        raise LocalError(
            f"{file}: {kinds.format_object(item)} is of the gateway's login",
            hint=f"it belongs into {CLUSTER}/<cluster>/{ACCESS}/, where `access` of a spec is rendered",
        )
    reason = kinds.accept_kind(item, file)
    if reason is None:
        try:
            validate_object(item)
        except PipelineError as error:
            raise locate_error(file, error) from error
    return reason


def validate_object(item: Object) -> None:
    """Raise PipelineError, which names the object and the field that its stand-in would not follow.

    A Deployment's pods are read when they are planned, since that needs the values of the whole
    commit.
    """
    key = kinds.object_kind(item)
    allowed = {("", "ConfigMap"): CONFIG_MAP, ("", "Namespace"): NAMESPACE}.get(key, TOP)
    kinds.refuse_other_keys(kinds.format_object(item), "", item, allowed)
    if (validate := _VALIDATORS[key]) is not None:
        validate(item)


def locate_error(file: str, error: PipelineError) -> LocalError:
    """Return the error with the file it is in."""
    return LocalError(f"{file}: {error.message}", hint=error.hint)


def _validate_service(item: Object) -> None:
    """Read everything that is read of a Service later, so that a wrong shape is refused before
    anything starts.
    """
    label, spec = kinds.format_object(item), item["spec"]
    kinds.refuse_other_keys(label, "spec", spec, SERVICE)
    dict(spec.get("selector") or {})
    for port in spec.get("ports") or ():
        kinds.refuse_other_keys(label, "spec.ports[]", port, SERVICE_PORT)
        target = port.get("targetPort", port["port"])
        int(port["port"]), target if isinstance(target, str) else int(target)


def _validate_autoscaler(item: Object) -> None:
    kinds.refuse_other_keys(kinds.format_object(item), "spec", item["spec"], AUTOSCALER)


def _validate_authentication(item: Object) -> None:
    if not is_login(item):
        raise LocalError(
            f"{kinds.format_object(item)} is not the gateway's: no other proxy runs here",
            hint="`access` of a spec says who may ask at the gateway",
        )
    validate_login(item)


def _validate_seldon_deployment(item: Object) -> None:
    """Write out its Deployments, Services and routes, and validate those."""
    for part in serving.expand_object(dict(item)):
        validate_object(part)


_VALIDATORS: Mapping[tuple[str, str], Callable[[Object], None] | None] = {
    ("", "Namespace"): None,
    ("", "ConfigMap"): None,
    ("", "Service"): _validate_service,
    ("apps", "Deployment"): None,
    ("autoscaling", "HorizontalPodAutoscaler"): _validate_autoscaler,
    ("machinelearning.seldon.io", "SeldonDeployment"): _validate_seldon_deployment,
    ("networking.istio.io", "VirtualService"): envoy.validate_virtual_service,
    ("security.istio.io", "RequestAuthentication"): _validate_authentication,
    ("eventing.knative.dev", "Broker"): knative.validate_broker,
    ("eventing.knative.dev", "Trigger"): knative.validate_trigger,
    ("argoproj.io", "EventBus"): argo_events.validate_event_bus,
    ("argoproj.io", "EventSource"): argo_events.validate_event_source,
    ("argoproj.io", "Sensor"): argo_events.validate_sensor,
    ("argoproj.io", "WorkflowTemplate"): argo_workflows.validate_workflow_template,
    ("argoproj.io", "CronWorkflow"): argo_workflows.validate_cron_workflow,
}
"""Validator of the spec of each kind of `kinds.ACTS_ON`; None where all is read elsewhere."""
