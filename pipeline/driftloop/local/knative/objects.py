"""Brokers and Triggers of the applied commit, as typed values."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.names import service_host
from driftloop.errors import LocalError, PipelineError
from driftloop.local.ground import files, kinds
from driftloop.text.load import load_mapping

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
DELIVERY = frozenset({"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"})
BROKER = frozenset({"config", "delivery"})
TRIGGER = frozenset({"broker", "filter", "subscriber", "delivery"})
FILTER = frozenset({"attributes"})
SUBSCRIBER = frozenset({"ref"})
SINK = frozenset({"ref", "uri"})
REFERENCE = frozenset({"apiVersion", "kind", "name", "namespace"})


@dataclass(frozen=True)
class DeliveryPolicy:
    """Retries, back-off and timeout of a Trigger. Times in seconds."""

    retry: int = 10
    delay: float = 0.2
    timeout: float = 30.0
    dead_letter: str | None = None

    def compute_delay(self, attempt: int) -> float:
        """Seconds between attempt number `attempt` (from 1) and the next."""
        return self.delay * attempt


@dataclass(frozen=True)
class KnativeBroker:
    """A Broker and the stream that keeps its events."""

    namespace: str
    name: str
    max_age: float = 0.0
    max_bytes: int = -1
    delivery: DeliveryPolicy = DeliveryPolicy()

    @property
    def stream(self) -> str:
        """The stream's name, as Knative's JetStream channel would make it."""
        return f"KN_{self.namespace}__{self.name}".upper().replace("-", "_").replace(".", "_")

    @property
    def subject(self) -> str:
        """All of its events; one more token, the type, follows."""
        return f"knative.{self.namespace}.{self.name}"


@dataclass(frozen=True)
class KnativeTrigger:
    """One Trigger: who gets what from which Broker."""

    namespace: str
    name: str
    broker: str
    attributes: Mapping[str, str]
    """What its events have."""
    subscriber: str
    """URL, a cluster name as host."""
    delivery: DeliveryPolicy

    @property
    def durable(self) -> str:
        """The name of its consumer."""
        return f"KN_SUB_{self.namespace}_{self.name}".replace(".", "_")


@dataclass(frozen=True)
class KnativeObjects:
    """All of it; `refused` says for `namespace/name` why a Trigger is left out."""

    brokers: Mapping[tuple[str, str], KnativeBroker]
    triggers: Mapping[tuple[str, str], KnativeTrigger]
    refused: Mapping[str, str]


def load_objects(path: Path) -> KnativeObjects:
    """The objects in `run/objects.json`; none when the file is not there yet."""
    try:
        document = files.read_document(path)
        return parse_objects(document["objects"])
    except FileNotFoundError:
        return KnativeObjects({}, {}, {})
    except (DocumentError, KeyError, TypeError, AttributeError) as error:
        reason = error.message if isinstance(error, DocumentError) else repr(error)
        raise LocalError(
            f"{path} can't be read: {reason}",
            hint="an `up` that runs writes it anew, and so does the next one",
        ) from error


def parse_objects(objects: Iterable[Mapping[str, Any]]) -> KnativeObjects:
    """Brokers and Triggers among Kubernetes objects."""
    objects = list(objects)
    templates = {
        (item["metadata"].get("namespace"), item["metadata"]["name"]): item.get("data") or {}
        for item in objects
        if item.get("kind") == "ConfigMap"
    }
    brokers: dict[tuple[str, str], KnativeBroker] = {}
    triggers: dict[tuple[str, str], KnativeTrigger] = {}
    refused: dict[str, str] = {}
    for item in objects:
        if not str(item.get("apiVersion", "")).startswith("eventing.knative.dev/"):
            continue
        namespace, name = item["metadata"].get("namespace", "default"), item["metadata"]["name"]
        try:
            if item["kind"] == "Broker":
                brokers[namespace, name] = _parse_broker(
                    namespace, name, item.get("spec") or {}, templates
                )
        except PipelineError as error:
            refused[f"broker {namespace}/{name}"] = error.message
    for item in objects:
        if item.get("kind") != "Trigger" or not str(item.get("apiVersion", "")).startswith(
            "eventing.knative.dev/"
        ):
            continue
        namespace, name = item["metadata"].get("namespace", "default"), item["metadata"]["name"]
        try:
            triggers[namespace, name] = _parse_trigger(
                namespace, name, item.get("spec") or {}, brokers
            )
        except PipelineError as error:
            refused[f"trigger {namespace}/{name}"] = error.message
    return KnativeObjects(brokers, triggers, refused)


def validate_broker(manifest: Mapping[str, Any]) -> None:
    """Raise LocalError for a field of a Broker that is not followed here."""

    def validate_delivery(spec: Mapping[str, Any], namespace: str) -> None:
        _parse_delivery(spec.get("delivery"), namespace, DeliveryPolicy())

    _validate_spec(manifest, BROKER, validate_delivery)


def validate_trigger(manifest: Mapping[str, Any]) -> None:
    """Raise LocalError for a field of a Trigger that is not followed here; its Broker may be in
    another folder.
    """

    def validate_fields(spec: Mapping[str, Any], namespace: str) -> None:
        broker = KnativeBroker(namespace, str(spec.get("broker")))
        _parse_trigger(
            namespace, manifest["metadata"]["name"], spec, {(namespace, broker.name): broker}
        )

    _validate_spec(manifest, TRIGGER, validate_fields)


def _validate_spec(
    manifest: Mapping[str, Any],
    allowed: frozenset[str],
    validate: Callable[[Mapping[str, Any], str], object],
) -> None:
    label = kinds.format_object(manifest)
    spec = manifest.get("spec") or {}
    try:
        kinds.refuse_other_keys(None, "spec", spec, allowed)
        validate(spec, manifest["metadata"].get("namespace", "default"))
    except LocalError as error:
        raise LocalError(f"{label}: {error.message}", hint=error.hint or kinds.HINT) from error


def _parse_broker(
    namespace: str,
    name: str,
    spec: Mapping[str, Any],
    templates: Mapping[tuple[str | None, str], Mapping[str, str]],
) -> KnativeBroker:
    config = spec.get("config") or {}
    template = templates.get((config.get("namespace", namespace), config.get("name", "")), {})
    text = template.get("channelTemplateSpec", "")
    source = f"ConfigMap {config.get('name')}: channelTemplateSpec"
    channel = load_mapping(text, source, error=LocalError) if text.strip() else {}
    stream = ((channel.get("spec") or {}).get("stream") or {}).get("config") or {}
    return KnativeBroker(
        namespace,
        name,
        max_age=_parse_go_duration(stream["maxAge"]) if "maxAge" in stream else 0.0,
        max_bytes=int(stream.get("maxBytes", -1)),
        delivery=_parse_delivery(spec.get("delivery"), namespace, DeliveryPolicy()),
    )


def _parse_trigger(
    namespace: str,
    name: str,
    spec: Mapping[str, Any],
    brokers: Mapping[tuple[str, str], KnativeBroker],
) -> KnativeTrigger:
    kinds.refuse_other_keys(None, "spec", spec, TRIGGER)
    kinds.refuse_other_keys(None, "spec.filter", spec.get("filter") or {}, FILTER)
    attributes = (spec.get("filter") or {}).get("attributes") or {}
    broker = brokers.get((namespace, str(spec.get("broker"))))
    if broker is None:
        raise LocalError(
            f"its broker `{spec.get('broker')}` does not exist in namespace {namespace}"
        )
    subscriber = _resolve_destination(
        spec.get("subscriber") or {}, namespace, "subscriber", SUBSCRIBER
    )
    delivery = _parse_delivery(spec.get("delivery"), namespace, broker.delivery)
    return KnativeTrigger(
        namespace,
        name,
        broker.name,
        {name: str(value) for name, value in attributes.items()},
        subscriber,
        delivery,
    )


def _parse_delivery(
    spec: Mapping[str, Any] | None, namespace: str, otherwise: DeliveryPolicy
) -> DeliveryPolicy:
    """A delivery, when given, replaces the outer one wholesale; that is Knative's rule."""
    if not spec:
        return otherwise
    kinds.refuse_other_keys(None, "spec.delivery", spec, DELIVERY)
    if (policy := spec.get("backoffPolicy")) != "linear":
        raise LocalError(f"`spec.delivery.backoffPolicy` is `{policy}`, must be `linear`")
    sink = spec.get("deadLetterSink")
    return DeliveryPolicy(
        retry=int(spec.get("retry", 0)),
        delay=parse_iso_duration(spec.get("backoffDelay", "PT0.2S")),
        timeout=parse_iso_duration(spec["timeout"]) if "timeout" in spec else 30.0,
        dead_letter=_resolve_destination(sink, namespace, "deadLetterSink", SINK) if sink else None,
    )


