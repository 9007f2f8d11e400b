"""What one part, or one namespace, gets of another's: asked of the real NATS, with the credentials that pods have."""

import asyncio
import base64
import json
from urllib.parse import urlsplit

import pytest
import yaml
from cluster.streams import Streams
from cluster.world import N, P

from driftloop.clients.nats import connect_client
from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.accounts import NatsRole
from driftloop.contract.streams import DECISIONS, VERDICTS, DetectorStreams, decision_key
from driftloop.errors import StoreError

OTHERS = ("other", "third")
TRY = """
import asyncio, json, os, sys
import nats

async def main():
    refused = []

    async def told(error):
        refused.append(str(error))

    client = await nats.connect(os.environ["NATS_URL"], error_cb=told)
    answers = {}
    for name, subject, data in json.loads(sys.argv[1]):
        try:
            answer = await client.request(subject, data.encode(), timeout=2)
            answers[name] = json.loads(answer.data).get("error", {}).get("description", "done")
        except Exception as error:
            answers[name] = type(error).__name__
    print(json.dumps(answers))
    await client.close()

asyncio.run(main())
"""


def tries(*, namespace=N):
    """Every way to the decision's state, and to a detector's verdicts."""
    streams = DetectorStreams(namespace, P, "drift", "r1")
    at = f"{DECISIONS.prefix}{decision_key(namespace, P)}"
    return {
        "read the decision": (f"$JS.API.STREAM.MSG.GET.{DECISIONS.stream}", json.dumps({"last_by_subj": at})),
        "write the decision": (at, "{}"),
        "delete the decision": (f"$JS.API.STREAM.DELETE.{DECISIONS.stream}", ""),
        "purge the decision": (f"$JS.API.STREAM.PURGE.{DECISIONS.stream}", ""),
        "read verdicts": (f"$JS.API.STREAM.INFO.{VERDICTS.name}", ""),
        "read events": (f"$JS.API.STREAM.INFO.{streams.stream}", ""),
        "read the bus": ("$JS.API.STREAM.INFO.default", ""),
        "read the Broker": (f"$JS.API.STREAM.INFO.KN_{namespace.upper()}__DEFAULT_KNE_TRIGGER", ""),
    }  # fmt: skip


def in_pod(it, deployment, wanted):
    """What a running part of the pipeline gets, by its own NATS_URL."""
    asked = json.dumps([[name, *wanted[name]] for name in wanted])
    text = it.kube.run(
        "-n", N, "exec", f"deployment/{deployment}", "--", "python", "-c", TRY, asked
    )
    answers = json.loads(text.strip().splitlines()[-1])
    it.say(f"{deployment}: {answers}")
    return {name for name, answer in answers.items() if answer == "done"}


def from_here(it, user, wanted):
    """The same from outside, by a user of the pipeline's."""
    credential = bus(it, N) if user == NatsRole.BUS else it.nats_user(user)
    return ask_as(it, credential, wanted)


def ask_as(it, credential, wanted):

    async def ask(js):
        done = set()
        for name, (subject, data) in wanted.items():
            try:
                answer = await js._nc.request(subject, data.encode(), timeout=2)
            except Exception as error:
                it.say(f"{credential.partition(':')[0]}: {name}: {type(error).__name__}")
                continue
            if "error" not in json.loads(answer.data):
                done.add(name)
        return done

    streams = Streams(it.streams.address, N, P, lambda _: credential)
    return streams.do(ask, "")


def test_each_part_reaches_only_its_own_streams(it):
    wanted = tries()
    it.kube.wait("no cooldown ends meanwhile", lambda: it.streams.decision().phase != "cooling")
    before = it.streams.decision()
    assert in_pod(it, f"{P}-drift", wanted) == {"read verdicts", "read events"}
    harmless = {name: ask for name, ask in wanted.items() if name.startswith("read ")}
    assert in_pod(it, f"{P}-judge", wanted) == set()
    assert in_pod(it, f"{P}-decision", harmless) == {"read the decision"}
    assert from_here(it, "reader", wanted) == {"read verdicts", "read events"}
    assert from_here(it, "bus", wanted) == {"read the bus"}
    assert from_here(it, "step", harmless) == {"read the decision"}
    assert from_here(it, "knative", harmless) == {"read the Broker"}
    assert it.streams.decision() == before


