"""How long a run may take."""

import pytest

from pipeline.plan import plan
from pipeline.resources import workflow
from pipeline.spec import load
from tests.spec.specs import changed

HOUR = 3600


@pytest.mark.parametrize(
    ("train", "hours"),
    [
        ("", 1),
        (", retries: {limit: 2, wait: 30m}", 3 + 1.5),
        # 1, 2, 4, … 32 minutes, then an hour before each of the last 14
        (", retries: {limit: 20, wait: 1m}", 21 + 63 / 60 + 14),
        (", parameters: {a: 1}, search: {over: {a: [1, 2, 3]}, best: {metric: m}}, retries: {limit: 1, wait: 1h}", 9),
    ],
)
def test_a_run_has_time_for_all_tries_and_the_waits_between_them(train: str, hours: float) -> None:
    spec = load(changed('"train:train"', f'"train:train"{train}'), path="p.yaml")
    found = workflow.train(plan(spec)).model_dump()["spec"]["active_deadline_seconds"]
    evaluation = HOUR
    assert found == hours * HOUR + evaluation + workflow.QUEUEING
