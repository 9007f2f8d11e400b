"""Checks before a commit: no plain Secret, and no overwrite of a file that a person wrote."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from driftloop.contract.trees import is_generated, is_rendered_place
from driftloop.errors import GitError

_SECRET = re.compile(
    r"""(^|[\s{,])["']?kind["']?\s*:\s*["']?Secret["']?\s*($|[,}#])""", re.MULTILINE
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check(existing: Mapping[str, str], files: Mapping[str, str | None]) -> None:
    """Raise GitError when a change would overwrite a person's file or publish a Secret.

    `files` maps paths to new texts (None deletes), `existing` the tip's paths to its texts.
    """
    for path, text in files.items():
        if path.startswith("/") or any(part in ("", ".", "..", ".git") for part in path.split("/")):
            raise GitError(f"`{path}` is not a path inside a repository")
        if text is not None and path.endswith((".yaml", ".yml", ".json")) and _holds_secret(text):
            raise GitError(
                f"{path} holds a plain Secret; git never forgets one",
                hint="seal it first: `driftloop seal`, and commit the SealedSecret",
            )
        current = existing.get(path)
        if is_rendered_place(path) and current is not None and not is_generated(current):
            raise GitError(
                f"{path} is in the repository and was not generated; it is left alone",
                hint="move or delete that file, or choose another `metadata.name`",
            )


def _holds_secret(text: str) -> bool:
    if "Secret" not in text:
        return False
    try:
        return any(_is_secret(document) for document in yaml.load_all(text, Loader=_LOADER))
    except yaml.YAMLError:
        return _SECRET.search(text) is not None


def _is_secret(document: Any) -> bool:
    return any(item.get("kind") == "Secret" and "apiVersion" in item for item in _objects(document))


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
        items = document.get("items")
        if isinstance(items, list):
            for item in items:
                yield from _objects(item)
