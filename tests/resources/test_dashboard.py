"""A dashboard that Grafana takes: one place for each panel, one name for each question, an address that stays."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from driftloop.kube import grafana
from driftloop.plan import make_plan
from driftloop.resources.watching import dashboard
from driftloop.spec import load_spec
from tests.golden.trees import spec_text, tree
from tests.spec.specs import MINIMAL
from tests.support.promql import asked

NAMES = ("observability", "observability-seldon")


def shown(name: str) -> dict[str, Any]:
    ((_, text),) = yaml.safe_load(tree(name)[f"monitors/{name}/dashboard.configmap.yaml"])[
        "data"
    ].items()
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_a_round_trip_through_its_type(name: str) -> None:
    assert grafana.Dashboard.model_validate(shown(name)).dump_object() == shown(name)


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_and_places_of_their_own(name: str) -> None:
    panels = shown(name)["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Traffic",
        "Drift",
        "Rollout",
        "Training",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_told_apart_and_go_to_the_chosen_data_source(name: str) -> None:
    found = shown(name)
    (variable,) = found["templating"]["list"]
    for panel in found["panels"]:
        targets = panel.get("targets", [])
        assert len({target["refId"] for target in targets}) == len(targets)
        for part in (panel, *targets) if targets else ():
            assert part["datasource"] == {"type": "prometheus", "uid": f"${variable['name']}"}


@pytest.mark.parametrize("name", NAMES)
def test_it_shows_the_same_whoever_scrapes(name: str) -> None:
    """`dashboard` alone brings no PodMonitor along: then the platform's give the series other `job`s and labels."""
    pods = {
        "observability": "observability-r56aae35f-",
        "observability-seldon": "observability-seldon-rabf97175-0-model-",
    }
    found = [
        asked(target["expr"])[0]
        for panel in shown(name)["panels"]
        for target in panel.get("targets", [])
    ]
    for metrics in found:
        assert not [labels for labels in metrics.values() if labels.keys() & {"job", "version"}]
    (up,) = (metrics["up"] for metrics in found if "up" in metrics)
    assert up["namespace"] in ("observability", "watched")
    assert re.fullmatch(up["pod"], f"{pods[name]}6d5f9c7b8-x2x2x")
    assert not re.fullmatch(up["pod"], f"{name}-retrain-eventsource-abcde-6d5f9c7b8-x2x2x")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_is_a_variable_of_flux(name: str) -> None:
    assert not [
        path for path, text in tree(name).items() if path.startswith("monitors/") and "${" in text
    ]


def test_two_pipelines_never_have_one_address_or_file() -> None:
    found = set()
    for name, namespace in (("a", "b-c"), ("c-a", "b"), ("a", "a"), ("x" * 34, "y" * 63)):
        text = MINIMAL.replace("{name: digits}", f"{{name: {name}, namespace: {namespace}}}")
        planned = make_plan(load_spec(text, path="p.yaml"))
        shown = dashboard.build_dashboard(planned)
        (file,) = dashboard.config_map(planned).data
        assert len(shown.uid) <= 40
        found.add((shown.uid, shown.title, file))
    assert len({uid for uid, _, _ in found}) == len({title for _, title, _ in found}) == 4
    assert len({file for _, _, file in found}) == 4


def test_it_looks_the_same_before_the_first_release_and_after() -> None:
    from driftloop.render import render_tree

    path = "monitors/observability/dashboard.configmap.yaml"
    assert render_tree(spec_text("observability"), None)[path] == tree("observability")[path]
