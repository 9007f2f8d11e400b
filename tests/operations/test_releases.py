import subprocess

import pytest
from support.committed import copy_committed

from driftloop.errors import GitError, ReleaseError, StepError
from driftloop.git.repository import Repository, RepositoryChange
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release import record
from tests.pipelines import PLAIN, SPEC, version

A, B = version("digits-a"), version("digits-b")


def message(before, after):
    about = after.candidate or after.production
    return TransitionMessage(f"Move to {after.phase}", about, "person eve")


def moved(repository, step):
    return pipelines.commit_transition(repository, "digits", step, message)


@pytest.fixture
def committed(remote, repository):
    copy_committed(SPEC, remote, "person eve")
    return repository


@pytest.fixture
def released(committed):
    moved(committed, lambda release: record.release_first(release, A))
    return committed


@pytest.fixture
def canary(released):
    moved(released, lambda release: record.set_canary(record.start_shadow(release, B), 10))
    return released


def here(repository):
    return pipelines.read_pipeline(repository.tree(repository.tip()), "digits")


def edit(repository, path, old, new, subject="Edit by hand"):
    def build(tree):
        assert old in tree[path]
        return RepositoryChange({path: tree[path].replace(old, new)}, subject)

    return repository.change(build)


def test_a_spec_becomes_its_files(committed, git):
    names = git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert "workflows/digits/pipeline.yaml" in names
    assert "deployments/digits/release.yaml" in names
    assert "cluster/dev/pipelines/digits.yaml" in names
    assert git("show", "main:workflows/digits/pipeline.yaml") == SPEC.rstrip("\n")
    trailers = git("log", "-1", "--format=%(trailers)", "main").splitlines()
    assert "Driftloop-Cause: person eve" in trailers
    assert "Driftloop-Phase: empty" in trailers


def test_the_same_spec_again_changes_nothing(committed):
    assert pipelines.commit_spec(committed, SPEC) is None


def test_a_changed_spec_keeps_the_release(canary, git):
    release = here(canary).release
    commit = pipelines.commit_spec(canary, SPEC.replace("window: 50", "window: 60"))
    assert commit.subject == "Change pipeline digits"
    assert here(canary).release == release
    pipelines.check_rendered(here(canary))


def test_what_the_spec_no_longer_asks_for_goes(released, git):
    before = set(here(released).files)
    pipelines.commit_spec(released, SPEC[: SPEC.index("  monitors:")])
    gone = before - set(here(released).files)
    assert any("drift" in path for path in gone)
    pipelines.check_rendered(here(released))


def test_a_namespace_does_not_move(released):
    with pytest.raises(GitError, match="is in namespace `digits`, the spec has `elsewhere`"):
        pipelines.commit_spec(
            released, SPEC.replace("{name: digits}", "{name: digits, namespace: elsewhere}")
        )


def test_two_clusters_follow_one_repository(committed, git):
    pipelines.commit_spec(committed, SPEC, cluster="prod")
    assert here(committed).clusters == ("dev", "prod")
    moved(committed, lambda release: record.release_first(release, A))
    pipelines.check_rendered(here(committed))


def test_a_move_commits_release_and_files_with_trailers(canary, git):
    assert here(canary).release.weights == {A.id: 90, B.id: 10}
    pipelines.check_rendered(here(canary))
    trailers = dict(
        line.split(": ", 1)
        for line in git("log", "-1", "--format=%(trailers)", "main").splitlines()
    )
    assert trailers == {
        "Driftloop-Pipeline": "digits",
        "Driftloop-Release": B.id,
        "Driftloop-Phase": "canary",
        "Driftloop-Cause": "person eve",
        "Driftloop-Run": "digits-b",
        "Driftloop-Data-Digest": B.data_digest,
        "Driftloop-Model-Digest": B.model_digest,
    }
    assert B.id in git("show", "main:deployments/digits/model.seldondeployment.yaml")


