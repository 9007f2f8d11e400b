"""`driftloop try`: a project's functions, once, without git, tag or release."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.local.conftest import envs

__all__ = ["envs"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project and a folder of batches beside it."""
    run = [sys.executable, "-m", "driftloop.cli"]
    subprocess.run([*run, "init", str(tmp_path / "mine")], check=True, capture_output=True)
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    (tmp_path / "batches").mkdir()
    np.savez(
        tmp_path / "batches" / "one.npz",
        x=random.normal(size=(300, 4)) + 3 * labels[:, None],
        y=labels,
    )
    return tmp_path / "mine"


def tries(
    project: Path, envs: Path, *arguments: str, code: int = 0, data: str = "../batches"
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "driftloop.cli", "try", *arguments, "--envs", str(envs)]
    done = subprocess.run(
        [*command, "--data", data],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == code, done.stderr
    return done


def give_things(project: Path) -> None:
    """Let training and server ask for a variable, a secret and a folder, which local.yaml has."""
    change(project / "pipeline.yaml", "learning_rate: 0.5}}", "learning_rate: 0.5}, GIVEN}")
    change(project / "pipeline.yaml", "serve: {model: Model}", "serve: {model: Model, GIVEN}")
    given = (
        "env: {ISLAND: Biscoe, TOKEN: {secret: atlas, key: token}, FEATURES: /data/features}, "
        "envFrom: [{config: site}], volumes: [{pvc: features, mountPath: /data/features}]"
    )
    spec = project / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("GIVEN", given))
    wanted = "[os.environ[name] for name in ('ISLAND', 'TOKEN', 'REGION')] == ['Biscoe', 'geheim', 'south']"
    looks = f"    assert {wanted}\n    assert Path(os.environ['FEATURES'], 'one').exists()\n"
    change(
        project / "trainer" / "train.py",
        "    x, y = read_all(data)\n    mean",
        f"{looks}    x, y = read_all(data)\n    mean",
    )
    change(project / "trainer" / "train.py", "import json\n", "import json\nimport os\n")
    server = project / "server" / "Model.py"
    change(
        server,
        "        with np.load(",
        f"    {looks.replace(chr(10), chr(10) + '    ')}    with np.load(",
    )
    change(server, "from pathlib", "import os\nfrom pathlib")
    (project.parent / "features").mkdir()
    (project.parent / "features" / "one").touch()
    (project / ".driftloop").mkdir()
    (project / ".driftloop" / "local.yaml").write_text(
        "secrets: {atlas: {token: geheim}}\nconfigs: {site: {REGION: south}}\n"
        f"volumes: {{features: {project.parent / 'features'}}}\n"
    )


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new))


def test_all_of_a_project_is_called_once(project: Path, envs: Path) -> None:
    give_things(project)
    before = {*project.rglob("*"), project / ".driftloop" / ".gitignore"}
    done = tries(project, envs)
    stages = [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(" s)")]
    assert stages == ["data", "train", "evaluate", "serve"]
    assert '"accuracy": ' in done.stderr
    assert "answered 6" in done.stderr or "answered 5" in done.stderr
    assert set(project.rglob("*")) == before


def test_an_error_names_the_line_of_the_users_own_file(project: Path, envs: Path) -> None:
    file = project / "trainer" / "train.py"
    lines = file.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if "np.savez" in line) + 1
    lines[number - 1] = '    raise ValueError("no such column")'
    file.write_text("\n".join(lines) + "\n")
    done = tries(project, envs, "train", code=1)
    assert f'train.py", line {number}' in done.stderr or f"train.py:{number}" in done.stderr
    assert "no such column" in done.stderr
    assert "error: train failed" in done.stderr
    assert "evaluate" not in done.stderr.partition("error:")[0]


def test_one_batch_is_enough(project: Path, envs: Path) -> None:
    done = tries(project, envs, "data", data="../batches/one.npz")
    assert "data: 1 file of ../batches/one.npz" in done.stderr


def test_a_misspelt_column_is_told_before_anything_is_trained(project: Path, envs: Path) -> None:
    spec = project / "pipeline.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("/batches}", "/batches, features: z}"))
    assert spec.read_text() != text
    done = tries(project, envs, "train", code=1)
    assert "recent/one.npz has no array `z`, which `data.features` names" in done.stderr
    assert "its arrays: `x`, `y`" in done.stderr
    assert "train: " not in done.stderr


def test_a_server_that_can_not_load_says_so_in_its_own_words(project: Path, envs: Path) -> None:
    file = project / "server" / "Model.py"
    file.write_text(file.read_text().replace('"model.npz"', '"model.onnx"'))
    done = tries(project, envs, code=1)
    assert "error: serve: the server ended with exit code" in done.stderr
    assert "model.onnx" in done.stderr


def test_commands_of_the_guide_train_and_evaluate(project: Path, envs: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "training.md").read_text()
    section = guide.partition("## A command in place of a function")[2]
    settings, fit, measure = (
        re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
        for language in ("yaml", "python", "sh")
    )
    text = (project / "pipeline.yaml").read_text()
    head, _, rest = text.partition("  train:")
    own = settings.replace("\n", "\n  ").rstrip()
    own += "\n  patches: [{target: {kind: WorkflowTemplate}, merge: {metadata: {labels: {a: b}}}}]"
    (project / "pipeline.yaml").write_text(
        f"{head}  {own}\n  serve:{rest.partition('  serve:')[2]}"
    )
    (project / "trainer" / "train.py").unlink()
    (project / "trainer" / "fit.py").write_text(fit)
    (project / "trainer" / "measure.sh").write_text(measure)
    done = tries(project, envs)
    stages = [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(" s)")]
    assert stages == ["data", "train", "evaluate", "serve"]
    assert "note: `patches` of the spec change objects that a commit is of" in done.stderr
    assert '{"epoch": 199, "epochs": 200}' in done.stderr
