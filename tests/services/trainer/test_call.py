"""The user's functions as the wrapper runs them, and what it says when they are at fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from driftloop.clients.s3 import folder_digest
from driftloop.contract.parameters import ParameterError, convert_parameter
from driftloop.resources.workflows import retries
from driftloop.services.trainer import function

Run = Callable[..., Any]

TRAIN = """
import json, random
from pathlib import Path
def train(epochs: int, learning_rate: float, data: Path, out: Path, seed: int, shuffle: bool = True) -> dict:
    print("not json")
    for epoch in range(epochs):
        print(json.dumps({"epoch": epoch, "loss": 1 / (epoch + 1)}))
    (out / "model.txt").write_text(str(random.random()))
    return {"accuracy": 0.5 + learning_rate, "rows": len(list(data.iterdir()))}
"""


def user(folder: Path, text: str, name: str = "train") -> None:
    (folder / "code" / f"{name}.py").write_text(text)


def training(
    folder: Path, parameters: dict[str, Any] | None = None, run: str = "train:train"
) -> list[Any]:
    return [
        *("call", run, "--parameters", json.dumps(parameters or {}), "--data", folder / "data"),
        *(
            "--out",
            folder / "out",
            "--metadata",
            folder / "trial" / "metadata.yaml",
            "--metrics",
            folder / "p",
        ),
        *("--trial", "1"),
    ]


def test_training_leaves_metadata_and_metrics(run: Run, folder: Path) -> None:
    user(folder, TRAIN)
    (folder / "data" / "rows").write_text("x")
    done = run(
        *(*training(folder, {"epochs": 3, "learning_rate": 0.25}), "--seed", "7"),
        ARGO_PROGRESS_FILE=str(folder / "progress"),
    )
    assert done.code == 0, done.err
    assert (folder / "progress").read_text() == "3/3"
    assert json.loads((folder / "p" / "metrics").read_text()) == {"accuracy": 0.75, "rows": 1}
    assert (folder / "p" / "trial").read_text() == "1"
    metadata = yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())
    assert metadata["parameters"] == {"epochs": 3, "learning_rate": 0.25, "shuffle": True}
    assert metadata["metrics"] == {"accuracy": 0.75, "rows": 1}
    assert [line["epoch"] for line in metadata["log"]] == [0, 1, 2]
    assert metadata["seed"] == 7
    assert metadata["dataDigest"] == folder_digest(folder / "data")
    assert metadata["code"]["digest"].startswith("sha256:")
    assert metadata["hardware"]["cores"] >= 1
    assert "PyYAML" in metadata["libraries"]
    assert metadata["duration"] >= 0
    assert "not json" in done.out


def test_a_log_line_that_is_too_long_is_counted(run: Run, folder: Path) -> None:
    lines = '    print(json.dumps({"epoch": 1, "weights": "w" * 70_000}))\n'
    user(folder, TRAIN.replace("    return", f"{lines}    return", 1))
    (folder / "data" / "rows").write_text("x")
    done = run(*training(folder, {"epochs": 3, "learning_rate": 0.25}), "--seed", "7")
    assert done.code == 0, done.err
    metadata = yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())
    assert [line["epoch"] for line in metadata["log"]] == [0, 1, 2]
    assert metadata["logLinesDropped"] == 1


def test_the_same_seed_gives_the_same_model(run: Run, folder: Path) -> None:
    user(folder, TRAIN)
    models = []
    for seed in (1, 1, 2):
        assert run(*training(folder, {"epochs": 1, "learning_rate": 0}), "--seed", seed).code == 0
        models.append((folder / "out" / "model.txt").read_text())
    assert models[0] == models[1] != models[2]


@pytest.mark.parametrize(
    ("parameters", "error", "hint"),
    [
        ({"epochs": 1}, "`train:train` needs the parameter `learning_rate`", "train.parameters"),
        (
            {"epochs": 1, "learning_rate": 1, "epoch": 2},
            "has no parameter `epoch`",
            "did you mean `epochs`?",
        ),
        (
            {"epochs": 1, "learning_rate": 1, "zzz": 2},
            "has no parameter `zzz`",
            "epochs, learning_rate, shuffle",
        ),
        (
            {"epochs": "3", "learning_rate": 1},
            "parameter `epochs` is '3', must be a whole number",
            "",
        ),
        (
            {"epochs": 1.5, "learning_rate": 1},
            "parameter `epochs` is 1.5, must be a whole number",
            "",
        ),
        (
            {"epochs": True, "learning_rate": 1},
            "parameter `epochs` is True, must be a whole number",
            "",
        ),
        (
            {"epochs": 1, "learning_rate": "fast"},
            "parameter `learning_rate` is 'fast', must be a number",
            "",
        ),
        (
            {"epochs": 1, "learning_rate": 1, "shuffle": 1},
            "parameter `shuffle` is 1, must be true or false",
            "",
        ),
        (
            {"epochs": 1, "learning_rate": 1, "data": "/"},
            "parameter `data` is set by driftloop",
            "",
        ),
    ],
)
def test_parameters_at_fault(
    run: Run, folder: Path, parameters: dict[str, Any], error: str, hint: str
) -> None:
    user(folder, TRAIN)
    done = run(*training(folder, parameters))
    assert done.code == 1
    assert f"error: {error}" in done.err or error in done.err
    assert hint in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return {'accuracy': 0.5}", "`train:train` wrote no model"),
        ("(out / 'm').write_text('x')", "`train:train` returned no metric"),
        ("(out / 'm').write_text('x'); return {}", "`train:train` returned no metric"),
        (
            "(out / 'm').write_text('x'); return 0.5",
            "`train:train` returned float, must be a dict of metrics",
        ),
        (
            "(out / 'm').write_text('x'); return {'loss': float('nan')}",
            "metric `loss` of `train:train` is nan",
        ),
        (
            "(out / 'm').write_text('x'); return {'loss': float('-inf')}",
            "metric `loss` of `train:train` is -inf",
        ),
        (
            "(out / 'm').write_text('x'); return {'loss': 'low'}",
            "metric `loss` of `train:train` is 'low', must be",
        ),
        ("raise SystemExit(0)", "`train:train` failed: SystemExit: 0 (train.py, line 3)"),
        (
            "return missing",
            "`train:train` failed: NameError: name 'missing' is not defined (train.py, line 3)",
        ),
    ],
)
def test_functions_at_fault(run: Run, folder: Path, body: str, error: str) -> None:
    user(folder, f"from pathlib import Path\ndef train(data: Path, out: Path):\n    {body}\n")
    done = run(*training(folder))
    assert done.code == 1
    assert f"error: {error}" in done.err
    assert not (folder / "p" / "metrics").exists()


def test_the_traceback_shows_the_users_lines_only(run: Run, folder: Path) -> None:
    user(folder, "def load(text):\n    return json.loads(text)\nimport json\n", name="helper")
    user(folder, "from helper import load\ndef train(data, out):\n    return load('{')\n")
    done = run(*training(folder))
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    shown = [line for line in lines if line.startswith("  File")]
    assert [Path(line.split('"')[1]).name for line in shown] == ["train.py", "helper.py"]
    assert lines[-1].startswith("error: `train:train` failed: JSONDecodeError: Expecting")
    assert lines[-1].endswith("(helper.py, line 2)")


def test_a_long_complaint_keeps_its_beginning_its_end_and_its_place(run: Run, folder: Path) -> None:
    user(folder, "def train(data, out):\n    raise ValueError('first ' + 'x' * 10_000 + ' last')\n")
    done = run(*training(folder))
    line = done.err.splitlines()[-1]
    assert len(line) < 400
    assert "ValueError: first xxx" in line
    assert line.endswith("xxx last (train.py, line 2)")


def test_a_function_that_hangs_is_stopped(run: Run, folder: Path) -> None:
    user(folder, "import time\ndef train(data, out):\n    while True:\n        time.sleep(0.05)\n")
    done = run(*training(folder), "--timeout", "2")
    assert done.code == function.TIMEOUT == retries.TIMEOUT, (
        "so that a retry can tell it from a failure"
    )
    assert "error: `train:train` was stopped after 2 s in train.py, line 4" in done.err
    assert "hint: raise the step's timeout" in done.err


def test_code_that_is_not_there(run: Run, folder: Path) -> None:
    user(folder, TRAIN)
    user(folder, "import not_installed\n", name="needs")
    user(folder, "def broken(:\n", name="broken")
    for name, said in {
        "trian:train": "module `trian` does not exist",
        "train:trian": "did you mean `train`?",
        "train": "`train` is not a function",
        "needs:x": "add the package that contains `not_installed` to the image's requirements.txt",
        "broken:x": "importing `broken` failed: SyntaxError",
    }.items():
        done = run(*training(folder, run=name))
        assert done.code == 1, name
        assert said in done.err, (name, done.err)


def test_a_data_step_passes_on_what_it_does_not_change(run: Run, folder: Path) -> None:
    (folder / "data" / "recent").mkdir()
    (folder / "data" / "recent" / "a.csv").write_text("x\n1\n")
    user(
        folder,
        "def validate(data): pass\n"
        "def clean(data, out):\n    (out / 'recent').mkdir()\n    (out / 'recent' / 'b.csv').write_text('x\\n2\\n')\n",
        name="etl",
    )
    assert run("call", "etl:validate", "--data", folder / "data", "--out", folder / "one").code == 0
    assert (folder / "one" / "recent" / "a.csv").read_text() == "x\n1\n"
    assert run("call", "etl:clean", "--data", folder / "data", "--out", folder / "two").code == 0
    assert [p.name for p in (folder / "two" / "recent").iterdir()] == ["b.csv"]


EVALUATE = """
def evaluate(model, data):
    rows = [line for file in data.rglob("*.txt") for line in file.read_text().split()]
    return {"accuracy": sum(line == (model / "m").read_text() for line in rows) / len(rows)}
