"""The generated pages are those of the models, and every member of every union is known everywhere."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from driftloop.check import check_files
from driftloop.contract.handovers import DetectorKind
from driftloop.plan import make_plan
from driftloop.release import record
from driftloop.render import render_tree
from driftloop.spec import load_spec, schema
from driftloop.spec.serve import Prepackaged
from tests.golden.trees import NAMES, tree
from tests.pipelines import version
from tests.spec.reference import reference
from tests.spec.specs import DETECTORS, MINIMAL

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spec.md", reference()),
        ("pipeline.schema.json", json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"),
    ],
)
def test_pages_are_up_to_date(name: str, content: str, update: bool) -> None:
    if update:
        DOCS.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(content)
    assert (DOCS / name).read_text() == content, (
        "run `pytest tests/spec/test_reference.py --update`"
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_documented_served_planned_and_shown(name: str) -> None:
    assert f"({name})" in reference(), "not in the reference"
    assert (ROOT / "pipeline/driftloop/services/detector/detectors" / f"{name}.py").exists(), (
        "the service does not know it"
    )
    folders = ("monitors/", "workflows/")
    texts = (
        text for golden in NAMES for path, text in tree(golden).items() if path.startswith(folders)
    )
    assert any(f'"kind": "{name}"' in text for text in texts), "no golden tree shows it"
    assert name in get_args(DetectorKind), "the service's settings do not take it"
    needed = {"function": ', run: "watch:judge"', "alibi": ", alibi: {class: KSDrift}"}.get(
        name, ""
    )
    (monitor,) = make_plan(
        load_spec(f"{MINIMAL}  monitors: {{watch: {{detector: {name}{needed}}}}}\n", path="p.yaml")
    ).monitors
    assert json.loads(monitor.detector_config)["kind"] == name


@pytest.mark.parametrize(
    "server", get_args(Prepackaged), ids=lambda model: model.model_fields["server"].default
)
def test_a_server_is_documented_and_rendered_for_every_protocol_it_takes(
    server: type[Prepackaged],
) -> None:
    name = server.model_fields["server"].default
    assert f"({name})" in reference(), "not in the reference"
    assert f"`{name}`" in (ROOT / "docs" / "guides" / "serving.md").read_text(), "not in the guide"
    for protocol in get_args(server.model_fields["protocol"].annotation):
        text = MINIMAL.replace("{model: Digits}", f"{{server: {name}, protocol: {protocol}}}")
        release = record.release_first(
            record.empty_release("digits", "digits"), version("digits-000000000001")
        )
        files = render_tree(text, record.dump_release(release))
        assert check_files(dict(files)) == ()
        (document,) = yaml.safe_load_all(files["deployments/digits/model.seldondeployment.yaml"])
        assert document["spec"]["protocol"] == protocol
        (predictor,) = document["spec"]["predictors"]
        assert predictor["graph"]["implementation"] == f"{name.upper()}_SERVER"
        assert (
            predictor["graph"]["modelUri"]
            == "s3://driftloop/runs/digits-000000000001/release/model"
        )
        (component,) = predictor["componentSpecs"]
        containers = component["spec"]["containers"]
        assert containers[0]["name"] == predictor["graph"]["name"]
        # its Deployment is the one that a rollout waits for
        ending = component.get("metadata", {}).get("name") or "-".join(
            one["name"] for one in containers
        )
        assert ending == "model"


def test_a_default_is_one_that_a_spec_may_say() -> None:
    """Of durations and budgets, which are written otherwise than they are kept."""
    found = 0
    for model in schema()["$defs"].values():
        for name, field in model.get("properties", {}).items():
            pattern, default = field.get("pattern"), field.get("default")
            if pattern is not None and default is not None:
                assert re.search(pattern, str(default)), f"{model['title']}.{name}: {default}"
                found += 1
    assert found > 8
