"""The newest commit that changed production or candidate, and whether a person took a release back by it."""

import subprocess

import pytest

from driftloop.git.head import read_head
from driftloop.git.repository import Author, Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.rollouts.rollback import roll_back
from driftloop.operations.rollouts.rollout import promote_candidate
from driftloop.release import record
from tests.pipelines import SPEC, version

A, B = version("digits-a"), version("digits-b")


@pytest.fixture
def repository(tmp_path):
    remote = tmp_path / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    return Repository(
        f"file://{remote}",
        workdir=tmp_path / "work",
        author=Author("eve", "eve@example.org"),
        guard=refuse_harm,
    )


def move(repository, step, made):
    pipelines.commit_transition(
        repository, "digits", step, lambda before, after: TransitionMessage("Move", made)
    )


@pytest.fixture
def promoted(repository):
    pipelines.commit_spec(repository, SPEC)
    move(repository, lambda release: record.release_first(release, A), A)
    move(repository, lambda release: record.start_shadow(release, B), B)
    move(repository, lambda release: record.set_canary(release, 50), B)
    move(repository, record.promote_candidate, B)
    return repository


def revert(repository, tmp_path, commit="HEAD"):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", repository.url, clone], check=True)
    git = ["git", "-C", clone, "-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    subprocess.run([*git, "revert", "--no-edit", commit], check=True, capture_output=True)
    subprocess.run([*git, "push", "-q"], check=True)


def test_before_the_first_release_there_is_none(repository):
    assert read_head(repository, "digits") is None
    pipelines.commit_spec(repository, SPEC)
    assert read_head(repository, "digits") is None


def test_what_the_loop_did_itself_took_nothing_back(promoted):
    head = read_head(promoted, "digits")
    assert (head.production, head.taken_back) == (B.id, ())
    assert head.commit == promoted.tip()


def test_a_commit_that_moves_weights_is_not_it(promoted):
    move(promoted, lambda release: record.start_shadow(release, version("digits-c")), A)
    shadow = promoted.tip()
    move(promoted, lambda release: record.set_canary(release, 10), A)
    assert read_head(promoted, "digits").commit == shadow


def test_a_revert_of_a_promotion_took_a_release_back(promoted, tmp_path):
    revert(promoted, tmp_path)
    head = read_head(promoted, "digits")
    assert (head.production, head.taken_back) == (A.id, (B.id,))
    assert (head.author, head.subject) == ("ann", 'Revert "Move"')
    assert head.event.taken_back


def test_a_rollback_took_a_release_back(promoted):
    roll_back(CommitTarget(promoted, "eve"), "digits", store=None, unchecked=True, report=print)
    head = read_head(promoted, "digits")
    assert (head.production, head.taken_back) == (A.id, (B.id,))


def test_a_rollback_in_the_middle_of_a_rollout_took_the_candidate_back(promoted):
    c = version("digits-c")
    move(promoted, lambda release: record.start_shadow(release, c), c)
    roll_back(CommitTarget(promoted, "eve"), "digits", store=None, unchecked=True, report=print)
    head = read_head(promoted, "digits")
    assert (head.production, head.taken_back) == (B.id, (c.id,))


def test_a_rejection_and_a_promotion_by_hand_took_nothing_back(promoted):
    c = version("digits-c")
    move(promoted, lambda release: record.start_shadow(release, c), c)
    move(promoted, record.reject_candidate, c)
    assert read_head(promoted, "digits").taken_back == ()
    move(promoted, lambda release: record.start_shadow(release, c), c)
    promote_candidate(CommitTarget(promoted, "eve"), "digits")
    assert read_head(promoted, "digits").taken_back == ()