"""


def evaluation(folder: Path) -> list[Any]:
    return [
        *(
            "evaluate",
            "evaluate:evaluate",
            "--model",
            folder / "model",
            "--production",
            folder / "production",
        ),
        *("--data", folder / "data", "--out", folder / "out"),
    ]


def rows(folder: Path, **parts: str) -> None:
    for part, text in parts.items():
        (folder / "data" / part).mkdir(exist_ok=True)
        if text:
            (folder / "data" / part / "rows.txt").write_text(text)


def test_both_models_on_all_and_recent_rows(run: Run, folder: Path) -> None:
    user(folder, EVALUATE, name="evaluate")
    rows(folder, earlier="a a a", recent="b")
    (folder / "model" / "m").write_text("b")
    (folder / "production" / "release.json").write_text('{"id": "r1"}')
    (folder / "production" / "model").mkdir()
    (folder / "production" / "model" / "m").write_text("a")
    done = run(*evaluation(folder))
    assert done.code == 0, done.err
    assert json.loads((folder / "out" / "metrics.json").read_text()) == {
        "candidate": {"all": {"accuracy": 0.25}, "recent": {"accuracy": 1.0}},
        "production": {"all": {"accuracy": 0.75}, "recent": {"accuracy": 0.0}},
        "rows": {"all": 0, "recent": 0},
        "against": "r1",
        "notComparable": "",
        "asked": None,
    }


def test_the_first_run_has_no_production_and_only_recent_rows(run: Run, folder: Path) -> None:
    user(folder, EVALUATE, name="evaluate")
    rows(folder, earlier="", recent="b a")
    (folder / "model" / "m").write_text("b")
    (folder / "production" / "release.json").write_text("{}")
    done = run(*evaluation(folder))
    assert done.code == 0, done.err
    assert json.loads((folder / "out" / "metrics.json").read_text()) == {
        "candidate": {"all": {"accuracy": 0.5}, "recent": {"accuracy": 0.5}},
        "production": None,
        "rows": {"all": 0, "recent": 0},
        "against": None,
        "notComparable": "",
        "asked": None,
    }


ERRS = """
import csv
def evaluate(model, data):
    errors = [abs(float(row["y"]) - 1) for file in sorted(data.rglob("*.csv")) for row in csv.DictReader(file.open())]
    if len(errors) < 3 and (model / "m").read_text() == "fails":
        raise ValueError("too few rows")
    return {"test_mae": sum(errors) / len(errors)}
