"""YAML text to nodes, as an API server's tools read it, with bounded work.

Nodes are built from libyaml's events in a loop, so no nesting can exhaust a stack, and what
aliases expand to is counted before anything walks it. Unlike PyYAML: dates and `12:30` are text,
and `1e3` is a number, as in Go.
"""

import re
from dataclasses import dataclass
from math import isinf
from types import NoneType
from typing import Any, Literal

import yaml

from driftloop.text.node import Scalar, YamlNode

MAX_BYTES = 8 * 1024 * 1024
MAX_VALUES = 500_000
MAX_DEPTH = 200

Fault = Literal[
    "encoding", "size", "syntax", "expansion", "duplicate", "key", "tag", "alias", "number"
]


@dataclass(frozen=True)
class ReadRules:
    """Bounds of a file, and forms of YAML that it may use."""

    max_bytes: int = MAX_BYTES
    max_values: int = MAX_VALUES
    max_depth: int = MAX_DEPTH
    aliases: bool = True
    """Aliases may be used; without them a file means what it shows."""
    text_keys: bool = False
    """Keys must be text; otherwise a number as a key is the text it is written as."""
    exact: bool = False
    """A tag must be one of JSON's types and fit its value, and a number must be one that can be
    read; otherwise both are text."""


FILE_RULES = ReadRules()


@dataclass(frozen=True)
class ReadProblem:
    """Why a file, or a part of it, can't be read."""

    fault: Fault
    line: int
    column: int
    said: str


@dataclass(frozen=True)
class Reading:
    """Content of a file: its documents (empty ones left out), or the reason it can't be read."""

    documents: tuple[YamlNode, ...] = ()
    problems: tuple[ReadProblem, ...] = ()


class _Stop(Exception):  # noqa: N818 - carries a Problem to the one place that returns it
    def __init__(self, problem: ReadProblem) -> None:
        self.problem = problem


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR, _CORE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    _STR: (str,),
    _CORE + "int": (int,),
    _CORE + "float": (int, float),
    _CORE + "bool": (bool,),
    _CORE + "null": (NoneType,),
    _CORE + "seq": (list,),
    _CORE + "map": (dict,),
}
_TAGS = tuple(tag.replace(_CORE, "!!") for tag in _TYPES)
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}


def read(content: str | bytes, *, line: int = 0, rules: ReadRules = FILE_RULES) -> Reading:
    """The documents of a file. `line` is added to every line, for YAML that stands inside other
    YAML."""
    try:
        return _Composer(_decoded(content, rules.max_bytes), line, rules).all()
    except _Stop as stop:
        return Reading(problems=(stop.problem,))


def _decoded(content: str | bytes, most: int) -> str:
    size = len(content)
    if isinstance(content, str) and not content.isascii():
        size = len(content.encode("utf-8", "surrogatepass"))
    if size > most:
        message = f"the file has {size} bytes, must have at most {most}"
        raise _Stop(ReadProblem("size", 1, 1, message))
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise _Stop(ReadProblem("encoding", line, column, message)) from error