def test_a_move_that_changes_nothing_commits_nothing(released):
    assert moved(released, lambda release: release).commit is None


def test_a_move_from_the_wrong_phase_commits_nothing(released):
    tip = released.tip()
    with pytest.raises(ReleaseError, match="phase `stable`"):
        moved(released, record.promote_candidate)
    assert released.tip() == tip


def test_a_move_after_a_lost_race_starts_from_the_winner(released, remote, tmp_path):
    other = Repository(f"file://{remote}", guard=refuse_harm, workdir=tmp_path / "other")
    calls = []

    def step(release):
        calls.append(release.phase)
        if len(calls) == 1:
            moved(other, lambda release: record.start_shadow(release, B))
        return (
            record.start_shadow(record.reject_candidate(release), version("digits-c"))
            if release.candidate
            else release
        )

    result = moved(released, step)
    # the first call wanted no change, so nothing raced
    assert calls == ["stable"]
    assert result.commit is None
    calls.clear()
    result = moved(released, lambda release: record.set_canary(release, 10))
    assert result.release.candidate == B


@pytest.mark.parametrize("spec", [SPEC, PLAIN])
def test_weights_changed_by_hand_do_not_stop_it(repository, spec):
    pipelines.commit_spec(repository, spec)
    moved(repository, lambda release: record.release_first(release, A))
    moved(repository, lambda release: record.set_canary(record.start_shadow(release, B), 10))
    edit(
        repository,
        "deployments/digits/release.yaml",
        f"{A.id}: 90\n    {B.id}: 10",
        f"{A.id}: 70\n    {B.id}: 30",
    )
    pipelines.check_rendered(here(repository))
    assert moved(repository, lambda release: record.set_canary(release, 50)).release.weights == {
        A.id: 50,
        B.id: 50,
    }
    assert (
        here(repository).files
        == pipelines.read_pipeline(repository.tree(repository.tip()), "digits").files
    )


def test_weights_changed_by_hand_in_the_rendered_file_do_not_stop_it(canary):
    path = "deployments/digits/model.seldondeployment.yaml"
    text = here(canary).files[path]
    assert "traffic: 90" in text
    edit(canary, path, "traffic: 90", "traffic: 70")
    edit(canary, path, "traffic: 10", "traffic: 30")
    moved(canary, record.promote_candidate)
    pipelines.check_rendered(here(canary))


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("workflows/digits/retrain.sensor.yaml", "digits", "digits2"),
        ("deployments/digits/model.seldondeployment.yaml", "replicas: 1", "replicas: 3"),
        ("cluster/dev/pipelines/digits.yaml", "wait: true", "wait: false"),
    ],
)
def test_a_file_changed_by_hand_stops_it_and_is_named(canary, path, old, new):
    edit(canary, path, old, new)
    tip = canary.tip()
    with pytest.raises(StepError, match=path) as caught:
        moved(canary, record.promote_candidate)
    assert "driftloop commit" in caught.value.hint
    assert canary.tip() == tip


def test_a_file_that_is_missing_or_left_over_stops_it(canary):
    header = here(canary).files["deployments/digits/kustomization.yaml"].partition("\n")[0]
    canary.change(
        lambda tree: RepositoryChange(
            {"monitors/digits/old.service.yaml": header + "\na: 1\n"}, "Leave over"
        )
    )
    with pytest.raises(StepError, match=r"monitors/digits/old.service.yaml is not rendered"):
        moved(canary, record.promote_candidate)
    canary.change(lambda tree: RepositoryChange({"monitors/digits/old.service.yaml": None}, "Tidy"))
    canary.change(
        lambda tree: RepositoryChange({"monitors/digits/judge.service.yaml": None}, "Lose")
    )
    with pytest.raises(StepError, match=r"monitors/digits/judge.service.yaml is missing"):
        moved(canary, record.promote_candidate)


