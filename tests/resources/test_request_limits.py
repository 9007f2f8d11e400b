"""The bound of a request: one menu for the spec, the rendered route and the platform's gateway, which
a real Envoy takes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.contract.limits import (
    DEFAULT_REQUEST_LIMIT,
    HEADERS_TIME,
    REQUEST_LIMITS,
    name_limited_route,
    read_route_limit,
)
from driftloop.errors import PipelineError
from driftloop.local.ground import binaries
from driftloop.operations.commits.impact import assess_impact
from driftloop.plan import make_plan
from driftloop.render import render_tree
from driftloop.spec.load import parse_spec

ROOT = Path(__file__).parents[2]
FILTER = ROOT / "cluster" / "infrastructure" / "configs" / "request-limits.envoyfilter.yaml"
GOLDEN = ROOT / "tests" / "golden" / "plain"
BUFFER = "envoy.filters.http.buffer"


def patches(kind: str) -> list[dict[str, Any]]:
    return [
        patch
        for patch in yaml.safe_load(FILTER.read_text())["spec"]["configPatches"]
        if patch["applyTo"] == kind
    ]


def test_the_gateway_knows_every_bound_of_the_spec() -> None:
    (own,) = patches("HTTP_FILTER")
    value = own["patch"]["value"]
    assert value["name"] == BUFFER
    assert value["typed_config"]["max_request_bytes"] == REQUEST_LIMITS[DEFAULT_REQUEST_LIMIT]
    routes = {
        patch["match"]["routeConfiguration"]["vhost"]["route"]["name"]: patch["patch"]["value"][
            "typed_per_filter_config"
        ][BUFFER]["buffer"]["max_request_bytes"]
        for patch in patches("HTTP_ROUTE")
    }
    assert routes == {
        name: size
        for limit, size in REQUEST_LIMITS.items()
        if (name := name_limited_route(limit)) is not None
    }
    assert {name: read_route_limit(name) for name in routes} == routes
    assert read_route_limit("of somebody else") == REQUEST_LIMITS[DEFAULT_REQUEST_LIMIT]


def test_a_real_envoy_takes_what_istio_makes_of_it(tmp_path: Path) -> None:
    limit, merged = patches("NETWORK_FILTER")
    manager = {
        **merged["patch"]["value"]["typed_config"],
        "stat_prefix": "gateway",
        "http_filters": [
            patches("HTTP_FILTER")[0]["patch"]["value"],
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            },
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": f"/{number}"},
                            "direct_response": {"status": 200},
                            **patch["patch"]["value"],
                        }
                        for number, patch in enumerate(patches("HTTP_ROUTE"))
                    ],
                }
            ]
        },
    }
    assert manager["request_headers_timeout"] == HEADERS_TIME
    name = "envoy.filters.network.http_connection_manager"
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [limit["patch"]["value"], {"name": name, "typed_config": manager}]}
        ],
    }
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    done = subprocess.run(
        [binaries.find_envoy(), "--mode", "validate", "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def with_limit(spec: str, limit: str) -> str:
    assert spec.count("backend: plain") == 1
    return spec.replace("backend: plain", f"backend: plain, maxRequestBytes: {limit}")


def test_the_route_of_a_pipeline_names_its_bound_and_the_preview_tells() -> None:
    spec = (GOLDEN / "pipeline.yaml").read_text()
    release = (GOLDEN / "release.yaml").read_text()
    old, new = render_tree(spec, release), render_tree(with_limit(spec, "32Mi"), release)
    (path,) = (path for path in new if path.endswith("traffic.virtualservice.yaml"))
    routes = [yaml.safe_load(tree[path])["spec"]["http"][0] for tree in (old, new)]
    assert [route.get("name") for route in routes] == [None, "request-limit-32mi"]
    pipeline = path.split("/")[1]
    impact = assess_impact(old, new, pipeline=pipeline)
    assert [(change.path, change.old, change.new) for change in impact.settings] == [
        ("serve.maxRequestBytes", "8Mi", "32Mi")
    ]
    assert impact.effects == (
        "the gateway takes requests of up to 32 MiB, before 8 MiB; others get 413",
    )


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (
            "3Mi",
            "spec.serve.maxRequestBytes is `3Mi`, must be one of: 1Mi, 2Mi, 4Mi, 8Mi, 16Mi, 32Mi, 64Mi",
        ),
        ("16Mi", "must be `8Mi` with `backend: seldon`: its operator writes the route"),
    ],
)
def test_another_bound_is_an_error_of_the_spec(limit: str, words: str) -> None:
    spec = (GOLDEN / "pipeline.yaml").read_text()
    spec = spec.replace("backend: plain", f"maxRequestBytes: {limit}")
    number = next(n for n, line in enumerate(spec.splitlines(), 1) if "maxRequestBytes" in line)
    with pytest.raises(PipelineError) as error:
        make_plan(parse_spec(spec, path="pipeline.yaml"))
    assert words in str(error.value)
    assert f"pipeline.yaml:{number}:" in str(error.value)
