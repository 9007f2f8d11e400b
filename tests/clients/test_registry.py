"""What a tag stands for: asked of a real registry, and of a small one that wants tokens and has bad days."""

import base64
import json
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes import free_port
from support.registry import BINARY, MANIFEST, Pusher, Small, digest_of, distribution
from yarl import URL

from driftloop.clients import registry
from driftloop.clients.docker_config import DockerConfig, RegistryLogin
from driftloop.clients.registry import ImageReference, RegistryClient
from driftloop.errors import RegistryError

REF, CONTENT = "acme/model", b'{"schemaVersion": 2}'


@pytest.fixture
def small() -> Iterator[Small]:
    with Small({f"{REF}:1.0.0": CONTENT}).serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PAUSES", (0.0, 0.0))


def asked(small: Small, *refs: str, config: DockerConfig | None = None) -> dict[str, str]:
    refs = refs or (f"{small.host}/{REF}:1.0.0",)
    return RegistryClient(config or DockerConfig()).read_digests(refs, say=lambda _: None)


def refused(small: Small, *refs: str, config: DockerConfig | None = None) -> str:
    with pytest.raises(RegistryError) as caught:
        asked(small, *refs, config=config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("ref", "registry", "repository", "tag"),
    [
        ("python:3.11", "docker.io", "library/python", "3.11"),
        ("acme/model:1", "docker.io", "acme/model", "1"),
        ("docker.io/python:3", "docker.io", "library/python", "3"),
        ("ghcr.io/acme/a/b:v1.0", "ghcr.io", "acme/a/b", "v1.0"),
        ("localhost/a:1", "localhost", "a", "1"),
        ("localhost:5000/a/b:1", "localhost:5000", "a/b", "1"),
    ],
)
def test_a_ref_is_taken_apart_as_container_runtimes_do_it(
    ref: str, registry: str, repository: str, tag: str
) -> None:
    assert ImageReference.parse_text(ref) == ImageReference(ref, registry, repository, tag)


@pytest.mark.skipif(BINARY is None, reason="no docker-registry on this machine")
def test_a_real_registry_answers_an_images_digest_and_an_indexs(tmp_path: Path) -> None:
    with distribution(tmp_path) as host:
        push = Pusher(host)
        single = push.image("acme/single", "1.0.0", "one")
        both = push.index("acme/both", "1.0.0", "amd", "arm")
        said: list[str] = []
        refs = [f"{host}/acme/both:1.0.0", f"{host}/acme/single:1.0.0"]
        assert RegistryClient().read_digests(refs, say=said.append) == dict(
            zip(refs, [both, single], strict=True)
        )
        assert said[0] == f"asking {host} for the digests of 2 images"
        assert set(said[1:]) == {f"  {refs[0]} is {both}", f"  {refs[1]} is {single}"}
        moved = push.image("acme/single", "1.0.0", "two")
        assert RegistryClient().read_digests(refs[1:], say=said.append) == {refs[1]: moved}
        mirror = RegistryClient(mirrors={"ghcr.io": f"http://{host}"})
        assert mirror.read_digests(["ghcr.io/acme/both:1.0.0"], say=said.append) == {
            "ghcr.io/acme/both:1.0.0": both
        }
        with pytest.raises(RegistryError) as caught:
            RegistryClient().read_digests(
                [refs[0], f"{host}/acme/both:9", f"{host}/acme/none:1"], say=said.append
            )
    assert caught.value.message.splitlines() == [
        f"image `{host}/acme/both:9`: {host} has no tag `9` of `acme/both`",
        f"image `{host}/acme/none:1`: {host} has no tag `1` of `acme/none`",
    ]


def test_nobody_in_particular_gets_a_token_for_a_public_image(small: Small) -> None:
    small.auth = "bearer"
    assert list(asked(small).values()) == [digest_of(CONTENT)]
    token = next(path for _, path, _ in small.seen if path.startswith("/token"))
    assert token == f"/token?service=small&scope=repository:{REF}:pull"
    assert [method for method, path, _ in small.seen if path.startswith("/v2/")] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("auth", ["bearer", "basic"])
def test_a_login_opens_a_private_image(small: Small, auth: str) -> None:
    small.auth, small.private, small.users = auth, {REF}, {"me": "pa:ss"}
    without = refused(small)
    assert f"{small.host} does not show `{REF}` without a login" in without
    assert f"hint: check that it exists; if it is private, `docker login {small.host}`" in without
    known = DockerConfig(auths={small.host: RegistryLogin("me", "pa:ss")})
    assert list(asked(small, config=known).values()) == [digest_of(CONTENT)]
    wrong = DockerConfig(auths={small.host: RegistryLogin("me", "other")})
    assert f"does not show `{REF}` with the login from Docker's config.json" in refused(
        small, config=wrong
    )


