"""Faults that are found by what stands in other objects, and what keeps them quiet."""

import pytest

from driftloop.check import check_files

STAGE = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: NAME, namespace: flux-system}
spec: {interval: 10m, prune: true, path: ./NAME, sourceRef: {kind: GitRepository, name: flux-system}EXTRA}
"""
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: store, namespace: flux-system}
spec: {interval: 1h, chartRef: {kind: OCIRepository, name: store}EXTRA}
"""


def codes(**files: str) -> list[str]:
    texts: dict[str, str | bytes] = {
        name.replace("__", "/") + ".yaml": text for name, text in files.items()
    }
    return [finding.code for finding in check_files(texts)]


def stage(name: str, extra: str = "") -> str:
    return STAGE.replace("NAME", name).replace("EXTRA", extra)


def release(extra: str = "") -> str:
    return RELEASE.replace("EXTRA", extra)


def config(text: str, annotations: str = "{}") -> str:
    return (
        "apiVersion: v1\nkind: ConfigMap\n"
        f"metadata: {{name: c, namespace: shop, annotations: {annotations}}}\ndata: {{run: '{text}'}}\n"
    )


@pytest.mark.parametrize(
    ("text", "extra", "expected"),
    [
        ("${SHOP}", ", postBuild: {substitute: {SITE: lab}}", ["DL705"]),
        ("${SHOP%/}", ", postBuild: {substitute: {SITE: lab}}", ["DL705"]),
        ("${SITE}", ", postBuild: {substitute: {SITE: lab}}", []),
        ("$${SHOP}", ", postBuild: {substitute: {SITE: lab}}", []),
        ("${SHOP:=here}", ", postBuild: {substitute: {SITE: lab}}", []),
        ("$SHOP", ", postBuild: {substitute: {SITE: lab}}", []),
        ("${SHOP}", "", []),
        (
            "${SHOP}",
            ", postBuild: {substitute: {SITE: lab}, substituteFrom: [{kind: Secret, name: s}]}",
            [],
        ),
    ],
)
def test_a_variable_without_a_value_is_replaced_by_nothing(
    text: str, extra: str, expected: list[str]
) -> None:
    assert codes(clusters__lab=stage("jobs", extra), jobs__c=config(text)) == expected


def test_an_object_can_be_left_out_of_the_replacement() -> None:
    off = "{kustomize.toolkit.fluxcd.io/substitute: disabled}"
    replacing = stage("jobs", ", postBuild: {substitute: {SITE: lab}}")
    assert codes(clusters__lab=replacing, jobs__c=config("${SHOP}", off)) == []


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", ["DL707"]),
        (", wait: true", []),
        (", healthChecks: [{kind: HelmRelease, name: store, namespace: flux-system}]", []),
    ],
)
def test_a_stage_is_ready_when_it_waits_for_its_release(extra: str, expected: list[str]) -> None:
    later = stage("shop", ", dependsOn: [{name: base}]")
    files = {"clusters__base": stage("base", extra), "clusters__shop": later}
    assert codes(**files, base__r=release(), shop__c=config("a")) == expected


def test_a_release_does_not_wait_for_a_stage() -> None:
    waiting = release(", dependsOn: [{name: base}]")
    assert codes(base__r=waiting, clusters__lab=stage("base")) == ["DL702"]


def test_a_prometheus_loads_rules_by_labels_and_namespace() -> None:
    prometheus = (
        "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: p, namespace: eyes}\n"
        "spec: {replicas: 1, ruleSelector: SELECTOR, ruleNamespaceSelector: WHERE}\n"
    )
    alert = (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        "metadata: {name: r, namespace: shop, labels: {team: a}}\n"
        "spec: {groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]}\n"
    )

    def loaded(selector: str, where: str) -> list[str]:
        text = prometheus.replace("SELECTOR", selector).replace("WHERE", where)
        return codes(p=text, r=alert)

    assert loaded("{matchLabels: {team: a}}", "{}") == []
    assert loaded("{}", "{}") == []
    assert loaded("{matchLabels: {team: b}}", "{}") == ["DL536"]
    assert loaded("{}", "null") == ["DL536"]


def test_a_limit_range_fills_in_requests() -> None:
    pods = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n"
        "spec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        "    spec: {containers: [{name: web, image: 'a/web:1'}]}\n"
    )
    scaler = (
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web, namespace: shop}\n"
        "spec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  maxReplicas: 3\n"
        "  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 9}}}]\n"
    )
    limits = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l, namespace: shop}\nspec: {limits: []}\n"
    assert codes(w=pods, s=scaler) == ["DL626"]
    assert codes(w=pods, s=scaler, z=limits) == []


def called(field: str, template: str = "container: {image: 'a/w:1'}", defaults: str = "") -> str:
    return (
        "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: w}\nspec:\n"
        f"  entrypoint: main\n{defaults}  templates:\n  - name: main\n"
        f"    steps: [[{{name: a, template: use{field}}}]]\n  - name: use\n    {template}\n"
    )


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("'{{workflow.parameters.k}}' == 'full-run'", []),
        ("{{workflow.parameters.some-name}} == full", []),
        ("{{workflow.parameters.k}} > 5-2", []),
        ("{{=workflow.parameters['a-b'] == 'c'}}", []),
        ("full-run == {{workflow.parameters.k}}", ["DL319"]),
    ],
)
def test_only_a_bare_hyphen_is_a_subtraction(when: str, expected: list[str]) -> None:
    text = called(f', when: "{when}"')
    assert [code for code in codes(w=text) if code == "DL319"] == expected


@pytest.mark.parametrize(
    ("template", "defaults", "expected"),
    [
        ("suspend: {}", "", []),
        ("metadata: {labels: {a: b}}", "", ["DL325"]),
        ("metadata: {labels: {a: b}}", "  templateDefaults: {container: {image: 'a/w:1'}}\n", []),
        ("container: {command: [a]}", "", ["DL324"]),
        ("container: {image: 'a/w:1'}\n    outputs: {parameters: [{name: p}]}", "", ["DL320"]),
        (
            "suspend: {}\n    outputs: {parameters: [{name: p, valueFrom: {supplied: {}}}]}",
            "",
            [],
        ),
        (
            "container: {image: 'a/w:1'}\n"
            "    outputs: {parameters: [{name: p, valueFrom: {path: /a, expression: b}}]}",
            "",
            ["DL320"],
        ),
    ],
)
def test_templates_are_of_one_type_and_give_what_it_can(
    template: str, defaults: str, expected: list[str]
) -> None:
    assert codes(w=called("", template, defaults)) == expected
