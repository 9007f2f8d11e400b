"""Raw requests to the doors of an instance, written without a client that would forbid them."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz import values

PATIENCE, ANSWER = 0.5, 5.0
"""Seconds to wait for an answer before our side is closed, and after."""

TYPES = (
    "io.seldon.serving.inference.request", "io.seldon.serving.inference.response", "dev.driftloop.run.started",
    "dev.driftloop.run.finished", "dev.driftloop.loop.waits", "dev.driftloop.drift", "dev.driftloop.outlier",
)  # fmt: skip
CONTENT_TYPES = (
    "application/json", "application/cloudevents+json", "application/cloudevents+json; charset=utf-16",
    "application/cloudevents-batch+json", "application/cloudevents+xml", "text/plain", "", "/", "application/json;charset",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/octet-stream",
    "text/plain\x00", "application/json\r\nX-Smuggled: 1", "a" * 5000, "application/json, text/html",
)  # fmt: skip


def prediction(random: Random) -> Any:
    """A body of a prediction, right or nearly right."""
    row = [random.choice((0, 3, 16.0, -1, "x", None, 1e308, "NaN")) for _ in range(64)]
    return random.choice(
        (
            {"data": {"ndarray": [row]}},
            {"data": {"ndarray": row}},
            {"data": {"ndarray": [[row], 3]}},
            {"data": {"names": ["a"] * 3, "ndarray": [[1] * 64]}},
            {"data": {"tensor": {"shape": [1, 64], "values": row}}},
            {"data": {"tensor": {"shape": [-1, 2**40], "values": [1]}}},
            {"data": {"tftensor": {"dtype": "DT_DOUBLE"}}},
            {"strData": "x"},
            {"binData": "eA==="},
            {"jsonData": {"a": [1]}},
            {"instances": [row]},
            {"inputs": [{"name": "a", "shape": [1, 64], "datatype": "FP32", "data": row}]},
            {"meta": {"puid": "x" * 5000, "tags": {"a": 1}}, "data": {"ndarray": [[1] * 64]}},
        )
    )


def record(random: Random) -> Any:
    """The data of one of our own events, right or nearly right."""
    return random.choice(
        (
            {
                "pipeline": "digits",
                "detector": "drift",
                "release": "r1",
                "window": random.choice((1, 2**63, -1)),
                "alarm": True,
                "score": 1.0,
                "threshold": 0.1,
                "firstSequence": 1,
                "lastSequence": 200,
                "time": "2026-01-01T00:00:00Z",
                "details": {},
            },
            {
                "pipeline": "digits",
                "run": "digits-1",
                "decision": "1",
                "outcome": "released",
                "reason": "",
                "time": "2026-01-01T00:00:00Z",
            },
            {"pipeline": "digits", "waitsFor": "data", "reason": "none"},
        )
    )


def body(random: Random) -> bytes:
    """A body that no client of ours would send."""
    document = prediction(random) if random.random() < 0.6 else record(random)
    match random.randrange(8):
        case 0:
            return values.deep(random).encode()
        case 1:
            return bytes(random.randrange(256) for _ in range(random.choice((1, 100, 3000))))
        case 2:
            return values.mutate_bytes(random, json.dumps(document).encode())
        case 3:
            return json.dumps(document).encode(random.choice(("utf-16", "utf-8-sig", "utf-32")))
        case 4:
            return b"[" + b"1," * random.choice((1000, 400_000)) + b"1]"
        case _:
            return json.dumps(values.mutate_document(random, document)).encode(
                "utf-8", "surrogatepass"
            )


def attributes(random: Random) -> dict[str, Any]:
    """The attributes of an event of digits."""
    return {
        "specversion": "1.0",
        "id": f"hostile-{random.getrandbits(48):x}",
        "source": "fuzz",
        "type": random.choice(TYPES),
        "inferenceservicename": "digits",
        "namespace": "digits",
        "endpoint": random.choice(("r1", "r2")),
        "requestid": f"{random.getrandbits(48):x}",
        "protocol": random.choice(("seldon", "v2", "tensorflow")),
    }


def binary_event(random: Random) -> tuple[dict[str, str], bytes]:
    """Headers and body of an event in binary mode, one to three attributes of which are odd."""
    named = {name: str(value) for name, value in attributes(random).items()}
    for _ in range(random.randint(0, 3)):
        name = random.choice([*named, "x", "X-Y", "é", "", "knativebrokerttl", "a" * 300])
        text = random.choice((*values.TEXTS, *map(str, values.NUMBERS), *CONTENT_TYPES))
        if random.random() < 0.2:
            named.pop(name, None)
        else:
            named[name] = text
    headers = {f"ce-{name}": value for name, value in named.items()}
    headers["content-type"] = random.choice(CONTENT_TYPES)
    return headers, body(random)


def structured_event(random: Random) -> tuple[dict[str, str], bytes]:
    """Headers and body of an event in structured or batched mode."""
    document = {**attributes(random), "datacontenttype": random.choice(CONTENT_TYPES[:8])}
    if random.random() < 0.5:
        document["data"] = random.choice((prediction(random), record(random), values.value(random)))
    else:
        document["data_base64"] = random.choice(
            (base64.b64encode(body(random)).decode(), "=", 3, None)
        )
    if random.random() < 0.2:
        document[random.choice([*document, "a\ud800", "x"])] = random.choice(
            ("\ud800", "a\udfff", "\x1b[2J")
        )
    content = values.mutate_document(random, document) if random.random() < 0.7 else document
    batched = random.random() < 0.2
    text = json.dumps([content] * random.choice((0, 1, 3)) if batched else content)
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        data = values.mutate_bytes(random, data)
    elif random.random() < 0.1:
        data = values.deep(random).encode()
    kind = "application/cloudevents-batch+json" if batched else "application/cloudevents+json"
    return {"content-type": kind + random.choice(("", "; charset=utf-8", ";", "x"))}, data


def encode_request(method: str, path: str, headers: Mapping[str, str], data: bytes) -> bytes:
    """A request as it is, whatever is in it."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass") + data


