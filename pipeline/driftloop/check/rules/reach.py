"""DL507, DL536, DL626: what pods reach by name, which alerts are loaded, what is scaled by share."""

import re
from collections.abc import Iterator, Mapping

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.pods import Pod, containers, fits, pods
from driftloop.check.world import (
    HELM,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SERVICE_MONITOR,
    Kind,
    Object,
    World,
)
from driftloop.text.node import YamlNode

POLICY: Kind = ("networking.k8s.io", "NetworkPolicy")
_MONITORING = "monitoring.coreos.com"
_LOADED: Mapping[Kind, tuple[str, str, tuple[str, ...]]] = {
    PROMETHEUS_RULE: ("ruleSelector", "ruleNamespaceSelector", ("Prometheus", "ThanosRuler")),
    SERVICE_MONITOR: (
        "serviceMonitorSelector",
        "serviceMonitorNamespaceSelector",
        ("Prometheus", "PrometheusAgent"),
    ),
    POD_MONITOR: (
        "podMonitorSelector",
        "podMonitorNamespaceSelector",
        ("Prometheus", "PrometheusAgent"),
    ),
}
"""Kind -> the selectors that load it, and whose they are."""
_NAME = re.compile(r"://(?![\d.]+[:/]|localhost|\[)[a-z]|[a-z0-9-]+\.[a-z0-9-]+\.svc\b")
_DNS = (53, 5353)


@rule(
    "DL507",
    "A pod that may send can't look up names",
    severity=Severity.WARNING,
    fix="allow UDP and TCP port 53 to the cluster's DNS in `egress`",
)
def names_shut_out(world: World) -> Iterator[RuleMatch]:
    """Its policies shut everything that is not listed, name lookups too: it waits for an answer
    and gives up, although the port it wants is open."""
    policies = [each for each in world.of(POLICY) if _shuts(each)]
    told: set[Object] = set()
    for pod in pods(world):
        if not world.whole(pod.object.namespace) or pod.spec.get("hostNetwork").value is True:
            continue
        own = [policy for policy in policies if _about(policy, pod)]
        if not own or world.changed & {pod.object.path, *(policy.path for policy in own)}:
            continue
        rules = [(policy, item) for policy in own for item in policy.spec.get("egress").list]
        if not rules or any(_lets_names(item) for _, item in rules):
            continue
        uses = next((text for text in pod.spec.texts() if _NAME.search(text.text)), None)
        if uses is not None and rules[0][0] not in told:
            told.add(rules[0][0])
            policy = rules[0][0]
            yield policy.at(
                policy.spec.get("egress"),
                f"{pod.object.subject} uses {uses.shown}, and no policy lets it look up names",
            )


def _shuts(policy: Object) -> bool:
    kinds = [node.text for node in policy.spec.get("policyTypes").list]
    return "Egress" in kinds or (not kinds and bool(policy.spec.get("egress")))


def _about(policy: Object, pod: Pod) -> bool:
    selector = policy.spec.get("podSelector")
    labels = {key: node.text for key, node in pod.labels.map.items()}
    chosen = {key: node.text for key, node in selector.get("matchLabels").map.items()}
    return (
        policy.namespace == pod.object.namespace
        and not selector.get("matchExpressions").list
        and fits(chosen, labels)
    )


def _lets_names(item: YamlNode) -> bool:
    ports = item.get("ports").list
    return not ports or any(
        not isinstance(port.get("port").value, int)
        or port.get("port").value in _DNS
        or port.get("endPort")
        for port in ports
    )


@rule(
    "DL536",
    "A rule or monitor that no Prometheus loads",
    fix="give it the labels that the Prometheus selects",
)
def not_loaded(world: World) -> Iterator[RuleMatch]:
    """The operator leaves it out without a word: no alert of it is ever raised, nothing of it is
    ever scraped."""
    if any(world.of(HELM)):
        return  # a chart may bring another Prometheus
    for kind, (field, where, owners) in _LOADED.items():
        loaders = [item for owner in owners for item in world.of((_MONITORING, owner))]
        if not loaders or any(item.path in world.changed for item in loaders):
            continue
        for one in world.of(kind):
            if one.host is not None or one.path in world.changed:
                continue
            if any(_loads(loader, one, field, where) for loader in loaders):
                continue
            node = one.node.get("metadata", "labels")
            yield one.at(
                node if node else one.node.get("metadata", "name"),
                f"{loaders[0].subject} does not select it by `{field}`",
            )


def _loads(loader: Object, one: Object, field: str, where: str) -> bool:
    """Return True if a Prometheus may load an object, by its labels and its namespace."""
    selector = loader.spec.get(field)
    own = (loader.namespace, one.namespace)
    if not loader.spec.get(where) and "" not in own and own[0] != own[1]:
        return False
    if selector.get("matchExpressions").list or not isinstance(selector.value, dict):
        return True  # without any selector, its settings may be written by hand
    labels = {key: node.text for key, node in one.node.get("metadata", "labels").map.items()}
    return fits({key: node.text for key, node in selector.get("matchLabels").map.items()}, labels)


_SHARED = ("cpu", "memory")
_SCALER = ("autoscaling", "HorizontalPodAutoscaler")


@rule(
    "DL626",
    "A pod is scaled by a share of what one of its containers does not request",
    fix="give every container of the pod a request of that resource",
)
def no_request(world: World) -> Iterator[RuleMatch]:
    """The autoscaler says `missing request for cpu` and never scales: a share is one of the
    requests of all containers of a pod."""
    for scaler in world.of(_SCALER):
        reference = scaler.spec.get("scaleTargetRef")
        group = reference.get("apiVersion").text.rpartition("/")[0]
        target = (group, reference.get("kind").text), reference.get("name").text
        for pod in pods(world):
            if (pod.object.type, pod.object.name) != target:
                continue
            if pod.object.namespace != scaler.namespace or pod.object.path in world.changed:
                continue
            if any(limit.namespace == scaler.namespace for limit in world.of(("", "LimitRange"))):
                continue  # it fills in what is missing
            for resource in _shares(scaler):
                for item in containers(pod.spec):
                    if item in pod.spec.get("initContainers").list or _requests(item, resource):
                        continue
                    yield pod.object.at(
                        item.get("name"),
                        f"container {item.get('name').shown} requests no {resource}, "
                        f"{scaler.subject} scales by its share",
                    )


def _shares(scaler: Object) -> Iterator[str]:
    """The resources whose share of the requests an autoscaler aims at."""
    if scaler.spec.get("targetCPUUtilizationPercentage"):
        yield "cpu"
    for metric in scaler.spec.get("metrics").list:
        resource = metric.get("resource")
        share = resource.get("target", "averageUtilization")
        if metric.get("type").text == "Resource" and share and resource.get("name").text in _SHARED:
            yield resource.get("name").text


def _requests(container: YamlNode, resource: str) -> bool:
    return any(container.get("resources", field, resource) for field in ("requests", "limits"))