@pytest.mark.parametrize("user", ["", "digits_detector:guess@", "knative:guess@"])
def test_nobody_gets_in_without_a_password(it, user):
    with pytest.raises(StoreError) as refused:
        asyncio.run(connect_client(f"nats://{user}{it.streams.address}", name="test", wait=10))
    it.say(refused.value.message)
    assert "refuses" in refused.value.message


def test_further_namespaces_come_and_meet_nothing(it):
    """`secrets init` for two more, one after the other; what the first one has stays, and its pods stay connected."""
    restarts, endpoint = pods(it), it.s3()["AWS_ENDPOINT_URL"]
    held = it.kube.get("secret", "driftloop-platform", N)["data"]
    for name in OTHERS:
        init(it, name)
        it.kube.wait(
            f"{name} has its Secret",
            lambda name=name: it.kube.get("secret", "driftloop-platform", name),
            timeout=300,
        )
        users = {role: user(it, name, role) for role in NatsRole}
        it.kube.wait(
            "NATS knows its users", lambda users=users: lets_in(it, users["judge"]), timeout=240
        )
        wanted = tries()
        for role in ("detector", "judge", "decision", "step", "bus"):
            assert ask_as(it, users[role], wanted) == set(), (name, role)
        # the store starts again with the key
        it.kube.wait(
            "S3 knows its key", lambda name=name: keeps_out(it, endpoint, name), timeout=300
        )
    assert it.kube.get("secret", "driftloop-platform", N)["data"] == held
    assert batches(it)
    assert from_here(it, "step", {"r": tries()["read the decision"]}) == {"r"}
    assert pods(it) == restarts


def lets_in(it, credential):
    async def enter():
        client = await connect_client(
            f"nats://{credential}@{it.streams.address}", name="test", wait=5
        )
        await client.close()

    try:
        asyncio.run(enter())
    except StoreError:
        return False
    return True


def user(it, namespace, role):
    """`user:password` of a role of a namespace."""
    if role is NatsRole.BUS:
        return bus(it, namespace)
    return urlsplit(setting(it, namespace, role)).netloc.rpartition("@")[0]


def bus(it, namespace):
    document = yaml.safe_load(setting(it, namespace, NatsRole.BUS))
    return f"{document['username']}:{document['password']}"


def setting(it, namespace, role=None, *, key=None):
    data = it.kube.get("secret", "driftloop-platform", namespace)["data"]
    return base64.b64decode(data[key or f"nats-{role}"]).decode()


def keeps_out(it, endpoint, name):
    """Whether S3 takes a namespace's key in its own bucket; it must refuse it in the pipeline's."""
    store = ObjectStore.from_endpoint(
        endpoint,
        access_key=setting(it, name, key="accesskey"),
        secret_key=setting(it, name, key="secretkey"),
    )
    try:
        store.create_bucket(f"driftloop-{name}")
        store.write_object(StoreLocation(f"driftloop-{name}", "mine"), b"mine")
    except StoreError as error:
        it.say(f"{name}: {error.message}")
        return False
    model = parse_location(it.release()["production"]["model"])
    for at in (model, parse_location(f"s3://{N}/batches")):
        for ask in (
            lambda at=at: store.list_folder(at),
            lambda at=at: store.write_object(at / "forged", b"forged"),
            lambda at=at: store.delete_object(at / "forged"),
        ):
            with pytest.raises(StoreError, match="denies access"):
                ask()
    return True


def batches(it):
    """What a person lists through the cluster, with the rights of a kubeconfig."""
    return it.driftloop("data", "ls", P, "--cluster")


def init(it, name):
    work = it.folder / f"init-{name}"
    it.git("clone", "-q", str(it.bare), str(work), cwd=it.folder)
    certificate = it.folder / "more.pem"
    certificate.write_text(it.certificate())
    it.driftloop(
        "secrets", "init", "-n", name, "--cert", certificate, "--git-url", it.url, "--into", work
    )
    it.git("add", "-A", cwd=work)
    it.git("commit", "-q", "-m", f"Let {name} reach the platform", cwd=work)
    it.git("push", "-q", "origin", "HEAD:main", cwd=work)
    it.fetched()


def pods(it):
    """Restarts of the pipeline's pods that hold a connection, by name."""
    found = {}
    for pod in it.kube.get("pods", namespace=N):
        component = pod["metadata"]["labels"].get("app.kubernetes.io/component", "")
        if component in ("drift", "decision", "judge"):
            statuses = pod["status"].get("containerStatuses", [])
            found[pod["metadata"]["name"]] = sum(status["restartCount"] for status in statuses)
    return found
