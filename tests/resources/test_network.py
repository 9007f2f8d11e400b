"""The graph of who calls whom, read from what is rendered, is exactly the graph that the NetworkPolicies allow."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from driftloop.cluster import settings
from driftloop.cluster.credentials import Addresses
from driftloop.contract.names import PLATFORM as SETTINGS
from driftloop.contract.names import Names
from driftloop.render import render_tree
from tests.golden.trees import NAMES, UNLISTED, documents, release_text, spec_text

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline" / "driftloop"
CONFIGS = ROOT / "cluster" / "infrastructure" / "configs"
KNATIVE, EVENTING = "knative-eventing", "eventing.knative.dev/brokerRole"
URL = re.compile(r"\b(?:http|https|nats)://[\w.-]+\.svc[\w.]*(?::\d+)?")
ADDRESSES = settings.config_map(
    "any",
    Addresses(git_url="https://git.example.org/cluster.git"),
    settings.Buckets("driftloop-any", ("any",)),
).data | {"console-url": ""}
"""The console's address is for links, nothing connects to it."""


@dataclass(frozen=True)
class Pod:
    """A pod as policies see it; `namespace` None is an address outside the cluster's pods."""

    name: str
    namespace: str | None
    labels: dict[str, str] = field(default_factory=dict, compare=False)


OUTSIDE = Pod("outside", None)
DNS = Pod("dns", "kube-system", {"k8s-app": "kube-dns"})
NATS = Pod("nats", "nats-io", {"app.kubernetes.io/name": "nats"})
S3 = Pod("s3", "storage", {"app.kubernetes.io/name": "seaweedfs"})
FILER = 8888
BROKER = Pod("broker-ingress", KNATIVE, {EVENTING: "ingress"})
FILTER = Pod("broker-filter", KNATIVE, {EVENTING: "filter"})
DISPATCHER = Pod("dispatcher", KNATIVE, {"messaging.knative.dev/role": "dispatcher"})
GATEWAY = Pod("gateway", "istio-system", {"istio": "ingressgateway"})
PROMETHEUS = Pod("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"})
STRANGER = Pod(
    "stranger", "default", {"app.kubernetes.io/managed-by": "driftloop", "istio": "ingressgateway"}
)
MLFLOW = Pod("mlflow", "experiments")
MINIO = Pod("minio", "storage-of-others")
PLATFORM = (
    OUTSIDE,
    DNS,
    NATS,
    S3,
    BROKER,
    FILTER,
    DISPATCHER,
    GATEWAY,
    PROMETHEUS,
    STRANGER,
    MLFLOW,
    MINIO,
)
SERVICES = {
    ("broker-ingress", KNATIVE, 80): (BROKER, 8080),
    (FILTER.name, KNATIVE, 80): (FILTER, 8080),
    ("nats", "nats-io", 4222): (NATS, 4222),
    ("seaweedfs-s3", "storage", 8333): (S3, 8333),
    ("kubernetes", "default", 443): (OUTSIDE, 443),
    ("mlflow", "experiments", 5000): (MLFLOW, 5000),
    ("minio", "storage-of-others", 9000): (MINIO, 9000),
}
"""Services of the platform -> the pods behind them and their port."""

Way = tuple[Pod, Pod, int]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children", ()):
        yield from _nodes(child)


