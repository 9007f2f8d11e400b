"""In a mesh: who may call whom by service account, compared pair by pair with the graph of the NetworkPolicies."""

from functools import cache
from typing import Any

import pytest
import yaml

from driftloop.render import render_tree
from driftloop.spec import InvalidSpec, load_spec
from tests.golden.trees import documents, spec_text
from tests.resources.test_network import (
    CONFIGS,
    DISPATCHER,
    DNS,
    FILTER,
    GATEWAY,
    NATS,
    OUTSIDE,
    PLATFORM,
    PROMETHEUS,
    S3,
    STRANGER,
    Cluster,
    Pod,
    Way,
    matches,
    named,
)
from tests.spec.specs import changed

TUNNEL = 15008
ACCOUNTS = {
    FILTER: "mt-broker-filter",
    DISPATCHER: "jetstream-ch-dispatcher",
    GATEWAY: "istio-ingressgateway",
    PROMETHEUS: "kube-prometheus-stack-prometheus",
}
"""Who the platform's callers are; every other pod of it is its namespace's `default`."""
BOTH = ("knative-eventing", "monitoring")
ENROLLED = [BOTH, BOTH[:1], BOTH[1:], ()]


class Mesh(Cluster):
    """A rendered pipeline in a mesh, with ztunnel's reading of the policies."""

    def __init__(self, enrolled: tuple[str, ...], golden: str = "mesh") -> None:
        listed = f"{{mode: ambient, enrolled: [{', '.join(enrolled)}]}}"
        super().__init__(
            golden, lambda text: text.replace("mesh: {mode: ambient}", f"mesh: {listed}")
        )
        self.home = self.names.namespace
        # a stranger who has an identity, too: the worse case
        self.enrolled = {self.home, "istio-system", "default", *enrolled}
        self.accounts = dict(self._accounts())
        self.authorizations = [item["spec"] for item in self.of("AuthorizationPolicy")]
        self.authentications = [item["spec"] for item in self.of("PeerAuthentication")]

    def _accounts(self) -> Any:
        for item in self.objects:
            name, spec = item["metadata"]["name"], item.get("spec", {})
            match item["kind"]:
                case "Deployment":
                    yield name, spec["template"]["spec"]["serviceAccountName"]
                case "WorkflowTemplate":
                    yield from (
                        (
                            f"{name}/{step['name']}",
                            step.get("serviceAccountName", spec["serviceAccountName"]),
                        )
                        for step in spec["templates"]
                    )
                case "Sensor":
                    yield "sensor", spec["template"]["serviceAccountName"]
                case "SeldonDeployment":
                    for predictor in spec["predictors"]:
                        pod = predictor["componentSpecs"][0]["spec"]
                        yield f"{name}-{predictor['name']}", pod["serviceAccountName"]

    def principal(self, pod: Pod) -> str | None:
        """Who a pod proves to be; None for one outside the mesh."""
        if pod.namespace not in self.enrolled:
            return None
        account = self.accounts.get(pod.name) if pod.namespace == self.home else ACCOUNTS.get(pod)
        return f"cluster.local/ns/{pod.namespace}/sa/{account or 'default'}"

    def admits(self, way: Way) -> bool:
        """Whether ztunnel at the target lets a connection in."""
        source, target, port = way
        principal = self.principal(source)
        if principal is None and self._mode(target, port) == "STRICT":
            return False
        allowing = [spec for spec in self.authorizations if self._selects(spec, target)]
        return not allowing or any(
            self._fits(rule, principal, port) for spec in allowing for rule in spec.get("rules", ())
        )

    def _mode(self, target: Pod, port: int) -> str:
        # the workload's own comes before the namespace's
        for spec in sorted(self.authentications, key=lambda spec: "selector" not in spec):
            if self._selects(spec, target):
                return str(spec.get("portLevelMtls", {}).get(str(port), spec["mtls"])["mode"])
        return "PERMISSIVE"

    @staticmethod
    def _selects(spec: dict[str, Any], target: Pod) -> bool:
        return "selector" not in spec or matches(spec["selector"], target.labels)

    @staticmethod
    def _fits(rule: dict[str, Any], principal: str | None, port: int) -> bool:
        ports = [number for one in rule["to"] for number in one["operation"]["ports"]]
        sources = [one["source"] for one in rule["from"]]
        known = any(principal in source.get("principals", ()) for source in sources)
        unknown = principal is None and any(
            source.get("notPrincipals") == ["*"] for source in sources
        )
        return (known or unknown) and str(port) in ports

    def reaches(self, way: Way) -> bool:
        """Whether both layers let a connection through, in the mesh's tunnel or plain as it comes."""
        source, target, _ = way
        wrapped = self.principal(source) is not None
        return self.admits(way) and (
            self.allows(way) or (wrapped and self.allows((source, target, TUNNEL)))
        )


@cache
def mesh(*enrolled: str) -> Mesh:
    return Mesh(enrolled)


def pairs(found: Mesh) -> list[Way]:
    """Every pod, and everybody of the platform, to every pod on every port that anybody listens on."""
    ports = {port for _, target, port in found.used if target in found.pods} | {22, 80, 9000, 9901}
    callers = [*found.pods, *(pod for pod in PLATFORM if pod not in (OUTSIDE, DNS, NATS))]
    return [(a, b, port) for a in callers for b in found.pods for port in ports if a is not b]


