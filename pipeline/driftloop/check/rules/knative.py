"""DL21x: Knative's Brokers and Triggers, and who sends to them."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.pods import Pod, images, pods
from driftloop.check.rules.network import ports_of, selected
from driftloop.check.world import BROKER, KNATIVE_SERVICE, SELDON, SERVICE, TRIGGER, Object, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_INGRESS = re.compile(
    r"https?://(?:nats-)?broker-ingress\.knative-eventing(?:\.svc(?:\.cluster\.local)?)?(?::\d+)?/([^/\s]+)/([^/\s?]+)/?$"
)
_CLUSTER = re.compile(
    r"https?://([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc(?:\.cluster\.local)?)(?::(\d+))?(/[^\s]*)?$"
)
_DETECTOR = re.compile(r"drift|outlier|adversarial|detector|alibi", re.IGNORECASE)
_SELDON_TYPES = tuple(
    f"io.seldon.serving.{name}"
    for name in (
        "inference.request", "inference.response", "feedback", "inference.drift", "inference.outlier",
        "inference.adversarial", "inference.metrics",
    )
)  # fmt: skip


def broker_of(text: str) -> tuple[str, str] | None:
    """(namespace, name) of the Broker that a URL posts to."""
    match = _INGRESS.match(text)
    return (match[1], match[2]) if match else None


@rule(
    "DL211", "A Trigger's Broker is not there", fix="commit the Broker in the Trigger's namespace"
)
def trigger_broker(world: World) -> Iterator[RuleMatch]:
    """The Trigger stays unready (`BrokerDoesNotExist`): its subscriber never gets an event."""
    for trigger in world.of(TRIGGER):
        node = trigger.spec.get("broker")
        name = node.text or "default"
        if not trigger.spec.get("brokerRef") and world.target(BROKER, name, trigger) == ():
            names = [
                other.name for other in world.of(BROKER) if other.namespace == trigger.namespace
            ]
            yield trigger.at(
                node if node else trigger.spec,
                f"no Broker `{name}` in namespace `{trigger.namespace}`",
                fix=suggest_names(name, names),
            )


@rule(
    "DL212", "A subscriber or dead letter sink is not there", fix="name a Service of the namespace"
)
def subscriber(world: World) -> Iterator[RuleMatch]:
    """The Trigger stays unready (`Unable to get the Subscriber's URI`): no event is delivered,
    and a missing dead letter sink loses what can't be."""
    for item in world.of(TRIGGER, ("messaging.knative.dev", "Subscription"), BROKER):
        for node in (
            item.spec.get("subscriber"),
            item.spec.get("delivery", "deadLetterSink"),
            item.spec.get("reply"),
        ):
            ref = node.get("ref")
            group = ref.get("apiVersion").text.rpartition("/")[0]
            kind = (group, ref.get("kind").text)
            if kind in (SERVICE, KNATIVE_SERVICE, BROKER):
                name = ref.get("name")
                where = ref.get("namespace").text or item.namespace
                if world.target(kind, name.text, item, where) == ():
                    names = [other.name for other in world.of(kind) if other.namespace == where]
                    yield item.at(
                        name,
                        f"no {kind[1]} {name.shown} in namespace `{where}`",
                        fix=suggest_names(name.text, names),
                    )
            else:
                yield from _url(world, item, node.get("uri"))


def _url(world: World, one: Object, node: YamlNode) -> Iterator[RuleMatch]:
    match = _CLUSTER.match(node.text)
    if match is None or (match[1], match[2]) == ("broker-ingress", "knative-eventing"):
        return
    name, namespace, port = match[1], match[2], match[3]
    services = world.target(SERVICE, name, one, namespace)
    if (
        services == ()
        and world.target(KNATIVE_SERVICE, name, one, namespace) == ()
        and not _made(world, name, namespace)
    ):
        yield one.at(node, f"no Service `{name}` in namespace `{namespace}` for {node.shown}")
    elif services:
        number = int(port) if port else (443 if node.text.startswith("https") else 80)
        ports = ports_of(services)
        if ports and number not in ports:
            yield one.at(
                node,
                f"Service `{namespace}/{name}` has no port {number} for {node.shown}; "
                f"{list_names(map(str, ports), 'ports')}",
            )


