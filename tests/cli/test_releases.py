"""`driftloop releases`: all releases of a history with a promotion, a rejection, a rollback and a rollout that is on."""

import json
from pathlib import Path

import pytest
from support.stored_runs import Shelf

from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.trees import release_path
from driftloop.git.production import read_production
from driftloop.release import record
from driftloop.release.record import Version
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

RUNS = tuple(f"digits-{letter * 12}" for letter in "abcde")


def reject(release: record.Release) -> record.Release:
    return record.reject_candidate(release)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> tuple[Shelf, list[Version]]:
    shelf = Shelf.open(tmp_path_factory.mktemp("releases"), s3_url)
    for run in RUNS:
        shelf.put_run(run, parameters=({"rate": RUNS.index(run) / 10},))
    a, b, c, d, e = versions = [shelf.make_version(run) for run in RUNS]
    done = RunOutcome.now("released", "it is production")
    shelf.move(lambda it: record.release_first(it, a), a, outcome=done)
    shelf.move(lambda it: record.start_shadow(it, b), b, cause="alarm 42: hue 1 -> 2")
    shelf.move(record.promote_candidate, b, cause="alarm 42: hue 1 -> 2", outcome=done)
    shelf.move(lambda it: record.start_shadow(it, c), c, cause="schedule")
    shelf.move(reject, c, cause="schedule", outcome=RunOutcome.now("rejected", "p99 0.3 s"))
    shelf.move(lambda it: record.start_shadow(it, d), d)
    shelf.move(record.promote_candidate, d, outcome=done)
    shelf.move(record.restore_previous, b, taken_back=d.id)
    shelf.move(lambda it: record.start_shadow(it, e), e)
    return shelf, versions


def test_all_releases_are_listed_with_what_became_of_them(
    story: tuple[Shelf, list[Version]],
) -> None:
    shelf, (a, b, c, d, e) = story
    rows = json.loads(shelf.types("releases", "digits", "-o", "json").stdout)
    assert [row["release"] for row in rows] == [e.id, d.id, c.id, b.id, a.id]
    by_id = {row["release"]: row for row in rows}
    assert by_id[e.id]["marks"] == ["candidate"]
    assert by_id[b.id]["marks"] == ["production"]
    assert [by_id[x.id]["outcome"] for x in (a, b, c, d, e)] == [
        "released", "released", "rejected", "released", None,
    ]  # fmt: skip
    assert by_id[c.id]["reason"] == "p99 0.3 s"
    assert by_id[c.id]["promoted"] is None
    assert by_id[d.id]["takenBack"] is not None
    assert by_id[b.id]["takenBack"] is None
    assert by_id[b.id]["cause"] == "alarm 42: hue 1 -> 2"
    assert by_id[a.id]["run"] == RUNS[0]
    assert by_id[a.id]["modelDigest"] == a.model_digest
    assert by_id[a.id]["metrics"] == {"accuracy": 0.97}
    assert not by_id[a.id]["signed"]


def test_the_table_shows_the_gates_metrics_and_the_newest(
    story: tuple[Shelf, list[Version]],
) -> None:
    shelf, (_, b, _, d, e) = story
    done = shelf.types("releases", "digits", "--limit", "4")
    head, *lines = done.stdout.splitlines()
    assert head.split()[:4] == ["RELEASE", "IS", "COMMITTED", "ENDED"]
    assert len(lines) == 4
    assert lines[0].split()[:2] == [e.id, "candidate"]
    assert "rolling out" in lines[0]
    assert f"{d.id}  -" in lines[1]
    assert "taken back" in lines[1]
    assert "accuracy 0.97" in lines[3]
    assert b.model_digest.removeprefix("sha256:")[:12] in lines[3]
    assert "4 releases of digits listed, in phase shadow" in done.stderr


def test_a_pipeline_that_does_not_exist_is_named(story: tuple[Shelf, list[Version]]) -> None:
    shelf, _ = story
    done = shelf.types("releases", "digit", code=1)
    assert "the cluster repository has no pipeline `digit`, it has: digits" in done.stderr


def test_a_release_of_long_ago_can_be_restored(tmp_path: Path, s3_url: str) -> None:
    """Also one whose last commit is further back than those that are read one by one."""
    shelf = Shelf.open(tmp_path, s3_url)
    for run in RUNS[:3]:
        shelf.put_run(run, parameters=({"rate": RUNS.index(run)},))
    a, b, c = (shelf.make_version(run) for run in RUNS[:3])
    shelf.move(lambda it: record.release_first(it, a), a)
    for new in (b, c):
        shelf.move(lambda it, new=new: record.start_shadow(it, new), new)
        shelf.move(record.promote_candidate, new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftloop.operations.rollouts.rollback.MOST_COMMITS", 1)
        done = shelf.types("rollback", "digits", "--to", a.id, "--unchecked")
        assert f"Roll digits back to {a.id}" in done.stderr
        refused = shelf.types("rollback", "digits", "--to", "r00000000", code=1)
        assert "r00000000 was never production of `digits`" in refused.stderr


def test_a_report_without_verdicts_tells_what_git_and_the_bucket_know(
    story: tuple[Shelf, list[Version]], tmp_path: Path
) -> None:
    shelf, (a, b, c, d, e) = story
    file = tmp_path / "report.html"
    done = shelf.types("report", "digits", "-o", str(file))
    assert "note: verdicts can't be read from here: nothing of drift is shown" in done.stderr
    text = file.read_text()
    for release in (a, b, c, d, e):
        assert f"{release.id} " in text
    assert f"The rollout of {c.id} ended, production answers all traffic: p99 0.3 s." in text
    assert f"{b.id} is production again" in text
    assert f"{e.id} is in its rollout." in text
    assert "End the rollout of" not in text, "that commit is never applied"
    for run in RUNS[:3]:
        assert run in text
    later = shelf.types("report", "digits", "--since", "2100-01-01", "-o", str(file))
    assert later.stdout.strip() == str(file)
    assert "there were 0 commits" in file.read_text()


def test_git_says_since_when_production_is_what_it_is(story: tuple[Shelf, list[Version]]) -> None:
    shelf, (a, b, _, d, _) = story
    repository = shelf.repository
    now = read_production(repository, "digits")
    assert now is not None
    assert (now.release, now.change) == (b.id, "rollback"), "a rollout that is on changes nothing"
    history = repository.history(repository.tip() or "", release_path("digits"), 20)
    subjects = {entry.commit.sha: entry.trailers.get("Driftloop-Release") for entry in history}
    assert subjects[now.commit] == b.id
    assert {a.id, d.id} <= set(subjects.values())
    assert read_production(repository, "another") is None
