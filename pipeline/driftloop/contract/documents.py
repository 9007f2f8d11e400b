"""JSON documents as frozen dataclasses: one way to write them, one way to read them.

A dataclass declares its keys with `document_key`; `to_json` writes them in the order of the fields, and
`from_json` refuses unknown keys, missing ones and values that a key does not allow.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass
from typing import Any, TypeVar

from driftloop.errors import PipelineError

T = TypeVar("T")
Accepts = Callable[[Any], bool]

LONGEST = 1024 * 1024
"""Characters of a document that is handed over at most: it is one argument of a program."""

LONGEST_FILE = 64 * 1024 * 1024
"""Bytes of a file of a run at most: snapshot.json lists every batch."""


class DocumentError(PipelineError):
    """A JSON document that is not what its record allows."""


@dataclass(frozen=True)
class Key:
    """One key of a document."""

    name: str
    allowed: str
    """Allowed values, as a message lists them."""
    accepts: Accepts
    omits_none: bool = False
    """None is not written."""
    read: Callable[[Any], Any] = lambda value: value
    """Conversion from plain JSON."""
    write: Callable[[Any], Any] = lambda value: value
    """Conversion to plain JSON."""


def document_key(
    name: str,
    allowed: str,
    accepts: Accepts,
    *,
    default: Any = MISSING,
    omits_none: bool = False,
    read: Callable[[Any], Any] = lambda value: value,
    write: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Return a dataclass field that is a key of its document."""
    metadata = {"key": Key(name, allowed, accepts, omits_none, read, write)}
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def part_key(name: str, part: Any, *, omits_none: bool = True) -> Any:
    """Return a field that is a record of its own, of class `part`, or None."""
    return document_key(
        name,
        "an object, or null",
        lambda value: value is None or isinstance(value, dict),
        default=None,
        omits_none=omits_none,
        read=part.read,
        write=to_json,
    )


def keys_of(record: Any) -> tuple[tuple["Field[Any]", Key], ...]:
    """Return the fields of a record (or its class) that are keys, in order."""
    fields = dataclasses.fields(record)
    return tuple((field, field.metadata["key"]) for field in fields if "key" in field.metadata)


def to_json(record: Any) -> dict[str, Any]:
    """Return a record as plain data."""
    document: dict[str, Any] = {}
    for field, name in keys_of(record):
        value = getattr(record, field.name)
        if value is not None or not name.omits_none:
            document[name.name] = None if value is None else name.write(value)
    return document


def from_json(record: type[T], document: object, *, label: str, closed: bool = True) -> T:
    """Read a record from plain data; DocumentError names `label`, the key, its value and what is
    allowed.

    Unknown keys are refused when `closed`, and left alone otherwise.
    """
    if not isinstance(document, Mapping):
        raise DocumentError(f"{label} is {show_value(document)}, must be a JSON object")
    keys = keys_of(record)
    names = [name.name for _, name in keys]
    for given_key in document:
        if closed and given_key not in names:
            raise DocumentError(
                f"{label} has an unknown key `{given_key}`, must be one of: {', '.join(names)}"
            )
    values: dict[str, Any] = {}
    for field, name in keys:
        if name.name not in document:
            if field.default is MISSING:
                raise DocumentError(f"{label} has no key `{name.name}`, must be {name.allowed}")
            continue
        value = document[name.name]
        if not name.accepts(value):
            raise DocumentError(
                f"{label}: `{name.name}` is {show_value(value)}, must be {name.allowed}"
            )
        values[field.name] = None if value is None else name.read(value)
    return record(**values)


def parse_json(text: str | bytes, *, label: str, longest: int = LONGEST) -> Any:
    """Parse JSON; DocumentError when it is not, or has more than `longest` characters."""
    if len(text) > longest:
        raise DocumentError(f"{label} has {len(text)} characters, at most {longest} are read")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{label} is not JSON: {error}") from error


def show_value(value: object) -> str:
    """Return a value as messages show it, cut to 60 characters."""
    text = json.dumps(value, default=str)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def escape_text(text: str) -> str:
    """Return a text from outside as messages, logs and metrics can have it: what is not printable,
    also half a surrogate pair, which UTF-8 can't have, is written out as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def is_unicode(text: str) -> bool:
    """Return False for a text with half a surrogate pair, which UTF-8 can't have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Return True for a finite number; a boolean is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: object, low: int, high: int | None = None) -> bool:
    """Return True for an integer of at least `low`, and at most `high`; a boolean is not one."""
    return type(value) is int and value >= low and (high is None or value <= high)


def is_text(value: object) -> bool:
    """Return True for text that is not empty."""
    return isinstance(value, str) and value != ""


def is_text_map(value: object) -> bool:
    """Return True for an object whose values are texts."""
    return isinstance(value, Mapping) and all(
        isinstance(item, str) for pair in value.items() for item in pair
    )


def is_texts(value: object) -> bool:
    """Return True for a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def texts_key(key: str) -> Any:
    """Return the field of a list of texts, which may be missing."""
    return document_key(key, "a list of texts", is_texts, default=(), read=tuple, write=list)
