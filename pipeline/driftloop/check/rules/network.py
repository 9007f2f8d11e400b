"""DL5xx: routes, Services, and the pods behind them."""

from collections.abc import Iterable, Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.pods import Pod, containers, fits, made_labels, pods, unknown_pods
from driftloop.check.world import (
    DESTINATION_RULE,
    GATEWAY,
    SELDON,
    SERVICE,
    SERVICE_ENTRY,
    VIRTUAL_SERVICE,
    Object,
    World,
)
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names


def host_of(one: Object, host: str) -> tuple[str, str] | None:
    """(Service, namespace) that a host of the cluster names; None for hosts of the outside."""
    parts = host.split(".")
    if "*" in host or "{{" in host:
        return None
    if len(parts) == 1:
        return parts[0], one.namespace
    if len(parts) >= 3 and parts[2] == "svc" and parts[3:] in ([], ["cluster", "local"]):
        return parts[0], parts[1]
    return None


def destinations(one: Object) -> Iterator[YamlNode]:
    """Yield the destinations of a VirtualService's routes, mirrors included."""
    for kind in ("http", "tcp", "tls"):
        for route in one.spec.get(kind).list:
            for item in route.get("route").list:
                yield item.get("destination")
            if route.get("mirror").map:
                yield route.get("mirror")
            for item in route.get("mirrors").list:
                yield item.get("destination")


@rule(
    "DL501",
    "A route leads to a Service or port that is not there",
    fix="name a Service of the set and one of its ports, with its full name `NAME.NAMESPACE.svc.cluster.local`",
)
def destination(world: World) -> Iterator[RuleMatch]:
    """Envoy has no such cluster: the share of the traffic that goes there is answered with 503."""
    for item in world.of(VIRTUAL_SERVICE):
        for node in destinations(item):
            host = node.get("host")
            place = host_of(item, host.text)
            if place is None:
                continue
            name, namespace = place
            services = world.target(SERVICE, name, item, namespace)
            if (
                services == ()
                and not _seldon(world, name, namespace)
                and not _entry(world, host.text)
            ):
                names = [other.name for other in world.of(SERVICE) if other.namespace == namespace]
                yield item.at(
                    host,
                    f"no Service `{name}` in namespace `{namespace}`",
                    fix=suggest_names(name, names),
                )
            number = node.get("port", "number")
            ports = ports_of(services or ())
            changed = world.changed & {item.path, *(service.path for service in services or ())}
            if (
                ports
                and not changed
                and isinstance(number.value, int)
                and number.value not in ports
            ):
                yield item.at(
                    number,
                    f"Service `{name}` has no port {number.shown}; {list_names(map(str, ports), 'ports')}",
                )


def ports_of(services: Iterable[Object]) -> set[int]:
    """The ports that Services listen on."""
    nodes = (item.get("port") for service in services for item in service.spec.get("ports").list)
    return {node.value for node in nodes if isinstance(node.value, int)}


def _seldon(world: World, name: str, namespace: str) -> bool:
    """Return True for a Service that Seldon's operator makes: a predictor's, or that of a
    container of its graph, whose name goes on after the predictor's."""
    return any(
        seldon.namespace in (namespace, "") and f"{name}-".startswith(f"{made}-")
        for seldon in world.of(SELDON)
        for made in _predictor_services(seldon)
    )


def _predictor_services(seldon: Object) -> Iterator[str]:
    for predictor in seldon.spec.get("predictors").list:
        yield f"{seldon.name}-{predictor.get('name').text}"
        if own := predictor.get("annotations", "seldon.io/svc-name").text:
            yield own


def _entry(world: World, host: str) -> bool:
    return any(
        host == node.text
        for entry in world.of(SERVICE_ENTRY)
        for node in entry.spec.get("hosts").list
    )


@rule(
    "DL502",
    "A route names a subset that no DestinationRule has",
    fix="add the subset to the host's DestinationRule",
)
def subset(world: World) -> Iterator[RuleMatch]:
    """Envoy has no such cluster: the share of the traffic that goes there is answered with 503."""
    rules: dict[tuple[str, str], set[str]] = {}
    for resource in world.of(DESTINATION_RULE):
        place = host_of(resource, resource.spec.get("host").text)
        if place is not None:
            rules.setdefault(place, set()).update(
                item.get("name").text for item in resource.spec.get("subsets").list
            )
    for resource in world.of(VIRTUAL_SERVICE):
        for node in destinations(resource):
            place = host_of(resource, node.get("host").text)
            name = node.get("subset")
            if not name.text or place is None:
                continue
            if place in rules and name.text not in rules[place]:
                yield resource.at(
                    name,
                    f"no DestinationRule of {node.get('host').shown} has subset {name.shown}; "
                    f"{list_names(rules[place], 'subsets')}",
                    fix=suggest_names(name.text, rules[place]),
                )
            elif (
                place not in rules
                and place[1]
                and world.whole(place[1])
                and not _seldon(world, *place)
            ):
                yield resource.at(
                    name,
                    f"no DestinationRule of {node.get('host').shown} is there for subset {name.shown}",
                )


@rule(
    "DL503",
    "The weights of a route sum to nothing",
    fix="give the destinations weights that sum to 100",
)
def no_weight(world: World) -> Iterator[RuleMatch]:
    """Istio refuses the VirtualService: the routes stay as they were."""
    for item, node, weights in _weights(world):
        if sum(weights) == 0 or min(weights) < 0:
            yield item.at(node, f"the weights are {', '.join(map(str, weights))}")


