"""Commit a spec: its rendered files go into the cluster repository by one commit."""

from dataclasses import dataclass
from pathlib import Path

from driftloop import spec as specs
from driftloop.git.repository import Commit
from driftloop.operations.commits import releases
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.ground import files


@dataclass(frozen=True)
class CommittedSpec:
    """The pipeline of a committed spec; no commit when its files are unchanged."""

    pipeline: str
    commit: Commit | None


def commit_spec_file(
    target: CommitTarget, file: Path, *, allow: frozenset[str] = frozenset()
) -> CommittedSpec:
    """Render a spec file and commit it; the release in the repository is kept.

    SpecError for an invalid spec, SurpriseError for surprises that are not in `allow`.
    """
    text = files.read_spec_text(file)
    name = specs.load_spec(text, path=str(file)).metadata.name
    commit = releases.commit_spec(
        target.repository,
        text,
        path=str(file),
        cause=target.cause,
        allow=allow,
    )
    return CommittedSpec(name, commit)
