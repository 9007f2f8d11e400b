import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from driftloop.contract.names import release_id
from driftloop.errors import ReleaseError
from driftloop.release import record
from driftloop.release.record import Release, Version


def version(run: str, **changes: object) -> Version:
    fields = {
        "id": release_id(run),
        "run": run,
        "model": f"s3://driftloop/runs/{run}/release/model",
        "model_digest": f"sha256:{hashlib.sha256(run.encode()).hexdigest()}",
        "detectors": f"s3://driftloop/runs/{run}/release/detectors",
        "data_digest": "sha256:" + "1" * 64,
        "metrics": {"accuracy": 0.97},
    }
    return Version.model_validate(fields | changes)


class Moves(RuleBasedStateMachine):
    """Any order of moves: the allowed ones keep the rules, the others raise and change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.release = record.empty_release("digits", "digits")
        self.steady = self.release
        """Before the rollout, when there is one."""
        self.runs = self.orders = 0

    def next_version(self) -> Version:
        """Of three models, so that some runs bring one that was there before."""
        self.runs += 1
        return version(f"digits-{self.runs}", model_digest="sha256:" + str(self.runs % 3) * 64)

    @rule()
    def first(self) -> None:
        self._try(
            "first", {"empty"}, lambda: record.release_first(self.release, self.next_version())
        )

    @rule()
    def shadow(self) -> None:
        before, new = self.release, self.next_version()
        same = before.production is not None and before.production.model_digest == new.model_digest
        phases = set() if same else {"stable"}
        if self._try("shadow", phases, lambda: record.start_shadow(self.release, new)):
            assert self.release.weights == before.weights
            assert record.reject_candidate(self.release) == before

    @rule(percent=st.integers(-5, 120))
    def canary(self, percent: int) -> None:
        phases = {"shadow", "canary"} if 1 <= percent <= 99 else set()
        before = self.release
        if self._try("canary", phases, lambda: record.set_canary(self.release, percent)):
            assert self.release.candidate is not None
            assert self.release.weights[self.release.candidate.id] == percent
            back = record.reject_candidate(self.release)
            assert (back.production, back.previous) == (before.production, before.previous)

    @rule()
    def promote(self) -> None:
        before = self.release
        if self._try(
            "promote", {"shadow", "canary"}, lambda: record.promote_candidate(self.release)
        ):
            assert self.release.production == before.candidate
            assert self.release.previous == before.production
            assert record.restore_previous(self.release).production == before.production
            assert record.split_move(before, self.release) == (self.steady, self.release)

    @rule()
    def reject(self) -> None:
        self._try("reject", {"shadow", "canary"}, lambda: record.reject_candidate(self.release))

    @rule()
    def rollback(self) -> None:
        phases = {"stable"} if self.release.previous else set()
        self._try("rollback", phases, lambda: record.restore_previous(self.release))

    @rule()
    def leave(self) -> None:
        """By the loop itself: never back to what it left, and never twice in a row."""
        before = self.release
        left = {each.release for each in before.left}
        self.orders += 1
        free = before.previous is not None and before.previous.id not in left
        if not free:
            with pytest.raises(ReleaseError):
                record.leave_production(before, decision=f"{self.orders:012x}", cause="alarm 1")
            return
        after = record.leave_production(before, decision=f"{self.orders:012x}", cause="alarm 1")
        assert before.production is not None
        assert (after.production, after.previous) == (before.previous, None)
        assert (after.phase, after.candidate) == ("stable", None)
        assert record.find_left(after, before.production.id) == after.left[-1]
        stages = record.split_move(before, after)
        assert stages == ((after,) if before.candidate is None else (self.steady, after))
        with pytest.raises(ReleaseError, match="goes back no further"):
            record.leave_production(after, decision="f" * 12, cause="alarm 2")
        self.release = after

    def _try(self, move, phases, do) -> bool:
        before = self.release
        if before.phase in phases:
            self.release = do()
            assert record.split_move(before, before) == ()
            if move != "promote":
                assert record.split_move(before, self.release) in ((), (self.release,))
            return True
        with pytest.raises(ReleaseError) as caught:
            do()
        assert caught.value.hint
        assert self.release == before
        return False

    @invariant()
    def remember_what_was_steady(self) -> None:
        if self.release.candidate is None:
            self.steady = self.release

    @invariant()
    def previous_is_another_model(self) -> None:
        if self.release.previous is not None:
            assert self.release.production is not None
            assert self.release.previous.model_digest != self.release.production.model_digest

    @invariant()
    def weights_sum_to_100(self) -> None:
        if self.release.production:
            assert sum(self.release.weights.values()) == 100
            assert self.release.production.id in self.release.weights

    @invariant()
    def survives_the_file(self) -> None:
        text = record.dump_release(self.release)
        assert record.load_release(text) == self.release
        assert record.dump_release(record.load_release(text)) == text


Moves.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestMoves = Moves.TestCase


def canary_text() -> str:
    stable = record.release_first(record.empty_release("digits", "digits"), version("a"))
    return record.dump_release(record.set_canary(record.start_shadow(stable, version("b")), 10))


def test_the_file_reads_as_documented():
    a, b = release_id("a"), release_id("b")
    text = canary_text()
    assert text.startswith(
        "apiVersion: driftloop.dev/v1alpha1\nkind: Release\nmetadata:\n  name: digits\n  namespace: digits\n"
        "spec:\n  phase: canary\n  production:\n"
    )
    assert "modelDigest: sha256:" in text
    assert text.endswith(f"  previous: null\n  weights:\n    {a}: 90\n    {b}: 10\n")


def test_an_empty_release_reads_as_documented():
    assert record.dump_release(record.empty_release("digits", "ml")) == (
        "apiVersion: driftloop.dev/v1alpha1\nkind: Release\nmetadata:\n  name: digits\n  namespace: ml\nspec:\n"
        "  phase: empty\n  production: null\n  candidate: null\n  previous: null\n  weights: {}\n"
    )


def test_weights_changed_by_hand_load():
    b = release_id("b")
    text = canary_text().replace(": 90\n", ": 70\n").replace(": 10\n", ": 30\n")
    assert record.load_release(text).weights[b] == 30


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (": 90\n", ": 80\n", "weights sum to 90"),
        ("phase: canary", "phase: canaries", ":7: spec.phase: is 'canaries'"),
        ("  previous: null", "  previous: null\n  previuos: null", "spec.previuos"),
        (": 90\n", ": ninety\n", "spec.weights"),
        ("phase: canary", "phase: stable", "phase `stable` has no candidate"),
        ("phase: canary", "phase: shadow", "weights name"),
        (
            "kind: Release",
            "kind: Release\nkind: Release",
            ":3:1: `kind` appears twice, first in line 2",
        ),
        ("kind: Release", "kind: [", "not YAML"),
        ("name: digits", "name: &a digits", None),
        ("namespace: digits", "namespace: *nope", ":5:14: aliases are not allowed here"),
        ("accuracy: 0.97", "accuracy: .nan", "metrics"),
        ("modelDigest: sha256:", "modelDigest: sha1:", "spec.production.modelDigest"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(old, new, said):
    text = canary_text()
    assert old in text
    changed = text.replace(old, new, 1)
    if said is None:
        record.load_release(changed)
        return
    with pytest.raises(ReleaseError) as caught:
        record.load_release(changed, path="deployments/digits/release.yaml")
    assert "deployments/digits/release.yaml:" in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


def test_a_huge_file_is_refused():
    with pytest.raises(ReleaseError, match="at most"):
        record.load_release("#" * 300_000)


@pytest.mark.parametrize("text", ["", "[]", "42", "a: b"])
def test_something_else_is_refused(text):
    with pytest.raises(ReleaseError, match=r"release\.yaml:1"):
        record.load_release(text)


def test_a_version_is_shadowed_once():
    stable = record.release_first(record.empty_release("digits", "digits"), version("a"))
    with pytest.raises(ReleaseError, match="already production"):
        record.start_shadow(stable, version("a"))


def test_the_same_model_is_no_candidate():
    stable = record.release_first(record.empty_release("digits", "digits"), version("a"))
    same = version("b", model_digest=version("a").model_digest)
    with pytest.raises(ReleaseError, match="is the very model that is production"):
        record.start_shadow(stable, same)


def test_a_promotion_of_the_same_model_by_an_older_version_keeps_previous():
    first = record.release_first(record.empty_release("digits", "digits"), version("a"))
    second = record.promote_candidate(record.start_shadow(first, version("b")))
    same = version("c", model_digest=version("b").model_digest)
    begun = second.model_copy(update={"phase": "shadow", "candidate": same})
    assert record.promote_candidate(begun).previous == version("a")


def test_a_release_id_comes_from_its_run():
    assert release_id("digits-1") == "r" + hashlib.sha256(b"digits-1").hexdigest()[:8]
    assert len({release_id(f"digits-{n}") for n in range(500)}) == 500


def test_a_release_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        record.empty_release("digits", "digits").phase = "stable"  # type: ignore[misc]


def test_a_release_is_not_built_inconsistent():
    with pytest.raises(ValueError, match="needs production"):
        Release(name="digits", namespace="digits", phase="stable")
