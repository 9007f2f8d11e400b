"""The reference of the spec as Markdown, made from the models: each field, its type, default and docstring."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from driftloop.spec.base import tag
from driftloop.spec.load import schema
from driftloop.spec.model import Pipeline

_INTRO = """\
# The spec

Made from the models in `pipeline/driftloop/spec`; `pipeline.schema.json` beside this page is the same for editors.
Put `# yaml-language-server: $schema=…/pipeline.schema.json` at the top of a spec and the editor completes it.
Unknown keys are errors. Durations are written `250ms`, `30s`, `10m`, `6h` or `7d`.
"""


def reference() -> str:
    """Return the whole page of the spec."""
    return describe_fields(_INTRO, Pipeline, schema())


def describe_fields(intro: str, root: type[BaseModel], whole: dict[str, Any]) -> str:
    """Return a page: what comes first, and a table of each model's fields."""
    definitions: dict[str, Any] = whole["$defs"]
    parts = [intro]
    for title, model in _models("", "", root, set()):
        described = definitions.get(model.__name__, {"properties": whole["properties"]})
        parts.append(f"\n## {title or 'The file'}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n")
        parts.append("| field | type | default | |\n|---|---|---|---|\n")
        for name, field in model.model_fields.items():
            key = field.alias or name
            shown = described["properties"][key]
            parts.append(
                f"| `{key}` | {_type(shown)} | {_default(field, shown)} | {' '.join((field.description or '').split())} |\n"
            )
    return "".join(parts)


def _models(
    path: str, variant: str, model: type[BaseModel], seen: set[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path + variant, model
    for name, field in model.model_fields.items():
        step = f"{path}.{field.alias or name}".lstrip(".")
        inner = list(_inside(field.annotation))
        fresh = [submodel for submodel in inner if submodel not in seen]
        seen.update(fresh)
        for submodel in fresh:
            tagged = tag(submodel)
            which = tagged[1] if tagged else submodel.__name__
            yield from _models(step, f" ({which})" if len(inner) > 1 else "", submodel, seen)


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _type(shown: dict[str, Any]) -> str:
    match shown:
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return " \\| ".join(f"`{value}`" for value in values)
        case {"anyOf": choices} | {"oneOf": choices}:
            return " or ".join(
                dict.fromkeys(_type(choice) for choice in choices if choice.get("type") != "null")
            )
        case {"$ref": name}:
            return f"{str(name).rpartition('/')[2]}"
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": values} if isinstance(values, dict):
            return f"name: {_type(values)}"
        case {"type": list() as types}:
            return " or ".join(types)
        case {"type": "string", "examples": [first, *_]}:
            return f"text, such as `{first}`"
        case {"type": "string"}:
            return "text"
        case {"type": kind}:
            return f"{kind}{_bounds(shown)}"
        case _:
            return ""


def _bounds(shown: dict[str, Any]) -> str:
    low, high = shown.get("minimum"), shown.get("maximum")
    above, below = shown.get("exclusiveMinimum"), shown.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    if above is not None and below is not None:
        return f" between {above} and {below}"
    if low is not None:
        return f" from {low}"
    return ""


def _default(field: FieldInfo, shown: dict[str, Any]) -> str:
    if field.is_required():
        return "*needed*"
    if isinstance(field.get_default(call_default_factory=True), BaseModel):
        return "see below"
    default = shown.get("default")
    if default is None or default == {}:
        return ""
    if isinstance(default, list):
        return f"`[{', '.join(_written(item) for item in default)}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _written(item: Any) -> str:
    if isinstance(item, dict):
        said = (f"{key}: {value}" for key, value in item.items() if value is not None)
        return f"{{{', '.join(said)}}}"
    return str(item)
