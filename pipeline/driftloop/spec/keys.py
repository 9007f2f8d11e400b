"""`spec.access.apiKeys` written into a spec's text: nothing else of it changes, neither a comment nor
a blank.

What the edit made is parsed again, so a text that this can't write is refused, never spoilt.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from driftloop.errors import SpecError
from driftloop.spec.source import parse
from driftloop.text.layout import (
    EntryPlace,
    MappingPlace,
    end_line,
    find_line_end,
    find_line_start,
    find_newline,
    locate_mapping,
)

ACCESS, KEYS = "access", "apiKeys"

Records = Mapping[str, Mapping[str, str]]
"""Name of a key -> what the spec has of it."""


def write_keys(text: str, keys: Records, *, path: str) -> str:
    """Return the text with these keys in place of its own; SpecError when its layout leaves no place
    for them."""
    before, own = _split(text, path)
    if own == keys:
        return text
    new = next((new for new in _list_edits(text, keys, own) if _says(new, before, keys)), None)
    if new is None:
        block = "\n".join(["  access:", *_write_block(keys, indent=4)])
        raise SpecError(
            f"{path}: no way to write `spec.access.apiKeys` into this layout",
            hint=f"put it there yourself:\n{block}",
        )
    return new


def _split(text: str, path: str) -> tuple[Any, Any]:
    """Return the data of a spec without its keys, and the keys; None for a spec that asks for none."""
    rest = parse(text, path=path).value
    access = rest["spec"].pop(ACCESS, None) or {}
    own = access.pop(KEYS, None)
    return (rest, access), own


def _says(text: str, rest: Any, keys: Records) -> bool:
    """Return True if a text holds these keys and otherwise what it held before."""
    try:
        return _split(text, "") == (rest, keys)
    except SpecError:
        return False


def _list_edits(text: str, keys: Records, own: Records | None) -> Iterator[str]:
    """The text with the keys in the best place, then in the next best."""
    spec = locate_mapping(text, "spec")
    if spec is None or not spec.entries:
        return
    access, held = locate_mapping(text, "spec", ACCESS), locate_mapping(text, "spec", ACCESS, KEYS)
    if held is not None and held.entries and not held.flow:
        yield _edit_lines(text, held, keys, own or {})
    if access is not None:
        for entry in access.entries:
            if entry.key == KEYS and entry.value_start >= entry.key_end:
                if held is not None and not held.flow:
                    yield _replace_lines(text, entry, keys)
                yield text[: entry.value_start] + _write_flow(keys) + text[entry.value_end :]
        if own is None and access.entries:
            yield _append(text, access, KEYS, keys)
    if not any(entry.key == ACCESS for entry in spec.entries):
        yield _append(text, spec, ACCESS, {KEYS: keys})


def _edit_lines(text: str, held: MappingPlace, keys: Records, own: Records) -> str:
    """Take the lines of keys out that are gone, and add those that are new below the last one."""
    newline = find_newline(text)
    indent = " " * held.entries[0].column
    added = [
        f"{indent}{name}: {_write_flow(record)}{newline}"
        for name, record in keys.items()
        if own.get(name) != record
    ]
    at = find_line_end(text, held.entries[-1].content_end)
    new = end_line(text[:at], newline) + "".join(added) + text[at:]
    for entry in reversed(held.entries):
        if own.get(entry.key) != keys.get(entry.key):
            start, end = find_line_start(text, entry.start), find_line_end(text, entry.content_end)
            new = new[:start] + new[end:]
    return new


def _replace_lines(text: str, entry: EntryPlace, keys: Records) -> str:
    newline = find_newline(text)
    start, end = find_line_start(text, entry.start), find_line_end(text, entry.content_end)
    lines = _write_block(keys, indent=entry.column)
    return text[:start] + "".join(f"{line}{newline}" for line in lines) + text[end:]


def _append(text: str, place: MappingPlace, key: str, value: Mapping[str, Any]) -> str:
    """Add an entry below the last one of a mapping, or behind it where that is in braces."""
    last = place.entries[-1]
    if place.flow:
        return f"{text[: last.value_end]}, {key}: {_write_flow(value)}{text[last.value_end :]}"
    newline, at = find_newline(text), find_line_end(text, last.content_end)
    keys = value if key == KEYS else value[KEYS]
    lines = _write_block(keys, indent=last.column if key == KEYS else last.column + 2)
    if key == ACCESS:
        lines.insert(0, f"{' ' * last.column}{ACCESS}:")
    block = "".join(f"{line}{newline}" for line in lines)
    return end_line(text[:at], newline) + block + text[at:]


def _write_block(keys: Records, *, indent: int) -> list[str]:
    blank = " " * indent
    if not keys:
        return [f"{blank}{KEYS}: {{}}"]
    return [
        f"{blank}{KEYS}:",
        *(f"{blank}  {name}: {_write_flow(record)}" for name, record in keys.items()),
    ]


def _write_flow(value: Mapping[str, Any]) -> str:
    """Return a mapping in braces, its values quoted: a day without quotes would be no text."""
    parts = (
        f"{key}: {_write_flow(inner) if isinstance(inner, Mapping) else json.dumps(inner, ensure_ascii=False)}"
        for key, inner in value.items()
    )
    return "{" + ", ".join(parts) + "}"
