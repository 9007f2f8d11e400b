"""A command in place of a function: what it is given, what it must leave, and what is said when it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.processes import PATIENCE, is_alive

from driftloop.services.trainer import __main__ as wrapper
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.program import UserProgram, read_metrics_file, run_program

Run = Callable[..., Any]

FIT = """\
set -eu
test "$1" = --rate=0.5 && test "$2" = '${HOME}'
test "$DRIFTLOOP_PARAMETER_RATE $DRIFTLOOP_PARAMETER_DEEP" = "0.5 true"
test "$DRIFTLOOP_SEED $DRIFTLOOP_TRIAL" = "7 1"
cat "$DRIFTLOOP_CHECKPOINT/kept" "$DRIFTLOOP_DATA/recent/rows"
cp "$DRIFTLOOP_PARAMETERS" "$DRIFTLOOP_MODEL/parameters.json"
echo '{"epoch": 3, "epochs": 12}'
echo "a warning" >&2
echo '{"accuracy": 0.75, "rows": 3}' > "$DRIFTLOOP_METRICS"
"""


def training(folder: Path, *words: str, parameters: str = "{}") -> list[object]:
    return [
        *("call", "--parameters", parameters, "--data", folder / "data", "--out", folder / "out"),
        *("--metadata", folder / "trial" / "metadata.yaml", "--metrics", folder / "p"),
        *("--trial", "1", "--checkpoint", folder / "now", "--resume", folder / "before"),
        *("--", *words),
    ]


def test_a_command_is_given_everything_and_leaves_model_and_metrics(run: Run, folder: Path) -> None:
    (folder / "code" / "fit.sh").write_text(FIT)
    for name in ("data/recent/rows", "before/kept"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("going on\n")
    done = run(
        *training(
            folder,
            *("sh", "fit.sh", "--rate={rate}", "${HOME}"),
            parameters='{"rate": 0.5, "deep": true, "seed": 7}',
        ),
        ARGO_PROGRESS_FILE=str(folder / "progress"),
    )
    assert done.code == 0, done.err
    assert "going on\ngoing on\n" in done.out
    assert done.err == "a warning\n"
    assert (folder / "progress").read_text() == "3/12"
    assert json.loads((folder / "p" / "metrics").read_text()) == {"accuracy": 0.75, "rows": 3}
    given = json.loads((folder / "out" / "parameters.json").read_text())
    assert given == {"rate": 0.5, "deep": True, "seed": 7}
    metadata = yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())
    assert metadata["command"] == ["sh", "fit.sh", "--rate={rate}", "${HOME}"]
    assert "function" not in metadata
    assert metadata["log"] == [{"epoch": 3, "epochs": 12}]
    assert metadata["resumed"] is True
    before = metadata["code"]["digest"]
    (folder / "code" / "fit.sh").write_text(FIT + "# another\n")
    (folder / "now" / "kept").unlink()
    assert run(*training(folder, "sh", "fit.sh", "--rate=0.5", "${HOME}", parameters=
        '{"rate": 0.5, "deep": true, "seed": 7}')).code == 0  # fmt: skip
    metadata = yaml.safe_load((folder / "trial" / "metadata.yaml").read_text())
    assert metadata["code"]["digest"] != before


def test_a_command_measures_candidate_and_production(run: Run, folder: Path, batches: Path) -> None:
    script = 'printf \'{"size": %s}\' "$(cat {model}/size)" > "$DRIFTLOOP_METRICS"'
    (folder / "model" / "size").write_text("2")
    (folder / "production" / "model").mkdir()
    (folder / "production" / "model" / "size").write_text("NaN")
    (folder / "production" / "release.json").write_text('{"id": "r00000001"}')
    folders = [f"--{name}={folder / name}" for name in ("model", "production", "data", "out")]
    done = run("evaluate", *folders, "--", "sh", "-c", script)
    assert done.code == 0, done.err
    measured = json.loads((folder / "out" / "metrics.json").read_text())
    assert measured["candidate"] == {"all": {"size": 2}, "recent": {"size": 2}}
    problem = f"metric `size` in {folder / 'measured/production-all/metrics.json'} is `NaN`, must be a finite number"
    assert measured["production"] is None
    assert measured["notComparable"] == f"production on all rows: {problem}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "wrote no metrics.json: FILE does not exist"),
        ("", "FILE is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[0.5]", "FILE is `[0.5]`, must be a JSON object of numbers"),
        ("{}", "FILE is `{}`, must hold at least one metric"),
        ('{"a": "0.5"}', 'metric `a` in FILE is `"0.5"`, must be a finite number'),
        ('{"a": true}', "metric `a` in FILE is `true`, must be a finite number"),
        ('{"a": null}', "metric `a` in FILE is `null`, must be a finite number"),
        ('{"a": {"b": 1}}', 'metric `a` in FILE is `{"b": 1}`, must be a finite number'),
        ('{"a": Infinity}', "metric `a` in FILE is `Infinity`, must be a finite number"),
        ('{"a": 1' + "0" * 400 + "}", "must be a finite number"),
        ('{"a": 1, "a": 2}', "FILE has the metric `a` twice, must have it once"),
        (" " * 1024 * 1024 + "{}", "FILE has more than 1048576 bytes, must hold numbers only"),
    ],
)  # fmt: skip
def test_a_malformed_metrics_file_is_refused_with_key_and_value(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "metrics.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TrainerError) as caught:
        read_metrics_file(file, UserProgram(("fit",), tmp_path))
    assert message.replace("FILE", str(file)) in caught.value.message


def test_a_missing_metrics_file_is_told_before_a_missing_model(run: Run, folder: Path) -> None:
    done = run(*training(folder, "true"))
    assert done.code == 1
    assert done.err == (
        f"error: `true` wrote no metrics.json: {folder / 'metrics.json'} does not exist\n"
        'hint: write a JSON object of numbers, like {"accuracy": 0.93}, to the file that DRIFTLOOP_METRICS names\n'
    )
    done = run(*training(folder, "sh", "-c", "echo '{\"a\": 1}' > {metrics}"))
    assert "wrote no model" in done.err
    assert "DRIFTLOOP_MODEL" in done.err


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo one; echo two >&2; sleep 0.1; echo three; exit 3",
         "ended with exit code 3; its last lines: one / two / three"),
        ("exit 1", "ended with exit code 1, without a word"),
        ("kill -9 $$", "was ended by SIGKILL, without a word"),
    ],
)  # fmt: skip
def test_the_end_of_a_command_is_told_with_its_last_lines(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        run_program(UserProgram(("sh", "-c", script), tmp_path), {}, {}, None)
    told = caught.value.message.partition("` ")[2]
    # two streams: which of both was read first is nobody's to say
    assert told == message or told == message.replace("one / two", "two / one")


def test_a_command_that_can_not_be_started_says_why(tmp_path: Path) -> None:
    (tmp_path / "fit").write_text("#!/bin/sh\n")
    for words, part in ((("./fit",), "Permission denied"), (("fitt",), "no program `fitt`")):
        with pytest.raises(TrainerError, match=part):
            run_program(UserProgram(words, tmp_path), {}, {}, None)


def test_a_command_that_takes_too_long_ends_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; echo began; wait"
    with pytest.raises(TrainerError) as caught:
        run_program(UserProgram(("sh", "-c", script), tmp_path), {}, {}, 3.0)
    assert caught.value.code == 124
    assert "was stopped after 3 s; its last lines: began" in caught.value.message
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_command_ends_with_the_step_that_is_told_to_end(folder: Path) -> None:
    script = f"echo $$ > {folder}/child; exec sleep 600"
    words = [str(word) for word in training(folder, "sh", "-c", script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(wrapper.__file__).parents[3])}
    step = subprocess.Popen(
        [sys.executable, wrapper.__file__, *words], cwd=folder / "code", env=environment
    )
    while not (folder / "child").exists() or not (folder / "child").read_text():
        assert step.poll() is None
        time.sleep(0.02)
    step.send_signal(signal.SIGTERM)
    assert step.wait(PATIENCE) == 128 + signal.SIGTERM
    assert is_gone(int((folder / "child").read_text()))


def is_gone(process: int) -> bool:
    for _ in range(1800):
        if not is_alive(process):
            return True
        time.sleep(0.05)
    return False


def test_a_function_and_a_command_are_not_both_taken(run: Run, folder: Path) -> None:
    words = training(folder, "true")
    for arguments in ([words[0], "train:train", *words[1:]], words[:-2]):
        done = run(*arguments)
        assert done.code == 2
        assert "either MODULE:FUNCTION or `-- WORD …` is needed, not both" in done.err
