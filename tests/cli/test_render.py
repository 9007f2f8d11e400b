"""render, plan, validate, init: arguments in; files, exit status and words out."""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from driftloop import __version__
from driftloop.cli.lazy import run_group
from driftloop.cli.root import root
from driftloop.operations.commits import remembered
from driftloop.operations.project.starters import STARTERS
from driftloop.release import record
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL

Result = tuple[int, str, str]
Driftloop = Callable[..., Result]


@pytest.fixture
def driftloop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Driftloop:
    """Run a command in this process: (exit status, stdout, stderr)."""

    def call(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["driftloop", *map(str, args)])
        monkeypatch.delenv("DRIFTLOOP_GIT_URL", raising=False)
        monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as caught:
            run_group(root)
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "project" / "pipeline.yaml"
    file.parent.mkdir()
    file.write_text(MINIMAL)
    return file


def files(folder: Path) -> dict[str, str]:
    return {
        f.relative_to(folder).as_posix(): f.read_text()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def test_render_writes_a_tree_once(driftloop: Driftloop, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "tree"
    code, stdout, stderr = driftloop("render", spec, "--into", out)
    assert (code, stdout) == (0, "")
    first = files(out)
    assert (
        f"digits: {len(first)} files in {out} ({len(first)} added, 0 changed, 0 removed)" in stderr
    )
    assert first["workflows/digits/pipeline.yaml"] == MINIMAL
    assert driftloop("render", spec, "--into", out, "--check")[0] == 0
    code, stdout, _ = driftloop("render", spec, "--into", out, "--output", "json")
    assert json.loads(stdout)["changes"] == []
    assert files(out) == first


def test_render_keeps_the_release_and_what_is_not_its_own(
    driftloop: Driftloop, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)
    version = record.Version(
        id="r00000001", run="digits-1", model="s3://b/m", model_digest="sha256:" + "a" * 64,
        data_digest="sha256:" + "b" * 64,
    )  # fmt: skip
    release = record.dump_release(
        record.release_first(record.empty_release("digits", "digits"), version)
    )
    (out / "deployments/digits/release.yaml").write_text(release)
    (out / "deployments/digits/by-hand.yaml").write_text("a: 1\n")
    (out / "README.md").write_text("mine\n")
    assert driftloop("render", spec, "--into", out)[0] == 0
    found = files(out)
    assert found["deployments/digits/release.yaml"] == release
    assert "s3://b/m" in found["deployments/digits/model.seldondeployment.yaml"]
    assert (found["deployments/digits/by-hand.yaml"], found["README.md"]) == ("a: 1\n", "mine\n")
    spec.write_text(MINIMAL.replace("{model: Digits}", "{model: Digits, backend: plain}"))
    assert driftloop("render", spec, "--into", out)[0] == 0
    assert not (out / "deployments/digits/model.seldondeployment.yaml").exists()
    assert (out / "deployments/digits/r00000001.deployment.yaml").exists()


def test_render_stops_at_a_hand_written_file(
    driftloop: Driftloop, spec: Path, tmp_path: Path
) -> None:
    target = tmp_path / "tree/workflows/digits/retrain.sensor.yaml"
    target.parent.mkdir(parents=True)
    target.write_text("by: hand\n")
    code, _, stderr = driftloop("render", spec, "--into", tmp_path / "tree")
    assert code == 1
    assert "workflows/digits/retrain.sensor.yaml was not written by `driftloop render`" in stderr
    assert "hint: move it away" in stderr
    assert files(tmp_path / "tree") == {"workflows/digits/retrain.sensor.yaml": "by: hand\n"}


def test_check_names_what_differs_and_writes_nothing(
    driftloop: Driftloop, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)
    edited = out / "workflows/digits/retrain.service.yaml"
    edited.write_text(edited.read_text() + "# edited\n")
    code, _, stderr = driftloop("render", spec, "--into", out, "--check")
    assert code == 1
    assert "changed  workflows/digits/retrain.service.yaml" in stderr
    assert edited.read_text().endswith("# edited\n")


def test_several_pipelines_are_rendered_and_checked_at_once(
    driftloop: Driftloop, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tree"
    other = spec.with_name("other.yaml")
    other.write_text(MINIMAL.replace("{name: digits}", "{name: other}"))
    code, _, stderr = driftloop("render", spec, other, "--into", out)
    assert code == 0
    assert [line.partition(":")[0] for line in stderr.splitlines()] == ["digits", "other"]
    code, _, stderr = driftloop("render", "--into", out, "--check")
    assert (code, stderr.count("match")) == (0, 2)
    for name in ("digits", "other"):
        (out / f"workflows/{name}/retrain.service.yaml").unlink()
    code, stdout, stderr = driftloop("render", "--into", out, "--check", "--output", "json")
    assert code == 1
    assert [json.loads(line)["pipeline"] for line in stdout.splitlines()] == ["digits", "other"]
    assert "in 2 files:" in stderr
    assert "added    workflows/other/retrain.service.yaml" in stderr
    code, _, stderr = driftloop("render", "--into", tmp_path / "empty")
    assert "has no pipeline" in stderr
    assert code == 1


def test_an_unchanged_tree_is_checked_without_rendering_it(
    driftloop: Driftloop, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("rendered again")

    with monkeypatch.context() as patched:
        patched.setattr("driftloop.operations.commits.render.render_tree", never)
        assert driftloop("render", spec, "--into", out, "--check")[0] == 0
        assert driftloop("render", "--into", out, "--check")[0] == 0
    # any change of a file, of the spec or of the code is a reason to render
    edits = {
        "workflows/digits/retrain.service.yaml": lambda text: text + "# edited\n",
        "monitors/digits/kustomization.yaml": lambda text: text.replace(
            "- judge.trigger.yaml\n", ""
        ),
        "workflows/digits/left.service.yaml": lambda _: (
            "# Generated by `driftloop render` from elsewhere\n"
        ),
    }
    for path, edit in edits.items():
        file = out / path
        before = file.read_text() if file.exists() else None
        file.write_text(edit(before or ""))
        assert driftloop("render", spec, "--into", out, "--check")[0] == 1, path
        file.unlink()
        if before is not None:
            file.write_text(before)
    assert driftloop("render", spec, "--into", out, "--check")[0] == 0
    spec.write_text(MINIMAL.replace("train:train", "train:other"))
    assert driftloop("render", spec, "--into", out, "--check")[0] == 1
    spec.write_text(MINIMAL)
    monkeypatch.setattr(remembered, "_digest_code", lambda: "other code")
    monkeypatch.setattr("driftloop.operations.commits.render.render_tree", never)
    with pytest.raises(AssertionError, match="rendered again"):
        driftloop("render", spec, "--into", out, "--check")


def test_a_broken_or_missing_cache_is_none(
    driftloop: Driftloop, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)
    entries = sorted((tmp_path / "cache").iterdir())
    assert len(entries) == 2
    for entry in entries:
        entry.write_text("{")
    assert driftloop("render", spec, "--into", out, "--check")[0] == 0
    for entry in entries:
        os.utime(entry, (0, 0))
    (out / "cluster/prod").mkdir()
    (out / "cluster/prod/.gitkeep").touch()
    driftloop("render", spec, "--into", out, "--check", "--cluster", "prod")
    assert not {entry for entry in entries if entry.exists() and entry.stat().st_mtime == 0}
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    assert driftloop("render", spec, "--into", out, "--check")[0] == 0


def test_a_spec_that_is_wrong_or_missing(driftloop: Driftloop, spec: Path, tmp_path: Path) -> None:
    spec.write_text(MINIMAL.replace("serve: {model", "serve: {modell"))
    code, _, stderr = driftloop("render", spec, "--into", tmp_path / "tree")
    assert code == 1
    assert f"error: {spec}:11:3: spec.serve.model is missing" in stderr
    assert "did you mean `model`?" in stderr
    assert not (tmp_path / "tree").exists()
    code, _, stderr = driftloop("render", tmp_path / "none.yaml", "--into", tmp_path)
    assert code == 1
    assert "can't be read: No such file or directory" in stderr
    spec.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in driftloop("validate", spec)[2]
    assert driftloop("render", spec)[0] == 2


def test_plan_says_what_happens(driftloop: Driftloop, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)
    before = files(out)
    assert driftloop("plan", spec, "--into", out)[2].strip() == "digits: nothing changes"
    spec.write_text(MINIMAL.replace("train:train", "train:other"))
    code, stdout, stderr = driftloop("plan", spec, "--into", out)
    assert code == 0
    assert stdout.splitlines() == [
        "settings",
        '  train.run: "train:train" -> "train:other"',
        "effects",
        "  the next training run uses the new steps; a current run keeps its own",
        "objects",
        "  ~ WorkflowTemplate digits/digits-train",
    ]
    assert stderr.strip() == "digits: 2 changed"
    code, stdout, _ = driftloop("plan", spec, "--into", out, "--diff")
    assert "-      - train:train\n+      - train:other\n" in stdout
    code, stdout, _ = driftloop("plan", spec, "--output", "json")
    assert {change["change"] for change in json.loads(stdout)["changes"]} == {"added"}
    assert files(out) == before


def test_plan_for_a_pull_request(driftloop: Driftloop, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "tree"
    driftloop("render", spec, "--into", out)
    spec.write_text(MINIMAL.replace("train: {run", "train: {parameters: {why: 'a|b `c` <d>'}, run"))
    code, stdout, _ = driftloop("plan", spec, "--into", out, "--output", "markdown")
    assert code == 0
    assert stdout.startswith(
        "### `digits`: 2 changed\n\n- the next training run uses the new steps"
    )
    assert '| `train.parameters.why` | `not set` | ``"a\\|b `c` <d>"`` |' in stdout
    assert "<details><summary>1 object</summary>" in stdout
    assert stdout.count("<details>") == stdout.count("</details>") == 2
    assert "\n```diff\n--- a/workflows/digits/pipeline.yaml\n" in stdout


def project(folder: Path, *, train: str, server: str = "class Digits:\n    pass\n") -> Path:
    for name, module, code in (("trainer", "train.py", train), ("server", "Digits.py", server)):
        (folder / name).mkdir(parents=True)
        (folder / name / "Dockerfile").write_text("FROM scratch\n")
        (folder / name / "requirements.txt").write_text("")
        (folder / name / module).write_text(code)
    (folder / "trainer/evaluate.py").write_text(
        "def evaluate(model, data):\n    return {'accuracy': 1}\n"
    )
    file = folder / "pipeline.yaml"
    text = MINIMAL.replace("trainer:1.0.0}", "trainer:1.0.0, context: trainer}")
    text = text.replace("server:1.0.0}", "server:1.0.0, context: server}")
    file.write_text(text.replace('"train:train"', '"train:train", parameters: {epochs: 1}'))
    return file


GOOD = "def train(epochs, data, out, *, seed=0):\n    return {'loss': 0}\n"


def test_a_project_that_fits(driftloop: Driftloop, tmp_path: Path) -> None:
    file = project(tmp_path / "p", train=GOOD)
    file.write_text(file.read_text() + "  retrain: {quietHours: {during: [sat-sun]}}\n")
    code, stdout, stderr = driftloop("validate", file)
    assert (code, stdout) == (0, "")
    assert "digits in namespace digits" in stderr
    assert "quiet     sat-sun (UTC)" in stderr
    document = json.loads(driftloop("validate", file, "--output", "json")[1])
    assert (document["valid"], document["problems"]) == (True, [])
    assert list(document["specs"]) == [str(file)]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (
            "def trian(epochs, data, out): ...\n",
            "pipeline.yaml:9:16: spec.train.run is `train:train`, must be a function in",
        ),
        ("train = 5\nclass A: ...\n", None),
        ("class train: ...\n", "must be a function;"),
        ("async def train(epochs, data, out): ...\n", "must be a plain function;"),
        (
            "def train(epoch, data, out): ...\n",
            "spec.train.parameters.epochs is not an argument of `train`",
        ),
        ("def train(epochs, out): ...\n", "must take the folder `data`"),
        ("def train(epochs, data, out, rate): ...\n", "its argument `rate`"),
        ("def train(epochs, data, out, checkpoint): ...\n", "write `checkpoint: true` under train"),
        ("def train(epochs, data, out, *, rate): ...\n", "its argument `rate`"),
        ("def train(**anything):\n    return anything\n", None),
        ("from elsewhere import train\n", None),
        ("try:\n    import x\nexcept ImportError:\n    x = None\n" + GOOD, None),
        ("raise RuntimeError('never imported')\n" + GOOD, None),
        ("def train(:\n", "train.py:1:11: not Python: invalid syntax"),
        ("\x00", "not Python"),
    ],
)
def test_the_function_is_looked_up_without_running_it(
    driftloop: Driftloop, tmp_path: Path, train: str, said: str | None
) -> None:
    code, _, stderr = driftloop("validate", project(tmp_path / "p", train=train))
    assert code == (0 if said is None else 1), stderr
    assert said is None or said in stderr


def test_folders_that_do_not_fit(driftloop: Driftloop, tmp_path: Path) -> None:
    file = project(tmp_path / "p", train=GOOD, server="def Digits(): ...\n")
    (tmp_path / "p/trainer/Dockerfile").unlink()
    (tmp_path / "p/server/requirements.txt").unlink()
    (tmp_path / "p/trainer/driftloop.py").write_text("")
    code, stdout, _ = driftloop("validate", file, "--output", "json")
    assert code == 1
    said = "\n".join(problem["message"] for problem in json.loads(stdout)["problems"])
    assert "must hold Dockerfile" in said
    assert "must hold requirements.txt" in said
    assert "must not hold a module named `driftloop`" in said
    assert "spec.serve.model is `Digits`, must be a class" in said
    file.write_text(
        file.read_text()
        .replace("context: server", "context: sever")
        .replace("train:train", "trane:train")
    )
    _, stdout, _ = driftloop("validate", file, "--output", "json")
    said = "\n".join(problem["message"] for problem in json.loads(stdout)["problems"])
    assert "spec.images.server.context is `sever`, must be a folder beside the spec" in said
    assert "it has `driftloop`, `evaluate`, `train`" in said
    (tmp_path / "p/trainer/Dockerfile").write_text("FROM python:3.11-slim\nCOPPY . .\n")
    _, stdout, _ = driftloop("validate", file, "--output", "json")
    assert "trainer/Dockerfile:2: `COPPY` is not an instruction, must be one of: ADD," in stdout


@pytest.mark.parametrize(
    "example",
    ["digits/pipeline.yaml", "digits/plain.yaml", "digits/outlier.yaml", "mnist/pipeline.yaml"],
)
def test_the_examples_are_valid(driftloop: Driftloop, example: str) -> None:
    assert driftloop("validate", Path(__file__).parents[2] / "examples" / example)[0] == 0


def module(file: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(file.stem, file)
    assert found is not None
    assert found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


def test_init_writes_a_project_that_trains_and_serves(driftloop: Driftloop, tmp_path: Path) -> None:
    folder = tmp_path / "Credit Risk"
    code, stdout, _ = driftloop("init", folder)
    assert code == 0
    assert len(stdout.splitlines()) == len(files(folder))
    assert "metadata: {name: credit-risk}" in (folder / "pipeline.yaml").read_text()
    assert driftloop("validate", folder / "pipeline.yaml")[0] == 0
    assert driftloop("render", folder / "pipeline.yaml", "--into", tmp_path / "tree")[0] == 0

    random = np.random.default_rng(0)
    y = random.integers(0, 3, 600)
    x = random.normal(size=(600, 5)) + y[:, None]
    (tmp_path / "data/recent").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    np.savez(tmp_path / "data/recent/a.npz", x=x, y=y)
    trainer = module(folder / "trainer/train.py")
    metrics = trainer.train(
        epochs=200, learning_rate=0.5, data=tmp_path / "data", out=tmp_path / "model"
    )
    assert metrics["train_accuracy"] > 0.8
    assert trainer.evaluate(model=tmp_path / "model", data=tmp_path / "data")["accuracy"] > 0.8
    answers = module(folder / "server/Model.py").Model(str(tmp_path / "model")).predict(x, ["a"])
    assert answers.shape == (600, 3)
    assert (answers.argmax(axis=1) == y).mean() > 0.8


@pytest.mark.parametrize("template", sorted(STARTERS))
def test_every_template_of_init_is_valid_under_a_name_of_its_own(
    driftloop: Driftloop, tmp_path: Path, template: str
) -> None:
    folder = tmp_path / "new"
    assert driftloop("init", folder, "--template", template, "--name", "churn")[0] == 0
    spec = load_spec((folder / "pipeline.yaml").read_text(), path="pipeline.yaml")
    assert spec.metadata.name == "churn"
    assert spec.spec.data.uri == "s3://churn/batches"
    assert {image.ref.rsplit("/", 1)[1].split(":")[0] for image in spec.spec.images.values()} == {
        "churn-trainer",
        "churn-server",
    }
    assert driftloop("validate", folder / "pipeline.yaml")[0] == 0
    if template not in ("digits", "mnist"):
        assert spec.spec.monitors["drift"].detector == "tabular"
    assert (
        f"FROM ghcr.io/driftloop/trainer:{__version__}"
        in (folder / "trainer/Dockerfile").read_text()
    )
    assert not [
        name for name in files(folder) if "__pycache__" in name or name.startswith("images/")
    ]
    assert driftloop("init", tmp_path / "own", "--template", template)[0] == 0
    own = {"blank": "own"}.get(template, STARTERS[template].pipeline)
    assert load_spec((tmp_path / "own/pipeline.yaml").read_text(), path="p").metadata.name == own


def test_a_pipeline_whose_name_is_too_short_for_a_bucket_is_valid(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    assert driftloop("init", tmp_path / "p")[0] == 0
    spec = load_spec((tmp_path / "p/pipeline.yaml").read_text(), path="pipeline.yaml")
    assert (spec.metadata.name, spec.spec.data.uri) == ("p", "s3://p-data/batches")


def test_init_never_overwrites(driftloop: Driftloop, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("mine")
    code, _, stderr = driftloop("init", tmp_path, "--name", "x")
    assert code == 1
    assert "exists already and is not overwritten" in stderr
    assert files(tmp_path) == {"pipeline.yaml": "mine"}
    code, _, stderr = driftloop("init", tmp_path / "new", "--name", "No Good")
    assert code == 1
    assert "--name is `No Good`, must be at most 34 lower-case letters" in stderr


@pytest.mark.parametrize("name", ["render", "plan", "validate", "init"])
def test_help_says_what_it_does(driftloop: Driftloop, name: str) -> None:
    code, stdout, _ = driftloop(name, "--help")
    assert code == 0
    assert stdout.startswith("Usage: ")
