"""Values and texts that programs stumble over."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\n", "\r\n", "\0", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é", "💥" * 50, "a" * 5000, "a" * 70_000,
    "../../etc/passwd", "--upload-pack=x", "-", "--", "$(id)", "`id`", "${HOME}", "{{workflow.name}}", "{{=1+1}}",
    "{{item}}", "%s%n", "%00", "%ED%A0%80", "*", ">", "a.b.>", "a..b", ".", "..", "~", "null", "None", "true", "NaN",
    "1e400", "-0", "0x10", "1_000", "1:30", "2026-02-30", "9" * 400, "s3://", "s3:///x", "s3://driftloop/", "http://[::1",
    "http://a:99999/", "http://x@y:z", "oci://", "file:///dev/zero", "99999999999999999999s", "-1s", "1e9/day", "0/0",
    "train:", ":train", "a:b:c", "train.__class__:x", "os:system", "<script>", "'; drop", "key=value,", "ghcr.io/x:",
    "ghcr.io/X/Y@sha256:z", "ｄｉｇｉｔｓ", "a\u2028b", "\u0130",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.0, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), -float("inf"),
)  # fmt: skip


def value(random: Random, depth: int = 3) -> Any:
    """Any value that JSON or YAML can have, and some that only Python writes."""
    match random.randrange(10 if depth else 6):
        case 0:
            return None
        case 1:
            return random.random() < 0.5
        case 2 | 3:
            return random.choice(NUMBERS)
        case 4 | 5:
            return random.choice(TEXTS)
        case 6 | 7:
            return [value(random, depth - 1) for _ in range(random.randrange(4))]
        case _:
            return {
                random.choice(TEXTS)[:100]: value(random, depth - 1)
                for _ in range(random.randrange(4))
            }


def places(document: Any) -> list[tuple[Any, Any]]:
    """Each container of a document with each of its keys."""
    match document:
        case dict():
            items = list(document.items())
        case list():
            items = list(enumerate(document))
        case _:
            return []
    return [(document, key) for key, _ in items] + [
        place for _, inner in items for place in places(inner)
    ]


def mutate_document(random: Random, document: Any) -> Any:
    """A copy of a JSON document with one to three of its values replaced, removed, doubled or renamed."""
    copy = json.loads(json.dumps(document))
    for _ in range(random.randint(1, 3)):
        spots = places(copy)
        if not spots:
            return value(random)
        container, key = random.choice(spots)
        match random.randrange(5):
            case 0 if isinstance(container, dict):
                container[random.choice(TEXTS)[:100]] = container.pop(key)
            case 1:
                del container[key]
            case 2 if isinstance(container, list):
                container.extend([container[key]] * random.choice((1, 3000)))
            case 3:
                container[key] = [container[key]]
            case _:
                container[key] = value(random)
    return copy


def deep(random: Random) -> str:
    """Brackets within brackets."""
    count = random.choice((50, 200, 1000, 20_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}"), ("[{}, [", "]]")))
    return opening * count + random.choice(("", "1" + closing * count))


def mutate_bytes(random: Random, data: bytes) -> bytes:
    """Data that was cut, flipped, doubled, overwritten or lost."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 8, 200)))
    junk = bytes(random.randrange(256) for _ in range(random.choice((1, 4, 64))))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + junk + data[end:],
        lambda: data[:at] + data[end:],
        lambda: data[:at] + data[at:end] * 50 + data[end:],
        lambda: data[:at] + random.choice(TEXTS).encode("utf-8", "surrogatepass") + data[at:],
        lambda: b"\0" * len(data),
        lambda: data + data,
        lambda: b"",
    )
    return random.choice(ways)()
