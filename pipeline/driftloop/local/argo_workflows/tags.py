"""Tags (`{{…}}`) in the strings of a template: filled in once, from a scope of strings.

Filled-in values are not searched again, so a parameter that contains `{{` stays text.
"""

import re
from collections.abc import Mapping
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.argo import expressions

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


class UnresolvedTagError(LocalError):
    """A tag that is not defined in its scope."""


Scope = Mapping[str, str]
"""Tag (without braces) -> text."""


def fill(value: Any, scope: Scope) -> Any:
    """Return a JSON value with the tags in all its strings filled in. UnresolvedTagError."""
    match value:
        case str():
            return fill_text(value, scope)
        case dict():
            return {key: fill(item, scope) for key, item in value.items()}
        case list() | tuple():
            return [fill(item, scope) for item in value]
        case _:
            return value


def fill_text(text: str, scope: Scope) -> str:
    """Return one string with its tags filled in. UnresolvedTagError."""
    return _TAG.sub(lambda tag: _value(tag[1], scope), text) if "{{" in text else text


def fill_known(value: Any, scope: Scope) -> Any:
    """Fill in text from outside, like a webhook's; tags that are not in the scope stay."""
    match value:
        case str():
            return _TAG.sub(lambda tag: scope.get(tag[1].strip(), tag[0]), value)
        case dict():
            return {key: fill_known(item, scope) for key, item in value.items()}
        case list():
            return [fill_known(item, scope) for item in value]
        case _:
            return value


def tags(value: Any) -> set[str]:
    """Return every simple tag in the strings of a JSON value."""
    match value:
        case str():
            return {tag.strip() for tag in _TAG.findall(value) if not tag.startswith("=")}
        case dict():
            return {tag for item in value.values() for tag in tags(item)}
        case list() | tuple():
            return {tag for item in value for tag in tags(item)}
        case _:
            return set()


def _value(tag: str, scope: Scope) -> str:
    if tag.startswith("="):
        return _computed(tag[1:].strip(), scope)
    try:
        return scope[tag.strip()]
    except KeyError:
        raise UnresolvedTagError(
            f"failed to resolve {{{{{tag}}}}}",
            hint="a task that was skipped has no outputs: give the consumer a default",
        ) from None


def _computed(text: str, scope: Scope) -> str:
    """Return an expression tag's text; a name that is not in the scope is nil."""
    expression = expressions.parse(text, expressions.Dialect.TAG)
    value = expressions.evaluate(expression, lambda parts: scope.get(".".join(parts)))
    match value:
        case None:
            raise UnresolvedTagError(
                f"failed to evaluate {{{{={text}}}}}: it is nil", hint="add `?? 'something'`"
            )
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
