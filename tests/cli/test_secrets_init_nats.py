"""The users of NATS that `driftloop secrets init` seals, at a real server: one namespace after another, in any order,
repeated."""

import asyncio
from pathlib import Path

import pytest
import yaml
from cli.test_secrets_init import BASE, ORDERS, USERS, files, init, keys, objects, opened
from support.accounts import Accounts
from support.processes import PATIENCE

from driftloop.clients.nats import ensure_contract_stream, open_connection
from driftloop.contract.accounts import NatsRole
from driftloop.contract.streams import DEAD_LETTERS
from driftloop.errors import StoreError

__all__ = ["init", "keys"]
INFRASTRUCTURE = ("infrastructure/controllers/nats.yaml", "infrastructure/controllers/knative.yaml")


def sealed(keys, folder, path):
    return opened(keys, yaml.safe_load((folder / path).read_text()))


def addresses(keys, folder, namespace):
    values = sealed(keys, folder, f"{BASE}/{namespace}/driftloop-platform.sealedsecret.yaml")
    return {role: values[f"nats-{role}"].decode() for role in NatsRole}


@pytest.fixture
def enter(keys, tmp_path):
    """Whether NATS lets a URL of the committed files in, with the users that are committed."""
    running = []

    def ask(url):
        if not running:
            running.append(Accounts.start(tmp_path / "server"))
        server = running[0]
        values = sealed(keys, tmp_path, USERS)
        joined = "".join(values[key].decode() for key in sorted(values))
        server.load(f"accounts {{\n{joined}}}\n")
        local = url.replace(
            "nats.nats-io.svc.cluster.local:4222", f"127.0.0.1:{server.process.port}"
        )

        async def store(wait):
            async with open_connection(local, name="test", wait=wait) as js:
                await ensure_contract_stream(js, DEAD_LETTERS)

        said = ""
        # who is refused is told so at the end of the time: a busy machine gets more of it for the others only
        for wait in (2, PATIENCE):
            try:
                asyncio.run(store(wait))
            except StoreError as error:
                said = error.message
                if "refuses" in said:
                    break
            else:
                return "in"
        return said

    yield ask
    for server in running:
        server.process.kill()


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_each_namespace_gets_users_and_keeps_them(init, keys, tmp_path, enter, order):
    first = {}
    for namespace in order:
        assert init("-n", namespace).returncode == 0
        first[namespace] = addresses(keys, tmp_path, namespace)
        assert {n: addresses(keys, tmp_path, n) for n in first} == first
    knative = sealed(keys, tmp_path, f"{BASE}/nats-io/nats-knative.sealedsecret.yaml")
    for namespace in order:
        assert enter(first[namespace][NatsRole.DECISION]) == "in"
        assert enter(first[namespace][NatsRole.DETECTOR]) == "in"
    password = knative["NATS_KNATIVE_PASSWORD"].decode()
    assert enter(f"nats://knative:{password}@nats.nats-io.svc.cluster.local:4222") == "in"

    again = order[1]
    assert init("-n", again).returncode == 1
    assert enter(first[again][NatsRole.DECISION]) == "in"
    assert init("-n", again, "--force").returncode == 0
    assert "refuses the user" in enter(first[again][NatsRole.DECISION])
    assert enter(addresses(keys, tmp_path, again)[NatsRole.DECISION]) == "in"
    for namespace in set(order) - {again}:
        assert enter(first[namespace][NatsRole.DECISION]) == "in"
    assert sealed(keys, tmp_path, f"{BASE}/nats-io/nats-knative.sealedsecret.yaml") == knative


def test_nothing_in_git_or_at_the_server_is_a_password(init, keys, tmp_path):
    assert init("-n", "a").returncode == 0
    passwords = {
        url.split(":")[2].split("@")[0]
        for url in addresses(keys, tmp_path, "a").values()
        if "@" in url
    }
    assert len(passwords) == 6
    for text in (*files(tmp_path).values(), *sealed(keys, tmp_path, USERS).values()):
        assert not any(password.encode() in text for password in passwords)
    document = yaml.safe_load((tmp_path / USERS).read_text())
    assert document["metadata"]["namespace"] == "nats-io"
    assert set(document["spec"]["template"]["data"]) == {"users.conf"}


def test_the_tree_takes_what_is_sealed(init, keys, tmp_path):
    """Names that two files of the tree have to share with what is written here."""
    assert init("-n", "a").returncode == 0
    built = objects(tmp_path / BASE)
    cluster = Path(__file__).parents[2] / "cluster"
    nats, knative = ((cluster / path).read_text() for path in INFRASTRUCTURE)
    (release,) = (d for d in yaml.safe_load_all(nats) if d["kind"] == "HelmRelease")
    (volume,) = release["spec"]["values"]["podTemplate"]["patch"]
    source = volume["value"]["secret"]
    assert ("SealedSecret", "nats-io", source["secretName"]) in built
    (item,) = source["items"]
    assert item["key"] in built["SealedSecret", "nats-io", "nats-users"]["spec"]["template"]["data"]
    (filled,) = (d for d in yaml.safe_load_all(knative) if "postBuild" in d["spec"])
    (taken,) = filled["spec"]["postBuild"]["substituteFrom"]
    assert ("SealedSecret", "flux-system", taken["name"]) in built
    values = built["SealedSecret", "flux-system", taken["name"]]["spec"]["encryptedData"]
    config = (cluster / "infrastructure/knative-nats/config-nats.configmap.yaml").read_text()
    assert [f"${{{key}}}" in config for key in values] == [True]


def test_a_namespace_from_before_is_told(init, tmp_path):
    assert init("-n", "a").returncode == 0
    (tmp_path / USERS).unlink()
    result = init("-n", "b")
    assert result.returncode == 0
    assert "`a` has no user in NATS" in result.stderr
    assert "`b` has no user" not in result.stderr
    result = init("-n", "a", "--force")
    assert "has no user" not in result.stderr


def test_a_nats_of_ones_own_has_its_own_user(init, keys, tmp_path):
    own = ("-n", "a", "--nats-url", "tls://nats.acme:4222")
    assert init(*own).returncode == 0
    urls = addresses(keys, tmp_path, "a")
    assert {urls[role] for role in NatsRole if role is not NatsRole.BUS} == {"tls://nats.acme:4222"}
    env = {"DRIFTLOOP_NATS_USERNAME": "u", "DRIFTLOOP_NATS_PASSWORD": "p"}
    assert init(*own, "--force", **env).returncode == 0
    urls = addresses(keys, tmp_path, "a")
    assert urls[NatsRole.STEP] == "tls://u:p@nats.acme:4222"
    # Argo's bus is on the platform's NATS in any case
    assert urls[NatsRole.BUS].startswith("username: a_bus\n")
