"""What a field of the spec is, from the schema that editors read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from driftloop.errors import PipelineError
from driftloop.spec.forms import Schema, describe_part, list_forms, read_schema
from driftloop.text.words import suggest_names

_DEEPEST = 6
"""Fields within each other among which a name is looked for."""
_SCALARS = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "text"}  # fmt: skip


@dataclass(frozen=True)
class FieldExplanation:
    """A field of the spec, and the fields below it."""

    path: str
    type: str
    text: str
    default: Any = None
    required: bool = False
    only: str = ""
    """With which kind of the value around it there is such a field, or it is needed; empty where with all."""
    fields: tuple["FieldExplanation", ...] = field(default=())


def explain_field(path: str) -> FieldExplanation:
    """Return what is known of a field by its path, `rollout.canary` or `metadata.name`; PipelineError
    names the fields that there are in its place."""
    whole = read_schema()
    steps = [step for step in path.split(".") if step]
    if steps and steps[0] not in whole["properties"]:
        steps = ["spec", *steps]
    forms: list[Schema] = [whole]
    found = _Member("", (whole,), True, "")
    for index, step in enumerate(steps):
        known = {member.name: member for member in _list_members(forms)}
        member = known.get(step) or _find_any_name(forms)
        if member is None:
            where = ".".join(steps[:index]) or "the spec"
            meant = suggest_names(step, known) or _find_elsewhere(whole, step)
            listed = f"it has {', '.join(known)}" if known else "it has no fields"
            raise PipelineError(f"`{step}` is not a field of {where}", hint=meant or listed)
        found = member
        forms = [form for part in found.parts for form in _list_held(whole, part)]
    return _explain_member(
        found, ".".join(steps), whole, fields=tuple(_list_fields(steps, whole, forms))
    )


@dataclass(frozen=True)
class _Member:
    """A field of one or more forms of a value."""

    name: str
    parts: tuple[Schema, ...]
    """What each form that has it says of it; each once."""
    required: bool
    """Every form that has it needs it."""
    only: str
    """Where it is; empty where all forms have it."""


def _list_members(forms: Sequence[Schema]) -> Iterator[_Member]:
    """Yield the fields of all forms, each once."""
    forms = [form for form in forms if form.get("properties")]
    kind = _find_kind(forms)
    names = dict.fromkeys(name for form in forms for name in form["properties"])
    for name in names:
        having = [form for form in forms if name in form["properties"]]
        parts: list[Schema] = []
        for form in having:
            if (part := form["properties"][name]) not in parts:
                parts.append(part)
        needing = [form for form in having if name in form.get("required", ())]
        only = ""
        if kind and len(having) < len(forms):
            rest = [form for form in forms if name not in form["properties"]]
            few = len(having) <= len(rest)
            only = (
                f"with {_name_forms(kind, having)}"
                if few
                else f"not with {_name_forms(kind, rest)}"
            )
        elif kind and name != kind and 0 < len(needing) < len(having):
            only = f"needed with {_name_forms(kind, needing)}"
        yield _Member(name, tuple(parts), len(needing) == len(having), only)


def _find_kind(forms: Sequence[Schema]) -> str:
    """Return the field whose value tells forms apart; empty without one."""
    for name in forms[0]["properties"] if len(forms) > 1 else ():
        values = [form["properties"].get(name, {}).get("const") for form in forms]
        if None not in values and len(set(values)) == len(forms):
            return str(name)
    return ""


def _name_forms(kind: str, forms: Sequence[Schema]) -> str:
    values = (f"`{form['properties'][kind]['const']}`" for form in forms)
    return f"{kind} {' or '.join(values)}"


def _find_any_name(forms: Sequence[Schema]) -> _Member | None:
    """Return what a form holds under names that people choose."""
    for form in forms:
        if isinstance(inner := form.get("additionalProperties"), dict):
            return _Member("", (inner,), False, "")
    return None


def _find_elsewhere(whole: Schema, name: str) -> str:
    """Return where else there is a field or a value of this name, in words; empty where there is none."""
    found = [path for path, said in _walk_spec(whole, [whole], ()) if name == said]
    found.sort(key=lambda path: (path.count("."), path))
    return f"there is {' and '.join(f'`{path}`' for path in found[:2])}" if found else ""


def _walk_spec(
    whole: Schema, forms: Sequence[Schema], above: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Yield the path of each field with its name, and of each kind, `detector: estimate`, with its value."""
    if len(above) > _DEEPEST:
        return
    members = [*_list_members(forms)]
    if (inner := _find_any_name(forms)) is not None:
        members.append(replace(inner, name="NAME"))
    for member in members:
        path = (*above, member.name)
        yield ".".join(path), member.name
        for value in (part["const"] for part in member.parts if "const" in part):
            yield f"{'.'.join(path)}: {value}", str(value)
        held = [form for part in member.parts for form in _list_held(whole, part)]
        yield from _walk_spec(whole, held, path)


def _list_fields(
    steps: Sequence[str], whole: Schema, forms: Sequence[Schema]
) -> Iterator[FieldExplanation]:
    for member in _list_members(forms):
        yield _explain_member(member, ".".join((*steps, member.name)), whole)


def _explain_member(
    member: _Member, path: str, whole: Schema, fields: tuple[FieldExplanation, ...] = ()
) -> FieldExplanation:
    texts = (describe_part(part, _list_held(whole, part)) for part in member.parts)
    defaults = [part.get("default") for part in member.parts]
    return FieldExplanation(
        path,
        _describe_types(member.parts, whole),
        next(filter(None, texts), ""),
        defaults[0] if all(each == defaults[0] for each in defaults) else None,
        member.required,
        member.only,
        fields,
    )


def _list_held(whole: Schema, part: Schema) -> Iterator[Schema]:
    """Yield the forms that a value may have, lists by their items."""
    for form in list_forms(whole, part):
        items = form.get("items")
        if form.get("type") == "array" and isinstance(items, dict):
            yield from _list_held(whole, items)
        else:
            yield form


def _describe_types(parts: Sequence[Schema], whole: Schema) -> str:
    """Return the type of a field of which forms say this: of fixed values all that there are."""
    if len(parts) > 1 and all("const" in part or "enum" in part for part in parts):
        values = [value for part in parts for value in part.get("enum", [part.get("const")])]
        return _describe_type({"enum": list(dict.fromkeys(values))}, whole)
    return " or ".join(dict.fromkeys(_describe_type(part, whole) for part in parts))


def _describe_type(part: Schema, whole: Schema) -> str:
    if "$ref" in part:
        return _describe_type(whole["$defs"][part["$ref"].rpartition("/")[2]], whole)
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return "one of " + ", ".join(f"`{value}`" for value in part["enum"])
    if choices := part.get("anyOf") or part.get("oneOf"):
        kinds = (
            _describe_type(choice, whole) for choice in choices if choice.get("type") != "null"
        )
        return " or ".join(dict.fromkeys(kinds))
    if part.get("type") == "array":
        return f"a list of {_describe_type(part.get('items', {}), whole)}"
    if isinstance(part.get("additionalProperties"), dict):
        return f"a mapping of names to {_describe_type(part['additionalProperties'], whole)}"
    kind = part.get("type")
    return _SCALARS.get(kind, "a mapping") if isinstance(kind, str) else "a value"
