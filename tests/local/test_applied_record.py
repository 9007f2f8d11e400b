"""The record of what is applied, which a restart goes on from."""

from pathlib import Path

import pytest

from driftloop.errors import LocalError
from driftloop.local.flux.record import AppliedKustomization, AppliedRecord

OBJECT = {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}


def test_it_is_read_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "applied.json"
    assert AppliedRecord.load(file) is None
    record = AppliedRecord(
        "c1",
        {
            "a-workflows": AppliedKustomization("c1", (OBJECT,), "./workflows/a"),
            "a-monitors": AppliedKustomization(None, (), "./monitors/a"),
        },
        ({**OBJECT, "kind": "AuthorizationPolicy"},),
    )
    record.save(file)
    assert AppliedRecord.load(file) == record
    # one of a version that knew no login
    (tmp_path / "old.json").write_text('{"complete": "c1", "kustomizations": {}}')
    assert AppliedRecord.load(tmp_path / "old.json") == AppliedRecord("c1", {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"complete": 3, "kustomizations": {}}', "`complete` is `3`, must be a commit or null"),
        (
            '{"complete": null, "kustomizations": {"a": {"revision": null, "objects": [3], "path": "p"}}}',
            "Kustomization a: `objects` is `[3]`, must be a list of objects with kind and name",
        ),
    ],
)
def test_damage_is_named_with_the_way_out(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "applied.json"
    file.write_text(text)
    with pytest.raises(LocalError) as error:
        AppliedRecord.load(file)
    assert problem in error.value.message
    assert "applies what the repository holds anew" in (error.value.hint or "")
