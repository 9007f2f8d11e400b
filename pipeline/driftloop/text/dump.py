"""Plain data to YAML: the only dumper, for the files of a tree and for documents inside
ConfigMaps.

Its representers are its own: importing Hera changes how PyYAML's SafeDumper writes strings for
the whole process, and a tree must not depend on who imported what.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

# What YAML 1.1 or Go's YAML would read as something else than text, and PyYAML leaves bare.
_AMBIGUOUS = re.compile(
    r"[yYnN]|[-+]?\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?0[xobXOB][0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(:[0-9.]+)+"
)


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
    try:
        rendered = _dumped(data, _Fast)
    except _Beyond:
        return _dumped(data, _BlockDumper)
    # libyaml also ends a document with dots when a block that keeps its newlines stands anywhere but at the end
    return _dumped(data, _BlockDumper) if rendered.endswith("...\n") else rendered


def dump_documents(documents: Iterable[Any]) -> str:
    """Several YAML documents in one text."""
    return "---\n".join(map(dump_yaml, documents))


def _dumped(data: Any, dumper: type[yaml.SafeDumper]) -> str:
    return yaml.dump(data, Dumper=dumper, sort_keys=False, width=1_000_000, allow_unicode=True)