class _Composer:
    """One pass over the events of a text."""

    def __init__(self, text: str, offset: int, rules: ReadRules) -> None:
        self.text = text
        self.offset = offset
        self.rules = rules
        self.problems: list[ReadProblem] = []
        self.anchors: dict[str, YamlNode | None] = {}
        self.count = 0

    def all(self) -> Reading:
        documents: list[YamlNode] = []
        try:
            loader = _Loader(self.text)
            try:
                while True:
                    event = loader.get_event()
                    if isinstance(event, yaml.StreamEndEvent):
                        break
                    if isinstance(event, yaml.DocumentStartEvent):
                        self.anchors = {}
                        node = self.node(loader, loader.get_event())
                        if node.value is not None:
                            documents.append(node)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            message = " ".join(part for part in (error.context, error.problem) if part)
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            raise self.stop("syntax", line, column, message) from error
        except yaml.reader.ReaderError as error:
            # libyaml counts bytes
            before = self.text.encode()[: error.position].decode(errors="ignore")
            message = f"the character {self.text[len(before) : len(before) + 1]!r} is not allowed"
            raise self.stop("syntax", *self.around(len(before)), message) from error
        except UnicodeEncodeError as error:
            raise self.stop(
                "encoding", *self.around(error.start), "half a surrogate pair, which is not text"
            ) from error
        except yaml.YAMLError as error:
            raise self.stop("syntax", 1, 1, str(error)) from error
        return Reading(tuple(documents), tuple(self.problems))

    def around(self, position: int) -> tuple[int, int]:
        before = self.text[:position]
        return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1

    def stop(self, fault: Fault, line: int, column: int, said: str) -> _Stop:
        return _Stop(ReadProblem(fault, line + self.offset, column, said))

    def node(self, loader: Any, event: Any) -> YamlNode:
        """The node that begins with an event. `open` holds the collections around it, with the
        key that waits."""
        waiting: list[tuple[YamlNode, list[YamlNode], str | None]] = []
        while True:
            finished: YamlNode | None
            mark: Any = event.start_mark
            self.count += 1
            if self.count > 2 * self.rules.max_values:  # as many beginnings and ends
                message = f"more than {self.rules.max_values} values before this"
                raise self.stop("expansion", mark.line + 1, mark.column + 1, message)
            if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                if len(waiting) >= self.rules.max_depth:
                    message = f"nested more than {self.rules.max_depth} levels deep"
                    raise self.stop("expansion", mark.line + 1, mark.column + 1, message)
                started = YamlNode(
                    {} if isinstance(event, yaml.MappingStartEvent) else [],
                    mark.line + 1 + self.offset,
                    mark.column + 1,
                )
                if event.tag is not None and self.rules.exact:
                    self.check_tag(started, event.tag)
                if event.anchor is not None:
                    self.anchors[event.anchor] = None
                waiting.append((started, [], event.anchor))
                event = loader.get_event()
                continue
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                finished, parts, anchor = waiting.pop()
                self.close(finished, parts)
                if anchor is not None:
                    self.anchors[anchor] = finished
            elif isinstance(event, yaml.AliasEvent):
                finished = self.alias(event)
            else:
                finished = self.scalar(event)
            if not waiting:
                return finished
            waiting[-1][1].append(finished)
            event = loader.get_event()

    def alias(self, event: Any) -> YamlNode:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if not self.rules.aliases:
            raise self.stop("alias", line, column, "aliases are not allowed here")
        if event.anchor not in self.anchors:
            raise self.stop(
                "syntax", line, column, f"the alias `*{event.anchor}` has no anchor before it"
            )
        target = self.anchors[event.anchor]
        if target is None:
            raise self.stop(
                "expansion", line, column, f"the alias `*{event.anchor}` refers to itself"
            )
        return YamlNode(
            target.value, line + self.offset, column, plain=target.plain, literal=False, source=target.source,
            size=target.size, depth=target.depth,
        )  # fmt: skip

    def scalar(self, event: Any) -> YamlNode:
        plain = event.style is None or event.style == ""
        tag = event.tag
        value: Scalar = event.value
        if (event.implicit[0] and plain and tag in (None, "!")) or (
            tag is not None
            and tag.startswith(_CORE)
            and tag not in (_STR, _CORE + "binary", _CORE + "timestamp")
        ):
            value = _resolved(event.value)
        mark = event.start_mark
        node = YamlNode(
            value, mark.line + 1 + self.offset, mark.column + 1, plain=plain, literal=event.style == "|",
            source=event.value,
        )  # fmt: skip
        if self.rules.exact:
            self.check_tag(node, tag)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def check_tag(self, node: YamlNode, tag: str | None) -> None:
        """Report a tag that the value does not fit, and a number that can't be read."""
        types = _TYPES.get(tag) if tag is not None else None
        if types is not None and not isinstance(node.value, types):
            message = f"the tag `{tag}` does not fit {node.shown}"
            self.problems.append(ReadProblem("tag", node.line, node.column, message))
        elif types is None and tag not in (None, "!"):
            message = f"the tag `{tag}` is not allowed, must be one of: {', '.join(_TAGS)}"
            self.problems.append(ReadProblem("tag", node.line, node.column, message))
        elif tag is None and node.plain and _is_unread(node):
            message = f"{node.shown} is not a number that can be read"
            self.problems.append(ReadProblem("number", node.line, node.column, message))

    def close(self, node: YamlNode, parts: list[YamlNode]) -> None:
        """Give a collection its parts, and refuse it when it has grown too much."""
        node.size = 1 + sum(part.size for part in parts)
        node.depth = 1 + max((part.depth for part in parts), default=0)
        values, levels = self.rules.max_values, self.rules.max_depth
        if node.size > values or node.depth > levels:
            excess = (
                f"more than {values} values" if node.size > values else f"more than {levels} levels"
            )
            raise self.stop(
                "expansion",
                node.line - self.offset,
                node.column,
                f"{excess}, aliases expanded, from here on",
            )
        if isinstance(node.value, list):
            node.value.extend(parts)
            return
        members: dict[str, YamlNode] = {}
        merged: list[YamlNode] = []
        for key, part in zip(parts[::2], parts[1::2], strict=True):
            if isinstance(key.value, dict | list):
                self.problems.append(
                    ReadProblem(
                        "key", key.line, key.column, "a key is a list or a mapping, must be text"
                    )
                )
                continue
            name = key.source
            if self.rules.text_keys and not _is_text_key(key):
                message = f"the key `{name}` is not text"
                self.problems.append(ReadProblem("key", key.line, key.column, message))
                continue
            if name == "<<" and key.plain:
                merged.append(part)
                continue
            if name in members:
                message = f"`{name}` appears twice, first in line {members[name].key_line}"
                self.problems.append(ReadProblem("duplicate", key.line, key.column, message))
                continue
            part.key_line, part.key_column = key.line, key.column
            members[name] = part
        for part in merged:
            for item in part.list or [part]:
                for name, member in item.map.items():
                    members.setdefault(name, member)
        node.value = members


def _resolved(text: str) -> Scalar:
    """The type a plain scalar has for Go's YAML 1.1 readers."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first in "-+.0123456789":
        if _INT.fullmatch(text):
            digits = text.replace("_", "")
            try:
                return int(digits, 0)
            except ValueError:
                pass
            try:
                return int(digits, 8) if digits.lstrip("-+").startswith("0") else int(digits)
            except ValueError:
                pass
        if _FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text):
            try:
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            except ValueError:
                return text
    return text


def _is_unread(node: YamlNode) -> bool:
    """A number too large to be read, which would become infinite."""
    value = node.value
    return isinstance(value, float) and isinf(value) and not _SPECIAL.fullmatch(node.source)


def _is_text_key(key: YamlNode) -> bool:
    """`on` and `off` are words of ours, not booleans."""
    if key.plain and key.source == "<<":
        return False
    return isinstance(key.value, str) or key.source in ("on", "off")
