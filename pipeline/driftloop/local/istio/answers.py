"""Answers that the gateway gives by itself: to what a VirtualService answers, and to what has no
route."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from driftloop.local.istio.fields import (
    DIRECT_BODY,
    DIRECT_RESPONSE,
    format_name,
    list_prefixes,
    read_precedence,
    refuse_other_keys,
)
from driftloop.local.istio.routes import EnvoyRoutes

Resource = dict[str, Any]


def build_direct_answers(
    virtual: Mapping[str, Any], answer: Mapping[str, Any], prefixes: Sequence[str]
) -> list[Resource]:
    """Build the routes of a `directResponse`; LocalError for a field that is not followed here."""
    refuse_other_keys(virtual, answer, "spec.http[].directResponse", DIRECT_RESPONSE)
    body = answer.get("body") or {}
    refuse_other_keys(virtual, body, "spec.http[].directResponse.body", DIRECT_BODY)
    text, status = str(body.get("string", "")), int(answer["status"])
    return [_build_answer(prefix, text, status) for prefix in prefixes]


FRONT = """\
This is the gateway of driftloop on this machine: models answer below /seldon/NAMESPACE/PIPELINE/.
`driftloop status` lists them, `driftloop predict PIPELINE` asks one, `driftloop console` prints the address of the pages.
"""


def list_unrouted(routes: EnvoyRoutes) -> Iterable[Resource]:
    """Answers to what has no route: 503 where one is to come, else 404; to the root, what this is."""
    for virtual in sorted(routes.unready, key=read_precedence):
        for route in virtual["spec"].get("http") or ():
            for prefix in list_prefixes(virtual, route):
                yield _build_answer(prefix, f"{format_name(virtual)} is not ready\n", 503)
    yield {**_build_answer("/", FRONT, 200), "match": {"path": "/"}}
    if routes.settled:
        yield _build_answer("/", "no route matches this host and path\n", 404)
    else:
        yield _build_answer("/", "the branch has not been read yet\n", 503)


def _build_answer(prefix: str, text: str, status: int) -> Resource:
    return {
        "match": {"prefix": prefix},
        "direct_response": {"status": status, "body": {"inline_string": text}},
    }