class Cluster:
    """A rendered pipeline among the platform's pods."""

    def __init__(self, name: str, change: Callable[[str], str] = str) -> None:
        tree = render_tree(change(spec_text(name)), release_text(name))
        self.objects: list[dict[str, Any]] = [
            document for path, document in documents(tree) if not path.endswith(UNLISTED)
        ]
        namespace = next(self.of("Namespace"))["metadata"]["name"]
        pipeline = next(self.of("Sensor"))["metadata"]["name"].removesuffix("-retrain")
        self.names = Names(pipeline, namespace)
        self.homes = {namespace: next(self.of("Namespace"))["metadata"]["labels"]}
        self.pods = dict(self._pods())
        """Pod -> its containers."""
        self.used = frozenset(self._used())
        self._memory: dict[tuple[str, Pod], list[dict[str, Any]]] = {}
        self.policies = [
            *self.of("NetworkPolicy"),
            *(yaml.safe_load(file.read_text()) for file in CONFIGS.glob("*.networkpolicy.yaml")),
        ]

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        return (item for item in self.objects if item["kind"] == kind)

    def _pods(self) -> Iterator[tuple[Pod, list[dict[str, Any]]]]:
        home = self.names.namespace
        for item in self.of("Deployment"):
            template = item["spec"]["template"]
            containers = [
                *template["spec"].get("initContainers", []),
                *template["spec"]["containers"],
            ]
            yield Pod(item["metadata"]["name"], home, template["metadata"]["labels"]), containers
        for item in self.of("WorkflowTemplate"):
            every = item["spec"]["podMetadata"]["labels"] | {"workflows.argoproj.io/workflow": "x"}
            for step in item["spec"]["templates"]:
                if "dag" not in step:
                    own = every | step.get("metadata", {}).get("labels", {})
                    name = f"{item['metadata']['name']}/{step['name']}"
                    yield Pod(name, home, own), [step["container"]] if "container" in step else []
        for item in self.of("EventSource"):
            yield Pod("webhook", home, {"eventsource-name": item["metadata"]["name"]}), []
        for item in self.of("Sensor"):
            yield Pod("sensor", home, {"sensor-name": item["metadata"]["name"]}), []
        for item in self.of("SeldonDeployment"):
            for predictor in item["spec"]["predictors"]:
                name = f"{item['metadata']['name']}-{predictor['name']}"
                # as the operator labels them; its executor posts to the logger's URL, its initializer fetches
                own = {"seldon-deployment-id": item["metadata"]["name"], "seldon-app": name}
                own |= {"app.kubernetes.io/managed-by": "seldon-core", **predictor["labels"]}
                (logged,) = (
                    node["logger"] for node in _nodes(predictor["graph"]) if "logger" in node
                )
                executor = {"args": [logged["url"], ADDRESSES["s3-endpoint"]]}
                yield (
                    Pod(name, home, own),
                    [*predictor["componentSpecs"][0]["spec"]["containers"], executor],
                )

    def _used(self) -> Iterator[Way]:
        (bus,) = (item["spec"]["jetstreamExotic"]["url"] for item in self.of("EventBus"))
        for pod, containers in self.pods.items():
            yield (pod, DNS, 53)
            for container in containers:
                for url in self._urls(container):
                    yield from ((pod, *end) for end in self._behind(url))
            if "workflows.argoproj.io/workflow" in pod.labels:
                # Argo's own containers in the pod: artifacts and results
                yield from ((pod, OUTSIDE, port) for port in (443, 6443))
                yield (pod, S3, 8333)
            if pod.name in ("webhook", "sensor"):
                yield from ((pod, *end) for end in self._behind(bus))
            if pod.name in ("sensor", self.names.decision):
                # behind `kubernetes.default.svc` stands 443 or 6443
                yield from ((pod, OUTSIDE, port) for port in (443, 6443))
        for trigger in self.of("Trigger"):
            yield from (
                (FILTER, *end)
                for end in self._service(trigger["spec"]["subscriber"]["ref"]["name"], 80)
            )
            sink = trigger["spec"]["delivery"]["deadLetterSink"]["ref"]["name"]
            yield from ((DISPATCHER, *end) for end in self._service(sink, 80))
        for pod in self.predictors():
            yield (GATEWAY, pod, 8000)
        platform = [
            yaml.safe_load(file.read_text())
            for file in (CONFIGS / "watching").glob("*.podmonitor.yaml")
        ]
        for monitor in (one["spec"] for one in (*platform, *self.of("PodMonitor"))):
            for pod, containers in self.pods.items():
                if matches(monitor["selector"], pod.labels):
                    for endpoint in monitor["podMetricsEndpoints"]:
                        named = [
                            port["containerPort"]
                            for container in containers
                            for port in container.get("ports", [])
                            if port["name"] == endpoint.get("port")
                        ]
                        # Seldon's two ports called `metrics`: the executor's and the model's
                        seldon = [8000, 6000] if "seldon-deployment-id" in pod.labels else []
                        ports = (
                            [endpoint["portNumber"]]
                            if "portNumber" in endpoint
                            else seldon or named
                        )
                        assert ports, f"{pod.name} has no port {endpoint}"
                        yield from ((PROMETHEUS, pod, port) for port in ports)

    def predictors(self) -> list[Pod]:
        """All model servers; one without a route may get it with the next commit."""
        return [
            pod
            for pod in self.pods
            if {"driftloop.dev/release", "seldon-deployment-id"} & pod.labels.keys()
        ]

    def _urls(self, container: dict[str, Any]) -> Iterator[str]:
        words = [*container.get("command", []), *container.get("args", [])]
        for entry in container.get("env", []):
            source = entry.get("valueFrom", {})
            reference = source.get("configMapKeyRef")
            # of a person's own ConfigMap nobody knows what it holds
            ours = reference and reference["name"] == SETTINGS
            words.append(ADDRESSES[reference["key"]] if ours else entry.get("value", ""))
            # a user's URL, with its password, is a secret
            if source.get("secretKeyRef", {}).get("key", "").startswith("nats-"):
                words.append(ADDRESSES["nats-url"])
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        if "logger" in mounted:
            config = f"{self.names.predictor('')}"
            for item in self.of("ConfigMap"):
                if item["metadata"]["name"].startswith(config) and "envoy.yaml" in item["data"]:
                    for host, port in re.findall(
                        r"address: (\S+\.svc\S*)\n\s+port_value: (\d+)", item["data"]["envoy.yaml"]
                    ):
                        words.append(f"http://{host}:{port}")
        for word in words:
            yield from URL.findall(word)
        # what programs put together from the pipeline's name; test_programs_address_nothing_else keeps this complete
        command = " ".join(words[:3])
        if command in ("driftloop step advance", "driftloop step watch"):
            yield self.names.judge_url
        if command == "driftloop step finish":
            yield self.names.broker_url
        if command.startswith("driftloop-decision"):
            # the address in a dead letter
            yield f"http://{FILTER.name}.{KNATIVE}.svc.cluster.local"
        if command.startswith("driftloop-judge"):
            for pod in self.predictors():
                yield f"http://{self.names.host(pod.name)}:8000"

    def _behind(self, url: str) -> list[tuple[Pod, int]]:
        parts = urlsplit(url)
        service, namespace = str(parts.hostname).split(".")[:2]
        port = parts.port or {"http": 80, "https": 443, "nats": 4222}[parts.scheme]
        if namespace == self.names.namespace:
            return self._service(service, port)
        found = SERVICES[service, namespace, port]
        return [found, (OUTSIDE, 6443)] if found == (OUTSIDE, 443) else [found]

    def _service(self, name: str, port: int) -> list[tuple[Pod, int]]:
        for item in self.of("Service"):
            if item["metadata"]["name"] == name:
                (target,) = (
                    one["targetPort"] for one in item["spec"]["ports"] if one["port"] == port
                )
                found = [
                    pod
                    for pod in self.pods
                    if item["spec"]["selector"].items() <= pod.labels.items()
                ]
                assert found, f"Service {name} selects no pod"
                return [(pod, target) for pod in found]
        (pod,) = (pod for pod in self.pods if pod.labels.get("seldon-app") == name)
        return [(pod, port)]

    def allows(self, way: Way) -> bool:
        source, target, port = way
        return self._side("Egress", source, target, port) and self._side(
            "Ingress", target, source, port
        )

    def _side(self, direction: str, pod: Pod, peer: Pod, port: int) -> bool:
        if pod.namespace is None:
            return True
        mine = self._selecting(direction, pod)
        if not mine:
            return True
        peers = "to" if direction == "Egress" else "from"
        return any(
            (peers not in rule or any(self._is(peer, one, pod.namespace) for one in rule[peers]))
            and ("ports" not in rule or port in [one["port"] for one in rule["ports"]])
            for spec in mine
            for rule in spec.get(direction.lower(), [])
        )

    def _selecting(self, direction: str, pod: Pod) -> list[dict[str, Any]]:
        if (direction, pod) not in self._memory:
            self._memory[direction, pod] = [
                policy["spec"]
                for policy in self.policies
                if policy["metadata"]["namespace"] == pod.namespace
                and direction in policy["spec"]["policyTypes"]
                and matches(policy["spec"]["podSelector"], pod.labels)
            ]
        return self._memory[direction, pod]

    def _is(self, pod: Pod, peer: dict[str, Any], home: str) -> bool:
        if "ipBlock" in peer or pod.namespace is None:
            return False
        if "namespaceSelector" in peer:
            labels = {
                "kubernetes.io/metadata.name": pod.namespace,
                **self.homes.get(pod.namespace, {}),
            }
            here = matches(peer["namespaceSelector"], labels)
        else:
            here = pod.namespace == home
        return here and matches(peer.get("podSelector", {}), pod.labels)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector as Kubernetes reads it."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for one in selector.get("matchExpressions", []):
        value = labels.get(one["key"])
        match one["operator"]:
            case "In":
                fits = value in one["values"]
            case "NotIn":
                fits = value not in one["values"]
            case "Exists":
                fits = value is not None
            case _:
                fits = value is None
        if not fits:
            return False
    return True


