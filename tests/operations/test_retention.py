"""What may go of runs: never what production, previous, a candidate, a running run, a cache or a window needs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from driftloop.contract.names import release_id
from driftloop.contract.streams import DAY, HOUR
from driftloop.operations.runs.retention import (
    CACHE_SLACK,
    LOST_AFTER,
    UNHEARD,
    Removal,
    RetentionPolicy,
    StoredFile,
    StoredRun,
    choose_removals,
    kind_of,
)

POLICY = RetentionPolicy(trials=30 * DAY, runs=90 * DAY, releases=365 * DAY, logs=7 * DAY)
LEFT = (
    "run.json", "outcome.json", "snapshot/snapshot.json", "data/recent/a.npz", "split/train/recent/a.npz",
    "production/model/model.onnx", "checkpoints/0/x", "detectors/drift/detector.json", "steps/clean/a.npz",
    "trials/0/model/model.onnx", "trials/1/metadata.yaml", "evaluation/metrics.json", "evaluation/rows.json",
    "verdict/verdict.json", "release/model/model.onnx", "release/detectors/drift/detector.json",
    "release/metadata.yaml", "logs/pod/main.log",
)  # fmt: skip
"""Files of a run that got as far as a release."""
RECORDS = {name for name in LEFT if kind_of(name) == "record"}
NEEDED = {name for name in LEFT if name.startswith(("release/", "snapshot/", "evaluation/"))}
"""What serves a release, and what the next run reads of production."""


def stored(run: str, *, ended: float | None, began: float = 0.0, **more: object) -> StoredRun:
    files = tuple(StoredFile(name, 10, began) for name in LEFT)
    fields = {"release": None, "homes": (run,)} | more
    return StoredRun(run, files, ended, **fields)  # type: ignore[arg-type]


def names(removals: tuple[Removal, ...], run: str) -> set[str]:
    return {file.name for removal in removals if removal.run == run for file in removal.files}


@pytest.mark.parametrize(
    ("age", "gone"),
    [
        (HOUR / 2, set()),
        (2 * HOUR, {"work", "step"}),
        (8 * DAY, {"work", "step", "log"}),
        (31 * DAY, {"work", "step", "log", "trial"}),
        (91 * DAY, {"work", "step", "log", "trial", "model"}),
    ],
)
def test_what_goes_of_a_refused_run_by_its_age(age: float, gone: set[str]) -> None:
    removals = choose_removals([stored("p-a", ended=0.0)], {}, POLICY, age)
    assert {removal.kind for removal in removals} == gone
    assert names(removals, "p-a").isdisjoint(RECORDS)


def test_a_release_with_a_role_stays_however_old() -> None:
    id = release_id("p-a")
    run = stored("p-a", ended=0.0, release=id)
    held = choose_removals([run], {id: "is production"}, POLICY, 9999 * DAY)
    assert names(held, "p-a").isdisjoint(NEEDED)
    # also when nothing of it but its name is known
    assert names(
        choose_removals([stored("p-a", ended=0.0)], {id: "x"}, POLICY, 9999 * DAY), "p-a"
    ).isdisjoint(NEEDED)
    replaced = choose_removals([run], {}, POLICY, 366 * DAY)
    assert {removal.kind for removal in replaced} >= {"model"}
    assert f"{id} is replaced, older than 365 days" in {removal.why for removal in replaced}


def test_events_wait_for_a_release_for_a_month_whatever_the_spec_says() -> None:
    policy = RetentionPolicy(trials=0, runs=0, releases=0, logs=0)
    run = stored("p-a", ended=0.0, release=release_id("p-a"))
    assert "model" not in {it.kind for it in choose_removals([run], {}, policy, UNHEARD - 1)}
    assert "model" in {it.kind for it in choose_removals([run], {}, policy, UNHEARD)}


def test_a_run_that_is_on_keeps_everything_and_what_it_took_from_a_cache() -> None:
    cached = RetentionPolicy(trials=0, runs=0, releases=0, logs=0, cache=7 * DAY)
    old = stored("p-a", ended=0.0)
    now = 400 * DAY
    running = stored("p-b", ended=None, began=now - DAY, homes=("p-a",))
    assert choose_removals([old, running], {}, cached, now) == ()
    unknown = stored("p-b", ended=None, began=now - DAY, homes=())
    kinds = {removal.kind for removal in choose_removals([old, unknown], {}, cached, now)}
    assert kinds.isdisjoint({"trial", "step"})
    lost = stored("p-b", ended=None, began=now - LOST_AFTER)
    assert names(choose_removals([lost], {}, cached, now), "p-b")


def test_a_cached_output_stays_as_long_as_it_may_be_taken() -> None:
    policy = RetentionPolicy(trials=DAY, runs=0, releases=0, logs=0, cache=7 * DAY)
    run = stored("p-a", ended=0.0)
    before = choose_removals([run], {}, policy, 7 * DAY + CACHE_SLACK - 1)
    assert {removal.kind for removal in before}.isdisjoint({"trial", "step"})
    after = choose_removals([run], {}, policy, 7 * DAY + CACHE_SLACK)
    assert {removal.kind for removal in after} >= {"trial", "step"}


@dataclass
class Kept:
    """A run of the machine's bucket."""

    files: dict[str, float]
    ended: float | None = None
    release: str | None = None
    took: str | None = None
    """Run whose trial it took from the cache."""


