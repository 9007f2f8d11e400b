"""What a field of the spec is, from the schema that editors read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftloop.errors import PipelineError
from driftloop.spec.forms import Schema, describe_part, read_schema
from driftloop.spec.members import Member, find_any_name, find_elsewhere, list_held, list_members
from driftloop.text.words import suggest_names

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
    found = Member("", (whole,), True, "")
    for index, step in enumerate(steps):
        known = {member.name: member for member in list_members(forms)}
        member = known.get(step) or find_any_name(forms)
        if member is None:
            where = ".".join(steps[:index]) or "the spec"
            meant = suggest_names(step, known) or find_elsewhere(whole, step)
            listed = f"it has {', '.join(known)}" if known else "it has no fields"
            raise PipelineError(f"`{step}` is not a field of {where}", hint=meant or listed)
        found = member
        forms = [form for part in found.parts for form in list_held(whole, part)]
    return _explain_member(
        found, ".".join(steps), whole, fields=tuple(_list_fields(steps, whole, forms))
    )


def _list_fields(
    steps: Sequence[str], whole: Schema, forms: Sequence[Schema]
) -> Iterator[FieldExplanation]:
    for member in list_members(forms):
        yield _explain_member(member, ".".join((*steps, member.name)), whole)


def _explain_member(
    member: Member, path: str, whole: Schema, fields: tuple[FieldExplanation, ...] = ()
) -> FieldExplanation:
    texts = (describe_part(part, list_held(whole, part)) for part in member.parts)
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
