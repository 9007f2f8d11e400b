"""Istio's policies as people write them: what is certain is found, and nothing else."""

import pytest

from driftloop.check import check_files

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {LABELS}}\n"
AMBIENT, SIDECARS, OFF = (
    "istio.io/dataplane-mode: ambient",
    "istio-injection: enabled",
    "istio-injection: disabled",
)


def namespace(labels: str = "") -> str:
    return NAMESPACE.replace("LABELS", labels)


def policy(spec: str, *, name: str = "web", home: str = "shop") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {home}}}\nspec: {spec}\n"
    )


def strict(spec: str = "{mtls: {mode: STRICT}}") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: a, namespace: shop}}\nspec: {spec}\n"
    )


def deployment(labels: str = "app: web", *, annotations: str = "") -> str:
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n"
        f"    metadata: {{labels: {{{labels}}}, annotations: {{{annotations}}}}}\n"
        "    spec: {containers: [{name: web, image: 'ghcr.io/acme/web:1.0.0'}]}\n"
    )


CALLED = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    "spec: {selector: {app: web}, ports: [{port: 80}]}\n---\n"
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: shop}\n"
    "spec: {hosts: [shop.example.org], http: [{route: [{destination: {host: web.shop.svc.cluster.local}}]}]}\n"
)
WEB, OTHER = "{selector: {matchLabels: {app: web}}}", "{selector: {matchLabels: {app: other}}}"
FROM = "rules: [{from: [{source: {principals: [a]}}]}]"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


def found(*documents: str, **files: str) -> list[str]:
    texts: dict[str, str | bytes] = {"base/all.yaml": "---\n".join(documents)}
    texts |= {name.replace("__", "/") + "/kustomization.yaml": text for name, text in files.items()}
    return [one.code for one in check_files(texts) if one.code.startswith("DL52")]


@pytest.mark.parametrize(
    "documents",
    [
        (namespace(), policy(OTHER)),
        (policy(OTHER), deployment()),
        (namespace(), policy(OTHER, home="istio-system"), deployment()),
        (namespace(), policy("{selector: {matchLabels: {service.istio.io/canonical-name: web}}}"), deployment()),
        (namespace(), policy("{selector: {matchLabels: {job-name: x}}}"), deployment()),
        (namespace(), policy("{selector: {matchLabels: {app: '${NAME}'}}}"), deployment()),
        (namespace(), policy("{selector: {matchLabels: {app: other}}}"), deployment("app: '{{ .Name }}'")),
        (namespace(), policy("{targetRefs: [{kind: Service, group: '', name: web}]}"), deployment()),
        (namespace(), policy(OTHER), deployment(), "apiVersion: serving.knative.dev/v1\nkind: Service\n"
         "metadata: {name: other, namespace: shop}\nspec: {template: {spec: {containers: [{image: 'a:1'}]}}}\n"),
        (namespace(), policy(OTHER), deployment(), "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
         "metadata: {name: other, namespace: shop}\nspec: {gatewayClassName: istio}\n"),
        (namespace(), policy(OTHER), deployment(), "apiVersion: example.org/v1\nkind: Cluster\n"
         "metadata: {name: other, namespace: shop}\nspec: {}\n"),
        (namespace(), policy(OTHER), deployment(), "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\n"
         "metadata: {name: m, namespace: shop}\n"
         "spec: {predictors: [{name: p, labels: {app: other}, graph: {name: n}}]}\n"),
        (namespace(), policy(OTHER), deployment(), "apiVersion: argoproj.io/v1alpha1\nkind: EventSource\n"
         "metadata: {name: e, namespace: shop}\nspec: {template: {metadata: {labels: {app: other}}}}\n"),
    ],
    ids=["no pods", "part of it", "root", "given", "job", "variable", "template", "target", "knative", "gateway",
         "operator", "seldon", "eventsource"],
)  # fmt: skip
def test_a_selector_is_judged_only_where_all_pods_are_known(documents: tuple[str, ...]) -> None:
    assert found(*documents) == []


