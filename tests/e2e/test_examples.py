"""The example projects: their specs load, and their code does what the specs expect of it, in its own environments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from driftloop.local.kubelet.environments import build_environment
from driftloop.spec import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
SPECS = sorted(
    file
    for name in ("digits", "flights", "mnist", "tabular")
    for file in (EXAMPLES / name).glob("*.yaml")
)

CALL = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
module, function = sys.argv[2].split(":")
arguments = {k: Path(v[5:]) if str(v).startswith("path:") else v for k, v in json.loads(sys.argv[3]).items()}
print("RESULT " + json.dumps(getattr(__import__(module), function)(**arguments)))
"""


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_spec_loads_and_its_images_are_there(spec):
    pipeline = load_spec(spec.read_text(), path=str(spec))
    for image in pipeline.spec.images.values():
        folder = spec.parent / image.context
        assert (folder / "Dockerfile").exists()
        pinned = [
            line
            for line in (folder / "requirements.txt").read_text().splitlines()
            if line[:1].isalpha()
        ]
        assert pinned
        assert all("==" in line for line in pinned)


def test_no_example_imports_anything_of_ours():
    for file in EXAMPLES.rglob("*.py"):
        assert "import pipeline" not in file.read_text()
        assert "from pipeline" not in file.read_text()


def test_plain_differs_from_the_digits_spec_in_its_back_end_only():
    seldon, plain = (
        load_spec((DIGITS / f"{name}.yaml").read_text(), path=name)
        for name in ("pipeline", "plain")
    )
    served = seldon.spec.serve.model_copy(update={"backend": "plain"})
    assert (
        seldon.model_copy(update={"spec": seldon.spec.model_copy(update={"serve": served})})
        == plain
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """clean/, rotated/ and shuffled/ batches, as `batches.py` writes them."""
    folder = tmp_path_factory.mktemp("batches")
    for kind in ("clean", "rotated", "shuffled"):
        batches("labelled", kind, folder / kind)
    return folder


def batches(what: str, kind: str, to: Path) -> dict:
    from uv import find_uv_bin

    command = [
        find_uv_bin(),
        "run",
        "--quiet",
        "--no-project",
        DIGITS / "batches.py",
        what,
        "--kind",
        kind,
        "--to",
        to,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_digits_project_trains_evaluates_and_forgets_nothing(data, envs, tmp_path):
    trainer = DIGITS / "trainer"
    python = (
        build_environment(envs, [trainer / "requirements.txt"], python="3.11", name="trainer")
        / "bin"
        / "python"
    )

    def call(function: str, **arguments: object) -> tuple[object, str]:
        encoded = {k: f"path:{v}" if isinstance(v, Path) else v for k, v in arguments.items()}
        command = [python, "-c", CALL, trainer, function, json.dumps(encoded)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        results = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        return json.loads(results[0]) if results else None, done.stdout + done.stderr

    def folder(name: str, *kinds: str) -> Path:
        for number, kind in enumerate(kinds):
            side = tmp_path / name / ("recent" if number == len(kinds) - 1 else "earlier")
            side.mkdir(parents=True, exist_ok=True)
            for file in (data / kind).iterdir():
                (side / file.name).write_bytes(file.read_bytes())
        return tmp_path / name

    def train(name: str, *kinds: str) -> Path:
        out = tmp_path / f"{name}-model"
        out.mkdir()
        metrics, said = call(
            "train:train", epochs=12, learning_rate=0.003, data=folder(name, *kinds), out=out
        )
        assert metrics is not None, said
        assert {"validation_accuracy", "train_accuracy", "loss"} <= metrics.keys()
        assert '"epoch": 11' in said
        return out

    def accuracy(model: Path, kind: str) -> float:
        metrics, said = call("evaluate:evaluate", model=model, data=data / kind)
        assert metrics is not None, said
        return metrics["accuracy"]

    first = train("first", "clean")
    assert accuracy(first, "clean") > 0.95
    assert accuracy(first, "rotated") < 0.5
    second = train("second", "clean", "rotated")
    assert accuracy(second, "clean") > 0.95
    assert accuracy(second, "rotated") > 0.9
    assert accuracy(second, "shuffled") < 0.5

    _, said = call("etl:validate", data=data / "clean", out=tmp_path)
    assert "Error" not in said
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.npz").write_bytes((data / "clean" / "clean-00.npz").read_bytes()[:200])
    result, said = call("etl:validate", data=tmp_path / "bad", out=tmp_path)
    assert result is None
    assert "ValueError: x.npz is not a readable .npz file" in said


def test_traffic_and_labelled_rows_share_no_image(data, tmp_path):
    import numpy as np

    said = batches("traffic", "clean", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text().splitlines()]
    assert said["files"] == ["clean.jsonl"]
    assert len(rows) == 797
    traffic = {tuple(row["x"]) for row in rows}
    labelled = np.concatenate(
        [np.load(file)["x"] for file in sorted((data / "clean").glob("*.npz"))]
    )
    assert len(labelled) == 1000
    assert not traffic & {tuple(map(float, row)) for row in labelled}


def test_mnist_is_fetched_from_a_folder_and_checked(tmp_path):
    source = Path(__file__).parents[3] / "shared" / "data" / "mnist"
    if not source.exists():
        pytest.skip("no MNIST files beside this checkout")
    fetch = [sys.executable, EXAMPLES / "mnist" / "fetch.py", "--to", tmp_path / "to", "--from"]
    done = subprocess.run([*fetch, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "to").iterdir())) == 4

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in source.glob("*.gz"):
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "t10k-labels-idx1-ubyte.gz").write_bytes(
        (source / "train-labels-idx1-ubyte.gz").read_bytes()
    )
    fetch[3] = tmp_path / "other"
    done = subprocess.run([*fetch, broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "t10k-labels-idx1-ubyte has MD5" in done.stderr


def test_mnist_offline_is_a_polite_skip(tmp_path):
    environment = {"https_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, EXAMPLES / "mnist" / "fetch.py", "--to", tmp_path / "to"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert "skipped" in done.stderr
    assert not (tmp_path / "to").exists()
