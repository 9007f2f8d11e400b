"""Requests of a window on its page: a few, without what is private, and why there are none."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.console_world import (
    HOSTILE,
    PORT,
    StoredSource,
    make_window,
    open_console,
    recent,
    store_events,
    store_windows,
    tell_verdicts,
)
from support.processes import Process, url
from support.stored_runs import Shelf

from driftloop.clients.events import Event, pack_event
from driftloop.console.application import build_application
from driftloop.contract.events import INFERENCE_RESPONSE
from driftloop.contract.streams import DetectorStreams
from driftloop.operations.traces.window_samples import (
    HIDDEN,
    LARGEST,
    MOST_EVENTS,
    UNNAMED,
    SampledEvent,
    describe_event,
)
from tests.console.test_pages import PIPELINE, read
from tests.pipelines import SPEC

PRIVATE = SPEC.replace(
    'data: {uri: "s3://digits/batches"}',
    'data: {uri: "s3://digits/batches", columns: {note: ignore}}\n'
    "  capture: {drop: [iban], hash: [email]}",
)
STREAMS = DetectorStreams("digits", "digits", "drift", "r12345678")
ROW = {"note": "n0te", "hue": 1.5, "iban": "DE99", "email": "eve@example.org", "text": HOSTILE}


def write(row: dict[str, object]) -> bytes:
    return json.dumps({"data": {"names": list(row), "ndarray": [list(row.values())]}}).encode()


@pytest.fixture
def owner(tmp_path: Path, s3_url: str, nats_server: Process) -> Iterator[TestClient]:
    """Somebody who looks at two windows: the first has 40 requests, those of the second are gone."""
    shelf = Shelf.open(tmp_path, s3_url, spec=PRIVATE)
    source = StoredSource(shelf.state, url(nats_server))
    store_events(url(nats_server), STREAMS, [*[write(ROW)] * 39, b"not json"])
    for number, first, last in ((1, 1, 40), (2, 41, 80)):
        window = make_window(number, at=recent(3 - number), columns={"hue": 0.4})
        kept = replace(window, first=first, last=last)
        source.records.append(("digits", "digits", kept))
    tell_verdicts(source)
    store_windows(url(nats_server), source.records)
    console = open_console(shelf, source)
    client = TestClient(build_application(console), base_url=f"http://127.0.0.1:{PORT}")
    with client:
        assert client.get(console.key.address).status_code == 200
        yield client


def test_a_window_shows_a_few_of_its_requests_without_what_is_private(owner: TestClient) -> None:
    page = read(owner, f"{PIPELINE}/drift?monitor=drift&window=1")
    assert f"{MOST_EVENTS} events, spread evenly over the window" in page.text
    assert "drops, hashes or ignores them: email, iban, note" in page.text
    for secret in ("DE99", "eve@example.org", "n0te"):
        assert secret not in owner.get(f"{PIPELINE}/drift?monitor=drift&window=1").text
    assert page.text.count(HIDDEN) == 3 * (MOST_EVENTS - 1)
    assert HOSTILE[:30] in page.text
    assert [tag for tag, _ in page.tags if tag == "img"] == []
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a" and "href" in attrs]
    assert "/requests?id=id-0&pipeline=digits" in links
    assert "it can't be read as rows" in page.text
    heads = page.text[page.text.index("Stored Request Rows") :].split()[3:5]
    assert heads == ["hue", "text"], "what moved comes first, what is private last"


def test_a_window_whose_requests_are_gone_says_where_they_are(owner: TestClient) -> None:
    page = read(owner, f"{PIPELINE}/drift?monitor=drift&window=2")
    assert "has none of this one any more" in page.text
    assert "driftloop traffic digits --release r12345678 -o csv" in page.text


def describe(body: bytes, *private: str) -> SampledEvent:
    attributes = {"specversion": "1.0", "id": "1", "source": "s", "type": INFERENCE_RESPONSE}
    return describe_event(pack_event(Event(attributes, body)), "", frozenset(private))


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"data":{"ndarray":[[1,2]]}}', {"[0]": "1", "[1]": "2"}),
        (b'{"instances":[{"a":1,"b":"x"},{"a":2}]}', {"a": "1", "b": '"x"'}),
        (b'{"inputs":[{"name":"x","shape":[1,2],"data":[3,4]}]}', {"x": "[3, 4]"}),
        (b"[1,2,3]", {"[0]": "1"}),
        (b'[{"a":{"iban":"DE99"}}]', {"a": '{"iban": "DE99"}'}),
    ],
)
def test_rows_of_each_protocol_are_read(body: bytes, values: dict[str, str]) -> None:
    event = describe(body)
    assert (event.side, event.values) == ("response", values)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it can't be read as rows"),
        (b'{"data":{"ndarray":[]}}', "it can't be read as rows"),
        (b'{"data":{"tensor":{"shape":[9],"values":[1]}}}', "it can't be read as rows"),
        (b"[" * 100_000, "it can't be read as rows"),
        (b'{"instances":[{}]}', "it can't be read as rows"),
        (b"1" * (LARGEST + 1), f"it has {LARGEST + 1} bytes; a page reads {LARGEST} at most"),
        (b'{"data":{"ndarray":[[1,2]]}}', UNNAMED),
    ],
)
def test_what_can_t_be_shown_says_why(body: bytes, problem: str) -> None:
    event = describe(body, "iban")
    assert (event.values, event.problem) == ({}, problem)


def test_what_may_have_something_private_inside_is_not_shown() -> None:
    event = describe(b'[{"a":{"iban":"DE99"},"b":[1,2],"c":[{"x":1}]}]', "iban")
    assert event.values == {"a": HIDDEN, "b": "[1, 2]", "c": HIDDEN}


def test_what_is_no_event_is_told() -> None:
    assert describe_event(b"{", "", frozenset()).problem == "it is not an event"
