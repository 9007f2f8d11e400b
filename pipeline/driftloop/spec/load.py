"""YAML text to Pipeline. Every problem of the file is reported at once, each with its place and
what is allowed."""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from driftloop.spec.base import tag
from driftloop.spec.model import API_VERSION, Pipeline
from driftloop.spec.problem import InvalidSpec, Problem
from driftloop.spec.source import Location, Source, parse
from driftloop.spec.values import written

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A spec together with the file it came from, so that later checks can say where."""

    pipeline: Pipeline
    source: Source


def load_spec(text: str, *, path: str) -> Pipeline:
    """The Pipeline of a spec file. InvalidSpec (a SpecError) lists every problem as
    `path:line:column: …`."""
    return parse_spec(text, path=path).pipeline


def parse_spec(text: str, *, path: str) -> Document:
    """Like `load`, and keeps the places of all values."""
    return Document(*read_model(text, Pipeline, path=path, start=_START))


def read_model(text: str, model: type[M], *, path: str, start: str) -> tuple[M, Source]:
    """A file of one kind as its model, and the places of its values. InvalidSpec lists every problem; `start` says
    how to get a file to start from."""
    source = parse(text, path=path, kind=model.__name__, start=start)
    if not isinstance(source.value, dict):
        raise InvalidSpec(
            [
                source.problem(
                    (), f"the file is {_shown(source.value)}, must be a mapping", hint=start
                )
            ]
        )
    try:
        # Strict validation takes a JSON list for a tuple; of Python data it would want the tuple itself.
        found = model.model_validate_json(
            json.dumps(source.value), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _counted_wrong(detail)]
        raise InvalidSpec([_problem(source, detail, model) for detail in details]) from error
    return found, source


class _AsWritten(GenerateJsonSchema):
    """Defaults as a spec would say them: `30m`, where pydantic has ISO 8601's PT30M."""

    def encode_default(self, dft: Any) -> Any:
        return written(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    return build_schema(Pipeline)


def build_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a kind of file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://driftloop.dev/schemas/v1alpha1/{model.__name__.lower()}.json",
        **model.model_json_schema(by_alias=True, schema_generator=_AsWritten),
    }


_START = "`driftloop init` writes a spec to start from"

_WHAT = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "string_pattern_mismatch": "a name of letters, digits, _, . and -, beginning with a letter",
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
}


def _counted_wrong(detail: ErrorDetails) -> bool:
    """pydantic counts only the entries of a list that are right: one with a wrong entry is
    called too short besides."""
    value = detail["input"]
    return (
        detail["type"] == "too_short"
        and isinstance(value, list)
        and len(value) >= detail["ctx"]["min_length"]
    )


def _problem(source: Source, detail: ErrorDetails, root: type[BaseModel]) -> Problem:
    location: Location = tuple(detail["loc"])
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(source, location, root)
    here, _ = source.found(location)
    if kind == "missing":
        field = _dotted((*here, location[-1]))
        hint = (
            f"the file begins with `apiVersion: {API_VERSION}`" if field == "apiVersion" else None
        )
        return source.problem(here, f"{field} is missing, must be given", hint=hint, key=True)
    field = _dotted(here) or "the file"
    if kind == "union_tag_invalid":
        tags = [each.strip("'") for each in str(context["expected_tags"]).split(", ")]
        tag_text, inner = str(context["tag"]), (*here, _tag_of(location, root))
        message = f"{_dotted(inner)} is `{tag_text}`, must be one of: {_listed(tags)}"
        return source.problem(inner, message, hint=_closest(tag_text, tags))
    if kind == "union_tag_not_found" and not isinstance(value, dict):
        return source.problem(here, f"{field} is {_shown(value)}, must be a mapping")
    if kind == "union_tag_not_found":
        tags = [
            member[1] for model in _reached(location, root) if (member := tag(model)) is not None
        ]
        return source.problem(
            here,
            f"{field}.{_tag_of(location, root)} is missing, must be one of: {_listed(tags)}",
            key=True,
        )
    if kind in {"value_error", "assertion_error"}:
        reason = str(context.get("error", detail["msg"]))
        return source.problem(here, f"{field} is {_shown(value)}, {reason}")
    allowed = _WHAT.get(kind)
    reason = f"must be {allowed.format(**context)}" if allowed is not None else detail["msg"]
    hint = None
    if kind == "literal_error":
        names = [
            part.strip().strip("'")
            for part in str(context["expected"]).replace(" or ", ", ").split(", ")
        ]
        reason = f"must be one of: {_listed(names)}" if len(names) > 1 else f"must be `{names[0]}`"
        hint = _closest(str(value), names)
    elif kind == "string_type" and isinstance(value, int | float):
        hint = f'put it in quotes: "{json.dumps(value)}"'
    return source.problem(here, f"{field} is {_shown(value)}, {reason}", hint=hint)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _unknown_key(source: Source, location: Location, root: type[BaseModel]) -> Problem:
    parent = source.found(location[:-1])[0]
    allowed = sorted(_known(location[:-1], root))
    name = str(location[-1])
    message = f"{_dotted((*parent, name))} is not a known key, must be one of: {_listed(allowed)}"
    hint = _closest(name, allowed)
    if hint is None and root is Pipeline:
        # what makes the schema imports this module
        from driftloop.spec.forms import read_schema
        from driftloop.spec.members import find_elsewhere

        at = [step for step in (*parent, name) if isinstance(step, str)]
        hint = find_elsewhere(read_schema(), name, at) or None
    return source.problem((*parent, name), message, hint=hint, key=True)


def _closest(name: str, known: list[str]) -> str | None:
    folded = {key.lower().replace("_", ""): key for key in known}
    matches = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return f"did you mean `{folded[matches[0]]}`?" if matches else None


def _known(location: Location, root: type[BaseModel]) -> set[str]:
    """The keys that are allowed where `location` leads, over all members of a union it passes."""
    return {name for model in _reached(location, root) for name, _ in _fields(model)}


def _reached(location: Location, root: type[BaseModel]) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [root]
    for step in location:
        fields = [field for model in models for name, field in _fields(model) if name == step]
        inside = [model for field in fields for model in _models(field.annotation)]
        models = inside or models
        tagged = [
            model for model in models if (member := tag(model)) is not None and member[1] == step
        ]
        models = tagged or models
    return models


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _tag_of(location: Location, root: type[BaseModel]) -> str:
    """The key by which the union at `location` chooses."""
    (key,) = {member[0] for model in _reached(location, root) if (member := tag(model)) is not None}
    return key


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _dotted(location: Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _shown(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"`{value if len(value) <= 80 else value[:77] + '…'}`"
        case _:
            return str(value)[:80]