@cache
def cluster(name: str) -> Cluster:
    return Cluster(name)


def named(way: Way) -> str:
    return f"{way[0].name} -> {way[1].name}:{way[2]}"


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_called_may_be_called(name: str) -> None:
    found = cluster(name)
    assert [named(way) for way in sorted(found.used, key=named) if not found.allows(way)] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_may_be_called(name: str) -> None:
    """Every pod to every other on every port that anybody listens on."""
    found = cluster(name)
    ports = {port for _, _, port in found.used} | {FILER, 22, 80, 6000, 9000, 9901}
    everyone = [*found.pods, *PLATFORM]
    surplus = [
        named((source, target, port))
        for source in everyone
        for target in everyone
        for port in ports
        # between two pods of the platform is the platform's affair
        if (source in found.pods or target in found.pods)
        and source is not target
        and (source, target, port) not in found.used
        and not (
            target not in found.pods and port in (443, 6443)
        )  # API server and git: any address, and said so
        # a Service does not say on which ports its pods listen
        and not (source.name == found.names.decision and target is MLFLOW)
        and not (source.labels.get("driftloop.dev/reaches") == "sources" and target is MINIO)
        and found.allows((source, target, port))
    ]
    assert surplus == []


def test_the_graph_has_the_edges_that_make_the_loop() -> None:
    found = cluster("plain-shadow")
    names = found.names
    edges = {named(way) for way in found.used}
    release, candidate = sorted(pod.name for pod in found.predictors())
    assert {
        f"gateway -> {release}:8000",
        f"{release} -> broker-ingress:8080",
        f"{candidate} -> broker-ingress:8080",
        f"broker-filter -> {names.judge}:8080",
        f"{names.judge} -> {candidate}:8000",
        f"dispatcher -> {names.decision}:8080",
        f"{names.decision} -> webhook:12000",
        "webhook -> nats:4222",
        "sensor -> nats:4222",
        f"{names.train}/claim -> nats:4222",
        f"{names.train}/finish -> broker-ingress:8080",
        f"{names.release}/shadow -> {names.judge}:8080",
        f"prometheus -> {release}:8000",
    } <= edges


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("stranger", "decision", 8080),
        ("stranger", "webhook", 12000),
        ("gateway", "webhook", 12000),
        ("train", "nats", 4222),
        ("train", "webhook", 12000),
        ("train", "decision", 8080),
        ("model", "nats", 4222),
        ("model", "decision", 8080),
        ("model", "outside", 443),
        ("judge", "s3", 8333),
        ("judge", "outside", 443),
        ("stranger", "nats", 4222),
        ("train", "s3", FILER),
    ],
)
def test_a_pair_that_is_not_listed_is_refused(source: str, target: str, port: int) -> None:
    found = cluster("plain-shadow")
    names = found.names
    known = {pod.name: pod for pod in [*found.pods, *PLATFORM]}
    called = {"decision": names.decision, "judge": names.judge, "train": f"{names.train}/train"}
    called["model"] = found.predictors()[0].name
    ends = [known[called.get(end, end)] for end in (source, target)]
    assert not found.allows((ends[0], ends[1], port))


