"""Errors that a spec makes with the functions beside it: shown by the command line, before any
commit, and without running the functions."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from driftloop.cli.lazy import run_group
from driftloop.cli.root import root

Driftloop = Callable[..., tuple[int, str, str]]

SPEC = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: mine}
spec:
  images:
    trainer: {ref: ghcr.io/acme/trainer:1.0.0, context: trainer}
    server: {ref: ghcr.io/acme/server:1.0.0, context: server}
  data: {uri: s3://mine/batches}
  train:
    run: "train:train"
    parameters: {trees: 10, rate: 0.1, criterion: gini}
    search:
      over: {rate: [0.1, 0.2]}
      best: {metric: loss, goal: minimize}
  evaluate:
    run: "evaluate:evaluate"
    gates: [{metric: accuracy, min: 0.9}]
  serve: {model: Model}
"""
TRAIN = """\
from pathlib import Path
from typing import Literal, Optional

Kind = Literal["gini", "entropy"]


def train(
    trees: int, rate: float, criterion: Kind, data: Path, out: Path, seed: int, depth: Optional[int] = None
) -> dict[str, float]:
    return {"loss": 0.0}
"""
EVALUATE = """\
def evaluate(model, data):
    return {"accuracy": 1.0, "recall": 1.0}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose spec fits its functions."""
    for image, name, text in (
        ("trainer", "train.py", TRAIN),
        ("trainer", "evaluate.py", EVALUATE),
        ("server", "Model.py", "class Model:\n    pass\n"),
    ):
        folder = tmp_path / image
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
        (folder / "requirements.txt").write_text("")
        (folder / name).write_text(text)
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture
def call(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Driftloop:
    """Run a command in this process, in the project: (exit status, stdout, stderr)."""
    monkeypatch.chdir(project)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["driftloop", *arguments])
        with pytest.raises(SystemExit) as caught:
            run_group(root)
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            "metric: accuracy",
            "metric: acuracy",
            "pipeline.yaml:17:22: spec.evaluate.gates[0].metric is `acuracy`, must be a metric that `evaluate` "
            "(trainer/evaluate.py:1) returns: `accuracy`, `recall`",
            "did you mean `accuracy`?",
        ),
        (
            "metric: loss",
            "metric: los",
            "pipeline.yaml:14:22: spec.train.search.best.metric is `los`, must be a metric that `train` "
            "(trainer/train.py:7) returns: `loss`",
            "did you mean `loss`?",
        ),
        (
            "trees: 10",
            "trees: many",
            'pipeline.yaml:11:25: spec.train.parameters.trees is `"many"`, must be a whole number: `trees: int` '
            "(trainer/train.py:8)",
            None,
        ),
        ("trees: 10", "trees: 2.5", "spec.train.parameters.trees is `2.5`, must be a whole", None),
        ("trees: 10", "trees: true", "spec.train.parameters.trees is `true`, must be a", None),
        ("criterion: gini", "criterion: gin", "must be one of 'gini', 'entropy': `criterion", None),
        ("rate: 0.1", "rate: 0.1, depth: deep", "must be a whole number or empty: `depth:", None),
        (
            "rate: [0.1, 0.2]",
            "rate: [0.1, fast]",
            'pipeline.yaml:13:26: spec.train.search.over.rate[1] is `"fast"`, must be a number',
            None,
        ),
        (
            "over: {rate: [0.1, 0.2]}",
            "random: {trials: 3, between: {trees: {low: 1, high: 9}}}",
            "spec.train.search.random.between.trees is `",
            "for whole numbers write `whole: true`",
        ),
    ],
)
def test_a_spec_that_its_functions_refuse(
    call: Driftloop, project: Path, old: str, new: str, message: str, hint: str | None
) -> None:
    assert call("validate", "pipeline.yaml")[0] == 0
    change(project / "pipeline.yaml", old, new)
    code, _, stderr = call("validate", "pipeline.yaml")
    assert (code, message in stderr) == (1, True), stderr
    assert hint is None or f"hint: {hint}" in stderr


