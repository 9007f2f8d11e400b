"""`spec.pins` written into a spec's text: nothing else of it changes, neither a comment nor a
blank.

A new block goes below `images`. What the edit made is parsed again, so a text that this can't
write is refused, never spoilt.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from driftloop.errors import SpecError
from driftloop.spec.source import parse
from driftloop.text.dump import dump_yaml
from driftloop.text.layout import (
    EntryPlace,
    end_line,
    find_line_end,
    find_line_start,
    find_newline,
    locate_mapping,
)

KEY = "pins"
WHY = "  # what each tag stood for; `driftloop render --pin` writes this block"


def written(text: str, pins: Mapping[str, str], *, path: str) -> str:
    """The text with these pins in place of its own; SpecError when its layout leaves no place
    for them."""
    before, own = _apart(text, path)
    if own == pins:
        return text
    new = next((new for new in _edited(text, pins) if _says(new, before, pins)), None)
    if new is None:
        block = "\n".join(_block(pins, indent=2, newline="\n"))
        raise SpecError(
            f"{path}: no way to write `spec.pins` into this layout",
            hint=f"put it there yourself, instead of the one that is there:\n{block}",
        )
    return new


def _apart(text: str, path: str) -> tuple[Any, Any]:
    """The data of a spec without its pins, and the pins."""
    pin = parse(text, path=path).value
    own = pin["spec"].pop(KEY, None)
    return pin, own or {}


def _says(text: str, rest: Any, pins: Mapping[str, str]) -> bool:
    """Return True if a text holds these pins and otherwise what it held before: then nothing
    else was touched."""
    try:
        return _apart(text, "") == (rest, pins)
    except SpecError:
        return False


def _edited(text: str, pins: Mapping[str, str]) -> Iterator[str]:
    """The text with the pins in the best place, then in the next best."""
    spec = locate_mapping(text, "spec")
    if spec is None or not spec.entries:
        return
    newline = find_newline(text)
    indent = spec.entries[0].column
    for entry in spec.entries:
        if entry.key == KEY and entry.value_start >= entry.key_end:
            yield _replaced(text, entry, pins, flow=spec.flow, indent=indent, newline=newline)
        if entry.key == "images" and spec.flow:
            at = entry.value_end
            yield f"{text[:at]}, {KEY}: {_flow(pins)}{text[at:]}"
        elif entry.key == "images":
            block = "".join(
                f"{line}{newline}" for line in _block(pins, indent=indent, newline=newline)
            )
            # where `images` ends in an alias, its end is not where it stands
            for at in (find_line_end(text, entry.content_end), find_line_start(text, entry.start)):
                yield end_line(text[:at], newline) + block + text[at:]


def _replaced(
    text: str, entry: EntryPlace, pins: Mapping[str, str], *, flow: bool, indent: int, newline: str
) -> str:
    if flow:
        return text[: entry.value_start] + _flow(pins) + text[entry.value_end :]
    start, end = find_line_start(text, entry.start), find_line_end(text, entry.content_end)
    if not pins:
        return text[:start] + text[end:]
    # the key's line stays, with its comment, when it holds nothing of the value
    first = text[start : find_line_end(text, entry.start)] if entry.below else None
    block = _block(pins, indent=indent, newline=newline, first=first)
    return text[:start] + "".join(f"{line}{newline}" for line in block) + text[end:]


def _block(
    pins: Mapping[str, str], *, indent: int, newline: str, first: str | None = None
) -> list[str]:
    blank = " " * indent
    top = f"{blank}{KEY}:{WHY}" if first is None else first.rstrip(newline)
    return [top, *(f"{blank}  {_plain(ref)}: {digest}" for ref, digest in pins.items())]


def _flow(pins: Mapping[str, str]) -> str:
    return json.dumps(dict(pins))


def _plain(ref: str) -> str:
    """A ref as a key: bare, but in quotes where YAML would read a number."""
    return ref if dump_yaml([ref]) == f"- {ref}\n" else json.dumps(ref)