"""


@pytest.mark.parametrize("model", ["works", "fails"])
def test_measures_of_numbers_are_taken_on_the_rehearsal_s_rows_too(
    run: Run, folder: Path, model: str
) -> None:
    user(folder, ERRS, name="evaluate")
    for part, labels in (("earlier", [9.0]), ("recent", [2.0, 3.0, 4.0, 5.5, 6.5])):
        (folder / "data" / part).mkdir()
        lines = "".join(f"0,{label}\n" for label in labels)
        (folder / "data" / part / "a.csv").write_text(f"x,y\n{lines}")
    (folder / "model" / "m").write_text(model)
    (folder / "production" / "release.json").write_text("{}")
    done = run(*evaluation(folder), "--rows", "2")
    assert done.code == 0, done.err
    found = json.loads((folder / "out" / "metrics.json").read_text())
    asked = json.loads((folder / "out" / "rows.json").read_text())["rows"]
    assert [row["label"] for row in asked] == [2.0, 5.5]
    assert found["candidate"]["recent"] == {"test_mae": 3.2}
    assert found["asked"] == ({"test_mae": 2.75} if model == "works" else None)
    assert ("can't be evaluated" in done.out) == (model == "fails")


def test_an_evaluation_at_fault_says_which_model(run: Run, folder: Path) -> None:
    user(folder, EVALUATE, name="evaluate")
    rows(folder, earlier="a", recent="b")
    done = run(*evaluation(folder))
    assert done.code == 1
    assert (
        "error: the candidate on all rows: `evaluate:evaluate` failed: FileNotFoundError"
        in done.err
    )


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (False, "its model is no longer in the object store"),
        (True, "production on all rows: `evaluate:evaluate` failed: FileNotFoundError"),
    ],
)
def test_production_that_can_not_be_evaluated_does_not_fail_the_run(
    run: Run, folder: Path, kept: bool, problem: str
) -> None:
    user(folder, EVALUATE, name="evaluate")
    rows(folder, earlier="a", recent="b")
    (folder / "model" / "m").write_text("b")
    (folder / "production" / "release.json").write_text('{"id": "r1"}')
    if kept:
        (folder / "production" / "model").mkdir()
        (folder / "production" / "model" / "of an older library").write_text("a")
    done = run(*evaluation(folder))
    assert done.code == 0, done.err
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert metrics["production"] is None
    assert metrics["against"] == "r1"
    assert metrics["notComparable"].startswith(problem)
    assert f"production can't be evaluated: {problem}" in done.out


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5
    )
)
def test_typed_values_have_the_annotated_type(value: Any) -> None:
    for wanted in (int, float, str, bool):
        try:
            found = convert_parameter(value, wanted, "x")
        except ParameterError:
            continue
        assert type(found) is wanted
        # a whole number beyond 2^53 becomes the nearest float
        assert found == (float(value) if wanted is float else value) or found != found


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ParameterError, match="must be a number"):
        convert_parameter(10**400, float, "x")


def test_compound_annotations() -> None:
    assert convert_parameter([1, 2], list[float], "x") == [1.0, 2.0]
    assert convert_parameter([1, "a"], tuple[int, str], "x") == (1, "a")
    assert convert_parameter({"a": 1}, dict[str, float], "x") == {"a": 1.0}
    assert convert_parameter(None, int | None, "x") is None
    assert convert_parameter("a/b", Path, "x") == Path("a/b")
    with pytest.raises(ParameterError, match=r"x\[1\] is 'a', must be a number"):
        convert_parameter([1, "a"], list[float], "x")
    with pytest.raises(ParameterError, match="x is 'a', must be a whole number or empty"):
        convert_parameter("a", int | None, "x")


CHECKPOINT = """
from pathlib import Path
def train(data: Path, out: Path, checkpoint: Path, until: int = 3) -> dict:
    kept = checkpoint / "epoch"
    first = int(kept.read_text()) + 1 if kept.exists() else 0
    for epoch in range(first, until):
        kept.write_text(str(epoch))
        if epoch == 1 and first == 0:
            raise RuntimeError("the node is gone")
    (out / "model").write_text("m")
    return {"first": first}