RETURNS = {
    "m = {}\n    m['accuracy'] = 1\n    print(m)\n    return m": "accuracy",
    "m = dict(accuracy=1, recall=2)\n    return m": "accuracy, recall",
    "m = {'recall': 1}\n    m.update({'accuracy': 1}, loss=2)\n    return {**m}": "accuracy, loss, recall",
    "m = {}\n    for name in ('recall', 'loss'):\n        m[name] = 1\n    return m": "loss, recall",
    "return {name: 1 for name in ('recall', 'loss')}": "loss, recall",
    "return {'recall': 1} | {'loss': 1}": "loss, recall",
    "return {'recall': 1} if data else {'loss': 1}": "loss, recall",
    "return {NAME: 1}": "recall",
    "return measure(model)": "loss, recall",
    "return common.measure(model)": "auc",
    "return shared(model)": "auc",
    "m = {}\n    add(m)\n    return m": "recall",
    "m = {}\n    add(into=m)\n    n = m\n    n['loss'] = 1\n    return m": "loss, recall",
    "return 0.93": "",
    "print(model)": "",
}
BESIDE = """\
import common
from common import measure as shared

NAME = "recall"


def measure(model):
    metrics: dict[str, float] = {"recall": 1.0}
    metrics |= {"loss": 1.0}
    return metrics


def add(into):
    into["recall"] = 1


def evaluate(model, data):
"""


@pytest.mark.parametrize("body", RETURNS)
def test_metrics_are_read_from_the_code(call: Driftloop, project: Path, body: str) -> None:
    (project / "trainer/common.py").write_text("def measure(model):\n    return {'auc': 1}\n")
    (project / "trainer/evaluate.py").write_text(f"{BESIDE}    {body}\n")
    change(project / "pipeline.yaml", "metric: accuracy", "metric: nobody")
    code, _, stderr = call("validate", "pipeline.yaml")
    assert code == 1, stderr
    names = ", ".join(f"`{name}`" for name in RETURNS[body].split(", ") if name)
    if names:
        assert f"returns: {names}\n" in stderr
    else:
        assert (
            "must return a dict of metrics; `evaluate` (trainer/evaluate.py:17) returns" in stderr
        )


UNKNOWN = [
    ("return model.evaluate(data)", "`model.evaluate(data)` (trainer/evaluate.py:18)"),
    ("m = {'a': 1}\n    unseen(m)\n    return m", "`unseen(m)` (trainer/evaluate.py:19)"),
    (
        "m = {}\n    for n in names():\n        m[n] = 1\n    return m",
        "`n` (trainer/evaluate.py:20)",
    ),
    ("return {f'{n}_rate': 1 for n in 'ab'}", "(trainer/evaluate.py:18)"),
    (
        "m = {}\n    def fill():\n        m['b'] = 1\n    fill()\n    return m",
        "(trainer/evaluate.py:20)",
    ),
    ("return evaluate(model, data)", "`evaluate(model, data)`"),
]


@pytest.mark.parametrize(("body", "place"), UNKNOWN)
def test_metrics_that_only_running_tells_are_a_note(
    call: Driftloop, project: Path, body: str, place: str
) -> None:
    (project / "trainer/common.py").write_text("def measure(model):\n    return {'auc': 1}\n")
    (project / "trainer/evaluate.py").write_text(f"{BESIDE}    {body}\n")
    change(project / "pipeline.yaml", "metric: accuracy", "metric: nobody")
    code, _, stderr = call("validate", "pipeline.yaml")
    assert code == 0, stderr
    note = "note: can't tell which metrics `evaluate` returns: only running it tells "
    assert note in stderr
    assert place in stderr
    assert "; not checked: `nobody`" in stderr
    code, stdout, _ = call("validate", "pipeline.yaml", "--output", "json")
    assert (code, len(json.loads(stdout)["notes"])) == (0, 1)


def test_types_that_are_not_told_refuse_nothing(call: Driftloop, project: Path) -> None:
    change(project / "pipeline.yaml", "trees: 10", "trees: many")
    for annotation in ("Trees", "t.Trees", "'Trees'", "list[Trees] | str", "int | Trees"):
        file = project / "trainer/train.py"
        file.write_text(
            "import t\nfrom t import *\n" + TRAIN.replace("trees: int", f"trees: {annotation}")
        )
        assert call("validate", "pipeline.yaml")[0] == 0, annotation
    file.write_text(
        "import functools\n\n\n" + TRAIN.replace("\n\ndef ", "\n\n@functools.cache\ndef ")
    )
    code, _, stderr = call("validate", "pipeline.yaml")
    assert code == 0
    assert (
        "note: can't tell what `train` takes and returns: it is decorated (trainer/train.py:"
        in stderr
    )