def test_a_persons_own_file_beside_them_is_left_alone(canary):
    canary.change(lambda tree: RepositoryChange({"monitors/digits/NOTES.md": "Mine.\n"}, "Note"))
    moved(canary, record.promote_candidate)
    assert here(canary).files["monitors/digits/NOTES.md"] == "Mine.\n"


def reverts(remote, folder, commit="HEAD"):
    """A person takes one commit back and pushes."""
    git = ["git", "-C", str(folder), "-c", "user.name=eve", "-c", "user.email=eve@example.org"]
    subprocess.run(["git", "clone", "-q", remote, folder], check=True, capture_output=True)
    subprocess.run([*git, "revert", "--no-edit", commit], check=True, capture_output=True)
    subprocess.run([*git, "push", "-q"], check=True, capture_output=True)


@pytest.mark.parametrize("spec", [SPEC, PLAIN])
@pytest.mark.parametrize("percents", [(), (10,), (10, 50)])
def test_a_revert_of_a_promotion_is_the_tree_before_the_rollout(
    repository, git, remote, tmp_path, spec, percents
):
    pipelines.commit_spec(repository, spec)
    moved(repository, lambda release: record.release_first(release, version("digits-0")))
    moved(repository, lambda release: record.start_shadow(release, A))
    moved(repository, record.promote_candidate)
    before, tree = here(repository).release, git("rev-parse", "main^{tree}")
    moved(repository, lambda release: record.start_shadow(release, B))
    for percent in percents:
        moved(repository, lambda release, percent=percent: record.set_canary(release, percent))
    tip = git("rev-parse", "main")
    promotion = moved(repository, record.promote_candidate).commit
    assert git("log", "--format=%s", f"{tip}..main").splitlines() == [
        promotion.subject,
        f"End the rollout of {B.id} of digits: accepted",
    ]
    assert git("rev-parse", "main^^{tree}") == tree
    trailers = git("log", "-1", "--format=%(trailers)", "main^").splitlines()
    assert {
        "Driftloop-Phase: stable",
        f"Driftloop-Release: {B.id}",
        "Driftloop-Cause: person eve",
    } <= set(trailers)
    pipelines.check_rendered(here(repository))
    reverts(remote, tmp_path / "clone", promotion.sha)
    assert git("rev-parse", "main^{tree}") == tree
    release = here(repository).release
    assert release == before
    assert (release.phase, release.weights, release.candidate) == ("stable", {A.id: 100}, None)
    assert pipelines.find_interference(
        repository, repository.tip(), "digits", "digits-b"
    ).subject.startswith("Revert")
    # and the loop goes on from there
    moved(repository, lambda release: record.start_shadow(release, version("digits-c")))


def test_a_spec_changed_during_the_rollout_stays_when_the_promotion_is_reverted(
    canary, remote, tmp_path
):
    pipelines.commit_spec(canary, SPEC.replace("window: 50", "window: 60"))
    moved(canary, record.promote_candidate)
    reverts(remote, tmp_path / "clone")
    assert "window: 60" in here(canary).spec
    assert (here(canary).release.phase, here(canary).release.production) == ("stable", A)
    pipelines.check_rendered(here(canary))


def test_a_promotion_that_loses_the_race_is_made_again_whole(canary, remote, tmp_path, git):
    other = Repository(f"file://{remote}", guard=refuse_harm, workdir=tmp_path / "other")
    calls = []

    def step(release):
        calls.append(release.weights[B.id])
        if len(calls) == 1:
            moved(other, lambda release: record.set_canary(release, 50))
        return record.promote_candidate(release)

    moved(canary, step)
    assert calls == [10, 50]
    subjects = git("log", "-3", "--format=%s", "main").splitlines()
    assert subjects[1:] == [f"End the rollout of {B.id} of digits: accepted", "Move to canary"]
    assert git("rev-list", "--count", "main") == "6"


