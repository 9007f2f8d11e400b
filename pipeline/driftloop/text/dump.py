"""Plain data to YAML: the only dumper, for the files of a tree and for documents inside
ConfigMaps.

Its representers are its own: importing Hera changes how PyYAML's SafeDumper writes strings for
the whole process, and a tree must not depend on who imported what.

Mappings and lists are written here, each text as libyaml writes it: a pipeline has some 8,000 texts
in 60 documents, most of them again and again, and libyaml's way through events costs ten times as much.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import yaml

# What YAML 1.1 or Go's YAML would read as something else than text, and PyYAML leaves bare.
_AMBIGUOUS = re.compile(
    r"[yYnN]|[-+]?\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?0[xobXOB][0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(:[0-9.]+)+"
)


# Plain in every YAML, where it stands: a letter first, then nothing that begins a comment or ends a key.
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./@=-]|:(?=[A-Za-z0-9/])| (?=[A-Za-z0-9/]))*")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_MOST_CACHED, _LONGEST_CACHED = 16_384, 256
_LONGEST_KEY = 100
"""Keys of more than 128 bytes, empty ones and those of several lines are written in another way."""


class _Unusual(Exception):  # noqa: N818 - no error: a sign to leave all of it to libyaml
    """Values that are not written here."""


class _Beyond(Exception):  # noqa: N818 - no error: a sign to take the other dumper
    """libyaml escapes characters beyond U+FFFF, PyYAML's own emitter does not."""


class _BlockDumper(yaml.SafeDumper):
    """Strings plain where that is safe, long ones as blocks, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Fast(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The same bytes from libyaml, three times as fast."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = None
    if any(character in value for character in "\r\x85\u2028\u2029\ufeff"):
        style = '"'
    elif "\n" in value:
        style = "|"
    elif _AMBIGUOUS.fullmatch(value):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _text_within(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    if value > "" and max(value) > "\uffff":
        raise _Beyond
    return _text(dumper, value)


_BlockDumper.add_representer(str, _text)
_Fast.add_representer(str, _text_within)


def dump_yaml(data: Any) -> str:
    """One YAML document; keys in the order of the data, lines never folded."""
    parts: list[str] = []
    try:
        _write_items(data, "\n", parts)
    except (_Unusual, RecursionError):
        return _dump_whole(data)
    parts.append("\n")
    return "".join(parts)


def dump_documents(documents: Iterable[Any]) -> str:
    """Several YAML documents in one text."""
    return "---\n".join(map(dump_yaml, documents))


def _dumped(data: Any, dumper: type[yaml.SafeDumper]) -> str:
    return yaml.dump(data, Dumper=dumper, sort_keys=False, width=1_000_000, allow_unicode=True)


def _dump_whole(data: Any) -> str:
    try:
        rendered = _dumped(data, _Fast)
    except _Beyond:
        return _dumped(data, _BlockDumper)
    # libyaml also ends a document with dots when a block that keeps its newlines stands anywhere but at the end
    return _dumped(data, _BlockDumper) if rendered.endswith("...\n") else rendered


def _write_items(value: Any, line: str, parts: list[str]) -> None:
    """Append the entries of a mapping or list that is not empty; `line` begins each but the first,
    which stands where the text has come to."""
    lead = ""
    if type(value) is dict and value:
        inner = line + "  "
        for key, item in value.items():
            if type(key) is not str:
                raise _Unusual
            parts.append(f"{lead}{_format_key(key)}:")
            lead = line
            kind = type(item)
            if kind is str:
                parts.append(f" {_place_text(item, line)}")
            elif kind is dict and item:
                parts.append(inner)
                _write_items(item, inner, parts)
            elif kind is list and item:
                # a list in a mapping is not set in
                parts.append(line)
                _write_items(item, line, parts)
            else:
                parts.append(f" {_format_other(item)}")
    elif type(value) is list and value:
        inner = line + "  "
        for item in value:
            parts.append(f"{lead}- ")
            lead = line
            kind = type(item)
            if kind is str:
                parts.append(_place_text(item, line))
            elif (kind is dict or kind is list) and item:
                _write_items(item, inner, parts)
            else:
                parts.append(_format_other(item))
    else:
        raise _Unusual


def _place_text(value: str, line: str) -> str:
    text = _format_text(value) if len(value) <= _LONGEST_CACHED else _dump_text(value)
    # a block is set in below its key or dash, its empty lines are not
    return text.replace("\n  ", f"{line}  ") if "\n" in text else text


@lru_cache(maxsize=_MOST_CACHED)
def _format_key(key: str) -> str:
    if not 0 < len(key) <= _LONGEST_KEY or not key.isprintable():
        raise _Unusual
    return _format_text(key)


@lru_cache(maxsize=_MOST_CACHED)
def _format_text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _dump_text(value)


def _dump_text(value: str | float) -> str:
    """Return a text or number as it is written behind a key in the first column."""
    try:
        written = _dumped({"k": value}, _Fast)
    except _Beyond:
        raise _Unusual from None
    text = written.removeprefix("k: ").removesuffix("\n")
    header, broken, _ = text.partition("\n")
    if broken and (not header.startswith("|") or header.endswith("+")):
        raise _Unusual
    return text


def _format_other(value: Any) -> str:
    match value:
        case None:
            return "null"
        case True:
            return "true"
        case False:
            return "false"
        case int() if type(value) is int:
            return str(value)
        case float() if type(value) is float:
            return _dump_text(value)
        case dict() | list() if not value:
            return "{}" if type(value) is dict else "[]"
    raise _Unusual