def test_commit_and_plan_and_up_and_try_refuse_before_they_do_anything(
    call: Driftloop, project: Path
) -> None:
    repository = project / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    change(project / "pipeline.yaml", "metric: accuracy", "metric: acuracy")
    for command in (
        ("commit", "pipeline.yaml", "--repository", str(repository)),
        ("plan", "pipeline.yaml", "--repository", str(repository)),
        ("up", "pipeline.yaml", "--state", "state"),
        ("try", "data", "--data", "server"),
    ):
        code, stdout, stderr = call(*command)
        assert (code, stdout) == (1, ""), command
        assert "spec.evaluate.gates[0].metric is `acuracy`, must be a metric" in stderr
    heads = subprocess.run(
        ["git", "for-each-ref"], cwd=repository, check=True, capture_output=True, text=True
    )
    assert heads.stdout == ""
    assert not (project / "state" / "images").is_dir() or not list(
        (project / "state/images").iterdir()
    )


WATCH = """\
def learn(rows, seed):
    return rows


def judge(reference, window, most: float):
    return {"score": 1.0, "threshold": most, "columns": ["x[0]"]}


def look(window):
    return {"alarm": True}


def tell(reference, window):
    return {"alarms": True}


def count(reference, window):
    return {"threshold": 1}
"""
MONITOR = """\
  monitors:
    own: {run: "watch:judge", fit: "watch:learn", parameters: {most: 0.5}}
"""


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            "watch:judge",
            "watcher:judge",
            "own.run is `watcher:judge`, must be in a module of",
            None,
        ),
        ("watch:learn", "watch:lern", "own.fit is `watch:lern`, must be a function in", None),
        (
            'run: "watch:judge"',
            'image: watcher, run: "watch:judge"',
            "spec.monitors.own.image is `watcher`, must be one of the images under spec.images",
            None,
        ),
        (
            "watch:judge",
            "watch:look",
            "spec.monitors.own.run is `watch:look`, must take the rows `reference` (trainer/watch.py:9)",
            "add it: `reference`",
        ),
        ("most: 0.5", "most: high", 'own.parameters.most is `"high"`, must be a number', None),
        ("most: 0.5", "least: 0.5", "own.parameters.least is not an argument of `judge`", None),
        (
            ", parameters: {most: 0.5}",
            "",
            "its argument `most` (trainer/watch.py:5) has no value",
            "give it one under `parameters`: `most: …`",
        ),
        (
            '"watch:judge", fit: "watch:learn", parameters: {most: 0.5}',
            '"watch:tell"',
            "must return a dict with `score`, or `alarm`; `tell` (trainer/watch.py:13) "
            "returns `alarms`",
            "did you mean `alarm`?",
        ),
        (
            '"watch:judge", fit: "watch:learn", parameters: {most: 0.5}',
            '"watch:count"',
            "must return a dict with `score`, or `alarm`; `count` (trainer/watch.py:17) "
            "returns `threshold`",
            None,
        ),
        (
            "{most: 0.5}",
            "{most: 0.5}, resources: {gpu: 1}",
            "spec.monitors.own.resources.gpu is 1, must be left out",
            None,
        ),
        ("{most: 0.5}", "{most: 0.5}, form: polars", "own.form is `polars`, must be", None),
    ],
)
def test_a_monitor_that_its_function_refuses(
    call: Driftloop, project: Path, old: str, new: str, message: str, hint: str | None
) -> None:
    (project / "trainer" / "watch.py").write_text(WATCH)
    (project / "pipeline.yaml").write_text(SPEC + MONITOR)
    code, output, stderr = call("validate", "pipeline.yaml")
    assert (code, "own (watch:judge in trainer)" in output + stderr) == (0, True), stderr
    change(project / "pipeline.yaml", old, new)
    code, _, stderr = call("validate", "pipeline.yaml")
    assert (code, message in stderr) == (1, True), stderr
    assert hint is None or f"hint: {hint}" in stderr


COMMANDS = SPEC.replace(
    'run: "train:train"', 'command: [python, fit.py, --trees, "{trees}", "${HOME}"]'
).replace('run: "evaluate:evaluate"', "command: [./measure.sh]")


