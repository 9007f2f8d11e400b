"""Places of a mapping's entries in its text, for an edit that leaves the rest of the text alone."""

from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class EntryPlace:
    """One key and its value: indices into the text, an end behind its last character."""

    key: str
    column: int
    """Column of the key, from 0."""
    start: int
    key_end: int
    value_start: int
    value_end: int
    """For a block, behind the comments that follow it."""
    content_end: int
    """Without what follows the value."""
    below: bool
    """The value begins below the line of its key."""


@dataclass(frozen=True)
class MappingPlace:
    """The entries of a mapping in their order, and whether it is written in braces."""

    flow: bool
    entries: tuple[EntryPlace, ...]


def locate_mapping(text: str, *keys: str) -> MappingPlace | None:
    """Return the places of the mapping below these keys; None where there is none. The text is
    one that `read` accepts, within the depth of Python's stack."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # libyaml, which reads, accepts a little more than this parser
        return None
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for name, value in pairs if name.value == key), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    return MappingPlace(
        bool(node.flow_style),
        tuple(_locate_entry(key, value, text) for key, value in node.value),
    )


def locate_entries(text: str) -> dict[tuple[int, int], tuple[MappingPlace, EntryPlace]]:
    """Return every entry of every mapping in a text's documents, and the mapping, by line and column of its key
    (from 1); none where this parser does not read the text."""
    found: dict[tuple[int, int], tuple[MappingPlace, EntryPlace]] = {}
    try:
        waiting: list[yaml.Node] = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        place = MappingPlace(
            bool(node.flow_style),
            tuple(_locate_entry(key, value, text) for key, value in node.value),
        )
        for (key, value), entry in zip(node.value, place.entries, strict=True):
            at = (key.start_mark.line + 1, key.start_mark.column + 1)
            if at not in found:  # what an alias names is located once
                found[at] = (place, entry)
                waiting.append(value)
    return found


def _locate_entry(key: yaml.Node, value: yaml.Node, text: str) -> EntryPlace:
    return EntryPlace(
        key=str(key.value),
        column=key.start_mark.column,
        start=key.start_mark.index,
        key_end=key.end_mark.index,
        value_start=value.start_mark.index,
        value_end=value.end_mark.index,
        content_end=_find_end(value, text),
        below=value.start_mark.line > key.start_mark.line,
    )


def _find_end(node: yaml.Node, text: str) -> int:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(last, tuple) else last, text)
    start, end = node.start_mark.index, node.end_mark.index
    return int(start + len(text[start:end].rstrip()))


def find_newline(text: str) -> str:
    """Return the line break of a text."""
    return "\r\n" if "\r\n" in text else "\n"


def find_line_start(text: str, index: int) -> int:
    """Return where the line begins that `index` is in."""
    return text.rfind("\n", 0, index) + 1


def find_line_end(text: str, index: int) -> int:
    """Return what is behind the line break of the line that `index` is in."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def end_line(text: str, newline: str) -> str:
    """Return the text with a line break at its end."""
    return text if text.endswith("\n") else text + newline
