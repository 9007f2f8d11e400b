"""Autoscalers and disruption budgets: what the rules leave alone, because it works or can't be known."""

import pytest

from driftloop.check import check_files

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def deployment(name: str, replicas: str = "", labels: str = "") -> str:
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}{labels}}}}}
    spec: {{containers: [{{name: web, image: 'ghcr.io/acme/web:1.0.0'}}]}}
"""


def autoscaler(
    target: str, least: int = 1, most: int = 5, kind: str = "Deployment", api: str = "apps/v1"
) -> str:
    return f"""\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {target}, namespace: shop}}
spec: {{scaleTargetRef: {{apiVersion: {api}, kind: {kind}, name: {target}}}, minReplicas: {least}, maxReplicas: {most}}}
"""


def budget(name: str, allows: str, selector: str = "matchLabels: {app: web}") -> str:
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: {name}, namespace: shop}}
spec: {{{allows}, selector: {{{selector}}}}}
"""


def other(api: str, kind: str) -> str:
    return (
        f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: main, namespace: shop}}\nspec: {{}}\n"
    )


WEB, TWO = deployment("web"), deployment("web", "replicas: 2")
PATCHED = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\npatches: [{path: p.yaml}]\n"


def codes(**files: str) -> list[str]:
    """The codes of what is found in files, a namespace beside them."""
    texts = {f"{path.replace('__', '/')}.yaml": text for path, text in files.items()}
    return [one.code for one in check_files({"namespace.yaml": NAMESPACE, **texts})]


@pytest.mark.parametrize(
    "documents",
    [
        (WEB, autoscaler("web")),
        (deployment("web", "replicas: 0"), autoscaler("web")),
        (deployment("web", "replicas: 3"), autoscaler("web", 3, 3)),
        # of kinds whose objects others make, or that scale something of their own
        (autoscaler("main-gateway"), other("gateway.networking.k8s.io/v1", "Gateway")),
        (autoscaler("workers", kind="RayCluster", api="ray.io/v1"),),
        (autoscaler("web"), other("keda.sh/v1alpha1", "ScaledObject")),
        (
            budget("db", "maxUnavailable: 1", "matchLabels: {app: db}"),
            other("monitoring.coreos.com/v1", "Prometheus"),
        ),
        (
            budget("db", "maxUnavailable: 1", "matchLabels: {app: db}"),
            other("postgresql.cnpg.io/v1", "Cluster"),
        ),
        (
            WEB,
            budget("web", "maxUnavailable: 1", "matchExpressions: [{key: app, operator: Exists}]"),
        ),
        (TWO, budget("web", "minAvailable: 1")),
        (TWO, budget("web", "minAvailable: 50%")),
        (TWO, budget("web", "maxUnavailable: 100%")),
        # nobody says how many there are
        (WEB, budget("web", "minAvailable: 1")),
        (WEB, autoscaler("web", 3, 6), budget("web", "minAvailable: 2")),
        (
            TWO,
            deployment("b"),
            budget("web", "minAvailable: 1"),
            budget("b", "minAvailable: 1", "matchLabels: {app: b}"),
        ),
    ],
)
def test_what_works_or_is_not_known_is_left_alone(documents: tuple[str, ...]) -> None:
    assert codes(all="---\n".join(documents)) == []


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ((TWO, autoscaler("web")), ["DL622"]),
        ((autoscaler("web"),), ["DL621"]),
        ((TWO, budget("web", "maxUnavailable: 0")), ["DL624"]),
        ((TWO, budget("web", "maxUnavailable: 0%")), ["DL624"]),
        ((WEB, budget("web", "minAvailable: 100%")), ["DL624"]),
        ((TWO, budget("web", "minAvailable: 2")), ["DL624"]),
        (
            (WEB, budget("a", "maxUnavailable: 1"), budget("b", "maxUnavailable: 1")),
            ["DL625", "DL625"],
        ),
        ((budget("web", "maxUnavailable: 1"),), ["DL623"]),
    ],
)
def test_what_breaks_is_found(documents: tuple[str, ...], found: list[str]) -> None:
    assert codes(all="---\n".join(documents)) == found


def test_a_patch_may_take_the_number_away() -> None:
    assert codes(base__web=TWO, base__scaler=autoscaler("web")) == ["DL622"]
    assert "DL622" not in codes(
        base__web=TWO, base__scaler=autoscaler("web"), over__kustomization=PATCHED
    )


def test_two_folders_need_not_be_applied_together() -> None:
    one, two = budget("a", "maxUnavailable: 1"), budget("b", "maxUnavailable: 1")
    assert codes(base__web=WEB, dev__budget=one, prod__budget=two) == []
    assert codes(base__web=WEB, dev__budget=one, dev__other=two) == ["DL625", "DL625"]
