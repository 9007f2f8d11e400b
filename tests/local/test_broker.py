"""The broker over a real NATS server: what the ingress answers, and what reaches a subscriber."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import httptools
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import PATIENCE, Process, free_port, nats, until, url

from driftloop.clients import events
from driftloop.clients.nats import connect_client
from driftloop.local.knative import courier, objects
from driftloop.local.knative.service import serve_broker

REQUEST = "io.seldon.serving.inference.request"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = nats(tmp_path_factory.mktemp("nats")).start()
    yield process
    process.kill()


class Subscriber:
    """Counts what it gets; `answers` are given out first, then 202."""

    def __init__(self) -> None:
        self.got: list[events.Event] = []
        self.answers: list[web.Response] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        event = events.from_http(request.headers, await request.read())
        self.got.append(event)
        return self.answers.pop(0) if self.answers else web.Response(status=202)

    def ids(self) -> list[str]:
        return [event.id for event in self.got]


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    it = Subscriber()
    runner = web.ServerRunner(web.Server(it.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.port = runner.addresses[0][1]
    yield it
    await runner.cleanup()


def broker(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": spec,
    }


def trigger(namespace: str, name: str, *, uri: str = "", **spec: Any) -> dict[str, Any]:
    reference = {
        "ref": {"apiVersion": "v1", "kind": "Service", "name": "sub", "namespace": namespace}
    }
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "broker": "default",
            "subscriber": {"uri": uri} if uri else reference,
            "delivery": {
                "retry": 3,
                "backoffPolicy": "linear",
                "backoffDelay": "PT0.05S",
                "timeout": "PT5S",
            },
            **spec,
        },
    }


class Platform:
    """A broker with its run folder; `apply` is what the reconciler does."""

    def __init__(self, run: Path, port: int, namespace: str) -> None:
        self.run = run
        self.port = port
        self.namespace = namespace
        self.session = aiohttp.ClientSession()

    def replace(self, name: str, document: object) -> None:
        temporary = self.run / f"{name}.tmp"
        temporary.write_text(json.dumps(document))
        temporary.replace(self.run / name)

    async def apply(self, *objects: dict[str, Any]) -> None:
        report = self.run / "broker.json"
        before = report.stat().st_mtime_ns if report.exists() else 0
        self.replace("objects.json", {"revision": "1", "objects": list(objects)})
        await until(
            lambda: report.exists() and report.stat().st_mtime_ns != before,
            what="the broker's apply",
        )

    def addresses(self, subscriber: Subscriber) -> None:
        self.replace(
            "addresses.json",
            {f"sub.{self.namespace}.svc.cluster.local:80": f"127.0.0.1:{subscriber.port}"},
        )

    async def post(
        self, body: bytes = b"{}", *, path: str | None = None, method: str = "POST", **headers: str
    ) -> tuple[int, str]:
        address = f"http://127.0.0.1:{self.port}{path or f'/{self.namespace}/default'}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, address, data=body, headers=named) as answer:
            return answer.status, await answer.text()

    async def send(
        self, id: str, type: str = REQUEST, body: bytes = b"{}", **extensions: str
    ) -> int:
        headers = {"ce-id": id, "ce-type": type, "ce-source": "test", "ce-specversion": "1.0"}
        headers |= {f"ce-{name}": value for name, value in extensions.items()}
        status, _ = await self.post(body, Content_Type="application/json", **headers)
        return status


@pytest.fixture
async def platform(
    server: Process, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Platform]:
    port = free_port()
    started = asyncio.Event()
    namespace = request.node.name.removeprefix("test_").replace("_", "-")[:40].split("[")[0]
    task = asyncio.create_task(
        serve_broker(tmp_path, nats_url=url(server), port=port, ready=started.set)
    )
    await asyncio.wait_for(started.wait(), PATIENCE)
    it = Platform(tmp_path, port, namespace)
    yield it
    await it.session.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_events_arrive_once_and_untouched(platform: Platform, subscriber: Subscriber) -> None:
    platform.addresses(subscriber)
    await platform.apply(
        broker(platform.namespace),
        trigger(
            platform.namespace,
            "requests",
            filter={"attributes": {"type": REQUEST, "endpoint": "r1"}},
        ),
    )
    body = b'\xff\xfe{"data": \x00 binary'
    assert await platform.send("a", endpoint="r1", body=body, inferenceservicename="digits") == 202
    assert await platform.send("a", endpoint="r1", body=body) == 202
    assert await platform.send("b", endpoint="r2") == 202
    assert await platform.send("c", type="other", endpoint="r1") == 202
    assert await platform.send("d", endpoint="r1") == 202
    # several are under way at once: the last one may come first
    await until(lambda: {"a", "d"} <= set(subscriber.ids()))
    assert sorted(subscriber.ids()) == ["a", "d"]
    first = next(event for event in subscriber.got if event.id == "a")
    assert first.body == body
    assert first.get("inferenceservicename") == "digits"
    assert (
        first.get(
            "knativearrivaltime",
        )
        is not None
    )
    assert first.get("knativebrokerttl") is None


async def test_two_events_with_one_id_and_different_sources_are_two(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "all"))
    good = {"ce-id": "1", "ce-type": "t", "ce-specversion": "1.0"}
    for source in ("/one", "/two", "/one", "/a b", "/a%20b", "/" + 1000 * "\u00e9"):
        quoted = quote(source)
        assert (await platform.post(b"{}", **good, **{"ce-source": quoted}))[0] == 202
    await until(lambda: len(subscriber.got) >= 5)
    await asyncio.sleep(0.2)
    sources = sorted(event.get("source") or "" for event in subscriber.got)
    assert sources == sorted(["/one", "/two", "/a b", "/a%20b", "/" + 1000 * "\u00e9"])


async def test_a_broker_that_has_just_started_says_when_to_ask_again(platform: Platform) -> None:
    good = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    address = f"http://127.0.0.1:{platform.port}/{platform.namespace}/default"
    async with platform.session.post(address, data=b"{}", headers=good) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    await platform.apply(broker(platform.namespace))
    assert (await platform.post(b"{}", **good))[0] == 202


async def test_what_the_ingress_answers(platform: Platform) -> None:
    await platform.apply(broker(platform.namespace))
    good = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    assert (await platform.post(b"{}", **good))[0] == 202
    assert (await platform.post(b"{}", path="/nowhere/default", **good))[0] == 404
    assert (await platform.post(b"{}", path="/x", **good))[0] == 404
    assert (await platform.post(b"", method="PUT", **good))[0] == 405
    assert (await platform.post(b"{}"))[0] == 400
    status, text = await platform.post(b"{}", **{k: v for k, v in good.items() if k != "ce-type"})
    assert (status, text) == (400, "the CloudEvent has no type")
    assert (await platform.post(b"{}", **{**good, "ce-specversion": "0.3"}))[0] == 400
    assert (await platform.post(b"x" * (1024 * 1024 + 1), **good))[0] == 413
    assert (await platform.post(b"x" * (1024 * 1024 - 10_000), **{**good, "ce-id": "big"}))[
        0
    ] == 202
    assert (await platform.post(b"x" * (1024 * 1024 - 100), **{**good, "ce-id": "bigger"}))[
        0
    ] == 413
    structured = json.dumps(
        {"specversion": "1.0", "id": "s1", "source": "s", "type": "t", "data": {"a": 1}}
    ).encode()
    assert (await platform.post(structured, Content_Type="application/cloudevents+json"))[0] == 202
    assert (await platform.post(b"{", Content_Type="application/cloudevents+json; charset=utf-8"))[
        0
    ] == 400
    assert (await platform.post(b"[]", Content_Type="application/cloudevents+json"))[0] == 400


async def test_oversized_body_without_a_length_is_refused(platform: Platform) -> None:
    await platform.apply(broker(platform.namespace))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    headers = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    address = f"http://127.0.0.1:{platform.port}/{platform.namespace}/default"
    try:
        async with platform.session.post(address, data=chunks(), headers=headers) as answer:
            assert answer.status == 413
    except aiohttp.ClientError:
        pass  # the server may hang up on the sender; what counts is that it goes on
    assert await platform.send("after") == 202


async def test_retries_only_what_knative_retries(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "t"))
    subscriber.answers = [web.Response(status=status) for status in (500, 503, 429)]
    await platform.send("retried")
    await until(lambda: subscriber.ids().count("retried") == 4)
    subscriber.answers = [web.Response(status=400)]
    await platform.send("refused")
    await until(lambda: "refused" in subscriber.ids())
    await platform.send("next")
    await until(lambda: "next" in subscriber.ids())
    await asyncio.sleep(0.3)
    assert subscriber.ids().count("refused") == 1
    assert subscriber.ids().count("retried") == 4


async def test_dead_letter_after_all_attempts(platform: Platform, subscriber: Subscriber) -> None:
    dead = Subscriber()
    runner = web.ServerRunner(web.Server(dead.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hosts = {"sub": f"127.0.0.1:{subscriber.port}", "dead": f"127.0.0.1:{runner.addresses[0][1]}"}
    platform.replace(
        "addresses.json",
        {f"{name}.{platform.namespace}.svc.cluster.local:80": at for name, at in hosts.items()},
    )
    await platform.apply(
        broker(platform.namespace),
        trigger(
            platform.namespace,
            "t",
            delivery={
                "retry": 2,
                "backoffPolicy": "linear",
                "backoffDelay": "PT0.02S",
                "deadLetterSink": {
                    "ref": {"apiVersion": "v1", "kind": "Service", "name": "dead"},
                    "uri": "/deadletter",
                },
            },
        ),
    )
    subscriber.answers = [web.Response(status=500, text=f"no {n}") for n in range(3)]
    await platform.send("lost", body=b"[1]")
    await until(lambda: dead.got != [])
    assert subscriber.ids() == ["lost"] * 3
    letter = dead.got[0]
    assert (letter.id, letter.body) == ("lost", b"[1]")
    assert letter.get("knativeerrorcode") == "500"
    assert letter.get("knativeerrordata") == "no 2"
    assert letter.get("knativeerrordest") == f"http://sub.{platform.namespace}.svc.cluster.local/"
    await runner.cleanup()


async def test_a_subscriber_that_is_not_there_yet_gets_everything(
    platform: Platform, subscriber: Subscriber
) -> None:
    delivery = {"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"}
    await platform.apply(
        broker(platform.namespace), trigger(platform.namespace, "t", delivery=delivery)
    )
    for number in range(50):
        assert await platform.send(f"e{number}") == 202
    await asyncio.sleep(0.3)
    platform.addresses(subscriber)
    await until(lambda: len(set(subscriber.ids())) == 50)


async def test_a_reply_goes_back_into_the_broker(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    answer = {"ce-id": "reply", "ce-type": "answer", "ce-source": "sub", "ce-specversion": "1.0"}
    await platform.apply(
        broker(platform.namespace),
        trigger(platform.namespace, "asks", filter={"attributes": {"type": "question"}}),
        trigger(platform.namespace, "answers", filter={"attributes": {"type": "answer"}}),
    )
    subscriber.answers = [web.Response(status=200, headers=answer, body=b"42")]
    await platform.send("q", type="question")
    await until(lambda: subscriber.ids() == ["q", "reply"])
    assert subscriber.got[1].body == b"42"


async def test_an_answer_that_is_no_event_is_a_failure(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "t"))
    subscriber.answers = [web.Response(status=200, text="success")]
    await platform.send("a")
    await until(lambda: subscriber.ids() == ["a", "a"])


async def test_a_reply_loop_ends(platform: Platform, subscriber: Subscriber) -> None:
    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        event = events.from_http(request.headers, await request.read())
        subscriber.got.append(event)
        again = event.extend_attributes(id=f"{len(subscriber.got)}")
        return web.Response(status=200, headers=events.to_http(again), body=b"{}")

    runner = web.ServerRunner(web.Server(echo))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    platform.replace("addresses.json", {f"sub.{platform.namespace}.svc.cluster.local:80": address})
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "t"))
    await platform.send("start")
    await until(lambda: len(subscriber.got) >= 255)
    await asyncio.sleep(0.5)
    assert len(set(subscriber.ids())) == 255
    await runner.cleanup()


async def test_what_is_not_known_is_refused_by_name(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    await platform.apply(
        broker(platform.namespace),
        trigger(platform.namespace, "good"),
        trigger(platform.namespace, "all", filters=[{"exact": {"type": "a"}}]),
        trigger(platform.namespace, "json", delivery={"retry": 1, "format": "json"}),
        trigger(platform.namespace, "orphan", broker="other"),
    )
    report = json.loads((platform.run / "broker.json").read_text())
    assert report["triggers"] == [f"{platform.namespace}/good"]
    refused = {name.split("/")[-1]: why for name, why in report["refused"].items()}
    assert "`spec.filters` is not supported" in refused["all"]
    assert "delivery.format" in refused["json"]
    assert "`other` does not exist" in refused["orphan"]


async def test_a_new_trigger_starts_with_new_events_and_a_removed_one_ends(
    platform: Platform, subscriber: Subscriber
) -> None:
    platform.addresses(subscriber)
    await platform.apply(broker(platform.namespace))
    await platform.send("old")
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "t"))
    await platform.send("new")
    await until(lambda: subscriber.ids() == ["new"])
    await platform.apply(broker(platform.namespace))
    await platform.send("unheard")
    await platform.apply(broker(platform.namespace), trigger(platform.namespace, "t"))
    await platform.send("newer")
    await until(lambda: subscriber.ids() == ["new", "newer"])


POISON = {
    "a lone surrogate": {"subject": "\ud800"},
    "a lone surrogate for a version": {"specversion": "\ud800"},
    "a lone surrogate in a name": {"a\ud800": "1"},
    "a lone surrogate in text": {"datacontenttype": "text/plain", "data": "\ud800"},
    "a line break in the media type": {"datacontenttype": "text/plain\r\nx-smuggled: 1"},
    "a line break in an extension": {"note": "a\r\n\r\nPOST /other HTTP/1.1"},
    "a long type": {"type": "t" * 5000},
    "a long id": {"id": "i" * 5000},
    "many attributes": {f"a{number}": "x" * 1000 for number in range(20)},
}


@pytest.mark.parametrize("name", POISON)
async def test_hostile_attributes_are_refused(
    platform: Platform, subscriber: Subscriber, name: str
) -> None:
    platform.addresses(subscriber)
    namespace = platform.namespace
    await platform.apply(broker(namespace), trigger(namespace, "all"))
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", **POISON[name]}
    body = json.dumps({"data": 1, **event}).encode()
    status, text = await platform.post(body, Content_Type="application/cloudevents+json")
    assert status == 400, text
    if "\r\n" in (value := POISON[name].get("datacontenttype", "")):
        quoted = value.replace("\r\n", "%0d%0a")
        headers = {f"ce-{key}": text for key, text in event.items()}
        with pytest.raises(events.MalformedEventError, match=r"character U\+000D"):
            events.from_http(headers | {"ce-datacontenttype": quoted}, b"")
    after = f"after {name}"
    assert await platform.send(after) == 202
    await until(lambda: after in subscriber.ids())


async def test_poison_on_the_stream_ends_no_worker(
    server: Process, platform: Platform, subscriber: Subscriber
) -> None:
    """Messages of an older version, or of another writer, more of each kind than there are workers."""
    dead = Subscriber()
    runner = web.ServerRunner(web.Server(dead.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    namespace = platform.namespace
    hosts = {"sub": subscriber.port, "dead": runner.addresses[0][1]}
    platform.replace(
        "addresses.json",
        {
            f"{name}.{namespace}.svc.cluster.local:80": f"127.0.0.1:{port}"
            for name, port in hosts.items()
        },
    )
    sink = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "dead"}}
    delivery = {
        "retry": 1,
        "backoffPolicy": "linear",
        "backoffDelay": "PT0.01S",
        "deadLetterSink": sink,
    }
    await platform.apply(broker(namespace), trigger(namespace, "all", delivery=delivery))
    wrong = [
        {"subject": "\ud800"},
        {"subject": 7},
        {"datacontenttype": "a\r\nb: c"},
    ]
    client = await connect_client(url(server), name="writer")
    subject = objects.KnativeBroker(namespace, "default").subject
    for number in range(70):
        for kind, attributes in enumerate(wrong):
            event = {"id": f"{kind}-{number}", "type": "t", "source": "s", "specversion": "1.0"}
            message = json.dumps(event | attributes).encode() + b"\n1"
            await client.jetstream().publish(f"{subject}.t", message)
    await client.close()
    assert await platform.send("after") == 202
    await until(lambda: "after" in subscriber.ids())
    await until(lambda: len({event.id for event in dead.got + subscriber.got}) == 211)
    assert {event.id for event in dead.got} >= {f"0-{number}" for number in range(70)}
    assert not any("b" in event.attributes for event in dead.got + subscriber.got)
    await runner.cleanup()


NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(), max_size=60)


class Parsed:
    """What llhttp makes of a courier's bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body, self.messages = b"", 0
        httptools.HttpRequestParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(NAMES | st.just("datacontenttype"), VALUES, max_size=6), st.binary())
def test_whatever_an_event_has_it_is_one_request(attributes: dict[str, str], body: bytes) -> None:
    event = events.Event({"id": "1", "type": "t", "source": "s", **attributes}, body)
    try:
        sent = courier.encode_request("/", events.to_http(event), body)
    except ValueError:
        # a lone surrogate: the ingress refuses it
        with pytest.raises(events.MalformedEventError):
            events.from_structured(json.dumps({"specversion": "1.0", **event.attributes}).encode())
        return
    parsed = Parsed(sent)
    assert (parsed.messages, parsed.body) == (1, body)
    assert len(parsed.headers) == len(event.attributes) + 1