@pytest.mark.parametrize("enrolled", ENROLLED, ids=lambda names: "+".join(names) or "none")
def test_both_layers_together_are_exactly_the_graph(enrolled: tuple[str, ...]) -> None:
    found = mesh(*enrolled)
    wrong = [named(way) for way in pairs(found) if found.reaches(way) != (way in found.used)]
    assert wrong == []


@pytest.mark.parametrize("enrolled", ENROLLED, ids=lambda names: "+".join(names) or "none")
def test_the_mesh_alone_is_the_graph_by_service_account(enrolled: tuple[str, ...]) -> None:
    """A door opens to the accounts of its callers; to who proves nothing, if one of its callers can't prove any."""
    found = mesh(*enrolled)
    callers: dict[tuple[Pod, int], set[str | None]] = {}
    for source, target, port in found.used:
        if target in found.pods:
            callers.setdefault((target, port), set()).add(found.principal(source))
    for way in pairs(found):
        source, target, port = way
        known = callers.get((target, port), set())
        assert found.admits(way) == (found.principal(source) in known), named(way)


@pytest.mark.parametrize("enrolled", ENROLLED, ids=lambda names: "+".join(names) or "none")
def test_the_tunnel_is_open_between_enrolled_pods_that_talk_and_nobody_else(
    enrolled: tuple[str, ...],
) -> None:
    found = mesh(*enrolled)
    everyone = [*found.pods, *PLATFORM]
    talking = {(a, b) for a, b, _ in found.used if {a.namespace, b.namespace} <= found.enrolled}
    opened = {
        (a, b)
        for a in everyone
        for b in everyone
        if a is not b and (a in found.pods or b in found.pods) and found.allows((a, b, TUNNEL))
    }
    assert {f"{a.name} -> {b.name}" for a, b in opened} == {
        f"{a.name} -> {b.name}" for a, b in talking
    }


def test_what_is_not_enrolled_gets_in_only_where_it_calls() -> None:
    by_role = {}
    for item in mesh("knative-eventing").of("PeerAuthentication"):
        by_role[item["metadata"]["name"]] = sorted(item["spec"].get("portLevelMtls", {}))
    ours = ("decision", "judge", "drift", "outlier")
    assert by_role == {
        "mesh-strict": [],
        "mesh-model": ["6000", "8000"],
        **{f"mesh-{one}": ["8080"] for one in ours},
    }
    assert [item["metadata"]["name"] for item in mesh(*BOTH).of("PeerAuthentication")] == [
        "mesh-strict"
    ]
    model = mesh().predictors()[0]
    assert mesh().admits((S3, model, 8000)), "who proves nothing is the NetworkPolicy's to refuse"
    assert not mesh().allows((S3, model, 8000))
    assert not mesh().admits((STRANGER, model, 8000)), (
        "a stranger of the mesh is not let in, whatever is open"
    )


def test_probes_come_from_the_meshs_own_address() -> None:
    (policy,) = (
        one for one in mesh(*BOTH).of("NetworkPolicy") if one["metadata"]["name"] == "mesh-probes"
    )
    cidrs = [peer["ipBlock"]["cidr"] for peer in policy["spec"]["ingress"][0]["from"]]
    assert cidrs[0] == "169.254.7.127/32"
    assert policy["spec"]["podSelector"] == {}


def test_roles_without_pods_have_no_policy_yet() -> None:
    tree = render_tree(spec_text("mesh"), None)
    found = {path.rpartition("/")[2] for path in tree if path.endswith(".authorizationpolicy.yaml")}
    assert found == {
        f"{role}.authorizationpolicy.yaml" for role in ("deny", "webhook", "decision", "judge")
    }


def test_the_accounts_are_those_that_the_platform_installs() -> None:
    """Releases of charts are named in cluster/infrastructure, and their service accounts after them."""
    infrastructure = CONFIGS.parent
    named = [
        item["spec"]["releaseName"]
        for file in (
            infrastructure / "controllers" / "istio.yaml",
            infrastructure / "monitoring/kube-prometheus-stack.yaml",
        )
        for item in yaml.safe_load_all(file.read_text())
        if item["kind"] == "HelmRelease"
    ]
    assert ACCOUNTS[GATEWAY] in named
    assert ACCOUNTS[PROMETHEUS].removesuffix("-prometheus") in named


def test_nothing_of_a_mesh_is_rendered_without_one() -> None:
    files = render_tree(spec_text("canary"), None)
    tree = "".join(files.values())
    kinds = {"AuthorizationPolicy", "PeerAuthentication"}
    assert not any(item["kind"] in kinds for _, item in documents(files))
    assert "dataplane-mode" not in tree
    assert str(TUNNEL) not in tree


@pytest.mark.parametrize(
    "mesh", ["{mode: sidecar}", "{}", "{mode: ambient, enrolled: [nats-io]}", "ambient"]
)
def test_a_mesh_that_is_none_is_refused(mesh: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.mesh"):
        load_spec(changed("  data: {uri", f"  mesh: {mesh}\n  data: {{uri"), path="p.yaml")
