"""`driftloop prune` beside a bucket with runs of all kinds, and git's history of nine months."""

import json
from pathlib import Path

import pytest
from support.stored_runs import Shelf

from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.trees import run_key
from driftloop.operations.runs.prune import remove_work
from driftloop.operations.runs.run_reports import KnownRun
from driftloop.release import record
from driftloop.release.record import Version
from tests.pipelines import SPEC
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

OLD, BEFORE, NOW, REFUSED, RUNNING, ELDER = (f"digits-{letter * 12}" for letter in "abcdef")
RETAINED = SPEC + "  retention: {releases: 40d, trials: 10d}\n"
MORE = (
    "data/recent/a.npz", "split/train/recent/a.npz", "production/release.json", "logs/claim/main.log",
    "steps/clean/a.npz", "checkpoints/0/state",
)  # fmt: skip
RECORDS = {"run.json", "snapshot/snapshot.json", "release/metadata.yaml"}


def outcome(kind) -> RunOutcome:
    return RunOutcome(kind=kind, reason="told", time="2026-01-31T10:00:00Z")


@pytest.fixture
def shelf(tmp_path: Path, s3_url: str) -> Shelf:
    shelf = Shelf.open(tmp_path, s3_url, spec=RETAINED)
    for rate, run in enumerate((OLD, BEFORE, NOW, REFUSED, RUNNING, ELDER)):
        kind = "refused" if run in (REFUSED, ELDER) else "released"
        ended = None if run == RUNNING else outcome(kind)
        about = KnownRun(pipeline="digits", cause="schedule", outcome=ended)
        shelf.put_run(
            run, parameters=({"rate": rate},), known=about, outcome=ended, report=run != ELDER
        )
        for name in MORE:
            shelf.store.write_object(shelf.bucket / run_key(run, name), b"x" * 100)
    old, before, now = (shelf.make_version(run) for run in (OLD, BEFORE, NOW))
    with pytest.MonkeyPatch.context() as patch:
        for day, move, version in (
            (1, lambda it: record.release_first(it, old), old),
            (2, lambda it: record.start_shadow(it, before), before),
            (2, record.promote_candidate, before),
            (3, lambda it: record.start_shadow(it, now), now),
            (3, record.promote_candidate, now),
        ):
            patch.setenv("GIT_COMMITTER_DATE", f"2026-02-0{day}T12:00:00Z")
            shelf.move(move, version, outcome=outcome("released"))
    return shelf


def files(shelf: Shelf, run: str) -> set[str]:
    folder = shelf.bucket / run_key(run)
    return {folder.relative_key(entry.key) for entry in shelf.store.list_folder(folder)}


def is_whole(shelf: Shelf, version: Version) -> bool:
    return shelf.make_version(version.run).model_digest == version.model_digest


def test_what_goes_is_listed_and_then_gone_and_what_is_needed_stays(shelf: Shelf) -> None:
    before = {run: files(shelf, run) for run in (OLD, BEFORE, NOW, REFUSED, RUNNING, ELDER)}
    versions = [shelf.make_version(run) for run in (BEFORE, NOW)]
    dry = json.loads(shelf.types("prune", "digits", "--dry-run", "-o", "json").stdout)
    assert {run: files(shelf, run) for run in before} == before
    assert dry["removed"] == 0
    assert {row["run"] for row in dry["removals"] if row["kind"] == "model"} == {
        OLD,
        REFUSED,
        ELDER,
    }
    assert set(dry["held"].values()) == {"is production", "is previous"}

    done = shelf.types("prune", "digits")
    assert f"{dry['removes']} of {dry['bytes']} bytes of the runs of digits are gone" in done.stderr
    assert f"goes   {REFUSED}: 1 work file" not in done.stdout
    assert "no release, older than 90 days" in done.stdout
    for run in (OLD, REFUSED, ELDER):
        left = files(shelf, run)
        assert left <= RECORDS | {"outcome.json"}
        assert left >= RECORDS
    for version in versions:
        assert is_whole(shelf, version)
        assert "trials/0/metadata.yaml" not in files(shelf, version.run)
    assert files(shelf, RUNNING) == before[RUNNING]

    rows = json.loads(shelf.types("runs", "digits", "-o", "json").stdout)
    assert {row["run"] for row in rows} == set(before)
    elder = json.loads(shelf.types("runs", "show", ELDER, "-o", "json").stdout)
    assert elder["parameters"] == {"rate": 5}
    assert elder["result"]["outcome"] == "refused"
    again = json.loads(shelf.types("prune", "digits", "-o", "json").stdout)
    assert (again["removals"], again["removed"]) == ([], 0)


def test_a_release_that_came_back_stays(shelf: Shelf) -> None:
    """A rollback to one of long ago, by which it is production again."""
    old = shelf.make_version(OLD)
    shelf.move(lambda it: record.restore_version(it, old), old)
    plan = json.loads(shelf.types("prune", "digits", "-o", "json").stdout)
    assert OLD not in {row["run"] for row in plan["removals"] if row["kind"] == "model"}
    assert is_whole(shelf, old)
    # the one that it replaced had a role until now
    assert NOW not in {row["run"] for row in plan["removals"] if row["kind"] == "model"}


def test_nothing_goes_while_a_release_cant_be_read(shelf: Shelf) -> None:
    tree = shelf.repository.tree(shelf.repository.tip())
    broken = tree["deployments/digits/release.yaml"].replace("phase: stable", "phase: other")

    def build(_: object):
        from driftloop.git.repository import RepositoryChange

        return RepositoryChange({"deployments/digits/release.yaml": broken}, "Break it")

    shelf.repository.change(build)
    before = files(shelf, REFUSED)
    assert "release.yaml" in shelf.types("prune", "digits", code=1).stderr
    assert files(shelf, REFUSED) == before


def test_the_end_of_a_run_takes_what_its_steps_handed_on(shelf: Shelf) -> None:
    before = files(shelf, NOW)
    assert remove_work(shelf.store, shelf.bucket, NOW) == 400
    gone = {name for name in MORE if not name.startswith(("logs", "steps"))}
    assert files(shelf, NOW) == before - gone
    assert remove_work(shelf.store, shelf.bucket, NOW) == 0
