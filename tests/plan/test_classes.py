"""Classes of alibi-detect that a spec names: taken with their settings, or refused with what is allowed."""

import pytest

from driftloop.contract.alibi import ALIBI_CLASSES, REFUSED
from driftloop.errors import SpecError
from driftloop.plan import make_plan
from driftloop.plan.images import ALIBI, MONITOR, list_images
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL


def spec(monitors: str) -> str:
    return f"{MINIMAL}  monitors: {{{monitors}}}\n"


@pytest.mark.parametrize(
    ("alibi", "says"),
    [
        ("{class: MMDDriftOnline}", "keeps state from row to row"),
        ("{class: AdversarialAE}", "needs your model inside the detector"),
        ("{class: IForest}", "is `detector: iforest`"),
        ("{class: MMDrift}", "hint: did you mean `MMDDrift`?"),
        (
            "{class: MMDDrift, settings: {n_permutation: 100}}",
            "spec.monitors.watch.alibi.settings.n_permutation is not a setting of MMDDrift, must be one of: "
            "`n_permutations`, `sigma`",
        ),
        (
            "{class: MMDDrift, settings: {p_val: 0.1}}",
            "settings.p_val is not a setting of MMDDrift",
        ),
        (
            "{class: OutlierAE, settings: {epochs: 0}}",
            "settings.epochs is `0`, must be a whole number from 1",
        ),
        ("{class: OutlierAE, settings: {hidden: [0]}}", "must be a list of whole numbers from 1"),
        ("{class: OutlierAE, settings: {hidden: [a]}}", "hidden[0] is `a`, must be a whole number"),
        ("MMDDrift", "spec.monitors.watch.alibi is `MMDDrift`, must be a mapping"),
    ],
)
def test_what_a_class_is_not_is_told(alibi: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        make_plan(load_spec(spec(f"watch: {{alibi: {alibi}}}"), path="p.yaml"))
    assert says in str(refused.value)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_class_says_what_may_be_named(name: str) -> None:
    with pytest.raises(SpecError, match=f"which {REFUSED[name][:20]}.*must be one of: KSDrift"):
        load_spec(spec(f"watch: {{alibi: {{class: {name}}}}}"), path="p.yaml")


@pytest.mark.parametrize("name", ALIBI_CLASSES)
def test_a_class_is_planned_with_its_image_and_effect(name: str) -> None:
    pipeline = load_spec(spec(f"watch: {{alibi: {{class: {name}}}}}"), path="p.yaml")
    (monitor,) = make_plan(pipeline).monitors
    assert monitor.scores_rows == ALIBI_CLASSES[monitor.settings.alibi.name].scores_rows  # type: ignore[union-attr]
    assert monitor.then == (None if monitor.scores_rows else "retrain")
    assert ALIBI in list_images(pipeline)
    assert MONITOR not in list_images(pipeline)


def test_other_detectors_do_not_need_its_image() -> None:
    both = load_spec(spec("drift: {}, rows: {alibi: {class: OutlierAE}}"), path="p.yaml")
    assert {ALIBI, MONITOR} <= set(list_images(both))
    assert ALIBI not in list_images(load_spec(spec("drift: {}"), path="p.yaml"))
