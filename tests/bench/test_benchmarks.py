"""Each benchmark runs to its ratio, on little: one that nobody runs rots without a sign."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("benchmark", "arguments", "ratio"),
    [
        ("bench_events.py", ["--events", "1000", "--rounds", "1"], r"verdict .*, \d+% of raw"),
        ("bench_render.py", ["--pipelines", "5"], r"5 pipelines: \d+\.\d+ of plain Hera"),
        (
            "bench_serving.py",
            ["--rounds", "1", "--seconds", "1"],
            r"logging keeps \d+% of Envoy[^\0]*recording keeps \d+% of logging",
        ),
        (
            "bench_recorder.py",
            ["--events", "2000", "--rate", "500"],
            r"acknowledged +\d+ events/s[^\0]*rows +1000 of 1000",
        ),
        ("bench_tabular.py", ["--rounds", "1"], r"tabular .* ms, KSDrift .* ms, \d+\.\d times"),
        ("bench_detectors.py", ["--only", "tabular"], r"window \d+ ms, \d+ MB; self-test .* s"),
        (
            "bench_lasting.py",
            ["--runs", "2", "--rows", "2000"],
            r"alarmRate 0.01: \+0.15 sd acted on in [12] of 2 runs.* the best possible 99%; without a change 0 of 2",
        ),
        ("bench_traffic.py", ["--windows", "50"], r"twice: \d+ runs in 50 windows .* of windows"),
        (
            "bench_power.py",
            ["--worlds", "pairs", "--sizes", "50", "--windows", "3", "--clean", "3"],
            r"never \|[^\0]*in 0 of 2 rows",
        ),
        (
            "bench_false_alarms.py",
            ["--worlds", "zeros", "--only", "means", "--windows", "10", "--releases", "1"],
            r"means: \d of 10 windows .*: held[^\0]*chance explains: 0",
        ),
        (
            "bench_streams.py",
            ["--seeds", "1", "--after", "400", "--only", "STAGGER"],
            r"STAGGER \| 0\.00 -> 0\.\d+ \| not seen \| not seen \| not seen \| 200 rows \| 200 rows \| 200 rows \|",
        ),
        (
            "bench_console.py",
            ["--pipelines", "2", "--windows", "10", "--visitors", "2", "--rounds", "1"],
            r"/runs .* ms .* KB[^\0]*memory +\d+ MB",
        ),
        ("bench_platform.py", ["--starts", "1", "--idle", "1"], r"idle, \d+ programs +\d+ MB"),
        (
            "bench_storage.py",
            ["--runs", "2", "--megabytes", "4"],
            r"2 runs \(\d+ more did not begin\) over \d+\.\d MB: .* for each further run, \d+\.\d% of the data",
        ),
        (
            "fault_run.py",
            ["--requests", "300", "--rate", "20", "--kills", "3"],
            r"events lost +0 [^\0]*events doubled +0 [^\0]*misjudged +0 [^\0]*silent minutes +0\.0",
        ),
    ],
)
def test_it_prints_its_ratio(benchmark: str, arguments: list[str], ratio: str) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / benchmark, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert re.search(ratio, done.stdout), done.stdout + done.stderr
