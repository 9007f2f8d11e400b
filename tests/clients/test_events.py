"""CloudEvents as others read and write them: the SDK on the other side, in both modes."""

import asyncio
import base64
import contextlib
import json

import aiohttp
import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import PATIENCE

from driftloop.clients import events, sdk
from driftloop.clients.events import Event, MalformedEventError
from driftloop.contract.events import verdict_id

NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12).filter(
    lambda name: (
        name not in ("data", "time", "subject", "dataschema", "datacontenttype", *events.REQUIRED)
    )
)
VALUE = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]),
    min_size=1,
)
EVENTS = st.builds(
    lambda id, type, extensions, body: Event(
        {
            "specversion": "1.0",
            "id": id,
            "type": type,
            "source": "/test",
            "time": "2026-01-02T03:04:05Z",
            "datacontenttype": "application/octet-stream",
            **extensions,
        },
        body,
    ),
    VALUE,
    VALUE,
    st.dictionaries(NAME, VALUE, max_size=4),
    st.binary(max_size=200),
)


@settings(max_examples=80, deadline=None)
@given(EVENTS)
def test_the_sdk_reads_what_we_write(event: Event) -> None:
    read = from_http(HTTPMessage(events.to_http(event), event.body), JSONFormat())
    assert read.get_id() == event.id
    assert read.get_type() == event.type
    for name, value in event.attributes.items():
        if name not in ("time", "datacontenttype"):
            assert read.get_attributes()[name] == value


@settings(max_examples=80, deadline=None)
@given(EVENTS)
def test_we_read_what_we_write_and_keep(event: Event) -> None:
    assert events.from_http(events.to_http(event), event.body) == event
    assert events.unpack_event(events.pack_event(event)) == event


def made_by_the_sdk(data: object, content_type: str = "application/json") -> CloudEvent:
    attributes = {
        "type": "t",
        "source": "/s",
        "id": "1",
        "datacontenttype": content_type,
        "endpoint": "r1",
    }
    return CloudEvent(attributes, data)  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(EVENTS)
def test_both_readers_and_writers_agree(event: Event) -> None:
    headers = events.to_http(event)
    assert sdk.read_event(headers, event.body) == events.from_http(headers, event.body)
    message = sdk.write_event(event)
    assert events.from_http(message.headers, message.body) == event


@pytest.mark.parametrize("write", [to_binary, to_structured], ids=["binary", "structured"])
def test_we_read_what_the_sdk_writes(write: object) -> None:
    message = write(made_by_the_sdk({"a": [1, 2]}), JSONFormat())  # type: ignore[operator]
    event = events.from_http(message.headers, message.body)
    assert (event.id, event.type, event.get("endpoint")) == ("1", "t", "r1")
    assert event.parse_json() == {"a": [1, 2]}
    message = write(made_by_the_sdk(b"\x00\xff", "application/octet-stream"), JSONFormat())  # type: ignore[operator]
    assert events.from_http(message.headers, message.body).body == b"\x00\xff"


