"""Brokers and Triggers of the applied commit, as typed values."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from driftloop.contract.names import service_host
from driftloop.errors import LocalError, PipelineError
from driftloop.local.ground import kinds
from driftloop.local.knative import filters

HINT = "`driftloop up --explain` lists what the local runtime acts on"

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_DELIVERY_KEYS = {"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink", "retryAfterMax"}
_BROKER_KEYS = {"config", "delivery"}
_TRIGGER_KEYS = {"broker", "filter", "filters", "subscriber", "delivery"}


@dataclass(frozen=True)
class Delivery:
    """Retries, back-off and timeout of a Trigger. Times in seconds."""

    retry: int = 10
    policy: Literal["linear", "exponential"] = "exponential"
    delay: float = 0.2
    timeout: float = 30.0
    dead_letter: str | None = None

    def wait(self, attempt: int) -> float:
        """Seconds between attempt number `attempt` (from 1) and the next."""
        return self.delay * (attempt if self.policy == "linear" else 2 ** (min(attempt, 30) - 1))


@dataclass(frozen=True)
class Broker:
    """A Broker and the stream that keeps its events."""

    namespace: str
    name: str
    max_age: float = 0.0
    max_bytes: int = -1
    delivery: Delivery = Delivery()

    @property
    def stream(self) -> str:
        """The stream's name, as Knative's JetStream channel would make it."""
        return f"KN_{self.namespace}__{self.name}".upper().replace("-", "_").replace(".", "_")

    @property
    def subject(self) -> str:
        """All of its events; one more token, the type, follows."""
        return f"knative.{self.namespace}.{self.name}"


@dataclass(frozen=True)
class Trigger:
    """One Trigger: who gets what from which Broker."""

    namespace: str
    name: str
    broker: str
    spec: Mapping[str, Any]
    """`filter` and `filters` as written."""
    subscriber: str
    """URL, a cluster name as host."""
    delivery: Delivery

    @property
    def durable(self) -> str:
        """The name of its consumer."""
        return f"KN_SUB_{self.namespace}_{self.name}".replace(".", "_")


@dataclass(frozen=True)
class Objects:
    """All of it; `refused` says for `namespace/name` why a Trigger is left out."""

    brokers: Mapping[tuple[str, str], Broker]
    triggers: Mapping[tuple[str, str], Trigger]
    refused: Mapping[str, str]


def load(path: Path) -> Objects:
    """The objects in `run/objects.json`; none when the file is not there yet."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return Objects({}, {}, {})
    except ValueError as error:
        raise LocalError(
            f"{path} is not JSON: {error}", hint="the reconciler replaces it at the next commit"
        ) from error
    return parse(document.get("objects") or ())


def parse(objects: Iterable[Mapping[str, Any]]) -> Objects:
    """Brokers and Triggers among Kubernetes objects."""
    objects = list(objects)
    templates = {
        (item["metadata"].get("namespace"), item["metadata"]["name"]): item.get("data") or {}
        for item in objects
        if item.get("kind") == "ConfigMap"
    }
    brokers: dict[tuple[str, str], Broker] = {}
    triggers: dict[tuple[str, str], Trigger] = {}
    refused: dict[str, str] = {}
    for item in objects:
        if not str(item.get("apiVersion", "")).startswith("eventing.knative.dev/"):
            continue
        namespace, name = item["metadata"].get("namespace", "default"), item["metadata"]["name"]
        try:
            if item["kind"] == "Broker":
                brokers[namespace, name] = _broker(namespace, name, item.get("spec") or {}, templates)
        except PipelineError as error:
            refused[f"broker {namespace}/{name}"] = error.message
    for item in objects:
        if item.get("kind") != "Trigger" or not str(item.get("apiVersion", "")).startswith("eventing.knative.dev/"):
            continue
        namespace, name = item["metadata"].get("namespace", "default"), item["metadata"]["name"]
        try:
            triggers[namespace, name] = _trigger(namespace, name, item.get("spec") or {}, brokers)
        except PipelineError as error:
            refused[f"trigger {namespace}/{name}"] = error.message
    return Objects(brokers, triggers, refused)


def validate_broker(manifest: Mapping[str, Any]) -> None:
    """Raise LocalError for a field of a Broker that is not followed here."""

    def validate(spec: Mapping[str, Any], namespace: str) -> None:
        _delivery(spec.get("delivery"), namespace, Delivery())

    _validate_spec(manifest, _BROKER_KEYS, validate)


def validate_trigger(manifest: Mapping[str, Any]) -> None:
    """Raise LocalError for a field of a Trigger that is not followed here; its Broker may be in
    another folder.
    """

    def validate(spec: Mapping[str, Any], namespace: str) -> None:
        broker = Broker(namespace, str(spec.get("broker")))
        _trigger(namespace, manifest["metadata"]["name"], spec, {(namespace, broker.name): broker})

    _validate_spec(manifest, _TRIGGER_KEYS, validate)


