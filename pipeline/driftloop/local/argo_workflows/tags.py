"""Tags (`{{…}}`) in the strings of a template: filled in once, from a scope of strings.

Filled-in values are not searched again, so a parameter that contains `{{` stays text.
"""

import re
from collections.abc import Mapping
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.argo.parts import NotUnderstoodError

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)

SUPPORTED = (
    "inputs.parameters.<name>",
    "item.<key>",
    "tasks.<task>.outputs.artifacts.<name>",
    "tasks.<task>.outputs.parameters",
    "tasks.<task>.outputs.parameters.<name>",
    "workflow.name",
    "workflow.parameters.<name>",
    "workflow.status",
)
"""Tags that are in scope somewhere; the last one in an exit handler only."""

_SUPPORTED = re.compile(
    "|".join(re.sub(r"<\w+>", r"[\\w-]+", tag.replace(".", r"\.")) for tag in SUPPORTED)
)


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


def require_supported(value: Any, label: str) -> None:
    """Raise NotUnderstoodError, which names the first tag in the strings of a JSON value that is
    never in scope.
    """
    match value:
        case str():
            for tag in _TAG.findall(value):
                if not _SUPPORTED.fullmatch(tag.strip()):
                    raise NotUnderstoodError(
                        f"{label}: `{{{{{tag}}}}}` is not supported by the local runtime",
                        hint=f"supported: {', '.join(SUPPORTED)}",
                    )
        case dict():
            for item in value.values():
                require_supported(item, label)
        case list() | tuple():
            for item in value:
                require_supported(item, label)
        case _:
            return


def _value(tag: str, scope: Scope) -> str:
    try:
        return scope[tag.strip()]
    except KeyError:
        raise UnresolvedTagError(f"failed to resolve {{{{{tag}}}}}") from None
