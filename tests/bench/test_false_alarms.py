"""Clean windows of every monitor, on tables as people have them, alarm no oftener than stated: in each of
three releases, and in all together. This is the second table of bench_power.py, with fewer windows."""

import subprocess
import sys
from pathlib import Path

import pytest

from driftloop.contract.handovers import DETECTOR_KINDS

WORLDS = ("columns", "pairs", "digits", "flights", "penguins", "flags", "zeros")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("world", WORLDS)
def test_clean_windows_alarm_no_oftener_than_stated(world: str) -> None:
    benchmark = Path(__file__).with_name("bench_power.py")
    counts = ("--windows", "0", "--clean", "34", "--releases", "3")
    judges = (*DETECTOR_KINDS, "tabular of answers")
    done = subprocess.run(
        [sys.executable, benchmark, "--worlds", world, *counts, "--only", *judges],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "more false alarms than chance explains: 0" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