def test_an_identity_token_is_exchanged(small: Small) -> None:
    small.auth, small.private, small.refresh = "bearer", {REF}, "long+lived"
    config = DockerConfig(auths={small.host: RegistryLogin("me", "long+lived", identity=True)})
    assert list(asked(small, config=config).values()) == [digest_of(CONTENT)]


def test_a_registry_that_says_no_digest_is_read_and_hashed(small: Small) -> None:
    small.silent, small.kind = True, MANIFEST
    assert list(asked(small).values()) == [digest_of(CONTENT)]
    small.images[f"{REF}:1.0.0"] = b" " * (registry.LARGEST + 1)
    assert f"answered with more than {registry.LARGEST} bytes" in refused(small)


def test_what_may_be_better_soon_is_tried_again(small: Small) -> None:
    small.broken = [503, 429]
    assert list(asked(small).values()) == [digest_of(CONTENT)]
    small.broken = [500, 502, 503]
    assert (
        f"{small.host} can't be reached: the registry answered 503 Service Unavailable"
        in refused(small)
    )


def test_a_redirect_is_followed_and_no_login_goes_with_it(small: Small) -> None:
    with Small({f"{REF}:1.0.0": CONTENT}, auth="bearer").serving() as other:
        small.elsewhere = f"http://{other.host}"
        config = DockerConfig(auths={small.host: RegistryLogin("me", "secret")})
        assert list(asked(small, config=config).values()) == [digest_of(CONTENT)]
    assert not any(authorization.startswith("Basic") for _, _, authorization in other.seen)


@pytest.mark.parametrize("identity", [True, False])
def test_no_login_goes_along_where_tokens_requests_are_sent_on_to(
    small: Small, identity: bool
) -> None:
    small.auth, small.refresh, small.users = "bearer", "idt", {"u": "idt"}
    with Small().serving() as other:
        small.tokens_elsewhere = f"http://{other.host}"
        config = DockerConfig(auths={small.host: RegistryLogin("u", "idt", identity=identity)})
        with suppress(RegistryError):
            asked(small, config=config)
        assert any(
            login.startswith("form " if identity else "Basic ") for _, _, login in small.seen
        )
        assert not any(login for _, _, login in other.seen)