def _made(world: World, name: str, namespace: str) -> bool:
    """Return True if a controller makes that Service of something in the set."""
    for seldon in world.of(SELDON):
        if seldon.namespace == namespace and (
            name == seldon.name or name.startswith(f"{seldon.name}-")
        ):
            return True
    return any(
        event_source.namespace == namespace and name == f"{event_source.name}-eventsource-svc"
        for event_source in world.of(("argoproj.io", "EventSource"))
    )


@rule(
    "DL213",
    "A detector's Trigger has no filter",
    fix="filter by `type` and by the model: `inferenceservicename`, `endpoint`, `namespace`",
)
def filterless(world: World) -> Iterator[RuleMatch]:
    """The detector gets every event of the Broker: other models' requests, answers, and the
    events it sends itself. Its statistics mix models, and its own alarms come back to it without
    end."""
    fed = {
        target
        for seldon in world.of(SELDON)
        for node in seldon.spec.texts()
        if (target := broker_of(node.text))
    }
    all_pods = list(pods(world))
    for trigger in world.of(TRIGGER):
        spec = trigger.spec
        filters = spec.get("filters").list
        # an empty text is any
        if any(node.text for node in spec.get("filter", "attributes").map.values()) or filters:
            continue
        if (
            _detector(world, trigger, all_pods)
            or (trigger.namespace, spec.get("broker").text or "default") in fed
        ):
            node = (
                spec.get("filter") if "filter" in spec.map else trigger.node.get("metadata", "name")
            )
            yield trigger.at(
                node, "the Trigger has no filter, so every event of the Broker comes through"
            )


def _detector(world: World, one: Object, known: list[Pod]) -> bool:
    """Return True if a Trigger's subscriber is a detector, by its name, its labels' or its
    image's."""
    subscriber = one.spec.get("subscriber")
    names = [one.name, subscriber.get("ref", "name").text, subscriber.get("uri").text]
    for service in world.named(SERVICE, subscriber.get("ref", "name").text, one.namespace):
        names += [node.text for node in service.spec.get("selector").texts()]
        names += [
            node.text for pod in selected(world, service, known) for node in images(pod.object)
        ]
    for other in world.named(KNATIVE_SERVICE, subscriber.get("ref", "name").text, one.namespace):
        names += [node.text for node in images(other)]
    return any(_DETECTOR.search(name) for name in names)


@rule(
    "DL214",
    "A Trigger's filter matches no model",
    fix="use the model's and the predictor's names as they are served",
)
def filtered_model(world: World) -> Iterator[RuleMatch]:
    """The detector runs, is healthy, and never gets an event: drift goes unseen."""
    for trigger in world.of(TRIGGER):
        attributes = trigger.spec.get("filter", "attributes")
        model = attributes.get("inferenceservicename")
        endpoint = attributes.get("endpoint")
        where = attributes.get("namespace").text or trigger.namespace
        if not model.text or any(
            other.namespace == where
            for other in world.of(("serving.kserve.io", "InferenceService"))
        ):
            continue
        deployments = [other for other in world.of(SELDON) if other.namespace == where]
        same = [other for other in deployments if other.name == model.text]
        if deployments and not same and world.whole(where):
            names = [other.name for other in deployments]
            yield trigger.at(
                model,
                f"no SeldonDeployment {model.shown} in namespace `{where}`; {list_names(names, 'there are')}",
                fix=suggest_names(model.text, names),
            )
        elif same and endpoint.text:
            predictors = {
                item.get("name").text
                for other in same
                for item in other.spec.get("predictors").list
            }
            if endpoint.text not in predictors:
                yield trigger.at(
                    endpoint,
                    f"{same[0].subject} has no predictor {endpoint.shown}; {list_names(predictors, 'predictors')}",
                    fix=suggest_names(endpoint.text, predictors),
                )