def _resolve_destination(
    spec: Mapping[str, Any], namespace: str, field_name: str, allowed: frozenset[str]
) -> str:
    kinds.refuse_other_keys(None, f"spec.{field_name}", spec, allowed)
    reference, uri = spec.get("ref"), spec.get("uri", "")
    if reference is None:
        raise LocalError(
            f"`spec.{field_name}` without `ref` is not supported by the local runtime",
            hint="name a Service in `ref`",
        )
    kinds.refuse_other_keys(None, f"spec.{field_name}.ref", reference, REFERENCE)
    if (reference.get("kind"), reference.get("apiVersion", "v1")) != ("Service", "v1"):
        raise LocalError(f"{field_name}.ref is a {reference.get('kind')}, must be a Service (v1)")
    host = f"http://{service_host(reference['name'], reference.get('namespace', namespace))}"
    return host + (str(uri) if str(uri).startswith("/") else f"/{uri}" if uri else "/")


def parse_iso_duration(text: str) -> float:
    """Seconds in an ISO 8601 duration such as PT0.2S."""
    match = _DURATION.match(str(text))
    if match is None or not any(match.groups()):
        raise LocalError(f"`{text}` is not an ISO 8601 duration", hint="write PT2S for two seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def _parse_go_duration(text: str | float) -> float:
    if isinstance(text, int | float):
        return float(text) / 1e9
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise LocalError(f"`{text}` is not a duration such as 24h or 10m")
    return sum(
        float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3_600}[unit] for number, unit in parts
    )
