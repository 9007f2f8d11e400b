"""Runs that are production, candidate and previous: the roles in the text of a release.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.tracking import ALIASES
from driftloop.errors import ReleaseError
from driftloop.text.load import load_mapping


@dataclass(frozen=True)
class RoleVersion:
    """A version that has a role."""

    release: str
    run: str
    model: str
    """Address of its files."""


def load_versions(text: str, *, path: str = "release.yaml") -> dict[str, RoleVersion]:
    """Return the version of each role that one has; ReleaseError when the text is no release."""
    spec = load_mapping(text, path, error=ReleaseError).get("spec")
    versions: dict[str, RoleVersion] = {}
    for role in ALIASES:
        version = spec.get(role) if isinstance(spec, Mapping) else None
        if version is None:
            continue
        values = [version.get(key) for key in ("id", "run", "model")]
        if not all(isinstance(value, str) and value for value in values):
            raise ReleaseError(f"{path}: spec.{role} lacks `id`, `run` or `model`")
        versions[role] = RoleVersion(*values)
    return versions
