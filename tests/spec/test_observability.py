"""What can be said under `observability`, and what is refused."""

import pytest

from driftloop.errors import SpecError
from driftloop.plan import make_plan
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL


def spec(text: str) -> str:
    return f"{MINIMAL}  observability: {text}\n"


def test_nothing_is_brought_along_unless_asked() -> None:
    found = make_plan(load_spec(MINIMAL, path="p.yaml")).observability
    assert (found.prometheus, found.dashboard) == (None, False)


def test_a_label_may_have_the_longest_prefix_that_kubernetes_takes() -> None:
    key = ".".join(["a" * 62, "b" * 62, "c" * 63, "d" * 63]) + "/" + "e" * 63
    assert len(key) == 317
    found = make_plan(
        load_spec(spec(f"{{prometheus: {{labels: {{{key}: x}}}}}}"), path="p.yaml")
    ).observability.prometheus
    assert found is not None
    assert found.labels == {key: "x"}


@pytest.mark.parametrize("quiet", ["5m", "7d", "null"])
def test_how_long_it_may_be_quiet(quiet: str) -> None:
    found = make_plan(
        load_spec(spec(f"{{prometheus: {{quiet: {quiet}}}}}"), path="p.yaml")
    ).observability.prometheus
    assert found is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{prometheus: {quiet: 4m}}", "must be between 5m and 7d"),
        ("{prometheus: {quiet: 8d}}", "must be between 5m and 7d"),
        (
            "{prometheus: {labels: {app.kubernetes.io/name: x}}}",
            "must not begin with app.kubernetes.io/",
        ),
        ("{prometheus: {labels: {'bad key': x}}}", "must be the key of a Kubernetes label"),
        ("{prometheus: {labels: {a..b/team: x}}}", "must be the key of a Kubernetes label"),
        ("{prometheus: {labels: {a.-b/team: x}}}", "must be the key of a Kubernetes label"),
        (
            "{prometheus: {labels: {" + "a" * 254 + "/team: x}}}",
            "must be the key of a Kubernetes label",
        ),
        ("{prometheus: {labels: {release: 'a b'}}}", "must be the value of a Kubernetes label"),
        ("{prometheus: true}", "prometheus"),
        ("{grafana: true}", "grafana"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(spec(text), path="p.yaml")
    assert says in str(error.value)
