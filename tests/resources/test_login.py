"""The login of callers in a rendered tree, the errors of `access`, and what the preview says of it."""

from typing import Any

import pytest
import yaml

from driftloop.errors import PipelineError
from driftloop.operations.commits.impact import assess_impact
from driftloop.plan import make_plan
from driftloop.render import render_tree
from driftloop.spec.load import parse_spec
from tests.pipelines import PLAIN, SPEC

JWT = "jwt: {issuer: https://login.example.org, jwksUri: https://login.example.org/keys, audiences: [digits]}"
CORS = "cors: {origins: [https://app.example.org]}"


def login(files: dict[str, str], kind: str) -> dict[str, Any]:
    """The spec of an object of the gateway's login."""
    documents = yaml.safe_load_all(files["cluster/dev/access/digits.yaml"])
    (found,) = (
        item
        for item in documents
        if item["kind"] == kind and item["metadata"]["namespace"] == "istio-system"
    )
    spec: dict[str, Any] = found["spec"]
    return spec


def test_the_operators_grpc_is_closed_by_its_own_headers() -> None:
    files = render_tree(f"{SPEC}  access: {{{JWT}}}\n", None)
    rules = login(files, "AuthorizationPolicy")["rules"]
    assert [rule.get("to") is None for rule in rules] == [False] * 3 + [True] * 3
    called = [
        {"key": "request.headers[seldon]", "values": ["digits"]},
        {"key": "request.headers[namespace]", "values": ["digits"]},
    ]
    for over_http, over_grpc in zip(rules[:3], rules[3:], strict=True):
        assert over_grpc["from"] == over_http["from"]
        assert over_grpc["when"] == called + over_http.get("when", [])
    plain = render_tree(f"{PLAIN}  access: {{{JWT}}}\n", None)
    assert login(plain, "AuthorizationPolicy")["rules"] == rules[:3]


def test_a_model_that_reads_the_token_gets_it() -> None:
    forwarded = JWT.replace("}", ", forward: true}")
    files = render_tree(f"{PLAIN}  access: {{{forwarded}}}\n", None)
    (rule,) = login(files, "RequestAuthentication")["jwtRules"]
    assert rule["forwardOriginalToken"] is True


def test_without_a_key_that_is_left_nobody_gets_in() -> None:
    files = render_tree(f"{PLAIN}  access: {{apiKeys: {{}}}}\n", None)
    assert "RequestAuthentication" not in files["cluster/dev/access/digits.yaml"]
    (nobody, others) = login(files, "AuthorizationPolicy")["rules"]
    assert nobody["from"] == [{"source": {"notRequestPrincipals": ["*"]}}]
    assert others["from"][0]["source"]["notRequestPrincipals"] == ["driftloop:digits:digits/*"]


def test_pages_alone_are_no_login() -> None:
    files = render_tree(f"{PLAIN}  access: {{{CORS}}}\n", None)
    assert "istio-system" not in files["cluster/dev/access/digits.yaml"]
    text = files["deployments/digits/unready.virtualservice.yaml"]
    (route,) = yaml.safe_load(text)["spec"]["http"]
    assert route["corsPolicy"]["allowHeaders"] == ["content-type", "seldon-puid"]
    assert "headers" not in route


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ("{apiKeys: {a: {public: " + "A" * 42 + "B, made: '2026-11-30T08:00:00Z', by: x}}}", "43 letters of Base64"),
        ("{}", "must have `jwt`, `apiKeys` or `cors`: an empty"),
        (f"{{{CORS}}}", "spec.access.cors needs `backend: plain`: with `seldon`"),
        (f"{{{JWT.replace('[digits]', '[]')}}}", "spec.access.jwt.audiences"),
        (f"{{{JWT.replace('https://login.example.org/keys', 'http://login.example.org/keys')}}}", "must begin with https://"),
        (f"{{{JWT.replace('issuer: https', 'issuer: driftloop')}}}", "must not begin with `driftloop:`"),
        (f"{{{JWT}, {CORS.replace('.org]', '.org/page]')}}}", "must be an origin as browsers send it"),
    ],
)  # fmt: skip
def test_what_would_keep_nobody_out_is_an_error(access: str, words: str) -> None:
    spec = f"{SPEC}  access: {access}\n"
    with pytest.raises(PipelineError) as error:
        make_plan(parse_spec(spec, path="pipeline.yaml"))
    assert words in str(error.value)
    assert f"pipeline.yaml:{len(spec.splitlines())}:" in str(error.value)


def test_the_preview_says_who_may_ask() -> None:
    closed, changed = (
        render_tree(f"{PLAIN}  access: {{{text}}}\n", None)
        for text in (JWT, JWT.replace("[digits]", "[digits, more]"))
    )
    free = render_tree(PLAIN, None)
    for old, new, words in (
        (free, closed, "callers must log in"),
        (closed, changed, "who may ask the model at the gateway changes"),
        (closed, free, "everybody who reaches the gateway may ask the model from now on"),
    ):
        (effect,) = assess_impact(old, new, pipeline="digits").effects
        assert effect.startswith(words)
