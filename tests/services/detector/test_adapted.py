"""Classes of alibi-detect by name: those without a framework in the monitor image's environment, those with one in
the image of their own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import monitor
from support.detector import ROOT

from driftloop.contract.alibi import ALIBI_CLASSES, ALIBI_NAMES, REFUSED

PLAIN = tuple(name for name in ALIBI_NAMES if not ALIBI_CLASSES[name].framework)
TRAINED = tuple(name for name in ALIBI_NAMES if ALIBI_CLASSES[name].framework)


def adapt(python: Path, *names: str, timeout: int = 280) -> Any:
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("adaptations.py")), *names],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain(monitor_python: Path) -> Any:
    return adapt(monitor_python, *PLAIN)


@pytest.fixture(scope="module")
def trained() -> Any:
    return adapt(monitor.python("alibi"), *TRAINED, timeout=1500)


def check(found: Any, name: str) -> None:
    assert not found[name]["failure"]
    assert found[name]["clean"] <= 1
    assert found[name]["moved"] is True
    assert found[name]["columns"], "an alarm names columns"
    assert found[name]["same"], "the same rows get the same verdict"


@pytest.mark.parametrize("name", PLAIN)
def test_a_class_without_a_framework_alarms_by_the_column(plain: Any, name: str) -> None:
    check(plain, name)
    last = {
        "ChiSquareDrift": "c1",
        "FETDrift": "c1",
        "TabularDrift": "c1",
        "SpectralResidual": "c0",
    }
    assert plain[name]["columns"][0] == last.get(name, "c2")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TRAINED)
def test_a_class_with_a_framework_alarms_by_the_column(trained: Any, name: str) -> None:
    check(trained, name)
    assert trained[name]["columns"][0] == "c2"


def test_what_a_class_cannot_take_is_told(plain: Any) -> None:
    assert plain["refused"] == [
        "column `c2` is of type text, KSDrift does not take it",
        plain["refused"][1],
        "SpectralResidual reads one column of numbers, there are 3",
        "KSDrift failed: ValueError: 0 of 50 rows have no missing value",
        "SpectralResidual failed: ValueError: the 100 values are all the same, or repeat a pattern exactly: nothing "
        "stands out",
    ]
    assert plain["refused"][1].startswith("KSDrift can't be fitted: ")
    assert plain["frameworks"] == []


def test_a_series_is_judged_in_windows_as_its_threshold_was_learnt(plain: Any) -> None:
    # of the spectrum of the whole series the ends of 31 of 100 windows stand out
    assert plain["smooth"]["alarms"] <= 6
    assert plain["smooth"]["told"] == [
        "self-test: 0 of 10 windows of 100 reference rows in the order of the files alarm (no more than 4 by chance)",
        "self-test: alarms when 5 of 100 rows apart from each other leave the range of the column",
        "warning: values that stand out of those beside them are seen, a level that stays is not: watch the column with "
        "`tabular` as well",
    ]


def test_no_class_is_both_allowed_and_refused() -> None:
    assert ALIBI_CLASSES.keys() == set(ALIBI_NAMES)
    assert not REFUSED.keys() & set(ALIBI_NAMES)
