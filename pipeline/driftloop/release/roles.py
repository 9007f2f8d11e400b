"""The ids of production and candidate in the text of a release.yaml.

For a service that only compares them: the whole record, which checks every key, costs a process
12 MB.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.documents import show_value
from driftloop.errors import ReleaseError
from driftloop.text.load import load_mapping


@dataclass(frozen=True)
class ReleaseRoles:
    """Release ids of the versions that have traffic; None for a role that no version has."""

    production: str | None
    candidate: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the versions that have a role, production first."""
        return tuple(id for id in (self.production, self.candidate) if id is not None)


NO_ROLES = ReleaseRoles(None, None)


def load_roles(text: str, *, path: str = "release.yaml") -> ReleaseRoles:
    """Read the roles of a release.yaml; ReleaseError names the key that is not as it must be."""
    document = load_mapping(text, path, error=ReleaseError)
    record = document.get("spec")
    if not isinstance(record, Mapping):
        raise ReleaseError(f"{path}: spec is {show_value(record)}, must be an object")
    return ReleaseRoles(
        _read_id(record, "production", path),
        _read_id(record, "candidate", path),
    )


def _read_id(record: Mapping[str, object], role: str, path: str) -> str | None:
    version = record.get(role)
    if version is None:
        return None
    id = version.get("id") if isinstance(version, Mapping) else None
    if not isinstance(id, str) or not id:
        raise ReleaseError(f"{path}: spec.{role}.id is {show_value(id)}, must be a release id")
    return id
