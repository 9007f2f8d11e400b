"""Estimates of errors: near NannyML's numbers on public data, quiet on clean windows, loud on harder requests, beside labels, and
refused where they can't work. They run where they run: in the monitor image's environment."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector import ROOT, write_answers

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.quality import read_estimate, read_figures
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.fitting.asked_rows import MOST_INPUTS, AskedRows
from driftloop.services.detector.fitting.labelled_learning import gather_labelled

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "nannyml" / "golden.json").read_text())
DLE = DetectorSettings.read({"kind": "estimate", "on": "response", "by": "dle"})
CBPE = DetectorSettings.read({"kind": "estimate", "on": "response", "by": "cbpe"})


@pytest.fixture(scope="module")
def estimates(monitor_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    done = subprocess.run(
        [str(monitor_python), str(HERE / "estimated_errors.py"), str(tmp_path_factory.mktemp("e"))],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(600)
def test_estimates_are_near_nannymls(estimates: Any) -> None:
    # other trees over the same procedure: LightGBM's make NannyML's numbers (nannyml/trees.py)
    for ours, golden in zip(estimates["cars"], GOLDEN["cars"], strict=True):
        assert ours["mae"] == pytest.approx(golden["mae"], rel=0.015)
        assert ours["rmse"] == pytest.approx(golden["rmse"], rel=0.015)
        assert abs(ours["mae"] - golden["mae"]) < golden["error"] / 2, (
            "half of what chance explains"
        )


@pytest.mark.timeout(600)
def test_clean_windows_alarm_no_oftener_than_asked(estimates: Any) -> None:
    # of 50 windows at 0.02 more than 5 come up three times in ten thousand
    assert max(estimates["clean"]) <= 5, estimates["clean"]


@pytest.mark.timeout(600)
def test_harder_requests_alarm_with_the_error_that_they_have(estimates: Any) -> None:
    changed = estimates["change"]
    assert changed["alarms"] == [True] * 5
    assert changed["change"].startswith("estimated absolute error mean 1.")
    assert changed["change"].endswith("over 200 rows")
    read = [read_estimate(details) for details in changed["details"]]
    means = [each.figures["absolute error mean"][1] for each in read if each is not None]
    assert np.mean(means) == pytest.approx(np.mean(changed["real"]), rel=0.1)
    assert changed["columns"][3:] == [["line", "category"], ["way", "number"], ["night", "boolean"]]
    assert "rows are as hard to answer as the hardest held-out row" in changed["selftest"][-1]


@pytest.mark.timeout(600)
def test_a_quality_monitor_shows_what_would_have_been_estimated(estimates: Any) -> None:
    whole, half = (read_estimate(estimates["labelled"][name]) for name in ("all", "half"))
    assert whole is not None
    assert half is not None
    assert (whole.by, whole.rows, half.rows) == ("dle", 200, 100)
    _, real = read_figures(estimates["labelled"]["all"])["absolute error mean"]
    assert whole.figures["absolute error mean"][1] == pytest.approx(real, abs=3 * whole.error)
    # rows whose requests did not come are judged, and not estimated
    assert read_estimate(estimates["labelled"]["none"]) is None
    assert read_figures(estimates["labelled"]["none"])


@pytest.mark.timeout(600)
def test_errors_that_no_request_tells_are_refused(estimates: Any) -> None:
    assert "nothing of a request tells how wrong its answer is" in estimates["noise"]


def refuse(folder: Path, answers: list[Any], labels: list[Any], **more: Any) -> ArtifactError:
    responses = [{"data": {"ndarray": [np.atleast_1d(each).tolist()]}} for each in answers]
    file = write_answers(folder / "answers.jsonl", responses, labels=labels)
    with pytest.raises(ArtifactError) as refused:
        gather_labelled(file, more.get("config", DLE), more.get("asked"))
    return refused.value


def test_what_can_not_be_estimated_is_refused_with_the_other_way(tmp_path: Path) -> None:
    numbers = [float(n) + 0.5 for n in range(100)]
    refused = refuse(tmp_path, numbers, numbers, config=CBPE)
    assert "no probabilities of classes" in refused.message
    assert refused.hint == "say `by: dle`, which estimates errors of numbers"
    classes = refuse(tmp_path, [[0.2, 0.8], [0.9, 0.1]] * 50, [1, 0] * 50)
    assert "the answers are classes" in classes.message
    assert "`by: cbpe`" in (classes.hint or "")
    assert "from the rows that were answered" in refuse(tmp_path, numbers, numbers).message
    wide = AskedRows("rows.json", (), tuple([0.0] * (MOST_INPUTS + 1) for _ in numbers))
    assert f"{MOST_INPUTS} at most" in refuse(tmp_path, numbers, numbers, asked=wide).message