@rule(
    "DL504",
    "The weights of a route do not sum to 100",
    severity=Severity.WARNING,
    fix="let the weights sum to 100, so that they are percent",
)
def weights(world: World) -> Iterator[RuleMatch]:
    """Envoy takes weights as shares of their sum: a weight of 10 beside one of 80 is 11 % of the
    requests, and the candidate gets more than the release says."""
    for item, node, numbers in _weights(world):
        if sum(numbers) not in (0, 100) and min(numbers) >= 0:
            yield item.at(
                node, f"the weights sum to {sum(numbers)} ({', '.join(map(str, numbers))})"
            )


def _weights(world: World) -> Iterator[tuple[Object, YamlNode, list[int]]]:
    for entry in world.of(VIRTUAL_SERVICE):
        for kind in ("http", "tcp", "tls"):
            for route in entry.spec.get(kind).list:
                nodes = [item.get("weight") for item in route.get("route").list]
                numbers = [node.value if isinstance(node.value, int) else 0 for node in nodes]
                if len(nodes) > 1:
                    yield (
                        entry,
                        next((node for node in reversed(nodes) if node), route.get("route")),
                        numbers,
                    )


_SPEC = ("hosts", "gateways", "http", "tls", "tcp", "exportTo")
_ROUTE = (
    "match", "route", "redirect", "directResponse", "delegate", "rewrite", "timeout", "retries", "fault", "mirror",
    "mirrors", "mirrorPercent", "mirror_percent", "mirrorPercentage", "corsPolicy", "headers",
)  # fmt: skip
"""Fields of a VirtualService's spec, and of one of its HTTP routes."""


@rule(
    "DL506",
    "A field of a VirtualService is on the wrong level",
    fix="move it into the route, beside `route`",
)
def misplaced_field(world: World) -> Iterator[RuleMatch]:
    """The API server drops the field, or refuses the object: nothing is copied, retried or timed
    out."""
    for item in world.of(VIRTUAL_SERVICE):
        for key, node in item.spec.map.items():
            if key in _ROUTE and key not in _SPEC:
                yield item.at(node, f"`{key}` belongs to a route of `http`, not to the spec")


@rule("DL505", "A VirtualService's Gateway is not there", fix="name a Gateway as `NAMESPACE/NAME`")
def gateway(world: World) -> Iterator[RuleMatch]:
    """The routes are bound to nothing: the gateway answers 404."""
    for item in world.of(VIRTUAL_SERVICE):
        for node in item.spec.get("gateways").list:
            namespace, slash, name = node.text.rpartition("/")
            if (
                not slash and "." in name
            ):  # an older way to write it: NAME.NAMESPACE, or the full name of a host
                name, namespace, *_ = name.split(".")
            if (
                node.text != "mesh"
                and world.target(GATEWAY, name, item, namespace or item.namespace) == ()
            ):
                yield item.at(
                    node, f"no Gateway `{name}` in namespace `{namespace or item.namespace}`"
                )


@rule(
    "DL511",
    "A Service selects no pod",
    fix="let the selector be labels of the pods, and all of them on one",
)
def selector(world: World) -> Iterator[RuleMatch]:
    """The Service has no endpoints: every connection is refused."""
    all_pods = list(pods(world))
    for service in world.of(SERVICE):
        node = service.spec.get("selector")
        if (
            not node.map
            or service.spec.get("type").text == "ExternalName"
            or not world.whole(service.namespace)
        ):
            continue
        if selected(world, service, all_pods) or unknown_pods(world, service.namespace):
            continue
        selector = {key: value.text for key, value in node.map.items()}
        if any(fits(selector, labels) for labels in made_labels(world, service.namespace)):
            continue
        shown = ", ".join(f"{key}: {value}" for key, value in selector.items())
        yield service.at(node, f"no pod of namespace `{service.namespace}` has the labels {shown}")


def selected(world: World, service: Object, known: list[Pod]) -> list[Pod]:
    """The pods behind a Service."""
    selector = {key: node.value for key, node in service.spec.get("selector").map.items()}
    return [
        pod for pod in known
        if pod.object.namespace in (service.namespace, "")
        and selector.items() <= {key: node.value for key, node in pod.labels.map.items()}.items()
    ]  # fmt: skip


@rule(
    "DL512",
    "A Service's target port has a name that no container has",
    fix="name the container's port, or write its number",
)
def target_port(world: World) -> Iterator[RuleMatch]:
    """The Service has no endpoints for that port: every connection is refused."""
    all_pods = list(pods(world))
    for service in world.of(SERVICE):
        selected_pods = (
            selected(world, service, all_pods) if service.spec.get("selector").map else []
        )
        names = {
            port.get("name").text
            for pod in selected_pods
            for item in containers(pod.spec)
            for port in item.get("ports").list
        }
        changed = world.changed & {service.path, *(pod.object.path for pod in selected_pods)}
        for port in service.spec.get("ports").list:
            node = port.get("targetPort")
            if selected_pods and node.text and node.text not in names and not changed:
                yield service.at(
                    node,
                    f"no container of {selected_pods[0].object.subject} has a port named {node.shown}; "
                    f"{list_names(names, 'ports')}",
                    fix=suggest_names(node.text, names),
                )
