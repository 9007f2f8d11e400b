"""What an edit of a spec does, in words; what is refused unless somebody means it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop import __version__
from driftloop.contract.names import release_id
from driftloop.operations.commits.impact import (
    SURPRISES,
    ObjectChange,
    SettingChange,
    SpecImpact,
    SurpriseError,
    assess_impact,
    refuse_surprises,
)
from driftloop.release import record
from driftloop.render import Tree, compare_trees, render_tree
from tests.pipelines import version

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "examples" / "digits" / "pipeline.yaml").read_text()
RELEASE = (ROOT / "tests" / "golden" / "digits-released" / "release.yaml").read_text()
PRODUCTION = record.load_release(RELEASE, path="release.yaml").production
assert PRODUCTION is not None
ID = PRODUCTION.id


def edited(*edits: tuple[str, str], spec: str = SPEC) -> str:
    for old, new in edits:
        assert spec.count(old) == 1, old
        spec = spec.replace(old, new)
    return spec


def of(*edits: tuple[str, str], release: str | None = RELEASE) -> SpecImpact:
    return assess_impact(
        render_tree(SPEC, release), render_tree(edited(*edits), release), pipeline="digits"
    )


OUTLIER = "    outlier: {detector: iforest, window: 200}\n"


def test_a_new_pipeline_adds_everything() -> None:
    found = assess_impact({}, render_tree(SPEC, None), pipeline="digits")
    assert found.effects == (
        "the pipeline is new: predictions are answered once its first run has released a version",
    )
    assert {resource.change for resource in found.resources} == {"added"}
    assert ObjectChange("added", "WorkflowTemplate", "digits", "digits-train") in found.resources
    assert found.settings == found.surprises == ()


def test_training_changes_with_the_next_run() -> None:
    found = of(("epochs: 12", "epochs: 20"))
    assert found.settings == (SettingChange("train.parameters.epochs", 12, 20),)
    assert found.effects == (
        "the next training run uses the new steps; a current run keeps its own",
    )
    assert [(r.change, r.name) for r in found.resources] == [("changed", "digits-train")]
    assert not found.surprises


def test_what_another_version_committed_can_be_mended() -> None:
    old = render_tree(SPEC, RELEASE)
    path = "workflows/digits/pipeline.yaml"
    old = {**old, path: old[path].replace("epochs: 12", 'epochs: "{{no longer taken}}"')}
    found = assess_impact(
        old, render_tree(edited(("epochs: 12", "epochs: 20")), RELEASE), pipeline="digits"
    )
    assert found.settings == ()
    assert [(r.change, r.name) for r in found.resources] == [("changed", "digits-train")]


def test_settings_are_told_with_their_defaults_and_steps_by_name() -> None:
    found = of(
        ("  serve: {model: Digits}", "  serve: {model: Digits, replicas: 3}"),
        ('run: "etl:validate"', 'run: "etl:look"'),
    )
    assert found.settings == (
        SettingChange("data.steps[validate].run", "etl:validate", "etl:look"),
        SettingChange("serve.replicas", 1, 3),
    )
    assert f"production {ID} runs with 3 pods" in found.effects


@pytest.mark.parametrize("backend", ["seldon", "plain"])
def test_an_autoscaler_changes_the_number_of_pods_and_no_pod(backend: str) -> None:
    def effects(before: str, after: str) -> tuple[str, ...]:
        specs = [
            edited(("serve: {model: Digits}", f"serve: {{model: Digits{more}}}"))
            for more in (before, after)
        ]
        return assess_impact(
            *(render_tree(spec, RELEASE) for spec in specs), pipeline="digits"
        ).effects

    fixed, scaled = (
        f", backend: {backend}, replicas: 2",
        f", backend: {backend}, autoscale: {{min: 2, max: 6}}",
    )
    said = f"production {ID} runs with 2 to 6 pods, with a target of 70 % of their requested CPU"
    assert effects(fixed, scaled) == (said,)
    assert effects(scaled, fixed) == (f"production {ID} runs with 2 pods",)
    hotter = scaled.replace("max: 6", "max: 6, cpu: 90")
    assert effects(scaled, hotter) == (said.replace("70", "90"),)


def test_the_pods_of_production_are_replaced() -> None:
    found = of(("digits-server:1.0.0", "digits-server:1.1.0"))
    assert f"production {ID} gets new pods by a rolling update" in found.effects
    assert not found.surprises


def test_another_protocol_is_other_pods_and_other_requests() -> None:
    """One field of the SeldonDeployment, by which the operator chooses image and arguments."""
    before, after = (
        render_tree(
            edited(("serve: {model: Digits}", f"serve: {{server: xgboost, protocol: {protocol}}}")),
            RELEASE,
        )
        for protocol in ("seldon", "v2")
    )
    assert assess_impact(before, after, pipeline="digits").effects == (
        f"production {ID} gets new pods by a rolling update",
        "requests and answers use protocol `v2` at another path: clients have to change as well",
    )


def test_a_schedule_and_its_end() -> None:
    spec = edited(
        ('    run: "train:train"\n', '    run: "train:train"\n    schedule: "0 3 * * *"\n')
    )
    without, with_one = render_tree(SPEC, None), render_tree(spec, None)
    assert (
        "runs also start at 0 3 * * * (UTC)"
        in assess_impact(without, with_one, pipeline="digits").effects
    )
    assert (
        "no schedule starts runs any more"
        in assess_impact(with_one, without, pipeline="digits").effects
    )


def test_looking_for_new_data_is_no_schedule() -> None:
    spec = edited(
        ('    run: "train:train"\n', '    run: "train:train"\n    newData: "*/5 * * * *"\n')
    )
    without, with_it = render_tree(SPEC, None), render_tree(spec, None)
    assert (
        "new data is looked for at */5 * * * * (UTC)"
        in assess_impact(without, with_it, pipeline="digits").effects
    )
    assert (
        "new data does not start runs any more"
        in assess_impact(with_it, without, pipeline="digits").effects
    )


def test_production_without_its_detector_is_a_surprise() -> None:
    found = of((OUTLIER, ""))
    assert "the outlier detector stops" in found.effects
    (setting,) = found.settings
    assert (setting.path, setting.old["detector"], setting.new) == (
        "monitors.outlier",
        "iforest",
        None,
    )
    (surprise,) = found.surprises
    assert surprise.code == "detector-removed"
    assert surprise.what == f"the outlier detector of production {ID} goes away"
    with pytest.raises(SurpriseError, match=r"outlier detector .* not monitored") as caught:
        refuse_surprises(found, frozenset({"predictor-removed"}))
    assert caught.value.hint == "to allow it: --allow detector-removed"
    refuse_surprises(found, frozenset({"detector-removed"}))


def test_a_new_monitor_waits_for_the_next_release() -> None:
    assert PRODUCTION is not None
    digests = dict.fromkeys(("drift", "outlier"), "sha256:" + "2" * 64)
    fitted = PRODUCTION.model_copy(update={"detector_digests": digests})
    release = record.dump_release(
        record.release_first(record.empty_release("digits", "digits"), fitted)
    )
    # with a rate of its own, since a part of the budget would change those of the others
    rare = OUTLIER + "    rare: {columns: x, alarmRate: 0.001}\n"
    found = assess_impact(
        render_tree(SPEC, release), render_tree(edited((OUTLIER, rare)), release), pipeline="digits"
    )
    assert found.effects == (
        "the next training run uses the new steps; a current run keeps its own",
        "the rare monitor is fitted by the next run and watches from its release on; without new data "
        "`driftloop trigger` fits it for production's model",
        "the decision service restarts and continues where it was",
    )
    assert not found.surprises


def test_before_the_first_release_no_detector_watches_anything() -> None:
    assert not of((OUTLIER, ""), release=None).surprises


def test_another_back_end_takes_production_away_for_a_while() -> None:
    found = of(("serve: {model", "serve: {backend: plain, model"))
    (surprise,) = found.surprises
    assert surprise.code == "predictor-removed"
    assert (
        surprise.what
        == f"{ID} answers 100 % of the requests as SeldonDeployment and is replaced by a Deployment"
    )
    assert (
        f"production {ID} is removed as SeldonDeployment and added as Deployment" in found.effects
    )


def test_a_candidate_that_sees_only_a_copy_may_go() -> None:
    shadow = record.start_shadow(
        record.load_release(RELEASE, path="release.yaml"), version("digits-0000000000ff")
    )
    old = render_tree(SPEC, record.dump_release(shadow))
    new = render_tree(SPEC, RELEASE)
    found = assess_impact(old, new, pipeline="digits")
    assert f"candidate {release_id('digits-0000000000ff')} goes away" in found.effects
    assert not found.surprises


def test_steps_of_an_older_version_leave_their_rollout() -> None:
    first = record.load_release(RELEASE, path="release.yaml")
    shadow = record.start_shadow(first, version("digits-0000000000ff"))
    for release, found in ((first, []), (shadow, ["rollout-left"])):
        new = render_tree(SPEC, record.dump_release(release))
        old = {
            path: text.replace(f"/driftloop:{__version__}", "/driftloop:0.0.9")
            for path, text in new.items()
        }
        surprises = assess_impact(old, new, pipeline="digits").surprises
        assert [each.code for each in surprises] == found
    assert "is run by driftloop 0.0.9, which can't end it" in surprises[0].what
    moved = {
        path: text.replace("ghcr.io/driftloop/driftloop:", "registry.acme.example/driftloop:")
        for path, text in new.items()
    }
    assert not assess_impact(new, moved, pipeline="digits").surprises


def test_what_changes_nothing_that_runs_is_told_too() -> None:
    comment = assess_impact(
        render_tree(SPEC, RELEASE), render_tree(SPEC + "# said\n", RELEASE), pipeline="digits"
    )
    assert comment == SpecImpact(effects=("no object changes",))
    found = of(("serve: {model", "serve: {backend: plain, model"), release=None)
    assert found.effects == ("no run, model server or detector changes",)
    assert {resource.kind for resource in found.resources} == {
        "Kustomization",
        "Namespace",
        "NetworkPolicy",
    }


EDITS = [
    ("epochs: 12", "epochs: 13"),
    (OUTLIER, ""),
    ("serve: {model", "serve: {backend: plain, model"),
    ("digits-server:1.0.0", "digits-server:2.0.0"),
    ("consecutive: 2", "consecutive: 3"),
    ("cooldown: 20s", "cooldown: 21s"),
    ("requests: 100", "requests: 101"),
    ("parallelism: 2", "parallelism: 1"),
    ("window: 200}\n    outlier", "window: 100}\n    outlier"),
    ("s3://digits/batches", "s3://digits/others"),
]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(EDITS), max_size=4), st.sampled_from([None, RELEASE]))
def test_it_is_empty_exactly_when_nothing_changes(
    edits: set[tuple[str, str]], release: str | None
) -> None:
    spec = SPEC
    for old, new in sorted(edits):
        spec = spec.replace(old, new)
    trees: tuple[Tree, Tree] = render_tree(SPEC, release), render_tree(spec, release)
    found = assess_impact(*trees, pipeline="digits")
    assert (found == SpecImpact()) == (not compare_trees(*trees)) == (not edits)
    assert bool(found.settings) == bool(edits), "every edit is told"
    assert bool(found.effects) == bool(edits), "and what comes of it"
    assert {surprise.code for surprise in found.surprises} <= SURPRISES.keys()
    assert assess_impact(trees[1], trees[1], pipeline="digits") == SpecImpact()
