"""Rewriting in a text what rules find dead: API versions and fields that no longer exist. Edits are made at places, so that
comments, order and quotes stay."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from driftloop.check.finding import Finding
from driftloop.check.rules.versions import REMOVED, removed_field, removed_version
from driftloop.check.shapes import (
    DROPPED_FIELDS,
    FIELDS,
    LEFT_FIELDS,
    SHAPES,
    find_obstacle,
    find_paths,
)
from driftloop.text.layout import (
    EntryPlace,
    MappingPlace,
    find_line_end,
    find_line_start,
    locate_entries,
)
from driftloop.text.node import YamlNode
from driftloop.text.read import read

CODES = frozenset({removed_version.code, removed_field.code})
"""Codes of the findings that are rewritten."""

_VERSION = re.compile(r"[\w.\-]+/v\w+")
_IN_TEXT = "it stands in a text within the file"
_UNUSUAL = "it is written with an anchor, a tag or over several lines"


@dataclass(frozen=True)
class Rewrite:
    """One thing that is written anew."""

    line: int
    subject: str
    what: str


@dataclass(frozen=True)
class MigratedText:
    """A text after its edits, what they did, and the findings that are left with the reasons."""

    text: str
    rewrites: tuple[Rewrite, ...]
    left: tuple[tuple[Finding, str], ...]


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


class _LeftError(Exception):
    """Why something is not rewritten."""


def migrate_text(text: str, findings: Iterable[Finding]) -> MigratedText:
    """Rewrite what findings of CODES name in a text, as far as nobody has to choose anything.

    What is left has its reason: the fields of another version are not the same, or somebody has to decide.
    """
    documents, places = read(text).documents, locate_entries(text)
    edits: list[_Edit] = []
    rewrites: list[Rewrite] = []
    left: list[tuple[Finding, str]] = []
    for finding in findings:
        try:
            made, what = _rewrite(text, documents, places, finding)
        except _LeftError as reason:
            left.append((finding, str(reason)))
            continue
        edits += made
        rewrites.append(Rewrite(finding.line, finding.subject, what))
    return MigratedText(_apply(text, edits), tuple(rewrites), tuple(left))


def migrate_references(text: str) -> MigratedText:
    """Rewrite the API versions of references, such as a Subscription's channel, to objects of removed versions."""
    documents, places = read(text).documents, locate_entries(text)
    edits: list[_Edit] = []
    rewrites: list[Rewrite] = []
    for document in documents:
        for _, node in document.mappings():
            version, kind = node.get("apiVersion"), node.get("kind")
            if (
                node is document
                or not node.get("name").text
                or {"metadata", "spec"} & node.map.keys()
            ):
                continue
            new, _ = _find_removal(version.text, kind.text)
            if not _VERSION.fullmatch(new):
                continue
            place = places.get((version.key_line, version.key_column))
            if place is None or not _is_plain(text, place[1]):
                continue
            edits.append(_replace_value(text, place[1], version.text, new))
            what = f"apiVersion {version.text} -> {new}"
            rewrites.append(
                Rewrite(version.line, f"reference to {kind.text} {node.get('name').text}", what)
            )
    return MigratedText(_apply(text, edits), tuple(rewrites), ())


def _find_removal(version: str, kind: str) -> tuple[str, str]:
    return REMOVED.get((version, kind)) or REMOVED.get((version, "")) or ("", "")


_Places = dict[tuple[int, int], tuple[MappingPlace, EntryPlace]]


def _rewrite(
    text: str, documents: Iterable[YamlNode], places: _Places, finding: Finding
) -> tuple[list[_Edit], str]:
    at = (finding.line, finding.column)
    names = ("apiVersion",) if finding.code == removed_version.code else (*FIELDS, *DROPPED_FIELDS, *LEFT_FIELDS)  # fmt: skip
    for document in documents:
        for _, node in document.mappings():
            for name in names:
                if name in node.map and node.get(name).place == at:
                    if name == "apiVersion":
                        return _rewrite_version(text, places, node, finding)
                    return _rewrite_field(text, places, node, name)
    raise _LeftError(_IN_TEXT)


def _rewrite_version(
    text: str, places: _Places, node: YamlNode, finding: Finding
) -> tuple[list[_Edit], str]:
    version, kind = node.get("apiVersion"), node.get("kind").text
    new, _ = _find_removal(version.text, kind)
    shape = SHAPES.get((version.text.partition("/")[0], kind))
    if shape is not None and (obstacle := find_obstacle(node, shape)) is not None:
        raise _LeftError(obstacle)
    if not _VERSION.fullmatch(new):
        raise _LeftError(finding.fix)
    _, entry = _locate(text, places, version)
    edits = [_replace_value(text, entry, version.text, new)]
    told = [f"apiVersion {version.text} -> {new}"]
    for path in shape.dropped if shape is not None else ():
        for place, key in find_paths(node, path):
            if key in place.map:
                edits.append(_drop(text, *_locate(text, places, place.get(key))))
                told.append(f"{path} is dropped")
    for path, name in shape.renamed.items() if shape is not None else ():
        for place, key in find_paths(node, path):
            if key in place.map:
                edits.append(_rename(_locate(text, places, place.get(key))[1], name))
                told.append(f"{path} -> {name}")
    for path, name in shape.listed.items() if shape is not None else ():
        for place, key in find_paths(node, path):
            if key in place.map:
                edits += _list_value(text, *_locate(text, places, place.get(key)), name)
                told.append(f"{path} -> {name}")
    return edits, ", ".join(told)