@dataclass
class Roles:
    production: str | None = None
    candidate: str | None = None
    previous: str | None = None

    def ids(self) -> Iterator[str]:
        yield from filter(None, (self.production, self.candidate, self.previous))


@dataclass
class Bucket:
    runs: dict[str, Kept] = field(default_factory=dict)


class Housekeeping(RuleBasedStateMachine):
    """Runs begin, end, are released, replaced, rolled back and pruned in any order, with any retention."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000 * DAY
        self.bucket = Bucket()
        self.roles = Roles()
        self.had_role: dict[str, float] = {}
        self.taken: dict[str, float] = {}
        self.policy = POLICY

    @initialize(
        trials=st.sampled_from([0.0, DAY, 30 * DAY]),
        runs=st.sampled_from([0.0, 90 * DAY]),
        releases=st.sampled_from([0.0, 40 * DAY]),
        cache=st.sampled_from([0.0, 3 * DAY, 60 * DAY]),
    )
    def choose_policy(self, trials: float, runs: float, releases: float, cache: float) -> None:
        self.policy = RetentionPolicy(trials, runs, releases, 0.0, cache)

    def _mark(self) -> None:
        for id in self.roles.ids():
            self.had_role[id] = self.now

    @rule(days=st.sampled_from([0.01, 0.5, 2.0, 35.0, 100.0]))
    def wait(self, days: float) -> None:
        self._mark()
        active = [kept for kept in self.bucket.runs.values() if kept.ended is None]
        # a run has a deadline of some days
        self.now += min(days, 2.0) * DAY if active else days * DAY
        self._mark()

    @rule(cached=st.booleans())
    def begin(self, cached: bool) -> None:
        run = f"p-{len(self.bucket.runs)}"
        took = None
        if cached and self.policy.cache:
            ages = {
                name: self.now - kept.ended for name, kept in self.bucket.runs.items()
                if kept.ended is not None
            }  # fmt: skip
            took = next((name for name, age in ages.items() if age <= self.policy.cache), None)
        if took is not None:
            assert "trials/0/model/model.onnx" in self.bucket.runs[took].files
        self.bucket.runs[run] = Kept(dict.fromkeys(LEFT[2:], self.now), took=took)

    @precondition(lambda self: self._active())
    @rule(data=st.data(), released=st.booleans())
    def end(self, data: st.DataObject, released: bool) -> None:
        run = data.draw(st.sampled_from(self._active()))
        kept = self.bucket.runs[run]
        kept.ended = self.now
        kept.files |= dict.fromkeys(LEFT[:2], self.now)
        if released and self.roles.candidate is None:
            kept.release = id = release_id(run)
            if self.roles.production is None:
                self.roles.production = id
            else:
                self.roles.candidate = id
            self._mark()

    def _active(self) -> list[str]:
        return [run for run, kept in self.bucket.runs.items() if kept.ended is None]

    @precondition(lambda self: self.roles.candidate is not None)
    @rule(promoted=st.booleans())
    def settle(self, promoted: bool) -> None:
        self._mark()
        if promoted:
            self.roles.previous, self.roles.production = self.roles.production, self.roles.candidate
        self.roles.candidate = None

    @precondition(lambda self: self.roles.previous is not None and self.roles.candidate is None)
    @rule()
    def roll_back(self) -> None:
        self._mark()
        self.roles.production, self.roles.previous = self.roles.previous, None

    @rule()
    def prune(self) -> None:
        self._mark()
        since = self.now - self.policy.keeps_releases
        held = {id: "had a role" for id, time in self.had_role.items() if time > since}
        runs = [
            StoredRun(
                run,
                tuple(StoredFile(name, 1, time) for name, time in kept.files.items()),
                kept.ended,
                kept.release,
                (kept.took,) if kept.took is not None else (),
            )
            for run, kept in self.bucket.runs.items()
        ]
        for removal in choose_removals(runs, held, self.policy, self.now):
            for file in removal.files:
                del self.bucket.runs[removal.run].files[file.name]

    @invariant()
    def what_is_needed_is_there(self) -> None:
        for run, kept in self.bucket.runs.items():
            files = set(kept.files)
            records = RECORDS if kept.ended is not None else RECORDS - {*LEFT[:2]}
            assert files >= records
            if release_id(run) in set(self.roles.ids()):
                assert files >= NEEDED
            if kept.ended is None:
                assert files >= {*LEFT[2:]}
                if kept.took is not None:
                    assert "trials/0/model/model.onnx" in self.bucket.runs[kept.took].files
            elif self.policy.cache and self.now - kept.ended <= self.policy.cache:
                assert files >= {name for name in LEFT if kind_of(name) in ("trial", "step")}


Housekeeping.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_nothing_that_is_needed_is_ever_removed = Housekeeping.TestCase
