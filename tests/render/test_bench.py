"""The benchmark's other side does the same work as a render."""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "examples" / "digits" / "pipeline.yaml"


def test_plain_hera_writes_the_templates_that_are_rendered(tmp_path: Path) -> None:
    script = ROOT / "tests" / "bench" / "plain_hera.py"
    subprocess.run([sys.executable, script, SPEC, tmp_path, "1"], check=True, timeout=60)
    templates = {file.name: yaml.safe_load(file.read_text()) for file in tmp_path.iterdir()}
    assert sorted(templates) == ["p000-release.yaml", "p000-train.yaml"]
    spec = tmp_path / "p000-spec.yaml"
    spec.write_text(SPEC.read_text().replace("{name: digits}", "{name: p000}"))
    program = [sys.executable, "-m", "driftloop.cli", "render", spec, "--into", tmp_path / "tree"]
    subprocess.run(program, check=True, timeout=60)
    for name, template in templates.items():
        workflow = name.removeprefix("p000-").removesuffix(".yaml")
        file = tmp_path / "tree" / "workflows" / "p000" / f"{workflow}.workflowtemplate.yaml"
        assert template["spec"] == yaml.safe_load(file.read_text())["spec"]
