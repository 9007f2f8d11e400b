"""Objects against API schemas, as a strict API server checks them; CEL rules and webhooks are
left to the server."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from driftloop.text.node import YamlNode
from driftloop.text.words import suggest_names

Schema = Mapping[str, Any]
Kind = Literal["unknown", "type", "required", "value"]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_MAX_TEXT = 4096
"""Longer texts are not matched against patterns."""


class Catalogue(Protocol):
    """A source of API schemas."""

    def find_schema(
        self, api_version: str, kind: str
    ) -> tuple[Schema, Mapping[str, Schema]] | None:
        """The schema of a kind, and what its references lead to by name; None when the catalogue
        lacks it."""


@dataclass(frozen=True)
class Misfit:
    """One place where a value does not fit."""

    kind: Kind
    node: YamlNode
    said: str
    fix: str | None = None


def misfits(schema: Schema, names: Mapping[str, Schema], root: YamlNode) -> Iterator[Misfit]:
    """Everything in an object that its schema does not allow."""
    yield from _Fit(names).value(schema, root, "")


class _Fit:
    def __init__(self, names: Mapping[str, Schema]) -> None:
        self.names = names

    def resolved(self, schema: Schema) -> Schema:
        for _ in range(20):
            if "$ref" in schema:
                schema = self.names[str(schema["$ref"]).rsplit("/", 1)[1]]
            elif (
                len(schema.get("allOf", ())) == 1
                and "properties" not in schema
                and "type" not in schema
            ):
                schema = {
                    **{key: value for key, value in schema.items() if key != "allOf"},
                    **schema["allOf"][0],
                }
            else:
                break
        return schema

    def value(
        self, schema: Schema, node: YamlNode, at: str, *, strict: bool = True
    ) -> Iterator[Misfit]:
        schema = self.resolved(schema)
        value = node.value
        if value is None:
            return  # the API server drops nulls
        if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
            if isinstance(value, bool | float | list | dict):
                yield Misfit(
                    "type", node, f"{at} must be a whole number or text, is {_shown(node)}"
                )
            elif isinstance(value, str) and not _matches(schema.get("pattern"), value):
                yield Misfit(
                    "value", node, f"{at} is {node.shown}, must match `{schema['pattern']}`"
                )
            return
        yield from self.alternatives(schema, node, at)
        kind = schema.get("type")
        if kind is not None and not _is(kind, value):
            yield Misfit(
                "type",
                node,
                f"{at} must be {_A.get(kind, kind)}, is {_shown(node)}",
                _quote(kind, node),
            )
            return
        if "enum" in schema and value not in schema["enum"]:
            allowed = [str(choice) for choice in schema["enum"]]
            message = f"{at} is {node.shown}, must be one of: {', '.join(f'`{choice}`' for choice in allowed[:12])}"
            yield Misfit("value", node, message, suggest_names(node.source, allowed))
        yield from self.bounds(schema, node, at)
        if isinstance(value, list):
            for index, item in enumerate(value):
                if "items" in schema:
                    yield from self.value(schema["items"], item, f"{at}[{index}]", strict=strict)
        elif isinstance(value, dict):
            yield from self.members(schema, node, at, strict=strict)

    def alternatives(self, schema: Schema, node: YamlNode, at: str) -> Iterator[Misfit]:
        for word in ("oneOf", "anyOf"):
            if schema.get(word):
                fitting = sum(
                    1 for part in schema[word] if not any(self.value(part, node, at, strict=False))
                )
                if fitting == 0 or (word == "oneOf" and fitting > 1):
                    yield Misfit(
                        "value",
                        node,
                        f"{at or 'the object'} fits {fitting} of the forms that are allowed, must fit one",
                    )
        for part in schema.get("allOf", ()):
            yield from self.value(part, node, at, strict=False)
        if "not" in schema and not any(self.value(schema["not"], node, at, strict=False)):
            yield Misfit("value", node, f"{at or 'the object'} has what it must not have")

    def bounds(self, schema: Schema, node: YamlNode, at: str) -> Iterator[Misfit]:
        value = node.value
        if isinstance(value, str):
            if not _matches(schema.get("pattern"), value):
                yield Misfit(
                    "value", node, f"{at} is {node.shown}, must match `{schema['pattern']}`"
                )
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                yield Misfit(
                    "value",
                    node,
                    f"{at} has {len(value)} characters, must have {_range(schema, 'Length')}",
                )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                yield Misfit(
                    "value", node, f"{at} is {node.shown}, must be {_range(schema, 'imum')}"
                )
        elif isinstance(value, list) and not schema.get("minItems", 0) <= len(value) <= schema.get(
            "maxItems", len(value)
        ):
            yield Misfit(
                "value", node, f"{at} has {len(value)} items, must have {_range(schema, 'Items')}"
            )

    def members(self, schema: Schema, node: YamlNode, at: str, *, strict: bool) -> Iterator[Misfit]:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        for name in schema.get("required", ()):
            if name not in node.map:
                yield Misfit(
                    "required", node, f"{at}.{name} is missing".lstrip("."), f"add `{name}`"
                )
        for name, member in node.map.items():
            place = f"{at}.{name}".lstrip(".")
            if name in properties:
                yield from self.value(properties[name], member, place, strict=strict)
            elif isinstance(extra, dict):
                yield from self.value(extra, member, place, strict=strict)
            elif strict and extra is not True and not schema.get(_PRESERVE) and properties:
                key = YamlNode(
                    None, member.key_line or member.line, member.key_column or member.column
                )
                yield Misfit(
                    "unknown", key, f"{place} is not a field", suggest_names(name, properties)
                )


_A = {
    "object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false", "integer": "a whole number",
    "number": "a number",
}  # fmt: skip


def _is(kind: str, value: object) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _shown(node: YamlNode) -> str:
    match node.value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return f"the boolean {node.shown}"
        case int() | float():
            return f"the number {node.shown}"
        case _:
            return f"the text {node.shown}"


def _quote(kind: str, node: YamlNode) -> str | None:
    if kind == "string" and isinstance(node.value, bool | int | float):
        return f'put it in quotes: "{node.source}"'
    return (
        "take the quotes away"
        if kind != "string" and isinstance(node.value, str) and not node.plain
        else None
    )


def _matches(pattern: object, text: str) -> bool:
    if not isinstance(pattern, str) or len(text) > _MAX_TEXT:
        return True
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True  # Go's regular expressions know what Python's don't


def _range(schema: Schema, word: str) -> str:
    low, high = schema.get(f"min{word}"), schema.get(f"max{word}")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"
