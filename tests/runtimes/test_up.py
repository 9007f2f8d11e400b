"""The platform turned for real: processes, Envoy, NATS, S3, a git repository; tiny servers stand for the models."""

from collections.abc import Callable

from tests.runtimes.conftest import Git, Up, deployment, eventually, get, kustomization, service, virtual_service

BASE = {
    "cluster/dev/pipelines/shop.yaml": [
        kustomization("shop-deployments", "deployments/shop", "infra-configs"),
    ],
    "deployments/shop/a.yaml": [deployment("a"), service("a")],
    "deployments/shop/b.yaml": [deployment("b"), service("b")],
    "deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 100}),
}


def test_a_commit_becomes_answers(start: Callable[..., Up], git: Git) -> None:
    sha = git.commit(BASE, "Add the shop")
    up = start().wait_up()
    up.wait_applied(sha)
    status, answer = get(up.url("/seldon/shop/model/api"))
    assert (status, answer["name"], answer["path"]) == (200, "a", "/api")
