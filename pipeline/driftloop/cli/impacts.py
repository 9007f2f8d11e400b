"""Format an impact: for a terminal, for a program, for a pull request."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from driftloop.operations.commits.impact import (
    ImpactSurprise,
    ObjectChange,
    SettingChange,
    SpecImpact,
)
from driftloop.render import FileChange, PatchedValue
from driftloop.text.words import count_noun

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
LONGEST = 60_000
"""Characters of diff in Markdown: a comment on GitHub has at most 65,536."""


def format_lines(
    impact: SpecImpact,
    budgets: Sequence[str] = (),
    *,
    kept: Sequence[str] = (),
    secrets: Sequence[str] = (),
) -> Iterator[str]:
    """Yield lines for a terminal; `budgets` are those of the monitors, `kept` what is kept how long, and `secrets` what
    others must make."""
    for title, entries in (
        (
            "settings",
            [
                f"{s.path}: {_format_value(s.old)} -> {_format_value(s.new)}"
                for s in impact.settings
            ],
        ),
        ("false alarms", budgets),
        ("patches", list(_format_patches(impact.patches))),
        ("effects", impact.effects),
        ("objects", [_format_object(resource) for resource in impact.resources]),
        ("kept on this cluster", kept),
        ("secrets that others make", secrets),
        ("surprises", [f"{s.code}: {s.what}: {s.why}" for s in impact.surprises]),
    ):
        if entries:
            yield title
            yield from (f"  {entry}" for entry in entries)


def build_document(
    pipeline: str, impact: SpecImpact, changes: Sequence[FileChange]
) -> dict[str, Any]:
    """Return a JSON document for programs."""
    return {
        "pipeline": pipeline,
        "settings": [{"path": s.path, "old": s.old, "new": s.new} for s in impact.settings],
        **({"patches": [asdict(p) for p in impact.patches]} if impact.patches else {}),
        "effects": list(impact.effects),
        "resources": [
            {"change": r.change, "kind": r.kind, "namespace": r.namespace, "name": r.name}
            for r in impact.resources
        ],
        "surprises": [{"code": s.code, "what": s.what, "why": s.why} for s in impact.surprises],
        "changes": [
            {"path": c.path, "change": c.kind, "diff": "\n".join(c.lines())} for c in changes
        ],
    }


def format_markdown(pipeline: str, impact: SpecImpact, changes: Sequence[FileChange]) -> str:
    """Return Markdown for a comment on a pull request."""
    parts = [f"### `{pipeline}`: {count_changes(changes)}"]
    parts += [_format_alert(surprise) for surprise in impact.surprises]
    if impact.effects:
        parts.append("\n".join(f"- {_escape_text(effect)}" for effect in impact.effects))
    if impact.settings:
        parts.append(
            _format_table(
                ("setting", "before", "after"), [_build_row(setting) for setting in impact.settings]
            )
        )
    if impact.patches:
        patched = [
            (
                _format_code(f"{p.kind} {p.name}"),
                *_build_row(SettingChange(p.path, p.old, p.new)),
            )
            for p in impact.patches
        ]
        parts.append(
            _fold_details(
                f"{count_noun(len(patched), 'value')} changed by patches",
                _format_table(("object", "place", "rendered", "patched"), patched),
            )
        )
    if impact.resources:
        rows = [
            (r.change, r.kind, _format_code(r.namespace), _format_code(r.name))
            for r in impact.resources
        ]
        parts.append(
            _fold_details(
                count_noun(len(rows), "object"),
                _format_table(("", "kind", "namespace", "name"), rows),
            )
        )
    if changes:
        diff = "\n".join(line for change in changes for line in change.lines())
        cut = (
            diff
            if len(diff) <= LONGEST
            else diff[:LONGEST] + "\n[cut: `driftloop plan --diff` prints all of it]"
        )
        fence = "`" * max(3, 1 + max((len(run) for run in _find_backticks(cut)), default=0))
        parts.append(
            _fold_details(count_noun(len(changes), "file"), f"{fence}diff\n{cut}\n{fence}")
        )
    return "\n\n".join(parts)


def count_changes(changes: Sequence[FileChange]) -> str:
    """Return `2 added, 1 changed`, or `nothing changes`."""
    counts = {kind: sum(change.kind == kind for change in changes) for kind in _SIGNS}
    return (
        ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
        or "nothing changes"
    )


def _format_patches(values: Sequence[PatchedValue]) -> Iterator[str]:
    """Yield each object that patches change, and below it what they change."""
    shown = ""
    for value in values:
        about = f"{value.kind} {value.namespace}/{value.name}"
        if about != shown:
            shown = about
            yield about
        yield f"  {value.path}: {_format_value(value.old)} -> {_format_value(value.new)}"


def _format_object(resource: ObjectChange) -> str:
    name = f"{resource.namespace}/{resource.name}" if resource.namespace else resource.name
    return f"{_SIGNS[resource.change]} {resource.kind} {name}"


def _format_value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _build_row(setting: SettingChange) -> tuple[str, str, str]:
    return (
        _format_code(setting.path),
        _format_code(_format_value(setting.old)),
        _format_code(_format_value(setting.new)),
    )


def _format_alert(surprise: ImpactSurprise) -> str:
    return f"> [!WARNING]\n> `{surprise.code}`: {_escape_text(surprise.what)}: {_escape_text(surprise.why)}"


def _format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _fold_details(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _format_code(text: str) -> str:
    """Format as code: backticks inside need longer ones around, and a bar would end a cell of a
    table."""
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in _find_backticks(text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|").replace("\n", " ")


def _escape_text(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)


def _find_backticks(text: str) -> Iterator[str]:
    """Yield the sequences of backticks in a text."""
    run = ""
    for letter in f"{text} ":
        if letter == "`":
            run += letter
        elif run:
            yield run
            run = ""