@rule(
    "DL215",
    "A Trigger's filter names a type or an attribute that no event has",
    fix="write attribute names in lower-case letters and digits, and types as Seldon does: "
    "`io.seldon.serving.inference.request`, `…response`",
)
def filter_words(world: World) -> Iterator[RuleMatch]:
    """Nothing ever matches: the subscriber runs, is healthy, and never gets an event."""
    for trigger in world.of(TRIGGER):
        for name, node in trigger.spec.get("filter", "attributes").map.items():
            if not re.fullmatch(r"[a-z0-9]+", name):
                yield trigger.at(
                    YamlNode(None, node.key_line, node.key_column),
                    f"`{name}` can't be an attribute of an event",
                )
            elif (
                name == "type"
                and node.text.startswith("io.seldon.")
                and node.text not in _SELDON_TYPES
            ):
                yield trigger.at(
                    node,
                    f"{node.shown} is not a type that Seldon sends",
                    fix=suggest_names(node.text, _SELDON_TYPES),
                )


@rule(
    "DL216",
    "Events are sent to a Broker that is not there",
    fix="use the address of a Broker: `http://broker-ingress.knative-eventing.svc.cluster.local/NAMESPACE/BROKER`",
)
def sent_to_broker(world: World) -> Iterator[RuleMatch]:
    """The ingress answers 404 and the sender drops the event: no detector sees a request, no
    alarm is raised."""
    for item in world.written:
        if (
            item.kind in ("CustomResourceDefinition", "HelmRelease")
            or item.group == "driftloop.dev"
        ):
            continue
        for node in item.spec.texts():
            target = broker_of(node.text) if "broker-ingress" in node.text else None
            if target is not None and world.target(BROKER, target[1], item, target[0]) == ():
                names = [other.name for other in world.of(BROKER) if other.namespace == target[0]]
                yield item.at(
                    node,
                    f"no Broker `{target[1]}` in namespace `{target[0]}`",
                    fix=suggest_names(target[1], names),
                )
            elif re.match(r"https?://default-broker(\.|/|$|:)", node.text):
                yield item.at(
                    node,
                    f"{node.shown}: the Service `default-broker` of old Knative versions is gone",
                )


@rule(
    "DL217",
    "A container talks to a Service, port or webhook that is not there",
    fix="use the address of a Service of the set: `http://NAME.NAMESPACE.svc.cluster.local:PORT`",
)
def cluster_address(world: World) -> Iterator[RuleMatch]:
    """The name does not resolve, the connection is refused, or the webhook answers 404: each
    call fails, in a container that looks healthy."""
    for item in world.of(
        ("apps", "Deployment"), ("apps", "StatefulSet"), ("batch", "CronJob"), ("batch", "Job")
    ):
        for _, node in item.spec.mappings():
            if "image" not in node.map:
                continue
            for text in (
                *node.get("args").texts(),
                *node.get("env").texts(),
                *node.get("command").texts(),
            ):
                if ".svc" in text.text:
                    yield from _url(world, item, text)
                    yield from _webhook(world, item, text)


def _webhook(world: World, one: Object, node: YamlNode) -> Iterator[RuleMatch]:
    match = _CLUSTER.match(node.text)
    if match is None:
        return
    for service in world.named(SERVICE, match[1], match[2]):
        source = service.spec.get("selector", "eventsource-name").text
        for event_source in (
            world.named(("argoproj.io", "EventSource"), source, match[2]) if source else ()
        ):
            hooks = event_source.spec.get("webhook").map.values()
            paths = {hook.get("endpoint").text for hook in hooks}
            path = (match[4] or "/").partition("?")[0]
            if paths and path not in paths:
                yield one.at(
                    node,
                    f"{event_source.subject} has no endpoint `{path}`; {list_names(paths, 'endpoints')}",
                    fix=suggest_names(path, paths),
                )
