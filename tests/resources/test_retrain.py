"""What the Sensor lets through."""

import re

import pytest

from driftloop.kube.events import RateLimit
from driftloop.plan import make_plan
from driftloop.resources import retrain
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL

SENSOR = retrain.build_sensor(make_plan(load_spec(MINIMAL, path="p.yaml")))


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        ("alarm 045fa4a3-010a-5e17-9ccb-a3946d72f827", True),
        ("person ada: 100 % of new batches, as “agreed”", True),
        ("", False),
        ("x" * 301, False),
        ("two\nlines", False),
        # these would come to `register` as the secret itself, and from there into a commit
        ("$(AWS_SECRET_ACCESS_KEY)", False),
        ("$(DRIFTLOOP_GIT_PASSWORD)", False),
        ("{{workflow.parameters.decision}}", False),
    ],
)
def test_a_cause_comes_to_containers_as_it_was_written(cause: str, passes: bool) -> None:
    (dependency,) = SENSOR.spec.dependencies
    (rule,) = (one for one in dependency.filters.data if one.path == "body.cause")
    assert (re.search(rule.value[0], cause) is not None) == passes


def test_the_webhook_makes_so_many_workflows_at_most() -> None:
    (trigger,) = SENSOR.spec.triggers
    assert trigger.rate_limit == RateLimit(unit="Minute", requests_per_unit=20)
