"""The generated pages are those of the models, and every member of every union is known everywhere."""

import json
from pathlib import Path
from typing import get_args

import pytest

from pipeline.plan import plan
from pipeline.services.detector.config import Kind
from pipeline.spec import load, schema
from pipeline.spec.reference import reference
from tests.spec.specs import DETECTORS, MINIMAL

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "reference"
GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize(
    ("name", "content"),
    [("spec.md", reference()), ("pipeline.schema.json", json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")],
)
def test_pages_are_up_to_date(name: str, content: str, update: bool) -> None:
    if update:
        DOCS.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(content)
    assert (DOCS / name).read_text() == content, "run `pytest tests/spec/test_reference.py --update`"


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in DETECTORS.items() for name in names])
def test_a_detector_is_documented_served_planned_and_shown(role: str, name: str) -> None:
    assert f"({name})" in reference(), "not in the reference"
    assert (ROOT / "pipeline/services/detector/detectors" / f"{name}.py").exists(), "the service does not know it"
    shown = [file for file in GOLDEN.glob("*/expected/monitors/**/*.yaml") if f'"kind": "{name}"' in file.read_text()]
    shown += [file for file in GOLDEN.glob("*/expected/workflows/**/*.yaml") if f'"kind": "{name}"' in file.read_text()]
    assert shown, "no golden tree shows it"
    assert name in get_args(Kind), "the service's settings do not take it"
    (monitor,) = plan(load(f"{MINIMAL}  monitors: {{{role}: {{detector: {name}}}}}\n", path="p.yaml")).monitors
    assert json.loads(monitor.config)["kind"] == name
