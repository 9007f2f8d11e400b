"""DL53x: what Prometheus is told to scrape, and to raise an alert for."""

import json
from collections.abc import Iterator, Mapping

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.pods import Pod, containers, made_labels, pods, unknown_pods
from driftloop.check.rules.network import selected
from driftloop.check.world import (
    NAMESPACE,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SERVICE,
    SERVICE_MONITOR,
    Object,
    World,
)
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

Labels = Mapping[str, str | None]
"""A value of None stands for any."""

_NO_SERVICES = {
    "", "apps", "batch", "rbac.authorization.k8s.io", "networking.k8s.io", "policy", "autoscaling",
    "networking.istio.io", "security.istio.io", "telemetry.istio.io", "bitnami.com", "driftloop.dev",
    "kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io", "kustomize.config.k8s.io",
}  # fmt: skip
_INJECTED = ("inject", "istio.io/rev", "istio.io/dataplane", "dapr.io/", "linkerd.io/")
"""In keys of labels and annotations: somebody adds containers to the pods."""
_OF_ALERTS = ("for", "keep_firing_for", "annotations")
"""Fields that Prometheus refuses in a rule that records."""
_LATER = ("istio.io/", "kubernetes.io/", "pod-template-hash", "controller-revision-hash", "pod-template-generation",
          "job-name", "controller-uid")  # fmt: skip
"""In keys of labels that pods get only when they are made."""


@rule(
    "DL531",
    "A PodMonitor or ServiceMonitor selects nothing",
    fix="let the selector be labels of the pods (PodMonitor), or of the Service itself (ServiceMonitor)",
)
def nothing_selected(world: World) -> Iterator[RuleMatch]:
    """Prometheus scrapes nothing and says nothing of it: dashboards stay empty, and alerts on
    missing values are the only ones that are ever raised."""
    all_pods = list(pods(world))
    for monitor, where in _judged_monitors(world):
        selector = monitor.spec.get("selector")
        if not (selector.get("matchLabels").map or selector.get("matchExpressions").list):
            continue
        if _selected(world, monitor, where, all_pods) or (
            monitor.type == POD_MONITOR and _made(world, monitor, where)
        ):
            continue
        what = "pod" if monitor.type == POD_MONITOR else "Service"
        others = sorted({each.namespace for each in _selected(world, monitor, None, all_pods)})
        yield monitor.at(
            selector,
            f"no {what} of {list_names(where, 'namespace')} has the labels that it selects",
            fix=f"name the namespace: `namespaceSelector: {{matchNames: [{', '.join(others)}]}}`"
            if others and "" not in others
            else None,
        )


@rule(
    "DL532",
    "A PodMonitor or ServiceMonitor names a port that nothing it selects has",
    fix="write the name of a container's port (PodMonitor), or of the Service's (ServiceMonitor)",
)
def scraped_port(world: World) -> Iterator[RuleMatch]:
    """Prometheus drops every target: nothing is scraped, and nothing says so."""
    all_pods = list(pods(world))
    for monitor, where in _judged_monitors(world):
        selected_pods = _selected(world, monitor, where, all_pods)
        if monitor.type == POD_MONITOR and (
            _made(world, monitor, where) or any(_injected(world, each) for each in selected_pods)
        ):
            continue
        ports = {name for each in selected_pods for name in _ports(each)}
        for endpoint in _endpoints(monitor):
            node = endpoint.get("port")
            if selected_pods and node.text and node.text not in ports:
                yield monitor.at(
                    node,
                    f"no port is named {node.shown}; {list_names(ports, 'ports')}",
                    fix=suggest_names(node.text, ports),
                )


@rule(
    "DL535",
    "A monitor names a port by a number that no container declares",
    fix="declare the port in the container, or name the Service's port: `port: NAME`",
)
def scraped_number(world: World) -> Iterator[RuleMatch]:
    """Prometheus keeps a target by the ports that containers declare: it drops all of them, and
    nothing says so."""
    all_pods = list(pods(world))
    for monitor, where in _judged_monitors(world):
        taken = _selected(world, monitor, where, all_pods)
        if monitor.type == SERVICE_MONITOR:
            behind = [pod for each in taken for pod in selected(world, each, all_pods)]
        elif _made(world, monitor, where):
            # a controller's pods declare ports that no file has
            continue
        else:
            behind = [pod for pod in all_pods if pod.object in taken]
        if not behind or any(_injected(world, pod.object) for pod in behind):
            continue
        numbers = {
            port.get("containerPort").value
            for pod in behind
            for container in containers(pod.spec)
            for port in container.get("ports").list
        }
        for endpoint in _endpoints(monitor):
            for node in (endpoint.get("targetPort"), endpoint.get("portNumber")):
                if isinstance(node.value, int) and node.value not in numbers:
                    yield monitor.at(
                        node,
                        f"no container of {behind[0].object.subject} declares port {node.shown}; "
                        f"{list_names(map(str, numbers), 'ports')}",
                    )


@rule(
    "DL533",
    "A PrometheusRule is not one that Prometheus takes",
    fix="give each group a name of its own, and each rule `expr` and either `alert` or `record`",
)
def rule_form(world: World) -> Iterator[RuleMatch]:
    """The operator leaves the whole object out (or its webhook refuses it): none of its alerts
    is ever raised."""
    for resource in world.of(PROMETHEUS_RULE):
        seen: set[str] = set()
        for group in resource.spec.get("groups").list:
            name = group.get("name")
            if name.text and name.text in seen:
                yield resource.at(name, f"two groups are named {name.shown}")
            seen.add(name.text)
            for item in group.get("rules").list:
                alert, record, expr = (item.get(key) for key in ("alert", "record", "expr"))
                if not isinstance(item.value, dict):
                    continue
                if bool(alert.value) == bool(record.value):
                    yield resource.at(
                        alert if not alert.missing else item,
                        "the rule has both `alert` and `record`"
                        if alert
                        else "the rule has no name",
                    )
                for key in _OF_ALERTS:
                    if record and not alert and item.get(key):
                        yield resource.at(
                            item.get(key), f"`{key}` belongs to an alert, this rule records"
                        )
                number = isinstance(expr.value, int) and not isinstance(expr.value, bool)
                if not expr.text.strip() and not number:
                    yield resource.at(
                        item if expr.missing else expr, "the rule's `expr` is empty, or no text"
                    )