"""


def test_a_later_try_goes_on_from_what_an_earlier_one_kept(run: Run, folder: Path) -> None:
    user(folder, CHECKPOINT)
    kept, found = ("--checkpoint", folder / "kept"), folder / "found"
    done = run(*training(folder), *kept, "--resume", found)
    assert done.code == 1
    assert "the node is gone" in done.err
    (folder / "kept").rename(found)
    done = run(*training(folder), *kept, "--resume", found)
    assert done.code == 0, done.err
    assert "going on from what an earlier try kept: epoch" in done.out
    assert json.loads((folder / "p" / "metrics").read_text()) == {"first": 2}
    assert yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())["resumed"] is True
    assert (folder / "kept" / "epoch").read_text() == "2"


def test_a_first_try_finds_nothing_and_says_nothing(run: Run, folder: Path) -> None:
    user(folder, CHECKPOINT)
    done = run(
        *training(folder, {"until": 1}),
        "--checkpoint",
        folder / "kept",
        "--resume",
        folder / "found",
    )
    assert done.code == 0, done.err
    assert "earlier" not in done.out
    assert yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())["resumed"] is False


def test_the_folder_of_checkpoints_and_the_function_must_agree(run: Run, folder: Path) -> None:
    user(folder, TRAIN)
    parameters = {"epochs": 1, "learning_rate": 0.1}
    done = run(
        *training(folder, parameters), "--checkpoint", folder / "kept", "--resume", folder / "found"
    )
    assert done.code == 1
    assert "`train:train` has no parameter `checkpoint`" in done.err
    user(folder, CHECKPOINT)
    done = run(*training(folder))
    assert done.code == 1
    assert "hint: write `checkpoint: true` under train in the spec" in done.err


def test_a_trial_says_where_it_is_kept(run: Run, folder: Path) -> None:
    user(folder, TRAIN)
    done = run(*training(folder, {"epochs": 1, "learning_rate": 0.1}), "--home", "runs/r/trials/1")
    assert done.code == 0, done.err
    assert (folder / "p" / "home").read_text() == "runs/r/trials/1"
