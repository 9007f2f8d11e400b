"""A dashboard that Grafana takes: one place for each panel, one name for each question, an address that stays."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.promql import asked

from driftloop.kube import grafana
from driftloop.plan import make_plan
from driftloop.resources.watching import dashboard
from driftloop.retrain.state import Outcome, Phase
from driftloop.spec import load_spec
from tests.golden.trees import spec_text, tree
from tests.spec.specs import MINIMAL

NAMES = ("observability", "observability-seldon")
PLATFORM = (
    Path(__file__).parents[2]
    / "cluster"
    / "infrastructure"
    / "configs"
    / "watching"
    / "driftloop.json"
)
OF_PROMETHEUS = {
    *("titleFormat", "textFormat", "useValueForTime"),
    *("refId", "expr", "interval", "legendFormat"),
}
"""Keys of an annotation, and of its question, that its data source reads, not the dashboard."""


def read_platform() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PLATFORM.read_text())
    return found


def read_all() -> dict[str, dict[str, Any]]:
    return {"platform": read_platform(), **{name: shown(name) for name in NAMES}}


def find_strange(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Yield the places of what Grafana's own models did not take as it is."""
    match ours, theirs:
        case dict(), dict():
            for key, value in ours.items():
                if key in OF_PROMETHEUS and place.startswith(".annotations"):
                    continue
                if key not in theirs:
                    yield f"{place}.{key} is unknown"
                else:
                    yield from find_strange(value, theirs[key], f"{place}.{key}")
        case list(), list() if len(ours) == len(theirs):
            for number, pair in enumerate(zip(ours, theirs, strict=True)):
                yield from find_strange(*pair, f"{place}[{number}]")
        case _ if ours != theirs:
            yield f"{place} is {ours!r}, read as {theirs!r}"


@pytest.mark.parametrize("name", ["platform", *NAMES])
def test_grafanas_own_models_take_all_of_it(name: str) -> None:
    register_default_plugins()
    ours = read_all()[name]
    theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
    assert list(find_strange(ours, theirs)) == []


def test_what_grafana_does_not_know_is_found() -> None:
    register_default_plugins()
    ours = {"title": "x", "panels": [{"type": "stat", "title": "y", "colour": "red"}]}
    theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
    assert list(find_strange(ours, theirs)) == [".panels[0].colour is unknown"]


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_is_one_lane_with_a_word_and_a_colour_for_each_phase(name: str) -> None:
    panels = {panel["title"]: panel for panel in shown(name)["panels"]}
    for title, label, values in (
        ("Phase of the loop", "phase", get_args(Phase)),
        ("How the last run ended", "outcome", get_args(Outcome)),
    ):
        (target,) = panels[title]["targets"]
        asked_for = re.findall(rf'(\d+) \* max\([^)]*{label}="([a-z-]+)"', target["expr"])
        assert {value for _, value in asked_for} == set(values)
        (mapping,) = panels[title]["fieldConfig"]["defaults"]["mappings"]
        assert set(mapping["options"]) == {number for number, _ in asked_for}
        words = [each["text"] for each in mapping["options"].values()]
        colors = [each["color"] for each in mapping["options"].values()]
        assert len(set(words)) == len(set(colors)) == len(values)


def test_the_platforms_lane_knows_the_same_phases() -> None:
    (lane,) = (panel for panel in read_platform()["panels"] if panel["type"] == "state-timeline")
    (target,) = lane["targets"]
    phases = dict(re.findall(r'(\d+) \* max[^{]*\{phase="([a-z-]+)"', target["expr"]))
    (mapping,) = lane["fieldConfig"]["defaults"]["mappings"]
    shown = {
        phases[number]: (each["text"], each["color"]) for number, each in mapping["options"].items()
    }
    assert shown == dashboard.PHASES


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_shown_against_their_threshold_and_columns_by_name(name: str) -> None:
    panels = [panel for panel in shown(name)["panels"] if panel["type"] == "timeseries"]
    levels = [panel for panel in panels if panel["title"].endswith("from an alarm")]
    effects = [panel for panel in panels if panel["title"].startswith("Columns that moved")]
    assert len(levels) == len(effects) > 0
    for panel in levels:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
        assert defaults["thresholds"]["steps"][-1]["value"] == 1
        assert "min" not in defaults, "a logarithmic axis has no 0"
    for panel in effects:
        assert panel["targets"][0]["legendFormat"] == "{{column}}"


@pytest.mark.parametrize("name", ["platform", *NAMES])
def test_links_lead_to_the_console_and_to_the_commit(name: str) -> None:
    found = read_all()[name]
    links = [link for panel in found["panels"] for link in panel.get("links") or ()]
    addresses = {link["url"] for link in (*found["links"], *links)}
    names = {variable["name"] for variable in found["templating"]["list"]}
    for address in addresses:
        assert address.startswith(("$console/", "$repository/"))
        assert set(re.findall(r"\$(\w+)", address)) <= names
    assert any(address.startswith("$console/") for address in addresses)
    assert any("$repository/commit" in address for address in addresses)
    for annotation in found["annotations"]["list"]:
        assert "{{repository}}/commit/{{commit}}" in annotation["textFormat"]
        assert "{{console}}" in annotation["textFormat"]
        assert "no console-url in driftloop-platform" in annotation["target"]["expr"]


def test_the_platforms_dashboard_asks_the_chosen_data_source() -> None:
    found = read_platform()
    source, *others = found["templating"]["list"]
    assert source["type"] == "datasource"
    for variable in others:
        assert variable["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    for panel in found["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "$datasource"}


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
        "Loop",
        "Traffic",
        "Drift",
        "Rollout",
        "Training",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_told_apart_and_go_to_the_chosen_data_source(name: str) -> None:
    found = shown(name)
    variable, *pages = found["templating"]["list"]
    assert variable["type"] == "datasource"
    for page in pages:
        assert page["datasource"] == {"type": "prometheus", "uid": f"${variable['name']}"}
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