def test_a_revert_of_a_rollback_brings_back_what_it_took_away(canary, remote, tmp_path):
    moved(canary, record.promote_candidate)
    promoted = here(canary).release
    moved(canary, record.restore_previous)
    reverts(remote, tmp_path / "one")
    assert here(canary).release == promoted
    moved(
        canary,
        lambda release: record.set_canary(record.start_shadow(release, version("digits-c")), 30),
    )
    rollout = here(canary).release
    moved(canary, record.reject_candidate)
    reverts(remote, tmp_path / "two")
    assert here(canary).release == rollout
    pipelines.check_rendered(here(canary))


def test_interference(canary):
    assert pipelines.find_interference(canary, canary.tip(), "digits", "digits-b") is None
    edit(
        canary,
        "deployments/digits/release.yaml",
        f"{A.id}: 90\n    {B.id}: 10",
        f"{A.id}: 70\n    {B.id}: 30",
    )
    assert pipelines.find_interference(canary, canary.tip(), "digits", "digits-b") is None
    moved(
        canary,
        lambda release: record.start_shadow(record.reject_candidate(release), version("digits-c")),
    )
    assert (
        pipelines.find_interference(canary, canary.tip(), "digits", "digits-b").subject
        == "Move to shadow"
    )
    assert pipelines.find_interference(canary, canary.tip(), "digits", "digits-never") is not None


def test_an_unknown_pipeline_lists_the_known(committed):
    with pytest.raises(GitError, match="no pipeline `letters`, it has: digits"):
        pipelines.commit_transition(committed, "letters", lambda release: release, message)


def test_removal_goes_in_the_order_a_cluster_needs(released, git):
    released.change(lambda tree: RepositoryChange({"README.md": "Ours.\n"}, "Keep"))
    seen = []
    for stage in pipelines.list_removal_stages("digits"):
        assert pipelines.remove_stage(released, "digits", stage, cause="person eve") is not None
        assert pipelines.remove_stage(released, "digits", stage) is None
        seen.append(set(git("ls-tree", "-r", "--name-only", "main").splitlines()))
    first, last = seen
    assert "cluster/dev/pipelines/digits.yaml" not in first
    assert {"workflows/digits/default.eventbus.yaml", "monitors/digits/kustomization.yaml"} <= first
    assert last == {"README.md", "cluster/dev/.gitkeep"}
    pipelines.commit_spec(released, SPEC)
    assert here(released).release.phase == "empty"


def test_removal_stops_at_a_hand_written_file(released):
    released.change(lambda tree: RepositoryChange({"monitors/digits/mine.yaml": "a: 1\n"}, "Mine"))
    last = pipelines.list_removal_stages("digits")[-1]
    with pytest.raises(GitError, match=r"monitors/digits/mine.yaml"):
        pipelines.remove_stage(released, "digits", last)


def test_an_unchanged_spec_is_not_rendered_again(released, monkeypatch):
    path = "workflows/digits/train.workflowtemplate.yaml"
    # the release has changed since the commit of the spec: rendered once more, and remembered
    assert pipelines.commit_spec(released, SPEC, cause="person eve") is None

    def never(*_, **__):
        raise AssertionError("rendered again")

    with monkeypatch.context() as patched:
        patched.setattr("driftloop.render.render_tree", never)
        pipelines._render_tree.cache_clear()
        assert pipelines.commit_spec(released, SPEC, cause="person eve") is None
    edit(released, path, "digits", "digots")
    assert pipelines.commit_spec(released, SPEC, cause="person eve") is not None
    assert "digots" not in released.tree(released.tip())[path]
    extra = {"monitors/digits/left.yaml": "# Generated by `driftloop render` from elsewhere\n"}
    released.change(lambda tree: RepositoryChange(extra, "Leave a file"))
    assert pipelines.commit_spec(released, SPEC, cause="person eve") is not None
    assert not extra.keys() & set(released.tree(released.tip()))
