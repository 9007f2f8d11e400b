"""Fields that the stand-ins support, read from the tables and models that admission refuses by."""

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from pydantic import BaseModel

from driftloop.kube.events import EventBusSpec, EventSourceSpec, SensorSpec
from driftloop.local.argo.parts import Part
from driftloop.local.argo_workflows import tags
from driftloop.local.argo_workflows.model import CronSpec, WorkflowSpec
from driftloop.local.flux import admission
from driftloop.local.istio import fields as istio
from driftloop.local.istio import login
from driftloop.local.knative import objects as knative
from driftloop.local.kubelet import pods, values

Places = Mapping[str, Collection[str]]
"""Place in an object -> the fields there."""

_CONTAINER: Places = {
    "": pods.CONTAINER,
    ".env[].valueFrom.configMapKeyRef": values.KEY,
    ".envFrom[]": values.ENV_FROM,
    ".envFrom[].configMapRef": values.CONFIG_MAP,
    ".envFrom[].secretRef": values.CONFIG_MAP,
    ".env[].valueFrom.secretKeyRef": values.KEY,
    ".readinessProbe": pods.READINESS,
    ".readinessProbe.httpGet": pods.HTTP_GET,
    ".readinessProbe.tcpSocket": pods.TCP_SOCKET,
    ".livenessProbe": pods.LIVENESS,
    ".livenessProbe.httpGet": pods.HTTP_GET,
    ".livenessProbe.tcpSocket": pods.TCP_SOCKET,
    ".startupProbe": pods.STARTUP,
    ".startupProbe.httpGet": pods.HTTP_GET,
    ".ports[]": pods.PORT,
    ".volumeMounts[]": pods.MOUNT,
}

_DELIVERY: Places = {
    "spec.delivery": knative.DELIVERY,
    "spec.delivery.deadLetterSink": knative.SINK,
    "spec.delivery.deadLetterSink.ref": knative.REFERENCE,
}


def _walk_model(model: type[BaseModel], place: str = "spec") -> Iterator[tuple[str, list[str]]]:
    """Yield each place in a model with its fields, those without effect included."""
    names = {field.alias or name: field for name, field in model.model_fields.items()}
    accepted = model.ACCEPTED if issubclass(model, Part) else frozenset()
    yield place, sorted({*names, *accepted})
    for name, field in sorted(names.items()):
        for suffix, inner in _list_models(field.annotation):
            yield from _walk_model(inner, f"{place}.{name}{suffix}")


def _list_models(annotation: object, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield suffix, annotation
        return
    origin = getattr(annotation, "__origin__", None)
    inside = {list: "[]", tuple: "[]", dict: ".<name>"}.get(origin, "") if origin else ""
    for argument in get_args(annotation):
        yield from _list_models(argument, suffix + inside)


def list_supported() -> dict[str, Places]:
    """The supported fields of each kind whose fields are told apart; `metadata` is left out."""
    return {
        "Service": {"spec": admission.SERVICE, "spec.ports[]": admission.SERVICE_PORT},
        "Deployment": {
            "spec": pods.DEPLOYMENT,
            "spec.template.spec": pods.POD,
            "spec.template.spec.volumes[].configMap": values.CONFIG_MAP,
            "spec.template.spec.volumes[].emptyDir": values.EMPTY_DIR,
            "spec.template.spec.volumes[].persistentVolumeClaim": values.CLAIM,
            "spec.template.spec.volumes[].secret": values.SECRET_VOLUME,
            **{f"spec.template.spec.containers[]{key}": names for key, names in _CONTAINER.items()},
        },
        "HorizontalPodAutoscaler": {"spec": admission.AUTOSCALER},
        "VirtualService": {
            "spec": istio.VIRTUAL_SERVICE,
            "spec.http[]": istio.HTTP_ROUTE,
            "spec.http[].corsPolicy": istio.CORS_POLICY,
            "spec.http[].corsPolicy.allowOrigins[]": istio.ORIGIN,
            "spec.http[].directResponse": istio.DIRECT_RESPONSE,
            "spec.http[].directResponse.body": istio.DIRECT_BODY,
            "spec.http[].headers": istio.HEADERS,
            "spec.http[].headers.request": istio.REQUEST_HEADERS,
            "spec.http[].match[]": istio.MATCH,
            "spec.http[].match[].uri": istio.URI,
            "spec.http[].mirror": istio.DESTINATION,
            "spec.http[].rewrite": istio.REWRITE,
            "spec.http[].route[].destination": istio.DESTINATION,
        },
        "RequestAuthentication": {
            "spec": login.AUTHENTICATION,
            "spec.jwtRules[]": login.JWT_RULE,
            "spec.jwtRules[].fromHeaders[]": login.FROM_HEADER,
        },
        "AuthorizationPolicy": {
            "spec": login.POLICY,
            "spec.rules[]": login.RULE,
            "spec.rules[].from[].source": login.SOURCE,
            "spec.rules[].to[].operation": login.OPERATION,
            "spec.rules[].when[]": login.WHEN,
        },
        "Broker": {"spec": knative.BROKER, **_DELIVERY},
        "Trigger": {
            "spec": knative.TRIGGER,
            "spec.filter": knative.FILTER,
            "spec.subscriber": knative.SUBSCRIBER,
            "spec.subscriber.ref": knative.REFERENCE,
            **_DELIVERY,
        },
        "EventBus": dict(_walk_model(EventBusSpec)),
        "EventSource": dict(_walk_model(EventSourceSpec)),
        "Sensor": dict(_walk_model(SensorSpec)),
        "WorkflowTemplate": dict(_walk_model(WorkflowSpec)),
        "CronWorkflow": dict(_walk_model(CronSpec)),
    }


def explain_fields() -> str:
    """The supported fields and tags as `driftloop up --explain` prints them."""
    parts = []
    for kind, places in list_supported().items():
        lines = [f"  {place}: {', '.join(sorted(names))}" for place, names in places.items()]
        parts.append("\n".join([f"Fields of {kind}", *lines]))
    parts.append("\n".join(["Tags in WorkflowTemplate", *(f"  {tag}" for tag in tags.SUPPORTED)]))
    return "\n\n".join(parts)