def test_commands_are_told_and_what_only_running_them_would_tell(
    project: Path, call: Driftloop
) -> None:
    (project / "pipeline.yaml").write_text(COMMANDS)
    code, _, err = call("validate", "pipeline.yaml")
    assert code == 0, err
    assert "spec.train.command names `fit.py`, which trainer does not hold" in err
    assert (
        "which metrics `./measure.sh` writes: only running it does; not checked: `accuracy`" in err
    )
    assert "train     python fit.py --trees {trees} '${HOME}'\n" in err
    assert "evaluate  ./measure.sh\n" in err


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        (
            '"{trees}"',
            '"{tree}"',
            "pipeline.yaml:10:40: spec.train.command[3] names `{tree}`, must be one of: `data`, `model`, `metrics`, "
            "`parameters`, `seed`, `trial`, `trees`, `rate`, `criterion`",
            "did you mean `trees`?",
        ),
        ('"{trees}"', '"{checkpoint}"', "names `{checkpoint}`", "write `checkpoint: true` under train"),
        (
            '"{trees}"',
            '"$(DRIFTLOOP_PARAMETER_TREES)"',
            "holds `$(DRIFTLOOP_PARAMETER_TREES)`, which nothing fills in",
            "write `{trees}`",
        ),
        (
            "trees: 10",
            "trees: 10, Trees: 10",
            "pipeline.yaml:11:29: spec.train.parameters.Trees must not differ from `trees` in upper and lower",
            None,
        ),
        ("trees: 10", "trees: 10, model: big", "`{model}` and `DRIFTLOOP_MODEL` are driftloop's own", None),
        (
            "./measure.sh",
            '"{trees}"',
            "spec.evaluate.command[0] names `{trees}`, must be one of: `data`, `model`, `metrics`",
            None,
        ),
        ("command: [./measure.sh]", "gates: []", "must have either `run` or `command`", None),
        (
            "command: [./measure.sh]",
            'command: [./measure.sh], run: "evaluate:evaluate"',
            "must have either `run` or `command`",
            None,
        ),
    ],
)  # fmt: skip
def test_a_command_that_names_nothing_is_refused(
    project: Path, call: Driftloop, old: str, new: str, message: str, hint: str | None
) -> None:
    text = COMMANDS.replace(
        "evaluate:\n    command: [./measure.sh]\n    gates: [{metric: accuracy, min: 0.9}]",
        "evaluate: {command: [./measure.sh]}",
    )
    assert old in text
    (project / "pipeline.yaml").write_text(text.replace(old, new))
    code, _, err = call("validate", "pipeline.yaml")
    assert code == 1
    assert message in err
    assert hint is None or hint in err


def test_a_lock_that_was_not_made_anew_is_told(call: Driftloop, project: Path) -> None:
    wanted, lock = project / "trainer" / "requirements.in", project / "trainer" / "requirements.txt"
    wanted.write_text(
        "# of the trainer\n--index-url https://example.org\nscikit_learn>=1\nJoblib\n"
        'numpy == 1.26.4\npandas==2.3.3 # a table\ncolorama==0.4; sys_platform == "win32"\n'
    )
    lock.write_text(
        "# This file was autogenerated by uv via the following command:\n"
        "#    uv pip compile --generate-hashes requirements.in -o requirements.txt\n"
        "scikit-learn==1.7.2 \\\n    --hash=sha256:00\nnumpy==2.0.0 \\\n    --hash=sha256:01\n"
        "pandas==2.3.2 \\\n    --hash=sha256:02\n"
    )
    (project / "trainer" / "overrides.txt").write_text("numpy==2.0.0\n")
    code, _, notes = call("validate", "pipeline.yaml")
    assert code == 0
    assert (
        "note: trainer/requirements.txt is what the image installs, and requirements.in asks for `joblib` (line 4), which "
        "it lacks, `pandas==2.3.3` (line 6), of which it has 2.3.2: `cd trainer && uv pip compile --generate-hashes "
        "requirements.in -o requirements.txt` makes it anew\n"
    ) in notes
    lock.write_text("scikit-learn==1.7.2\nnumpy==2.0.0\njoblib==1\npandas==2.3.3\n")
    assert "requirements.in" not in call("validate", "pipeline.yaml")[2]
