"""The roles of a release.yaml, read without the rest of it."""

from pathlib import Path

import pytest

from driftloop.errors import ReleaseError
from driftloop.release.record import load_release
from driftloop.release.roles import load_roles

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*/release.yaml"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.parent.name)
def test_they_are_those_of_the_whole_record(file: Path) -> None:
    release, roles = load_release(file.read_text()), load_roles(file.read_text())
    versions = (release.production, release.candidate)
    assert (roles.production, roles.candidate) == tuple(
        None if version is None else version.id for version in versions
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "r.yaml:1:1: the text is empty"),
        ("[]", "r.yaml:1:1: the document is a list"),
        ("spec: 3", "r.yaml: spec is `3`"),
        ("spec: {production: r1}", "r.yaml: spec.production.id is `null`"),
        ("spec: {candidate: {id: 3}}", "r.yaml: spec.candidate.id is `3`"),
    ],
)
def test_damage_is_named(text: str, problem: str) -> None:
    with pytest.raises(ReleaseError) as error:
        load_roles(text, path="r.yaml")
    assert error.value.message.startswith(problem)