@rule(
    "DL534",
    "An alert appears twice",
    severity=Severity.WARNING,
    fix="remove one of them, or let their labels tell them apart",
)
def same_alert(world: World) -> Iterator[RuleMatch]:
    """Both are the same alert to Alertmanager; whoever changes one finds the other still raised."""
    for resource in world.of(PROMETHEUS_RULE):
        seen: set[str] = set()
        for group in resource.spec.get("groups").list:
            for item in group.get("rules").list:
                alert = item.get("alert")
                parts = (item.get(key).plain_data() for key in ("alert", "expr", "for", "labels"))
                key = json.dumps([*parts], sort_keys=True, default=str)
                if alert.text and key in seen:
                    yield resource.at(
                        alert, f"{alert.shown} appears twice, with the same expression and labels"
                    )
                seen.add(key)


def _judged_monitors(world: World) -> Iterator[tuple[Object, tuple[str, ...]]]:
    """Yield the monitors of which all that they can select is known, and the namespaces that they
    look into."""
    for monitor in world.of(POD_MONITOR, SERVICE_MONITOR):
        where = _judged(world, monitor)
        if where is not None:
            yield monitor, where


def _endpoints(monitor: Object) -> list[YamlNode]:
    field = "podMetricsEndpoints" if monitor.type == POD_MONITOR else "endpoints"
    return monitor.spec.get(field).list


def _judged(world: World, one: Object) -> tuple[str, ...] | None:
    """The namespaces it looks into, when all that can be there is known."""
    selector = one.spec.get("namespaceSelector")
    if selector.get("any").value:
        return None
    where = tuple(node.text for node in selector.get("matchNames").list) or (one.namespace,)
    if not all(name and world.whole(name) for name in where):
        return None
    for other in world.objects:
        if other.namespace not in ("", *where) and other is not one:
            continue
        if other.path in world.changed:
            return None
        if (
            one.type == SERVICE_MONITOR
            and other.namespace in where
            and not _makes_no_service(other)
        ):
            return None
    if one.type == POD_MONITOR and any(unknown_pods(world, name) for name in where):
        return None
    return where


def _makes_no_service(one: Object) -> bool:
    return one.group in _NO_SERVICES or one.type in (POD_MONITOR, SERVICE_MONITOR, PROMETHEUS_RULE)


def _selected(
    world: World, one: Object, where: tuple[str, ...] | None, known: list[Pod]
) -> list[Object]:
    """Return the objects in the files that it selects, Services or what holds pods, in some
    namespaces or, with None, in any."""
    selector = one.spec.get("selector")
    if one.type == SERVICE_MONITOR:
        services = (
            other
            for other in world.of(SERVICE)
            if (where is None or other.namespace in where) and other.host is None
        )
        return [
            each
            for each in services
            if _may_match(selector, _labels(each.node.get("metadata", "labels")))
        ]
    return [
        pod.object
        for pod in known
        if (where is None or pod.object.namespace in ("", *where))
        and _may_match(selector, _labels(pod.labels))
    ]


def _made(world: World, one: Object, where: tuple[str, ...]) -> bool:
    """Return True if a controller makes pods that it may select."""
    selector = one.spec.get("selector")
    return any(
        _may_match(selector, labels) for name in where for labels in made_labels(world, name)
    )


def _labels(node: YamlNode) -> Labels:
    return {
        key: value.text if isinstance(value.value, str) else None for key, value in node.map.items()
    }


def _may_match(selector: YamlNode, labels: Labels) -> bool:
    """Return True if a label selector can take something with these labels."""

    def has(key: str, values: set[str] | None) -> bool:
        if any(part in key and not key.startswith("app.kubernetes.io/") for part in _LATER):
            return True
        return key in labels and (values is None or labels[key] is None or labels[key] in values)

    for key, node in selector.get("matchLabels").map.items():
        if not has(key, {node.text} if isinstance(node.value, str) else None):
            return False
    for item in selector.get("matchExpressions").list:
        key, values = item.get("key").text, {value.text for value in item.get("values").list}
        match item.get("operator").text:
            case "In" if not has(key, values):
                return False
            case "Exists" if not has(key, None):
                return False
            case "NotIn" if key in labels and labels[key] in values:
                return False
            case "DoesNotExist" if key in labels:
                return False
    return True


def _ports(one: Object) -> Iterator[str]:
    if one.type == SERVICE:
        yield from (port.get("name").text for port in one.spec.get("ports").list)
        return
    for _, node in one.spec.mappings():
        for container in containers(node):
            yield from (port.get("name").text for port in container.get("ports").list)


def _injected(world: World, one: Object) -> bool:
    """Return True if somebody may add containers, and so ports, to the pods."""
    hosts = [one, *world.named(NAMESPACE, one.namespace, "")]
    keys = (
        key
        for host in hosts
        for name, node in host.node.mappings()
        if name in ("labels", "annotations")
        for key in node.map
    )
    return any(part in key for key in keys for part in _INJECTED)
