"""What is judged of monitors and rules, and what is left alone because it can't be known."""

import pytest

from driftloop.check import check_files

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
POD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec: {containers: [{name: web, image: 'ghcr.io/acme/web:1.0.0', ports: [{name: metrics, containerPort: 9100}]}]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {selector: {app: web}, ports: [{name: metrics, port: 9100}]}
"""


def monitor(
    selector: str, *, kind: str = "PodMonitor", port: str = "metrics", more: str = ""
) -> str:
    endpoints = "podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"
    return (
        f"apiVersion: monitoring.coreos.com/v1\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\n"
        f"spec: {{selector: {selector}, {endpoints}: [{{port: {port}}}]{more}}}\n"
    )


def found(*documents: str, **others: str) -> list[str]:
    files: dict[str, str | bytes] = {
        f"{n}.yaml": text for n, text in enumerate((NAMESPACE, *documents))
    }
    files |= {name.replace("__", "/"): text for name, text in others.items()}
    return [one.code for one in check_files(files) if one.code.startswith("DL53")]


@pytest.mark.parametrize(
    ("selector", "codes"),
    [
        ("{matchLabels: {app: web}}", []),
        ("{matchLabels: {app: wbe}}", ["DL531"]),
        ("{matchExpressions: [{key: app, operator: In, values: [web, api]}]}", []),
        ("{matchExpressions: [{key: app, operator: In, values: [api]}]}", ["DL531"]),
        ("{matchExpressions: [{key: tier, operator: Exists}]}", []),
        ("{matchExpressions: [{key: team, operator: Exists}]}", ["DL531"]),
        ("{matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}", ["DL531"]),
        ("{matchExpressions: [{key: tier, operator: DoesNotExist}]}", ["DL531"]),
        ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", []),
        # labels that pods get only when they are made
        ("{matchExpressions: [{key: pod-template-hash, operator: Exists}]}", []),
        ("{matchLabels: {app: web, security.istio.io/tlsMode: istio}}", []),
        ("{}", []),
    ],
)
def test_selectors_are_read_as_kubernetes_reads_them(selector: str, codes: list[str]) -> None:
    assert found(POD, monitor(selector)) == codes


def test_a_service_monitor_selects_services_not_pods() -> None:
    assert found(POD, SERVICE, monitor("{matchLabels: {app: web}}", kind="ServiceMonitor")) == []
    assert found(POD, SERVICE, monitor("{matchLabels: {tier: front}}", kind="ServiceMonitor")) == [
        "DL531"
    ]
    assert found(
        POD, SERVICE, monitor("{matchLabels: {app: web}}", kind="ServiceMonitor", port="http")
    ) == ["DL532"]


WRONG = monitor("{matchLabels: {app: wbe}}")
PORT = monitor("{matchLabels: {app: web}}", port="admin")
HELM = (
    "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: x, namespace: shop}\n"
    "spec: {chartRef: {kind: OCIRepository, name: x}, interval: 1h}\n"
)
PROMETHEUS = "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: k8s, namespace: shop}\nspec: {}\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


NUMBER = monitor("{matchLabels: {app: web}}").replace("port: metrics", "portNumber: 9101")


@pytest.mark.parametrize("wrong", [WRONG, PORT, NUMBER], ids=["selector", "port", "number"])
def test_what_can_be_elsewhere_is_not_judged(wrong: str) -> None:
    assert found(POD, wrong) != []
    assert [
        one.code
        for one in check_files({"a.yaml": POD, "b.yaml": wrong})
        if one.code.startswith("DL53")
    ] == []
    assert found(POD, wrong, HELM) == []
    assert found(POD, wrong.replace("]}", "], namespaceSelector: {any: true}}", 1)) == []
    assert (
        found(POD, wrong.replace("]}", "], namespaceSelector: {matchNames: [elsewhere]}}", 1)) == []
    )
    # an operator makes pods of it, with labels of its own
    assert found(POD, wrong, PROMETHEUS) == []


@pytest.mark.parametrize(
    "change", ["labels: [{pairs: {app: wbe}}]", "patches: [{path: x.yaml}]", "commonLabels: {a: b}"]
)
def test_what_a_kustomization_changes_is_not_judged(change: str) -> None:
    here = {"a__pod.yaml": POD, "a__kustomization.yaml": KUSTOMIZATION + "resources: [pod.yaml]\n"}
    over = {"b__kustomization.yaml": f"{KUSTOMIZATION}resources: [../a]\n{change}\n"}
    assert found(WRONG, **here) == ["DL531"]
    assert found(WRONG, **here, **over) == []
    # but another's change is another's
    aside = {"b__kustomization.yaml": f"{KUSTOMIZATION}resources: [../c]\n{change}\n"}
    assert found(WRONG, **here, **aside) == ["DL531"]


def test_an_injected_container_may_have_the_port() -> None:
    injected = POD.replace(
        "template:\n    metadata: {",
        "template:\n    metadata: {annotations: {sidecar.istio.io/inject: 'true'}, ",
    )
    assert found(injected, PORT) == []
    assert found(injected, WRONG) == ["DL531"]


@pytest.mark.parametrize(("wrong", "code"), [(PORT, "DL532"), (NUMBER, "DL535")])
def test_a_controller_s_pods_may_have_the_port(wrong: str, code: str) -> None:
    source = (
        "apiVersion: argoproj.io/v1alpha1\nkind: EventSource\nmetadata: {name: hook, namespace: shop}\n"
        "spec: {template: {metadata: {labels: {app: LABEL}}}, webhook: {}}\n"
    )
    assert found(POD, wrong, source.replace("LABEL", "web")) == []
    assert found(POD, wrong, source.replace("LABEL", "other")) == [code]


def test_a_seldon_deployment_s_pods_have_its_predictors_labels() -> None:
    seldon = (
        "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: fraud, namespace: shop}\n"
        "spec: {predictors: [{name: r1, traffic: 100, labels: {team: a}, graph: {name: m, type: MODEL}, "
        "componentSpecs: [{spec: {containers: [{name: m, image: 'ghcr.io/acme/m:1.0.0'}]}}]}]}\n"
    )
    assert found(seldon, monitor("{matchLabels: {seldon-deployment-id: fraud, team: a}}")) == []
    assert found(seldon, monitor("{matchLabels: {seldon-deployment-id: froud}}")) == ["DL531"]


def rules(*groups: str) -> str:
    listed = "".join(f"  - {group}\n" for group in groups)
    return (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: r, namespace: shop}\n"
        f"spec:\n  groups:\n{listed}"
    )


@pytest.mark.parametrize(
    ("groups", "codes"),
    [
        (
            (
                "{name: a, rules: [{alert: A, expr: up == 0}]}",
                "{name: b, rules: [{record: 'b:c', expr: 1}]}",
            ),
            [],
        ),
        (("{name: a}", "{name: a}"), ["DL533"]),
        (("{name: a, rules: [{expr: up}]}",), ["DL533"]),
        (("{name: a, rules: [{alert: A}]}",), ["DL533"]),
        (("{name: a, rules: [{alert: A, expr: [up]}]}",), ["DL533"]),
        (("{name: a, rules: [{record: 'b:c', expr: up, for: 1m}]}",), ["DL533"]),
        (
            (
                "{name: a, rules: [{record: 'b:c', expr: up, annotations: {summary: x}, keep_firing_for: 1m}]}",
            ),
            ["DL533"] * 2,
        ),
        (("{name: a, rules: [{record: 'b:c', expr: up, labels: {team: x}}]}",), []),
        # the same name for other numbers, as burn rates have it
        (
            (
                "{name: a, rules: [{alert: A, expr: x > 1, labels: {severity: warning}}, "
                "{alert: A, expr: x > 2, labels: {severity: critical}}]}",
            ),
            [],
        ),
        (("{name: a, rules: [{alert: A, expr: x > 1}, {alert: A, expr: y > 1}]}",), []),
        (
            (
                "{name: a, rules: [{alert: A, expr: x > 1}]}",
                "{name: b, rules: [{alert: A, expr: x > 1}]}",
            ),
            ["DL534"],
        ),
    ],
)
def test_rules(groups: tuple[str, ...], codes: list[str]) -> None:
    assert found(rules(*groups)) == codes


def test_a_service_before_what_an_operator_runs_selects_pods() -> None:
    """Prometheus's own pods are made of an object of the set: their labels are the operator's affair."""
    service = SERVICE.replace(
        "selector: {app: web}", "selector: {app.kubernetes.io/name: prometheus}"
    )
    files: dict[str, str | bytes] = {"n.yaml": NAMESPACE, "s.yaml": service, "p.yaml": PROMETHEUS}
    assert check_files(files) == ()
    assert [one.code for one in check_files({**files, "p.yaml": WRONG}) if one.code == "DL511"] == [
        "DL511"
    ]
