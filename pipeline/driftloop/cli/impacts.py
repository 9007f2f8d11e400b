"""Format an impact: for a terminal, for a program, for a pull request."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from driftloop.operations.impact import Impact, Resource, Setting, Surprise
from driftloop.render import Change

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
LONGEST = 60_000
"""Characters of diff in Markdown: a comment on GitHub has at most 65,536."""


def lines(impact: Impact) -> Iterator[str]:
    """Yield lines for a terminal."""
    for title, entries in (
        ("settings", [f"{s.path}: {_value(s.old)} -> {_value(s.new)}" for s in impact.settings]),
        ("effects", impact.effects),
        ("objects", [_resource(resource) for resource in impact.resources]),
        ("surprises", [f"{s.code}: {s.what}: {s.why}" for s in impact.surprises]),
    ):
        if entries:
            yield title
            yield from (f"  {entry}" for entry in entries)


def document(pipeline: str, impact: Impact, changes: Sequence[Change]) -> dict[str, Any]:
    """Return a JSON document for programs."""
    return {
        "pipeline": pipeline,
        "settings": [{"path": s.path, "old": s.old, "new": s.new} for s in impact.settings],
        "effects": list(impact.effects),
        "resources": [
            {"change": r.change, "kind": r.kind, "namespace": r.namespace, "name": r.name} for r in impact.resources
        ],
        "surprises": [{"code": s.code, "what": s.what, "why": s.why} for s in impact.surprises],
        "changes": [{"path": c.path, "change": c.kind, "diff": "\n".join(c.lines())} for c in changes],
    }


def markdown(pipeline: str, impact: Impact, changes: Sequence[Change]) -> str:
    """Return Markdown for a comment on a pull request."""
    parts = [f"### `{pipeline}`: {counted(changes)}"]
    parts += [_alert(surprise) for surprise in impact.surprises]
    if impact.effects:
        parts.append("\n".join(f"- {_plain(effect)}" for effect in impact.effects))
    if impact.settings:
        parts.append(_table(("setting", "before", "after"), [_row(setting) for setting in impact.settings]))
    if impact.resources:
        rows = [(r.change, r.kind, _code(r.namespace), _code(r.name)) for r in impact.resources]
        parts.append(_folded(f"{_number(len(rows), 'object')}", _table(("", "kind", "namespace", "name"), rows)))
    if changes:
        diff = "\n".join(line for change in changes for line in change.lines())
        cut = diff if len(diff) <= LONGEST else diff[:LONGEST] + "\n[cut: `driftloop plan --diff` prints all of it]"
        fence = "`" * max(3, 1 + max((len(run) for run in _ticks(cut)), default=0))
        parts.append(_folded(f"{_number(len(changes), 'file')}", f"{fence}diff\n{cut}\n{fence}"))
    return "\n\n".join(parts)


def counted(changes: Sequence[Change]) -> str:
    """Return `2 added, 1 changed`, or `nothing changes`."""
    counts = {kind: sum(change.kind == kind for change in changes) for kind in _SIGNS}
    return ", ".join(f"{number} {kind}" for kind, number in counts.items() if number) or "nothing changes"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _resource(resource: Resource) -> str:
    name = f"{resource.namespace}/{resource.name}" if resource.namespace else resource.name
    return f"{_SIGNS[resource.change]} {resource.kind} {name}"


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _row(setting: Setting) -> tuple[str, str, str]:
    return _code(setting.path), _code(_value(setting.old)), _code(_value(setting.new))


def _alert(surprise: Surprise) -> str:
    return f"> [!WARNING]\n> `{surprise.code}`: {_plain(surprise.what)}: {_plain(surprise.why)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _code(text: str) -> str:
    """Format as code: backticks inside need longer ones around, and a bar would end a cell of a
    table."""
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in _ticks(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)


def _ticks(text: str) -> Iterator[str]:
    """Yield the sequences of backticks in a text."""
    run = ""
    for letter in f"{text} ":
        if letter == "`":
            run += letter
        elif run:
            yield run
            run = ""