@pytest.mark.parametrize("name", ["observability", "observability-seldon"])
def test_prometheus_reaches_what_a_pipeline_s_own_monitors_name(name: str) -> None:
    found = cluster(name)
    scraped = {(pod.labels.get("app.kubernetes.io/component", "seldon"), port) for source, pod, port in found.used
               if source is PROMETHEUS}  # fmt: skip
    services = {(component, 8080) for component in ("decision", "judge", "drift")}
    model = (
        {("serving", 8000)}
        if name == "observability"
        else {("outlier", 8080), ("seldon", 8000), ("seldon", 6000)}
    )
    assert scraped == services | model


def test_programs_address_nothing_else() -> None:
    """Where our programs put addresses together themselves; the graph above knows these and no others."""
    found: dict[str, set[str]] = {}
    for file in [
        file
        for room in ("operations", "steps", "services")
        for file in (PACKAGE / room).rglob("*.py")
    ]:
        text = file.read_text()
        hits = set(re.findall(r"names\.(\w+_url|host)\b", text)) | set(
            re.findall(r"http://\{\w+\}[^\"]*svc[^\"]*", text)
        )
        if hits:
            found[file.relative_to(PACKAGE).as_posix()] = hits
    assert found == {
        "operations/rollouts/advance.py": {"judge_url"},
        "steps/finish.py": {"broker_url"},
        "services/analysis/service.py": {"host", "metrics_url"},
    }


def test_the_checker_sees_a_missing_policy() -> None:
    found = Cluster("plain-shadow")
    before = found.policies
    for policy in before:
        if policy["metadata"]["name"].endswith(("-deny", "-steps-judge", "-model", "-webhook")):
            found.policies = [one for one in before if one is not policy]
            found._memory.clear()
            shut = policy["metadata"]["name"].endswith("-deny")
            assert shut == all(found.allows(way) for way in found.used), json.dumps(
                policy["metadata"]
            )
