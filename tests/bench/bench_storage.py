"""What retrainings over the same data leave in the bucket of runs.

    python tests/bench/bench_storage.py [--runs 100] [--megabytes 10]

One run. The project of `driftloop init` is trained over and over (`driftloop trigger --force`) on the same batches
through the real loop of one machine. Measured are the bytes of all objects of the bucket of runs after each; the first
run is the first release. A run that did not begin, since the one before had not ended on a busy machine, is no
retraining: it is counted apart, and another one takes its place. What a run hands from step to step is there while it
runs only. A run may leave its model, its records with the held-out rows that its rehearsal asked, and its detectors,
whose reference has up to 100,000 rows: they are a figure of their own.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import starter  # noqa: E402
from support.loops import release_once  # noqa: E402

from driftloop.demo.platform import DemoPlatform  # noqa: E402
from driftloop.errors import LocalError  # noqa: E402
from driftloop.local.ground.state import StateFolder  # noqa: E402

ENVS = ROOT / ".driftloop" / "envs"
ROW = 8 * (starter.WIDTH + 1)
"""Bytes of a row of a batch."""
FILES = 5
TOLD = 10
"""Runs after which the size is told."""
DETECTORS = "release/detectors/*/*"


def quiet(_: str) -> None:
    """What `up` says is not part of the figures."""


def is_trained(bucket: Path, run: str) -> bool:
    """Whether a run got as far as a model."""
    return any((bucket / "runs" / run).glob("trials/*/model/*"))


def list_trained(bucket: Path) -> int:
    """How many runs there are that did."""
    return sum(is_trained(bucket, run.name) for run in (bucket / "runs").iterdir())


def measure(folder: Path, pattern: str = "*") -> int:
    """Bytes of the objects of a bucket whose keys match."""
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


async def measure_runs(folder: Path, count: int, megabytes: float) -> bool:
    """Bytes of the bucket of runs after each run, and what `prune` would take."""
    spec = starter.project(folder)
    rows = int(megabytes * 1e6 / ROW / FILES)
    files = [starter.batch(folder / f"{seed}.npz", seed=seed, rows=rows) for seed in range(FILES)]
    platform = DemoPlatform(StateFolder.open_folder(folder / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))
    bucket = platform.state.s3 / "driftloop"
    sizes: list[int] = []
    fitted: list[int] = []
    async with platform.run_up(spec, quiet, envs=ENVS):
        await release_once(platform, files, f"s3://{starter.NAME}/batches")
        sizes.append(measure(bucket))
        fitted.append(measure(bucket, DETECTORS))
        tried = 1
        while (trained := list_trained(bucket)) < count and tried < 2 * count:
            tried += 1
            # the same data make the same model, which is refused as nothing new: exit code 3
            with contextlib.suppress(LocalError):
                await platform.run_command(
                    "trigger", starter.NAME, "--force", "--wait", "--cause", "again", *state
                )
            if list_trained(bucket) == trained:
                continue
            sizes.append(measure(bucket))
            fitted.append(measure(bucket, DETECTORS))
            if (trained + 1) % TOLD == 0:
                print(f"  {trained + 1} runs: {sizes[-1] / 1e6:.2f} MB", flush=True)
        planned = json.loads(
            await platform.run_command("prune", starter.NAME, "--dry-run", "-o", "json", *state)
        )
    data = measure(platform.state.s3 / starter.NAME)
    more = len(sizes) - 1
    detectors = (fitted[-1] - fitted[0]) / more
    each = (sizes[-1] - sizes[0]) / more - detectors
    print(
        f"  {more + 1} runs ({tried - more - 1} more did not begin) over {data / 1e6:.1f} MB: {sizes[-1] / 1e6:.2f} MB in "
        f"the bucket of runs, {each / 1e3:.0f} KB for each further run, {each / data:.1%} of the data, and "
        f"{detectors / 1e3:.0f} KB of its detectors"
    )
    print(
        f"  first run {sizes[0] / 1e3:.0f} KB; `driftloop prune` would take {planned['removes'] / 1e3:.0f} KB now"
    )
    return more + 1 == count and each < 0.1 * data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="2 or more")
    parser.add_argument("--megabytes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        good = asyncio.run(measure_runs(Path(folder), options.runs, options.megabytes))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