def test_structured_text_stays_text_and_json_strings_stay_json() -> None:
    base = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    text = json.dumps({**base, "datacontenttype": "text/plain", "data": "hello"}).encode()
    assert events.from_structured(text).body == b"hello"
    quoted = json.dumps({**base, "data": "hello"}).encode()
    assert events.from_structured(quoted).parse_json() == "hello"
    encoded = json.dumps(
        {**base, "data_base64": base64.b64encode(b"\x01").decode(), "count": 3}
    ).encode()
    assert events.from_structured(encoded).body == b"\x01"
    assert events.from_structured(encoded).get("count") == "3"


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({}, b"", "no ce-* header"),
        ({"Content-Type": "application/json"}, b"{}", "no ce-* header"),
        ({"ce-id": "1", "ce-source": "s", "ce-specversion": "1.0"}, b"", "has no type"),
        (
            {"ce-id": "", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"},
            b"",
            "has no id",
        ),
        (
            {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "0.3"},
            b"",
            "must be 1.0",
        ),
        (
            {
                "ce-id": "1",
                "ce-source": "s",
                "ce-type": "t",
                "ce-specversion": "1.0",
                "ce-a-b": "1",
            },
            b"",
            "`a-b`",
        ),
        ({"Content-Type": "application/cloudevents+json"}, b"{", "not JSON"),
        ({"Content-Type": "application/cloudevents+json"}, b"\xff", "not JSON"),
        ({"Content-Type": "application/cloudevents+json"}, b"[" * 100_000, "not JSON"),
        ({"Content-Type": "application/cloudevents+json"}, b"3", "must be an object"),
        ({"Content-Type": "application/cloudevents+json"}, b'{"id": {}}', "`id`"),
        (
            {"Content-Type": "application/cloudevents+json"},
            b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "?"}',
            "not base64",
        ),
    ],
)
def test_what_is_no_event_says_why(headers: dict[str, str], body: bytes, says: str) -> None:
    with pytest.raises(MalformedEventError, match=r".+") as error:
        events.from_http(headers, body)
    assert says in error.value.message
    if b"data_base64" not in body:  # the SDK skips what is not base64 in it
        with pytest.raises(MalformedEventError):
            sdk.read_event(headers, body)


WHOLE = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
LONE = "\ud800"
"""Half a surrogate pair: JSON can have it, UTF-8 can't."""


@pytest.mark.parametrize(
    "odd",
    [
        *({name: LONE} for name in (*WHOLE, "subject", "time", "datacontenttype", "endpoint")),
        {"a" + LONE: "1"},
        {LONE: LONE},
        {LONE: {}},
        {"datacontenttype": "text/plain", "data": LONE},
        {"specversion": "1\r\nERROR forged: no such event"},
    ],
    ids=ascii,
)
def test_a_refusal_of_any_text_can_be_sent_and_logged(odd: dict[str, object]) -> None:
    body = json.dumps({**WHOLE, **odd}).encode()
    with pytest.raises(MalformedEventError) as error:
        events.from_http({"content-type": events.STRUCTURED}, body)
    assert error.value.message.encode().decode().isprintable()
    with pytest.raises(MalformedEventError) as error:
        sdk.read_event({"content-type": events.STRUCTURED}, body)
    assert error.value.message.encode().decode().isprintable()


@pytest.mark.parametrize("name", [*WHOLE, "subject", "time", "endpoint"])
def test_bytes_that_are_no_text_in_a_header_are_refused(name: str) -> None:
    """aiohttp makes half a surrogate pair of each."""
    headers = {f"ce-{each}": text for each, text in WHOLE.items()} | {f"ce-{name}": "\udcff"}
    for read in (events.from_http, sdk.read_event):
        with pytest.raises(MalformedEventError) as error:
            read(headers, b"{}")
        assert error.value.message.encode()


def test_the_same_verdict_has_the_same_id() -> None:
    one = verdict_id("n", "p", "drift", "r1", 1)
    assert one == verdict_id("n", "p", "drift", "r1", 1)
    assert one != verdict_id("n", "p", "drift", "r1", 2)


def test_send_says_who_refused() -> None:
    with pytest.raises(events.EventRefusedError, match="can't be reached"):
        sdk.send_event("http://127.0.0.1:1/", events.make_event("t", "s", {}), timeout=2)


async def test_a_post_can_be_cancelled_in_the_moment_of_its_timeout() -> None:
    async def handle(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.04)
        return web.Response()

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"

    async def post_for_ever(session: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(events.EventRefusedError):
                await events.post_event(session, url, events.make_event("t", "s", {}), timeout=0.04)

    async with aiohttp.ClientSession() as session:
        for number in range(30):
            task = asyncio.create_task(post_for_ever(session))
            await asyncio.sleep(0.03 + number / 500)
            task.cancel()
            done, _pending = await asyncio.wait([task], timeout=PATIENCE)
            assert done, "the cancellation was swallowed"
    await runner.cleanup()