def break_framing(random: Random, method: str, path: str, headers: dict[str, str], data: bytes) -> bytes:  # fmt: skip
    """A request whose lengths, lines or ends are wrong."""
    size = str(len(data))
    match random.randrange(9):
        case 0:
            wrong = random.choice(("-1", "0", str(len(data) + 9), "1e3", "9" * 30, f"{size}, 7"))
            return encode_request(method, path, {**headers, "content-length": wrong}, data)
        case 1:
            chunk = random.choice((b"FFFFFFFFFFFFFFFF\r\n", b"-5\r\nabc\r\n", b"3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n"))  # fmt: skip
            return encode_request(
                method, path, {**headers, "transfer-encoding": "chunked"}, chunk + data
            )
        case 2:
            both = {"content-length": size, "transfer-encoding": "chunked"}
            return encode_request(method, path, {**headers, **both}, data)
        case 3:
            whole = encode_request(method, path, {**headers, "content-length": size}, data)
            return whole[: random.randrange(1, len(whole))]
        case 4:
            many = {f"h{number}": "x" * 90 for number in range(random.choice((50, 900)))}
            return encode_request(method, path, {**headers, **many, "content-length": size}, data)
        case 5:
            whole = encode_request(method, path, {**headers, "content-length": size}, data)
            return whole * random.choice((2, 40))
        case 6:
            return random.choice(
                (
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + data[:200],
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
                    b"\r\n" * 500,
                    b"GET /\r\n",
                    f"{method} {path} HTTP/9.9\r\n\r\n".encode(),
                    f"{method} {path} HTTP/1.1\nhost: x\n\n".encode(),
                )
            )
        case 7:
            upgrade = {"connection": "upgrade", "upgrade": "websocket", "expect": "100-continue"}
            return encode_request(
                method, path, {**headers, **upgrade, "content-length": size}, data
            )
        case _:
            whole = encode_request(method, path, {**headers, "content-length": size}, data)
            return values.mutate_bytes(random, whole)


def hostile_event(random: Random, path: str) -> bytes:
    """A whole message to a door that takes events at `path`."""
    headers, data = binary_event(random) if random.random() < 0.6 else structured_event(random)
    return _frame(random, "POST", path, {"host": "127.0.0.1", **headers}, data)


def hostile_request(random: Random, paths: tuple[str, ...]) -> bytes:
    """A whole message to a door that takes requests at `paths`."""
    path = random.choice(paths)
    if random.random() < 0.2:
        odd = ("//", "/%00", "/../../etc/passwd", "/%2e%2e/", "/" + "a" * 9000, "*", "http://x/", "/é")  # fmt: skip
        path = random.choice((path + "/", path + "?a=%zz&" + "b=1&" * 500, *odd))
    method = random.choice(("POST",) * 8 + ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "FOO"))  # fmt: skip
    headers = {
        "host": random.choice(("127.0.0.1",) * 6 + ("", "a" * 300, "digits-digits.digits", "[::1", "é")),
        "content-type": random.choice(CONTENT_TYPES),
        "seldon-puid": random.choice(values.TEXTS)[:5000],
        "authorization": random.choice(("", "Bearer", "Bearer ", "Bearer é", "Bearer \ud800", "Basic eA==", "Bearer " + "x" * 3000)),
    }  # fmt: skip
    return _frame(random, method, path, headers, body(random))


def _frame(random: Random, method: str, path: str, headers: dict[str, str], data: bytes) -> bytes:
    if random.random() < 0.3:
        return break_framing(random, method, path, headers, data)
    return encode_request(method, path, {**headers, "content-length": str(len(data))}, data)


@dataclass(frozen=True)
class DoorAnswer:
    """The first answer of a door; None: it hung up, or still waited for the rest."""

    status: int | None


async def send_raw(port: int, message: bytes) -> DoorAnswer:
    """Send bytes over a connection of their own; OSError when nobody listens.

    Our side is closed once no answer comes: the door may wait for the rest of a message.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = b""
    try:
        writer.write(message)
        try:
            async with asyncio.timeout(PATIENCE):
                line = await _read_status(reader)
        except TimeoutError:
            async with asyncio.timeout(ANSWER):
                writer.write_eof()
                line = await _read_status(reader)
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    parts = line.split()
    return DoorAnswer(int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else None)


async def _read_status(reader: asyncio.StreamReader) -> bytes:
    while (line := await reader.readline()).split()[1:2] == [b"100"]:
        await reader.readuntil(b"\r\n\r\n")
    return line
