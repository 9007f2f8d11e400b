"""Refusals before a commit: no plain Secret, and no overwrite of a file that a person wrote."""

import re
from collections.abc import Iterator, Mapping

from driftloop.contract.names import TOKEN_SECRET
from driftloop.contract.trees import is_generated, is_rendered_place
from driftloop.errors import GitError
from driftloop.text.node import YamlNode
from driftloop.text.read import read

_SECRET = re.compile(
    r"""(^|[\s{,])["']?kind["']?\s*:\s*["']?Secret["']?\s*($|[,}#])""", re.MULTILINE
)


def refuse_harm(existing: Mapping[str, str], files: Mapping[str, str | None]) -> None:
    """Raise GitError when a change would overwrite a person's file or publish a Secret.

    `files` maps paths to new texts (None deletes), `existing` the tip's paths to its texts.
    """
    for path, text in files.items():
        if text is not None and path.endswith((".yaml", ".yml", ".json")) and _holds_secret(text):
            raise GitError(
                f"{path} holds a plain Secret; git never forgets one",
                hint="commit what the cluster keeps Secrets in: a SealedSecret or a Secret with all values encrypted by "
                "sops (`driftloop seal` makes both), or an ExternalSecret",
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
    reading = read(text)
    if any(_is_secret(item) for node in reading.documents for item in _list_objects(node)):
        return True
    return bool(reading.problems) and _SECRET.search(text) is not None


def _is_secret(node: YamlNode) -> bool:
    if node.get("kind").value != "Secret" or node.get("apiVersion").missing:
        return False
    # sops leaves an empty value as it is
    values = [*node.get("data").map.values(), *node.get("stringData").map.values()]
    if node.get("sops").map and all(
        value.text.startswith("ENC[") or not value.text for value in values
    ):
        return False
    # Kubernetes writes an account's token into a Secret that says nothing but the account
    is_asking = node.get("type").value == TOKEN_SECRET
    return not is_asking or bool(node.get("data")) or bool(node.get("stringData"))


def _list_objects(node: YamlNode) -> Iterator[YamlNode]:
    yield node
    for item in node.get("items").list:
        yield from _list_objects(item)
