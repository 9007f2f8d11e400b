"""The JSON Schema of a spec as a tree to walk: the forms that a value may have, and the words about it."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from driftloop.spec.load import schema

Schema = Mapping[str, Any]
_DEEPEST = 8
"""References and alternatives that lead to each other at most."""


@cache
def read_schema() -> Schema:
    """Return the schema of a spec, made once a process."""
    return schema()


def list_forms(whole: Schema, part: Schema, depth: int = 0) -> Iterator[Schema]:
    """Yield the forms that a part of a schema allows, its references and alternatives resolved."""
    if depth > _DEEPEST:
        return
    if "$ref" in part:
        target = whole["$defs"][str(part["$ref"]).rpartition("/")[2]]
        yield from list_forms(whole, target, depth + 1)
        return
    choices = [each for key in ("anyOf", "oneOf", "allOf") for each in part.get(key) or ()]
    for choice in choices:
        yield from list_forms(whole, choice, depth + 1)
    if not choices:
        yield part


def describe_part(part: Schema, forms: Iterable[Schema]) -> str:
    """Return what a part says of itself, else what the first of its forms does that says anything, in one line."""
    texts = (str(each.get("description") or "") for each in (part, *forms))
    return " ".join(next(filter(None, texts), "").split())
