"""Dotted paths into JSON, as Argo Events uses them (`body.items.0.name`; `\\.` is a dot inside a key)."""

import copy
import re
from typing import Any

from driftloop.errors import LocalError


class PathError(LocalError):
    """A path that does not exist in a document."""


def get(document: Any, path: str) -> tuple[bool, Any]:
    """Return true and the value at a path, or false and None."""
    for part in parts(path):
        match document:
            case dict() if part in document:
                document = document[part]
            case list() if part.isdigit() and int(part) < len(document):
                document = document[int(part)]
            case _:
                return False, None
    return True, document


def put(document: Any, path: str, value: Any) -> Any:
    """Return a copy of the document with the value at the path.

    PathError for a place whose surroundings do not exist.
    """
    result = copy.deepcopy(document)
    here = result
    steps = parts(path)
    for position, part in enumerate(steps):
        last = position == len(steps) - 1
        match here:
            case dict() if last:
                here[part] = value
            case dict() if part in here:
                here = here[part]
            case list() if part.isdigit() and int(part) < len(here):
                if last:
                    here[int(part)] = value
                else:
                    here = here[int(part)]
            case _:
                kind = type(here).__name__
                raise PathError(f"`{path}` can't be set: a {kind} has no place `{part}`")
    return result


def parts(path: str) -> list[str]:
    """Return the keys of a path."""
    return [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path)]