def _validate_spec(
    manifest: Mapping[str, Any], allowed: set[str], validate: Callable[[Mapping[str, Any], str], object]
) -> None:
    label = kinds.named(manifest)
    spec = manifest.get("spec") or {}
    try:
        _refuse_other_keys("spec", spec, allowed)
        validate(spec, manifest["metadata"].get("namespace", "default"))
    except LocalError as error:
        raise LocalError(f"{label}: {error.message}", hint=error.hint or HINT) from error


def _refuse_other_keys(path: str, value: Mapping[str, Any], allowed: set[str]) -> None:
    if unknown := sorted(set(value) - allowed):
        raise LocalError(f"`{path}.{unknown[0]}` is not understood by the local runtime")


def _broker(
    namespace: str, name: str, spec: Mapping[str, Any], templates: Mapping[tuple[str | None, str], Mapping[str, str]]
) -> Broker:
    config = spec.get("config") or {}
    template = templates.get((config.get("namespace", namespace), config.get("name", "")), {})
    try:
        channel = yaml.safe_load(template.get("channelTemplateSpec", "")) or {}
    except yaml.YAMLError as error:
        raise LocalError(f"ConfigMap {config.get('name')}: channelTemplateSpec is not YAML") from error
    stream = ((channel.get("spec") or {}).get("stream") or {}).get("config") or {}
    return Broker(
        namespace,
        name,
        max_age=_go_duration(stream["maxAge"]) if "maxAge" in stream else 0.0,
        max_bytes=int(stream.get("maxBytes", -1)),
        delivery=_delivery(spec.get("delivery"), namespace, Delivery()),
    )


def _trigger(namespace: str, name: str, spec: Mapping[str, Any], brokers: Mapping[tuple[str, str], Broker]) -> Trigger:
    _refuse_other_keys("spec", spec, _TRIGGER_KEYS)
    _refuse_other_keys("spec.filter", spec.get("filter") or {}, {"attributes"})
    broker = brokers.get((namespace, str(spec.get("broker"))))
    if broker is None:
        raise LocalError(f"its broker `{spec.get('broker')}` does not exist in namespace {namespace}")
    filters.compiled(spec)
    subscriber = _destination(spec.get("subscriber") or {}, namespace, "subscriber")
    delivery = _delivery(spec.get("delivery"), namespace, broker.delivery)
    return Trigger(
        namespace,
        name,
        broker.name,
        {key: spec[key] for key in ("filter", "filters") if key in spec},
        subscriber,
        delivery,
    )


def _delivery(spec: Mapping[str, Any] | None, namespace: str, otherwise: Delivery) -> Delivery:
    """A delivery, when given, replaces the outer one wholesale; that is Knative's rule."""
    if not spec:
        return otherwise
    _refuse_other_keys("spec.delivery", spec, _DELIVERY_KEYS)
    policy = spec.get("backoffPolicy", "exponential")
    if policy not in ("linear", "exponential"):
        raise LocalError(f"delivery.backoffPolicy is `{policy}`, must be one of: linear, exponential")
    sink = spec.get("deadLetterSink")
    return Delivery(
        retry=int(spec.get("retry", 0)),
        policy=policy,
        delay=duration(spec.get("backoffDelay", "PT0.2S")),
        timeout=duration(spec["timeout"]) if "timeout" in spec else 30.0,
        dead_letter=_destination(sink, namespace, "deadLetterSink") if sink else None,
    )


def _destination(spec: Mapping[str, Any], namespace: str, field_name: str) -> str:
    _refuse_other_keys(f"spec.{field_name}", spec, {"ref", "uri"})
    reference, uri = spec.get("ref"), spec.get("uri", "")
    if reference is None:
        if not str(uri).startswith("http://"):
            raise LocalError(f"{field_name}.uri is `{uri}`, must be an http:// URL")
        return str(uri)
    if (reference.get("kind"), reference.get("apiVersion", "v1")) != ("Service", "v1"):
        raise LocalError(f"{field_name}.ref is a {reference.get('kind')}, must be a Service (v1) or a uri")
    host = f"http://{service_host(reference['name'], reference.get('namespace', namespace))}"
    return host + (str(uri) if str(uri).startswith("/") else f"/{uri}" if uri else "/")


def duration(text: str) -> float:
    """Seconds in an ISO 8601 duration such as PT0.2S."""
    match = _DURATION.match(str(text))
    if match is None or not any(match.groups()):
        raise LocalError(f"`{text}` is not an ISO 8601 duration", hint="write PT2S for two seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def _go_duration(text: str | float) -> float:
    if isinstance(text, int | float):
        return float(text) / 1e9
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise LocalError(f"`{text}` is not a duration such as 24h or 10m")
    return sum(float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3_600}[unit] for number, unit in parts)
