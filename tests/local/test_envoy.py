"""Envoy's files from objects, checked by Envoy itself; the platform test sends requests through them."""

import json
import subprocess
from pathlib import Path

import pytest

from driftloop.errors import LocalError
from driftloop.local.ground import binaries
from driftloop.local.istio import envoy
from driftloop.local.istio.routes import EnvoyRoutes, LoggerSidecar, ServiceEndpoints
from tests.local.conftest import virtual_service

SERVICES = tuple(
    ServiceEndpoints(f"{name}.shop.svc.cluster.local", 8000, (20001,)) for name in ("a", "b")
)


def routes(*virtual: dict) -> dict:  # type: ignore[type-arg]
    """The gateway's first route."""
    found = envoy.build_files(EnvoyRoutes(services=SERVICES, virtual_services=virtual))
    return found["gateway"][0]["virtual_hosts"][0]["routes"][0]  # type: ignore[no-any-return]


def test_weights_of_zero_are_left_out() -> None:
    clusters = routes(virtual_service({"a": 0, "b": 100}))["route"]["weighted_clusters"]["clusters"]
    assert [(one["name"], one["weight"]) for one in clusters] == [
        ("outbound|8000||b.shop.svc.cluster.local", 100)
    ]


def test_a_mirror_keeps_the_host_and_rounds_to_a_millionth() -> None:
    virtual = virtual_service({"a": 100}, mirror="b")
    virtual["spec"]["http"][0]["mirrorPercentage"]["value"] = 12.5
    (policy,) = routes(virtual)["route"]["request_mirror_policies"]
    assert policy["runtime_fraction"]["default_value"] == {
        "numerator": 125_000,
        "denominator": "MILLION",
    }
    assert policy["disable_shadow_host_suffix_append"] is True


def test_what_names_the_gateways_namespace_comes_before_what_is_for_all() -> None:
    # as in Istio, whose gateway takes the first route that matches
    operator, ours = virtual_service({"a": 100}), virtual_service({"a": 100}, mirror="b")
    ours["metadata"]["name"] = "model-mirror"
    ours["spec"]["exportTo"] = ["istio-system"]
    for order in ((operator, ours), (ours, operator)):
        assert "request_mirror_policies" in routes(*order)["route"]


def test_the_root_says_what_it_is_unless_a_pipeline_has_it() -> None:
    def answers(*virtual: dict) -> list[tuple[object, int | None]]:  # type: ignore[type-arg]
        found = envoy.build_files(EnvoyRoutes(SERVICES, virtual, settled=True))
        every = found["gateway"][0]["virtual_hosts"][0]["routes"]
        return [(one["match"], one.get("direct_response", {}).get("status")) for one in every]

    assert answers()[-2:] == [({"path": "/"}, 200), ({"prefix": "/"}, 404)]
    assert answers(virtual_service({"a": 100}))[0][1] is None


def test_what_the_gateway_would_not_see_is_refused() -> None:
    virtual = virtual_service({"a": 100})
    virtual["spec"]["exportTo"] = ["."]
    with pytest.raises(LocalError, match=r"shop/model: exportTo is ., which is not the gateway's"):
        envoy.validate_virtual_service(virtual)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 0, "b": 0}, "weights are"),
        ({"a": -1, "b": 101}, "weights are"),
        ({"c": 1}, "no Service"),
    ],
)
def test_impossible_routes_are_refused(weights: dict[str, int], words: str) -> None:
    with pytest.raises(LocalError, match=words):
        routes(virtual_service(weights))


@pytest.mark.parametrize("field", ["fault", "redirect", "delegate", "retries"])
def test_unknown_fields_are_refused_by_name(field: str) -> None:
    virtual = virtual_service({"a": 100})
    virtual["spec"]["http"][0][field] = {}
    with pytest.raises(LocalError, match=rf"shop/model: `spec.http\[\].{field}` is not supported"):
        envoy.validate_virtual_service(virtual)


def test_two_loggers_with_one_cluster_name_are_refused() -> None:
    def logger(name: str, port: int) -> LoggerSidecar:
        config = {
            "static_resources": {
                "listeners": [{"name": name, "address": {}}],
                "clusters": [
                    {
                        "name": "model",
                        "load_assignment": {
                            "endpoints": [
                                {
                                    "lb_endpoints": [
                                        {
                                            "endpoint": {
                                                "address": {
                                                    "socket_address": {
                                                        "address": "127.0.0.1",
                                                        "port_value": 9000,
                                                    }
                                                }
                                            }
                                        }
                                    ]
                                }
                            ]
                        },
                    }
                ],
            }
        }
        return LoggerSidecar(name=name, config=config, port=port, pods={9000: (port + 1,)})

    one = envoy.build_files(EnvoyRoutes(loggers=(logger("shop/a", 1),)))
    address = one["cds"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
        "address"
    ]
    assert address["socket_address"]["port_value"] == 2
    with pytest.raises(LocalError, match="another cluster is already named `model`"):
        envoy.build_files(EnvoyRoutes(loggers=(logger("shop/a", 1), logger("shop/b", 3))))


def test_envoy_itself_accepts_the_bootstrap(tmp_path: Path) -> None:
    virtual = virtual_service({"a": 90, "b": 10}, mirror="b")
    files = envoy.build_files(EnvoyRoutes(services=SERVICES, virtual_services=(virtual,)))
    for name, resources in files.items():
        (tmp_path / f"{name}.json").write_text(envoy.format_document(resources)[0])
    bootstrap = envoy.build_bootstrap(str(tmp_path), gateway=20001, proxy=20002)
    (tmp_path / "bootstrap.json").write_text(json.dumps(bootstrap))
    command = [
        binaries.find_envoy(),
        "--mode",
        "validate",
        "-c",
        str(tmp_path / "bootstrap.json"),
        "-l",
        "error",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
