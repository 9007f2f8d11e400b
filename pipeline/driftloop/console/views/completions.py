"""Completions of a spec as it is typed: the keys and values that its JSON Schema has for a place in the text.

Only block style is read, line by line, since a text that somebody types is seldom whole YAML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from driftloop.spec.forms import Schema, describe_part, list_forms

MOST = 40
MOST_LINES = 5000
_SCALARS = ("string", "integer", "number", "boolean")
ITEM = "-"
"""A step of a path into an entry of a list."""
_LINE = re.compile(r"(?P<space> *)(?P<dashes>(?:- +)*)(?P<key>[A-Za-z][\w.-]*)?(?P<rest>.*)")
_KEY = re.compile(r"(?P<space> *)(?P<dashes>(?:- +)*)(?P<typed>[\w.-]*)")
_VALUE = re.compile(r"(?P<space> *)(?P<dashes>(?:- +)*)(?P<key>[A-Za-z][\w.-]*): +(?P<typed>\S*)")


@dataclass(frozen=True)
class Completion:
    """A key or a value that may stand at a place."""

    text: str
    """It replaces what is typed of it."""
    about: str
    """The field in a sentence; empty without one."""


@dataclass(frozen=True)
class Completions:
    """Everything that may stand at a place."""

    typed: str
    """The beginning that is there already."""
    offers: tuple[Completion, ...] = ()


def list_completions(schema: Schema, text: str, line: int, column: int) -> Completions:
    """Return the completions for a place: its line from 1 on, its column from 0 on."""
    lines = text.split("\n")[:MOST_LINES]
    if not 0 < line <= len(lines):
        return Completions("")
    current = lines[line - 1][:column]
    if (found := _VALUE.fullmatch(current)) is not None:
        indent = len(found["space"]) + len(found["dashes"])
        path = (
            *_find_path(lines[: line - 1], found["space"], found["dashes"], indent),
            found["key"],
        )
        offers = _list_values(schema, _follow(schema, path))
    elif (found := _KEY.fullmatch(current)) is not None:
        indent = len(found["space"]) + len(found["dashes"])
        path = _find_path(lines[: line - 1], found["space"], found["dashes"], indent)
        nodes = _follow(schema, path)
        above = [] if found["dashes"] else lines[: line - 1]
        there = {*_list_siblings(reversed(above), indent), *_list_siblings(lines[line:], indent)}
        keys = (each for each in _list_keys(schema, nodes) if each.text.rstrip(": ") not in there)
        offers = keys if nodes else iter(())
    else:
        return Completions("")
    typed = found["typed"]
    fitting = [
        each for each in offers if each.text.startswith(typed) and each.text.strip() != typed
    ]
    return Completions(typed, tuple(fitting[:MOST]))


def _find_path(before: Sequence[str], space: str, dashes: str, indent: int) -> tuple[str, ...]:
    """Return the keys that a place is below, the outermost first."""
    path: list[str] = []
    list_at = len(space) if dashes else None
    if dashes:
        path.append(ITEM)
    wanted = len(space) + 1 if dashes else indent
    for text in reversed(before):
        found = _LINE.fullmatch(text)
        if found is None or not text.strip() or text.lstrip().startswith("#"):
            continue
        at = len(found["space"])
        if at >= wanted or (found["dashes"] and at == list_at):
            continue
        inner = at + len(found["dashes"])
        if found["dashes"] and inner >= wanted:
            # the entry of a list that the place is in
            path.append(ITEM)
            wanted, list_at = at + 1, at
            continue
        if found["key"] is None or not re.fullmatch(r":\s*(#.*)?", found["rest"]):
            continue
        path.append(found["key"])
        wanted, list_at = inner, None
        if found["dashes"]:
            path.append(ITEM)
            wanted, list_at = at + 1, at
    return tuple(reversed(path))


def _list_siblings(lines: Iterable[str], indent: int) -> Iterator[str]:
    """Yield the keys of the same mapping, in lines that go away from a place."""
    for text in lines:
        match = _LINE.fullmatch(text)
        if match is None or not text.strip():
            continue
        inner = len(match["space"]) + len(match["dashes"])
        if inner < indent:
            return
        if inner == indent and match["key"] is not None:
            yield match["key"]
        if match["dashes"] and inner == indent:
            return


def _follow(schema: Schema, path: Sequence[str]) -> list[Schema]:
    """Return what a schema has for a path: more than one node where it allows several forms."""
    nodes: list[Schema] = list(list_forms(schema, schema))
    for step in path:
        following: list[Schema] = []
        for node in nodes:
            named = (node.get("properties") or {}).get(step) or node.get("additionalProperties")
            below = node.get("items") if step == ITEM else named
            if isinstance(below, dict):
                following += list_forms(schema, below)
        nodes = following
    return nodes


def _list_keys(schema: Schema, nodes: Sequence[Schema]) -> Iterator[Completion]:
    properties: dict[str, Schema] = {}
    for node in nodes:
        properties |= node.get("properties") or {}
    for name, node in properties.items():
        forms = tuple(list_forms(schema, node))
        opens = not any(
            each.get("type") in _SCALARS or "enum" in each or "const" in each for each in forms
        )
        yield Completion(f"{name}:" if opens else f"{name}: ", describe_part(node, forms))


def _list_values(schema: Schema, nodes: Sequence[Schema]) -> Iterator[Completion]:
    seen: set[str] = set()
    for node in nodes:
        values = [*(node.get("enum") or ()), *([node["const"]] if "const" in node else ())]
        if node.get("type") == "boolean":
            values += [True, False]
        values += node.get("examples") or ()
        for value in values:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if text not in seen:
                seen.add(text)
                yield Completion(text, "")