def _rewrite_field(
    text: str, places: _Places, node: YamlNode, name: str
) -> tuple[list[_Edit], str]:
    if name in LEFT_FIELDS:
        raise _LeftError(LEFT_FIELDS[name])
    place, entry = _locate(text, places, node.get(name))
    if name in DROPPED_FIELDS:
        return [_drop(text, place, entry)], f"{name} is dropped"
    new = FIELDS[name]
    if new in node.map:
        raise _LeftError(f"`{name}` and `{new}` are both there")
    return _list_value(text, place, entry, new), f"{name} -> {new}"


def _locate(text: str, places: _Places, value: YamlNode) -> tuple[MappingPlace, EntryPlace]:
    """Return the place of the entry of a value; _LeftError where it can't be edited."""
    found = places.get((value.key_line, value.key_column))
    if found is None:
        raise _LeftError(_IN_TEXT)
    if not _is_plain(text, found[1]):
        raise _LeftError(_UNUSUAL)
    return found


def _is_plain(text: str, entry: EntryPlace) -> bool:
    """Return True if nothing but space and comments is between a key and its value: no anchor, tag or alias."""
    between = re.sub(r"(?m)#.*$", "", text[entry.key_end : entry.value_start])
    return between.strip() == ":" and not text.startswith("*", entry.value_start)


def _replace_value(text: str, entry: EntryPlace, old: str, new: str) -> _Edit:
    start = text.find(old, entry.value_start, entry.content_end)
    if start < 0:
        raise _LeftError(_UNUSUAL)
    return _Edit(start, start + len(old), new)


def _rename(entry: EntryPlace, new: str) -> _Edit:
    return _Edit(entry.start, entry.key_end, new)


def _drop(text: str, place: MappingPlace, entry: EntryPlace) -> _Edit:
    if place.flow:
        index = place.entries.index(entry)
        if index + 1 < len(place.entries):
            return _Edit(entry.start, place.entries[index + 1].start, "")
        start = place.entries[index - 1].content_end if index else entry.start
        return _Edit(start, entry.content_end, "")
    line = find_line_start(text, entry.start)
    if text[line : entry.start].strip() or len(place.entries) == 1:
        raise _LeftError("nothing would be left where it stands")
    return _Edit(line, find_line_end(text, entry.content_end), "")


def _list_value(text: str, place: MappingPlace, entry: EntryPlace, new: str) -> list[_Edit]:
    """Rename a key, and make its value the one item of a list."""
    renamed = _rename(entry, new)
    value = text[entry.value_start : entry.content_end]
    if value.startswith(("|", ">", "&", "!")):
        raise _LeftError(_UNUSUAL)
    if entry.below and not place.flow and not value.startswith(("{", "[")):
        # a block: its first line gets the dash, all others are set in
        edits = [renamed, _Edit(entry.value_start, entry.value_start, "- ")]
        line = text.find("\n", entry.value_start, entry.content_end) + 1
        while line:
            if text[line : line + 1] not in ("\n", "\r"):
                edits.append(_Edit(line, line, "  "))
            line = text.find("\n", line, entry.content_end) + 1
        return edits
    # what is plain outside of brackets may be several items within them
    quote = "'" if value[0] not in "'\"{[" and re.search(r"[,\[\]{}]|: | #", value) else ""
    if quote and ("'" in value or "\n" in value):
        raise _LeftError(_UNUSUAL)
    return [
        renamed,
        _Edit(entry.value_start, entry.value_start, f"[{quote}"),
        _Edit(entry.content_end, entry.content_end, f"{quote}]"),
    ]


def _apply(text: str, edits: Iterable[_Edit]) -> str:
    parts: list[str] = []
    end = 0
    for edit in sorted(set(edits), key=lambda edit: (edit.start, edit.end)):
        if edit.start < end:
            continue  # what an alias names is found twice
        parts += text[end : edit.start], edit.text
        end = edit.end
    return "".join([*parts, text[end:]])


def find_damage(before: str, after: str) -> Iterator[str]:
    """Yield why a rewritten text can't be meant: it is no YAML any more, or has other documents."""
    old, new = read(before), read(after)
    if new.problems and not old.problems:
        yield f"line {new.problems[0].line}: {new.problems[0].said}"
    elif len(old.documents) != len(new.documents):
        yield f"{len(old.documents)} documents would become {len(new.documents)}"