def test_a_kustomization_that_gives_labels_leaves_it_open() -> None:
    tree = (namespace(), policy(OTHER), deployment())
    assert found(*tree) == ["DL521"]
    listed = f"{KUSTOMIZATION}resources: [all.yaml]\n"
    assert found(*tree, base=listed) == ["DL521"]
    assert (
        found(*tree, base=f"{listed}labels: [{{pairs: {{app: other}}, includeTemplates: true}}]\n")
        == []
    )
    overlay = f"{KUSTOMIZATION}resources: [../../base]\npatches: [{{path: a.yaml}}]\n"
    assert found(*tree, base=listed, overlays__dev=overlay) == []
    elsewhere = f"{KUSTOMIZATION}resources: []\ncommonLabels: {{app: other}}\n"
    assert found(*tree, base=listed, elsewhere=elsewhere) == ["DL521"]


@pytest.mark.parametrize(
    "nothing", ["{}", "{selector: {matchLabels: {app: web}}}", "{action: ALLOW, rules: []}"]
)
def test_a_policy_that_lets_nobody_in_is_found_where_somebody_calls(nothing: str) -> None:
    assert found(namespace(AMBIENT), policy(nothing), deployment(), CALLED) == ["DL522"]
    assert found(namespace(SIDECARS), policy(nothing), deployment(), CALLED) == ["DL522"]


@pytest.mark.parametrize(
    "documents",
    [
        (namespace(AMBIENT), policy("{}"), deployment()),
        (namespace(), policy("{}"), deployment(), CALLED),
        (namespace(SIDECARS), policy("{}"), deployment("app: web, sidecar.istio.io/inject: 'false'"), CALLED),
        (namespace(AMBIENT), policy("{}"), deployment("app: web, istio.io/dataplane-mode: none"), CALLED),
        (policy("{}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{action: DENY}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{action: AUDIT}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{rules: [{}]}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{}", name="none"), policy(f"{{{FROM}}}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{}", name="none"), policy(f"{WEB[:-1]}, {FROM}}}"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{}"), policy(f"{{{FROM}}}", home="istio-system"), deployment(), CALLED),
        (namespace(AMBIENT), policy("{}"), policy(f"{{targetRefs: [{{kind: Service, name: web}}], {FROM}}}"),
         deployment(), CALLED),
    ],
    ids=["not called", "no mesh", "no sidecar", "opted out", "part of it", "deny", "audit", "all", "opened",
         "opened too", "opened from above", "waypoint"],
)  # fmt: skip
def test_a_deny_all_that_somebody_means_is_no_finding(documents: tuple[str, ...]) -> None:
    assert found(*documents) == []


def test_strict_is_found_where_nothing_enforces_it() -> None:
    assert found(namespace(OFF), strict(), deployment()) == ["DL523"]
    assert found(
        namespace(), strict(), deployment("app: web, sidecar.istio.io/inject: 'false'")
    ) == ["DL523"]
    off = "sidecar.istio.io/inject: 'false'"
    assert found(namespace(), strict(), deployment(annotations=off)) == ["DL523"]


@pytest.mark.parametrize(
    "documents",
    [
        (namespace(), strict(), deployment()),
        (namespace(AMBIENT), strict(), deployment()),
        (namespace(SIDECARS), strict(), deployment()),
        (namespace(OFF), strict()),
        (namespace(OFF), strict("{mtls: {mode: PERMISSIVE}}"), deployment()),
        (namespace(OFF), strict(), deployment("app: web, istio.io/dataplane-mode: ambient")),
        (namespace(OFF), strict(), deployment("app: web, sidecar.istio.io/inject: 'true'")),
        (strict(), deployment()),
        (namespace(OFF), strict(), deployment(), "apiVersion: example.org/v1\nkind: Cluster\n"
         "metadata: {name: other, namespace: shop}\nspec: {}\n"),
    ],
    ids=["by default", "ambient", "sidecars", "no pods", "permissive", "own label", "own sidecar", "part", "operator"],
)  # fmt: skip
def test_strict_is_right_where_the_pods_may_have_proxies(documents: tuple[str, ...]) -> None:
    assert found(*documents) == []
