"""What a field of the spec is, from the schema that editors read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from driftloop.errors import PipelineError
from driftloop.spec.forms import Schema, describe_part, list_forms, read_schema
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
    fields: tuple["FieldExplanation", ...] = field(default=())


def explain_field(path: str) -> FieldExplanation:
    """Return what is known of a field by its path, `rollout.canary` or `metadata.name`; PipelineError
    names the fields that there are in its place."""
    whole = read_schema()
    steps = [step for step in path.split(".") if step]
    if steps and steps[0] not in whole["properties"]:
        steps = ["spec", *steps]
    forms: list[Schema] = [whole]
    found: Schema = whole
    required = False
    for index, step in enumerate(steps):
        known = dict(_list_members(forms))
        entry = known.get(step) or _find_any_name(forms)
        if entry is None:
            where = ".".join(steps[:index]) or "the spec"
            meant = suggest_names(step, known)
            listed = f"it has {', '.join(known)}" if known else "it has no fields"
            raise PipelineError(f"`{step}` is not a field of {where}", hint=meant or listed)
        found, required = entry
        forms = list(_list_held(whole, found))
    return FieldExplanation(
        ".".join(steps),
        _describe_type(found, whole),
        describe_part(found, forms),
        found.get("default"),
        required,
        tuple(_list_fields(".".join(steps), forms, whole)),
    )


def _list_members(forms: list[Schema]) -> Iterator[tuple[str, tuple[Schema, bool]]]:
    """Yield the fields of all forms by name, with True for one that is needed."""
    for form in forms:
        for name, inner in form.get("properties", {}).items():
            yield name, (inner, name in form.get("required", ()))


def _find_any_name(forms: list[Schema]) -> tuple[Schema, bool] | None:
    """Return what a form holds under names that people choose."""
    for form in forms:
        if isinstance(inner := form.get("additionalProperties"), dict):
            return inner, False
    return None


def _list_fields(path: str, forms: list[Schema], whole: Schema) -> Iterator[FieldExplanation]:
    for name, (inner, required) in dict(_list_members(forms)).items():
        yield FieldExplanation(
            f"{path}.{name}".lstrip("."),
            _describe_type(inner, whole),
            describe_part(inner, _list_held(whole, inner)),
            inner.get("default"),
            required,
        )


def _list_held(whole: Schema, part: Schema) -> Iterator[Schema]:
    """Yield the forms that a value may have, lists by their items."""
    for form in list_forms(whole, part):
        items = form.get("items")
        if form.get("type") == "array" and isinstance(items, dict):
            yield from _list_held(whole, items)
        else:
            yield form


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
