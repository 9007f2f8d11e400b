"""`driftloop card` of releases whose runs are stored, partly, or not at all any more."""

from pathlib import Path

import pytest
from support.stored_runs import Shelf

from driftloop.contract.documents import to_json
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.runs import RunAlarm
from driftloop.contract.trees import release_key, run_key
from driftloop.operations.runs.run_reports import KnownRun
from driftloop.release import record
from driftloop.release.record import Version
from tests.pipelines import SPEC
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

FIRST, SECOND = (f"digits-{letter * 12}" for letter in "ab")
CARD = """\
  card:
    owner: Team Ledger <ledger@example.org>
    contact: "#ledger"
    intendedUse: Sorts letters by their digits.
    limits: Not for signatures; blind to anything upside down.
"""
ENDED = RunOutcome(kind="released", reason="it is production", time="2026-01-31T10:00:00Z")
PROFILE = TableProfile(
    columns=(
        ColumnProfile(
            name="age", type="number", rows=200, missing=5, distinct=60,
            quantiles=(18.0, 18.0, 20.0, 22.0, 30.0, 41.0, 52.0, 60.0, 66.0, 80.0, 99.0),
        ),
        ColumnProfile(
            name="a|b", type="category", rows=200, missing=0, distinct=2,
            categories=(("<b>red</b>", 150), ("blue", 50)),
        ),
    ),
    order=("age", "a|b"),
)  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, s3_url: str) -> Shelf:
    return Shelf.open(tmp_path, s3_url, spec=SPEC + CARD)


def release(shelf: Shelf, run: str) -> Version:
    shelf.put_run(
        run,
        parameters=({"rate": 0.25},),
        outcome=ENDED,
        known=KnownRun(pipeline="digits", cause="alarm 42: hue 1 -> 2", outcome=ENDED),
    )
    at = shelf.bucket / release_key(run, "detectors", "drift", "profile.json")
    shelf.store.write_json(at, to_json(PROFILE))
    return shelf.make_version(run)


def sections(text: str) -> dict[str, str]:
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_a_card_says_all_of_it(shelf: Shelf) -> None:
    version = release(shelf, FIRST)
    shelf.move(lambda it: record.release_first(it, version), version, outcome=ENDED)
    text = shelf.types("card", "digits").stdout
    assert text.startswith(f"# Model card: release {version.id} of digits\n")
    found = sections(text)
    assert list(found) == [
        "Overview", "Intended use", "Limits", "Data", "Training", "Metrics", "Gates", "Rehearsal",
        "Rollout", "Drift since", "Lineage",
    ]  # fmt: skip
    assert all(part.strip() for part in found.values())
    assert "- **owner**: Team Ledger &lt;ledger@example.org&gt;" in found["Overview"]
    assert "- **is now**: production" in found["Overview"]
    assert found["Limits"].strip().startswith("Not for signatures")
    assert "- **held out**" not in found["Data"], "its run did not say"
    assert "| age | number | 18 to 99, median 41 | 2.50% |" in found["Data"]
    assert r"| a\|b | category | &lt;b&gt;red&lt;/b&gt; 75%, blue 25% | 0.00% |" in found["Data"]
    assert "| rate | 0.25 |" in found["Training"]
    assert "| all | accuracy | 0.97 | - |" in found["Metrics"]
    assert f"- **model**: {version.model_digest}" in found["Lineage"]
    assert f"- **revision of the code**: {'f' * 40}" in found["Lineage"]
    assert "No alarm about its traffic has started a run." in found["Drift since"]
    assert shelf.types("card", version.id).stdout.splitlines()[:-1] == text.splitlines()[:-1]


def test_a_card_has_no_values_of_columns_that_capture_hashes(tmp_path: Path, s3_url: str) -> None:
    shelf = Shelf.open(tmp_path, s3_url, spec=SPEC + CARD + "  capture: {hash: [age]}\n")
    version = release(shelf, FIRST)
    shelf.move(lambda it: record.release_first(it, version), version, outcome=ENDED)
    data = sections(shelf.types("card", "digits").stdout)["Data"]
    assert "| age | number | hidden | 2.50% |" in data
    assert "blue 25%" in data


def test_a_page_of_a_replaced_release_and_the_alarm_about_it(shelf: Shelf) -> None:
    first = release(shelf, FIRST)
    shelf.move(lambda it: record.release_first(it, first), first, outcome=ENDED)
    alarm = RunAlarm(event="42", monitor="drift", release=first.id, first=3, last=4)
    second = release(shelf, SECOND)
    shelf.put_run(
        SECOND,
        outcome=ENDED,
        known=KnownRun(pipeline="digits", cause="alarm 42: hue 1 -> 2", outcome=ENDED, alarm=alarm),
    )
    shelf.move(lambda it: record.start_shadow(it, second), second)
    shelf.move(record.promote_candidate, second, outcome=ENDED)
    page = shelf.home / "card.html"
    done = shelf.types("card", "digits", "--release", first.id, "-o", str(page))
    assert done.stdout == f"{page}\n"
    html = page.read_text()
    assert "<b>red</b>" not in html
    assert "&lt;b&gt;red&lt;/b&gt; 75%" in html
    text = shelf.types("card", first.id).stdout
    assert f"| {SECOND} | drift | alarm 42: hue 1 -&gt; 2 |" in sections(text)["Drift since"]
    assert "- **is now**: previous" in text


def test_a_card_of_a_run_that_left_nothing_says_so(shelf: Shelf) -> None:
    version = release(shelf, FIRST)
    shelf.move(lambda it: record.release_first(it, version), version, outcome=ENDED)
    for entry in shelf.store.list_folder(shelf.bucket / run_key(FIRST)):
        shelf.store.delete_object(shelf.bucket / entry.key)
    found = sections(shelf.types("card", "digits").stdout)
    assert len(found) == 11
    assert all(part.strip() for part in found.values())
    assert f"Not known: {FIRST} left no record of it" in found["Training"]
    assert "| all | accuracy | 0.97 | - |" in found["Metrics"], "git knows them"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits",), "`digits` has no release yet"),
        (("digits", "--release", "r00000000"), "is about a release `r00000000`, the newest are: none"),
        (("r00000000",), "no pipeline of the cluster repository has a release `r00000000`"),
        (("letters",), "the cluster repository has no pipeline `letters`, it has: digits"),
    ],
)  # fmt: skip
def test_what_has_no_card_is_named(shelf: Shelf, arguments: tuple[str, ...], message: str) -> None:
    assert message in shelf.types("card", *arguments, code=1).stderr


def test_a_spec_without_a_card_is_told_what_it_lacks(tmp_path: Path, s3_url: str) -> None:
    shelf = Shelf.open(tmp_path, s3_url)
    said = shelf.types("card", "digits", code=1).stderr
    assert "has no `card`, and a card without owner, contact, intendedUse, limits says" in said
