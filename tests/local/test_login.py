"""The gateway's login: rendered objects before a real Envoy, asked over HTTP."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from support.commands import type_command
from support.processes import PATIENCE
from support.tokens import Issuer

from driftloop.errors import LocalError
from driftloop.local.flux import source
from driftloop.local.ground import binaries
from driftloop.local.ground.state import free_port
from driftloop.local.istio import envoy
from driftloop.local.istio.login import UNKNOWN_CALLER
from driftloop.local.istio.routes import EnvoyRoutes, ServiceEndpoints
from driftloop.local.istio.xds import EnvoyFront
from driftloop.operations.watching.refusals import CallerRefusals, parse_refusals
from driftloop.render import render_tree
from tests.golden.trees import release_text, spec_text, tree

Headers = Mapping[str, str]
CONFIGS = Path(__file__).parents[2] / "cluster" / "infrastructure" / "configs"
ISSUER, ORIGIN = "https://login.example.org", "https://app.example.org"


class Gateway:
    """An Envoy with the routes and logins of some pipelines, and the model behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(taken=())
        self.front = EnvoyFront(
            folder / "envoy", gateway=self.port, proxy=free_port(taken=(self.port,))
        )
        self.seen: list[dict[str, str]] = []
        """Headers of the requests that reached the model."""

    async def apply(self, model: int, trees: list[Mapping[str, str]]) -> None:
        """Give Envoy what these trees say, as `driftloop up` reads it from a commit."""
        routes, services = [], {}
        for files in trees:
            for path, text in files.items():
                file = self.folder / "tree" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                if path.endswith("traffic.virtualservice.yaml"):
                    routes.append(yaml.safe_load(text))
        for virtual in routes:
            for host, port in envoy.list_destinations(virtual):
                services[host] = ServiceEndpoints(host, port, (model,))
        logins = source.read_logins(self.folder / "tree", "dev")
        await self.front.apply_routes(
            EnvoyRoutes(tuple(services.values()), tuple(routes), logins=logins, settled=True)
        )

    async def ask(
        self, pipeline: str, headers: Headers | None = None, method: str = "POST"
    ) -> tuple[int, Headers, str]:
        """Status, headers and text of the answer to a prediction."""
        url = f"http://127.0.0.1:{self.port}/seldon/{pipeline}/{pipeline}/api/v1.0/predictions"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=b"{}", headers=headers) as answer,
        ):
            return answer.status, answer.headers, await answer.text()


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[Gateway, int]]:
    made = Gateway(tmp_path)

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_OPTIONS = do_POST

        def log_message(self, *_: object) -> None:
            pass

    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    command = [binaries.find_envoy(), "-c", str(made.front.bootstrap), "--use-dynamic-base-id"]
    process = subprocess.Popen(  # noqa: ASYNC220 - at once
        [*command, "-l", "error"], cwd=tmp_path / "envoy"
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not await made.front.read_statistics("^server.live"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        yield made, model.server_port
    finally:
        process.terminate()
        process.wait(PATIENCE)
        model.shutdown()


def closed(name: str, keys: str) -> dict[str, str]:
    """The tree of a pipeline whose callers bring tokens, which are told by the keys of a real issuer."""
    head, _, _ = spec_text("access").partition("  access:\n")
    spec = head.replace("access", name) + (
        f"  access:\n    jwt: {{issuer: '{ISSUER}', jwksUri: '{keys}', audiences: [{name}]}}\n"
        f"    cors: {{origins: ['{ORIGIN}']}}\n"
    )
    return render_tree(spec, (release_text("access") or "").replace("access", name))


async def test_a_token_of_the_issuer_for_this_pipeline_gets_in(
    gateway: tuple[Gateway, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, model = gateway
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    issuer, forger = Issuer(ISSUER), Issuer(ISSUER)

    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    with issuer.publish_keys(tmp_path) as keys:
        await asked.apply(model, [closed("shop", keys), closed("bank", keys), tree("plain")])
        # of two answers of one issuer's two pipelines the gateway gives the last: not whether, but how
        either = (401, 403)
        cases: list[tuple[str, Headers, tuple[int, ...]]] = [
            ("plain", {}, (200,)),
            ("shop", {}, (401,)),
            ("shop", bearer(issuer.sign(aud="shop")), (200,)),
            ("shop", bearer(issuer.sign(aud=["shop", "bank"])), (200,)),
            ("bank", bearer(issuer.sign(aud=["shop", "bank"])), (200,)),
            ("shop", bearer(issuer.sign(aud="bank")), (403,)),
            ("shop", bearer(issuer.sign(aud="other")), (403,)),
            ("shop", bearer(issuer.sign()), (403,)),
            ("shop", bearer(forger.sign(aud="shop")), either),
            ("shop", bearer(issuer.sign(aud="shop", exp=1_000_000_000)), either),
            ("shop", bearer("nonsense"), (401,)),
        ]
        for pipeline, headers, allowed in cases:
            asked.seen.clear()
            answer = await asked.ask(pipeline, headers)
            assert answer[0] in allowed, (pipeline, headers, answer)
            assert len(asked.seen) == (1 if allowed == (200,) else 0)
            assert all("authorization" not in seen for seen in asked.seen)
        status, found, text = await asked.ask("shop")
        assert (status, found["www-authenticate"]) == (401, "Bearer")
        assert text == "this model answers who brings a token or a key of its pipeline\n"

        page = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        asked.seen.clear()
        status, found, _ = await asked.ask("shop", page, "OPTIONS")
        assert (status, found["access-control-allow-origin"]) == (200, ORIGIN)
        assert "authorization" in found["access-control-allow-headers"].split(",")
        _, found, _ = await asked.ask("shop", page | {"Origin": "https://other.example"}, "OPTIONS")
        assert "access-control-allow-origin" not in found
        assert asked.seen == [], "the model answers no browser's question"
        token = bearer(issuer.sign(aud="shop"))
        status, found, _ = await asked.ask("shop", {**token, "Origin": ORIGIN})
        assert (status, found["access-control-expose-headers"]) == (200, "seldon-puid")

        # the pipeline is open again, and the other one stays closed
        open_again = {
            path: text
            for path, text in closed("shop", keys).items()
            if not path.startswith("cluster/")
        }
        (asked.folder / "tree" / "cluster" / "dev" / "access" / "shop.yaml").unlink()
        await asked.apply(model, [open_again, closed("bank", keys)])
        assert [(await asked.ask(name))[0] for name in ("shop", "bank")] == [200, 401]


async def test_a_key_opens_its_own_pipeline_until_it_is_revoked(
    gateway: tuple[Gateway, int],
) -> None:
    asked, model = gateway

    def spec(name: str) -> Path:
        return asked.folder / f"{name}.yaml"

    def commit(name: str, like: str = "access") -> dict[str, str]:
        release = (release_text(like) or "").replace(like, name)
        return render_tree(spec(name).read_text(), release)

    def type_access(*words: str) -> str:
        return type_command("access", *words, folder=asked.folder).stdout.strip()

    head, _, _ = spec_text("access").partition("  access:\n")
    keys = {}
    for name in ("shop", "bank", "lab"):
        spec(name).write_text(head.replace("access", name))
        keys[name] = {"x-api-key": type_access("add", "acme", "--to", f"{name}.yaml")}
    in_shadow = commit("lab", like="capture")
    await asked.apply(model, [commit("shop"), commit("bank"), in_shadow, tree("plain")])
    gone = {"x-api-key": keys["shop"]["x-api-key"][:-8] + "AAAAAAAA"}
    both = {**keys["shop"], "Authorization": "Bearer of-the-callers-own"}
    for pipeline, headers, status in (
        ("plain", {}, 200),
        ("shop", {}, 401),
        ("shop", keys["shop"], 200),
        ("shop", both, 200),
        ("bank", keys["bank"], 200),
        ("shop", keys["bank"], 403),
        ("bank", keys["shop"], 403),
        ("shop", gone, 401),
    ):
        asked.seen.clear()
        answer = await asked.ask(pipeline, headers)
        assert answer[0] == status, (pipeline, headers, answer)
        assert len(asked.seen) == (1 if status == 200 else 0)
        assert all({"authorization", "x-api-key"}.isdisjoint(seen) for seen in asked.seen)

    asked.seen.clear()
    assert [(await asked.ask("lab", one))[0] for one in (keys["shop"], keys["lab"])] == [403, 200]
    async with asyncio.timeout(PATIENCE):
        while len(asked.seen) < 2:  # noqa: ASYNC110 - the copy that a shadow gets
            await asyncio.sleep(0.02)
    assert len(asked.seen) == 2
    assert all("x-api-key" not in seen for seen in asked.seen)

    refused = parse_refusals(await asked.front.read_statistics("^http.gateway"))
    assert refused == CallerRefusals({"shop": 1}, {"shop": 1, "bank": 1, "lab": 1}, 1, 0)
    assert list(refused.list_lines()) == [
        "bank: refused 1 request with a login for another pipeline or audience",
        "lab: refused 1 request with a login for another pipeline or audience",
        "shop: refused 1 request without a login, 1 request with a login for another pipeline or audience",
        "refused 1 request with an invalid token or key",
    ]

    assert keys["shop"]["x-api-key"] not in json.dumps([commit("shop"), spec("shop").read_text()])
    other = {"x-api-key": type_access("add", "other", "--to", "shop.yaml")}
    type_access("revoke", "acme", "--from", "shop.yaml")
    await asked.apply(model, [commit("shop"), commit("bank")])
    answers = [(await asked.ask("shop", one))[0] for one in (keys["shop"], other)]
    assert answers == [401, 200]
    type_access("revoke", "other", "--from", "shop.yaml")
    await asked.apply(model, [commit("shop"), commit("bank")])
    assert [(await asked.ask("shop", one))[0] for one in ({}, other, keys["bank"])] == [
        401,
        401,
        403,
    ]


def read_logins(folder: Path, change: Any) -> tuple[dict[str, Any], ...]:
    """The logins of the golden pipeline after a change of one of its two objects."""
    file = folder / "cluster" / "dev" / "access" / "access.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    documents = list(yaml.safe_load_all(tree("access")["cluster/dev/access/access.yaml"]))
    logins = {item["kind"]: item for item in documents if item["apiVersion"].startswith("security")}
    change(logins)
    file.write_text(yaml.safe_dump_all(documents))
    return source.read_logins(folder, "dev")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda found: found["AuthorizationPolicy"]["spec"].update(action="ALLOW"),
            "`spec.action` is ALLOW, must be DENY",
        ),
        (
            lambda found: found["AuthorizationPolicy"]["spec"].update(selector={}),
            "`spec.selector` is {}, must be the gateway's",
        ),
        (
            lambda found: found["AuthorizationPolicy"]["spec"]["rules"][0]["to"][0][
                "operation"
            ].update(hosts=["a"]),
            r"operation.hosts` is not supported by the local runtime",
        ),
        (
            lambda found: found["AuthorizationPolicy"]["spec"]["rules"][2]["when"][0].update(
                key="source.ip"
            ),
            "`source.ip`, which is not supported",
        ),
        (
            lambda found: found["RequestAuthentication"]["spec"]["jwtRules"][1].pop("jwksUri"),
            "must have either `jwks` or `jwksUri`",
        ),
        (
            lambda found: found["RequestAuthentication"]["spec"]["jwtRules"][0].update(jwks="[]"),
            "`spec.jwtRules[].jwks` is no JSON Web Key Set",
        ),
        (
            lambda found: found["RequestAuthentication"]["spec"]["jwtRules"][0].update(
                jwks='{"keys": []}'
            ),
            "`spec.jwtRules[].jwks` has no key",
        ),
        (
            lambda found: found["RequestAuthentication"]["spec"]["jwtRules"][0].pop("fromHeaders"),
            "`spec.jwtRules[].fromHeaders` is missing",
        ),
        (
            lambda found: found["RequestAuthentication"]["metadata"].update(namespace="access"),
            "logins of 2 gateways: access",
        ),
    ],
)
def test_what_would_not_be_done_here_is_refused_by_name(
    tmp_path: Path, change: Any, words: str
) -> None:
    assert len(read_logins(tmp_path, lambda found: None)) == 2
    with pytest.raises(LocalError) as error:
        read_logins(tmp_path, change)
    assert words in str(error.value)
    assert str(error.value).startswith("cluster/")


def test_the_clusters_gateway_tells_who_brings_nothing_as_the_one_here_does() -> None:
    (patch,) = yaml.safe_load((CONFIGS / "login.envoyfilter.yaml").read_text())["spec"][
        "configPatches"
    ]
    mappers = patch["patch"]["value"]["typed_config"]["local_reply_config"]["mappers"]
    assert mappers == [UNKNOWN_CALLER]
