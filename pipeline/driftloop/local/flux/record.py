"""The record of what is applied, kept across restarts: the objects of each Kustomization and the
commit that they are from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text,
    to_json,
)
from driftloop.contract.names import FLUX_NAMESPACE
from driftloop.errors import LocalError
from driftloop.local.flux.source import FluxKustomization, ReadKustomization
from driftloop.local.ground import files
from driftloop.local.ground.state import write_json


def _is_commit(value: object) -> bool:
    return value is None or is_text(value)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and is_text(item.get("kind"))
        and isinstance(item.get("metadata"), dict)
        and is_text(item["metadata"].get("name"))
        for item in value
    )


@dataclass(frozen=True)
class AppliedKustomization:
    """Objects that one Kustomization has applied."""

    revision: str | None = document_key("revision", "a commit or null", _is_commit)
    """The commit; None before it was applied whole."""
    objects: tuple[dict[str, Any], ...] = document_key(
        "objects", "a list of objects with kind and name", _are_objects, read=tuple, write=list
    )
    path: str = document_key("path", "a folder of the tree", is_text)


def _read_kustomizations(value: Mapping[str, Any]) -> Mapping[str, AppliedKustomization]:
    return {
        name: from_json(AppliedKustomization, entry, label=f"Kustomization {name}")
        for name, entry in value.items()
    }


@dataclass(frozen=True)
class AppliedRecord:
    """Objects that all Kustomizations have applied."""

    complete: str | None = document_key("complete", "a commit or null", _is_commit)
    """The last commit that was applied completely."""
    kustomizations: Mapping[str, AppliedKustomization] = document_key(
        "kustomizations",
        "an object by the names of Kustomizations",
        lambda value: isinstance(value, dict),
        read=_read_kustomizations,
        write=lambda entries: {name: to_json(entry) for name, entry in entries.items()},
    )

    logins: tuple[dict[str, Any], ...] = document_key(
        "logins",
        "a list of objects with kind and name",
        _are_objects,
        read=tuple,
        write=list,
        default=(),
    )
    """Objects of the gateway's login."""

    @classmethod
    def load(cls, file: Path) -> "AppliedRecord | None":
        """Read the record; None before anything was applied, LocalError when it is damaged."""
        try:
            document = files.read_document(file)
            return from_json(cls, document, label=str(file))
        except FileNotFoundError:
            return None
        except DocumentError as error:
            hint = "the next `driftloop up` applies what the repository holds anew"
            raise LocalError(error.message, hint=hint) from error

    def list_kustomizations(self, file: str) -> list[ReadKustomization]:
        """Return what was applied as it is read from a tree; `file` names the record."""
        return [
            ReadKustomization(
                FluxKustomization(name, FLUX_NAMESPACE, entry.path, (), suspended=False, file=file),
                entry.objects,
            )
            for name, entry in self.kustomizations.items()
        ]

    def save(self, file: Path) -> None:
        """Write the record, replacing the file whole."""
        write_json(file, to_json(self))
