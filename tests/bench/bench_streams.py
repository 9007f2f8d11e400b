"""Public streams with a known change: how soon monitors see it, and how often they alarm before.

    python tests/bench/bench_streams.py [--seeds 3] [--after 4000] [--window 200] [--rate 0.001] [--only STREAM ...]

Streams are those of river's generators (BSD-3-Clause, in an environment of its own: the group `bench`). In each of them
2000 rows train a model, 2000 are held out, 4000 follow in which nothing changes, then the change. Prints a Markdown table: for each
monitor in how many of the seeds' streams it alarms after the change, and the median of the rows until it does.

`quality` reads labels, which come a while after the answers: its delay is that of rows with labels. The last two columns are no
monitors: they show what the right answers alone, and the model's mistakes, would tell by the test of inputs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import monitor  # noqa: E402

STREAMS = Path(__file__).parent / "streams"
TRAIN, REFERENCE, CLEAN = 2000, 2000, 4000
TITLES = {
    "inputs": "inputs (`tabular`)",
    "together": "inputs (`mmd`)",
    "answers": "answers (`tabular`)",
    "quality": "labels (`quality`)",
    "labels": "right answers",
    "mistakes": "mistakes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--after", type=int, default=4000)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--only", nargs="*", default=[])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_streams(Path(folder), chosen.seeds, chosen.after, chosen.only)
        watched = list(watch_streams(Path(folder), chosen.window, chosen.rate))
    print("\n".join(format_table(watched, chosen.window)))


def make_streams(folder: Path, seeds: int, after: int, names: Sequence[str]) -> None:
    before = TRAIN + REFERENCE + CLEAN
    words = ("run", "--quiet", "--frozen", "--isolated", "--no-project", "--python", "3.11")
    requirement = subprocess.run(
        [
            *(find_uv(), "export", "--quiet", "--frozen", "--only-group", "bench"),
            *("--no-hashes", "--no-header", "--no-annotate"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    file = folder / "requirements.txt"
    file.write_text(requirement)
    sizes = map(str, (seeds, before, after))
    subprocess.run(
        [
            *(find_uv(), *words, "--with-requirements", str(file)),
            *("python", str(STREAMS / "make.py"), str(folder), *sizes, *names),
        ],
        check=True,
    )


def find_uv() -> str:
    """Return uv of the environment of the tests."""
    return str(Path(sys.executable).parent / "uv")


def watch_streams(folder: Path, window: int, rate: float) -> Iterator[dict[str, Any]]:
    sizes = map(str, (TRAIN, REFERENCE, CLEAN, window, rate))
    done = subprocess.run(
        [str(monitor.python()), str(STREAMS / "watch.py"), str(folder), *sizes],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "pipeline"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in done.stdout.splitlines():
        yield json.loads(line)


def format_table(watched: Sequence[dict[str, Any]], window: int) -> Iterator[str]:
    streams: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in watched:
        streams[each["stream"]].append(each)
    clean = CLEAN // window
    yield f"| stream | error of the model | {' | '.join(TITLES.values())} |"
    yield f"|---|---|{'---|' * len(TITLES)}"
    for name, runs in streams.items():
        before, after = (mean(run["error"][side] for run in runs) for side in (0, 1))
        cells = [describe_delay([run["alarms"][m] for run in runs], clean, window) for m in TITLES]
        yield f"| {name} | {before:.2f} -> {after:.2f} | {' | '.join(cells)} |"
    cells = [describe_false([each["alarms"][name][:clean] for each in watched]) for name in TITLES]
    yield f"| windows before the change that alarm | | {' | '.join(cells)} |"


def describe_delay(alarms: Sequence[Sequence[bool]], clean: int, window: int) -> str:
    """Return the median of the rows until the first alarm after the change, and of how many streams."""
    delays = [(list(each[clean:]).index(True) + 1) * window for each in alarms if any(each[clean:])]
    if not delays:
        return "not seen"
    seen = "" if len(delays) == len(alarms) else f" ({len(delays)} of {len(alarms)})"
    return f"{median(delays):.0f} rows{seen}"


def describe_false(alarms: Sequence[Sequence[bool]]) -> str:
    windows = [window for each in alarms for window in each]
    return f"{sum(windows)} of {len(windows)}"


if __name__ == "__main__":
    main()
