"""`spec.pins` written into a spec's text: nothing else of it changes, neither a comment nor a
blank.

A new block goes below `images`. What the edit made is parsed again, so a text that this can't
write is refused, never spoilt.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from driftloop.errors import SpecError
from driftloop.spec.source import parse

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
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    spec = _value(root, "spec")
    if not isinstance(spec, yaml.MappingNode) or not spec.value:
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = spec.value[0][0].start_mark.column
    for key, value in spec.value:
        if key.value == KEY and value.start_mark.index >= key.end_mark.index:
            yield _replaced(
                text, key, value, pins, flow=spec.flow_style, indent=indent, newline=newline
            )
        if key.value == "images" and spec.flow_style:
            at = value.end_mark.index
            yield f"{text[:at]}, {KEY}: {_flow(pins)}{text[at:]}"
        elif key.value == "images":
            block = "".join(
                f"{line}{newline}" for line in _block(pins, indent=indent, newline=newline)
            )
            # where `images` ends in an alias, its end is not where it stands
            for at in (_line_end(text, _end(value, text)), _line_start(text, key.start_mark.index)):
                head = text[:at] if text[:at].endswith("\n") else text[:at] + newline
                yield head + block + text[at:]


def _replaced(
    text: str,
    key: yaml.Node,
    value: yaml.Node,
    pins: Mapping[str, str],
    *,
    flow: bool,
    indent: int,
    newline: str,
) -> str:
    if flow:
        return text[: value.start_mark.index] + _flow(pins) + text[value.end_mark.index :]
    start, end = _line_start(text, key.start_mark.index), _line_end(text, _end(value, text))
    if not pins:
        return text[:start] + text[end:]
    # the key's line stays, with its comment, when it holds nothing of the value
    alone = value.start_mark.line > key.start_mark.line
    first = text[start : _line_end(text, key.start_mark.index)] if alone else None
    block = _block(pins, indent=indent, newline=newline, first=first)
    return text[:start] + "".join(f"{line}{newline}" for line in block) + text[end:]


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    child: yaml.Node | None = next((value for key, value in node.value if key.value == name), None)
    return child


def _end(node: yaml.Node, text: str) -> int:
    """Index behind the last character of a value; a block's own mark lies behind the comments
    that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last, text)
    start, end = node.start_mark.index, node.end_mark.index
    return int(start + len(text[start:end].rstrip()))


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """Behind the line break of the line that `index` is in."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


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
    return ref if yaml.safe_load(ref) == ref else json.dumps(ref)
