"""YAML text to plain data that remembers where each value stands.

A safe subset: one document, string keys, no repeated keys, no custom tags; size, depth and what
aliases expand to are bounded, so a hostile file costs a bounded amount of work.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from driftloop.spec.problem import InvalidSpec, Problem

MAX_BYTES = 1024 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40

Step = str | int
Location = tuple[Step, ...]


@dataclass(frozen=True)
class Mark:
    """Place of a value and of its key; lines and columns count from 1."""

    line: int
    column: int
    key_line: int
    key_column: int


@dataclass(frozen=True)
class Source:
    """A parsed file: its data and the mark of every value in it."""

    path: str
    value: Any
    marks: Mapping[Location, Mark]

    def found(self, location: Location) -> tuple[Location, bool]:
        """The part of a location that exists in the file, and whether that is all of it.

        A pydantic location names union tags that the file does not hold; they are skipped.
        """
        here: Location = ()
        missing = 0
        for step in location:
            if (*here, step) in self.marks:
                here, missing = (*here, step), 0
            else:
                missing += 1
        return here, missing == 0

    def problem(
        self, location: Location, message: str, *, hint: str | None = None, key: bool = False
    ) -> Problem:
        """A problem at the deepest part of the location that exists; `key` points at the key,
        not at the value."""
        mark = self.marks[self.found(location)[0]]
        line, column = (mark.key_line, mark.key_column) if key else (mark.line, mark.column)
        return Problem(self.path, line, column, message, hint)


class _Loader(yaml.SafeLoader):
    """SafeLoader that leaves dates as text, as Kubernetes does."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in {"tag:yaml.org,2002:timestamp"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 wants a dot in every float, so that PyYAML would read `1e-3` as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def parse(text: str, *, path: str) -> Source:
    """Parse one YAML document; InvalidSpec says line and column of what is not allowed."""

    def fail(message: str, line: int = 1, column: int = 1, hint: str | None = None) -> InvalidSpec:
        return InvalidSpec([Problem(path, line, column, message, hint)])

    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise fail(f"the file has {size} bytes, must have at most {MAX_BYTES}")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise fail(
                    "the file is empty, must hold a Pipeline",
                    hint="`driftloop init` writes one to start from",
                )
            walk = _Walk(loader, path)
            value = walk.value(node, (), node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.problem, error.context) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise fail(f"not YAML: {reason}", line, column) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise fail(
            f"not YAML: the character {text[error.position]!r} is not allowed", line, column
        ) from error
    except yaml.YAMLError as error:
        raise fail(f"not YAML: {error}") from error
    except RecursionError as error:
        raise fail(f"nested too deeply, must be at most {MAX_DEPTH} levels deep") from error
    if walk.problems:
        raise InvalidSpec(walk.problems)
    return Source(path, value, walk.marks)


class _Walk:
    """One pass over the node graph. It stops at the first value over a bound; other problems are
    collected."""

    def __init__(self, loader: _Loader, path: str) -> None:
        self.loader = loader
        self.path = path
        self.marks: dict[Location, Mark] = {}
        self.problems: list[Problem] = []
        self.open: set[int] = set()

    def say(self, node: yaml.Node, message: str, hint: str | None = None) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.path, mark.line + 1, mark.column + 1, message, hint))

    def value(self, node: yaml.Node, location: Location, key: yaml.Node) -> Any:
        start, at = node.start_mark, key.start_mark
        self.marks[location] = Mark(start.line + 1, start.column + 1, at.line + 1, at.column + 1)
        if len(self.marks) > MAX_VALUES or len(location) > MAX_DEPTH or id(node) in self.open:
            what = (
                "an alias refers to itself"
                if id(node) in self.open
                else "more values than a spec may hold"
            )
            if len(location) > MAX_DEPTH:
                what = f"nested too deeply, must be at most {MAX_DEPTH} levels deep"
            self.say(node, what)
            raise InvalidSpec(self.problems)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                return [
                    self.value(item, (*location, index), item)
                    for index, item in enumerate(node.value)
                ]
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self.mapping(node, location)
        finally:
            self.open.discard(id(node))
        self.say(node, f"the tag `{node.tag}` is not allowed")
        return None

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.say(key, "a key is a list or a mapping, must be text")
                continue
            name = key.value
            if name in result:
                self.say(key, f"`{name}` appears twice, first in line {lines[name]}")
                continue
            if key.tag != "tag:yaml.org,2002:str" and not (
                key.tag in _SCALARS and name in {"on", "off", "y", "n"}
            ):
                self.say(key, f"the key `{name}` is not text", "put it in quotes")
                continue
            lines[name] = key.start_mark.line + 1
            result[name] = self.value(item, (*location, name), key)
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag not in _SCALARS:
            self.say(node, f"the tag `{node.tag}` is not allowed")
            return None
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError):
            self.say(
                node, f"`{node.value[:40]}` is not a number that can be read", "put it in quotes"
            )
            return None
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                self.say(node, "the text holds half a surrogate pair, which is not a character")
                return None
        return value
