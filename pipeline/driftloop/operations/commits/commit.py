"""Commit a spec: its rendered files go into the cluster repository by one commit."""

from dataclasses import dataclass
from pathlib import Path

from driftloop import spec as specs
from driftloop.git.repository import Commit
from driftloop.operations.commits import releases
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.commits.unfitted import describe_unfitted
from driftloop.operations.ground import files
from driftloop.plan import make_plan


@dataclass(frozen=True)
class CommittedSpec:
    """The pipeline of a committed spec; no commit when its files are unchanged."""

    pipeline: str
    commit: Commit | None
    unfitted: str = ""
    """What production lacks of its monitors, in words; empty when it lacks nothing."""


def commit_spec_file(
    target: CommitTarget, file: Path, *, allow: frozenset[str] = frozenset()
) -> CommittedSpec:
    """Render a spec file and commit it; the release in the repository is kept.

    SpecError for an invalid spec, SurpriseError for surprises that are not in `allow`.
    """
    text = files.read_spec_text(file)
    pipeline = specs.load_spec(text, path=str(file))
    name = pipeline.metadata.name
    commit = releases.commit_spec(
        target.repository,
        text,
        path=str(file),
        cause=target.cause,
        allow=allow,
    )
    tree = target.repository.tree(target.repository.tip())
    base = releases.read_pipeline(tree, name)
    plan = make_plan(pipeline, platform=base.platform)
    return CommittedSpec(name, commit, describe_unfitted(plan, base.release))