def test_redirects_end_and_keep_tls(small: Small) -> None:
    small.elsewhere = f"http://{small.host}"
    assert "redirects more than 5 times" in refused(small)
    for place, said in (
        ("ftp://h", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://h:99999", "is not a URL"),
    ):
        small.elsewhere = place
        assert said in refused(small)
    with pytest.raises(RegistryError, match="without TLS"):
        registry._sent_on(URL("https://h/a"), "http://h/a", secret=False)
    assert registry._sent_on(URL("https://h/a"), "b?c=%2Fd", secret=False) == URL(
        "https://h/b?c=%2Fd"
    )


def test_a_netrc_is_not_read(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert asked(small)
    assert [login for _, _, login in small.seen] == [""]
    small.auth, small.users = "basic", {"u": "p"}
    assert asked(small, config=DockerConfig(auths={small.host: RegistryLogin("u", "p")}))


def test_a_proxy_is_asked_where_there_is_one(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    registries = RegistryClient(mirrors={"ghcr.io": "http://mirror.example.org:81"})
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://{small.host}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    ref = f"ghcr.io/{REF}:1.0.0"
    assert registries.read_digests([ref], say=lambda _: None) == {ref: digest_of(CONTENT)}
    assert [path for _, path, _ in small.seen] == [
        f"http://mirror.example.org:81/v2/{REF}/manifests/1.0.0"
    ]
    assert asked(small)  # by itself, not by the proxy
    assert small.seen[-1][1] == f"/v2/{REF}/manifests/1.0.0"


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="small", Bearer realm="http://{host}/token",service="small"',
        'Bearer realm="http://{host}/token", Basic realm="small"',
        'Negotiate, bearer REALM="http://{host}/token"',
        'Bearer realm="http://a:b@{host}/token"',
        'Bearer realm="http://{host}/token",service="sm\xe4ll"',
    ],
)
@pytest.mark.parametrize(
    "login", [RegistryLogin("u", "idt", identity=True), RegistryLogin("u", "idt"), None]
)
def test_a_challenge_is_understood_however_it_is_written(
    small: Small, challenge: str, login: RegistryLogin | None
) -> None:
    small.auth, small.refresh, small.users, small.challenge = (
        "bearer",
        "idt",
        {"u": "idt"},
        challenge,
    )
    config = DockerConfig(auths={small.host: login} if login is not None else {})
    assert asked(small, config=config) == {f"{small.host}/{REF}:1.0.0": digest_of(CONTENT)}


@pytest.mark.parametrize(
    "realm",
    ["", "realm=x", "realm=http://example.org/t", "realm=https://x:99999/", "realm=https:/t"],
)
def test_a_token_is_not_fetched_from_anywhere(small: Small, realm: str) -> None:
    small.auth, small.challenge = "bearer", f"Bearer {realm}".strip()
    assert "which must be https" in refused(
        small, config=DockerConfig(auths={small.host: RegistryLogin("u", "p")})
    )


def test_an_address_that_can_be_none_is_said(small: Small) -> None:
    assert "`https://h:99999` is not a registry's URL" in refused(small, "h:99999/a:1")


def test_answers_that_are_no_image_are_refused(small: Small) -> None:
    small.silent, small.images[f"{REF}:0"] = True, b""
    assert "answered 405" in refused(small, f"{small.host}/{REF}:0")
    small.silent = False
    small.kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    assert "which is not a supported image manifest" in refused(small)
    small.kind, small.broken = MANIFEST, [418]
    assert f"{small.host} answered 418" in refused(small)


def test_nobody_there_is_said_with_a_way_out(small: Small) -> None:
    host = f"127.0.0.1:{free_port()}"
    said = refused(small, f"{host}/a:1", f"{small.host}/{REF}:1.0.0")
    assert said.startswith(f"image `{host}/a:1`: {host} can't be reached: ")
    assert "hint: check the network and HTTPS_PROXY" in said
    assert len(said.splitlines()) == 2, "the other image has no fault"


def test_a_login_is_not_sent_over_plain_http_to_another_machine(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.auth = "bearer"
    monkeypatch.setattr(registry, "_is_local", lambda _: False)
    mirror = RegistryClient(
        DockerConfig(auths={small.host: RegistryLogin("me", "secret")}),
        {"ghcr.io": f"http://{small.host}"},
    )
    with pytest.raises(RegistryError, match="requires a login, which is not sent over plain HTTP"):
        mirror.read_digests([f"ghcr.io/{REF}:1.0.0"], say=lambda _: None)
    with pytest.raises(
        RegistryError, match=r"requires a token from `http://.*`, which must be https"
    ):
        RegistryClient(mirrors=mirror.mirrors).read_digests(
            [f"ghcr.io/{REF}:1.0.0"], say=lambda _: None
        )
    assert {authorization for _, _, authorization in small.seen} == {""}


def test_logins_are_found_where_docker_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DockerConfig.read_file(tmp_path / "config.json") == DockerConfig()
    encoded = base64.b64encode(b"me:pa:ss").decode()
    helper = tmp_path / "docker-credential-own"
    helper.write_text(
        "#!/bin/sh\nread server\n"
        'case "$server" in *.ecr.example) echo \'{"Username": "AWS", "Secret": "s3"}\';;\n'
        'azure.example) echo \'{"Username": "<token>", "Secret": "t"}\';; *) echo not found; exit 1;; esac\n'
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": encoded},
                    "ghcr.io": {"username": "u", "password": "p"},
                    "https://quay.example/v2/": {"identitytoken": "long"},
                    "asked.example": {},
                },
                "credHelpers": {"1.ecr.example": "own", "gone.example": "missing"},
                "credsStore": "own",
            }
        )
    )
    config = DockerConfig.read_file(tmp_path / "config.json")
    assert config.find_login("docker.io") == RegistryLogin("me", "pa:ss")
    assert config.find_login("ghcr.io") == RegistryLogin("u", "p")
    assert config.find_login("quay.example") == RegistryLogin("", "long", identity=True)
    assert config.find_login("1.ecr.example") == RegistryLogin("AWS", "s3")
    assert config.find_login("azure.example") == RegistryLogin("<token>", "t", identity=True)
    assert (
        config.find_login("gone.example")
        is config.find_login("asked.example")
        is config.find_login("other.example")
        is None
    )
    assert "pa:ss" not in repr(config)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"auths": {"a": {"auth": "?"}}}', '{"credsStore": "../x"}']
)
def test_a_file_that_docker_would_not_write_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RegistryError, match="is not a Docker config file"):
        DockerConfig.read_file(tmp_path / "config.json")
