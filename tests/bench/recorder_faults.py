"""What kills of its parts cost captured traffic and labels: events one by one, thousands of them, compared id by id.

    python tests/bench/recorder_faults.py [--requests 50000] [--rate 200] [--kills 60] [--seed N] [--alone]

Requests and answers are posted to a broker until they are acknowledged, on a real NATS server and a real object store; the
broker delivers them to a recorder and to a monitor of labels. A tenth of the requests get labels: a file that is wrong in
part, and one with the truth, which is loaded twice, in any order. Meanwhile the recorder, the process that writes its
parts and labelled batches, the broker with its dispatcher, the monitor, NATS and the store are killed (SIGKILL) in random order
and started again. At the end every row of every file is read, and what the monitor says of the answers is compared with
what the files say. Exit code 1 when an acknowledged event is in no row or in two, a labelled request in no batch or in two,
or live accuracy is another one. With `--alone`, events are posted to the recorder itself, and there are no labels.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import randrange
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import monitor  # noqa: E402
from support.labelled_world import LabelledWorld  # noqa: E402
from support.recorder import RecorderWorld  # noqa: E402
from support.recording import FaultResult, run_faults  # noqa: E402


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--every", type=float, default=5.0, help="seconds of a part")
    parser.add_argument("--seed", type=int, default=randrange(10**6))
    parser.add_argument(
        "--alone", action="store_true", help="the recorder without broker and labels"
    )
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    settings = {"every": arguments.every, "releases": [{"id": "r1", "role": "production"}]}
    with tempfile.TemporaryDirectory(prefix="recorder-faults-") as folder:
        kind = RecorderWorld if arguments.alone else LabelledWorld
        world = kind(Path(folder), monitor.python(), settings)
        try:
            world.start()
            result = asyncio.run(
                run_faults(
                    world,
                    requests=arguments.requests,
                    rate=arguments.rate,
                    kills=arguments.kills,
                    seed=arguments.seed,
                    settle=600.0,
                )
            )
            rows = world.read_rows()
            files = len(world.list_files())
            good = not isinstance(world, LabelledWorld) or asyncio.run(
                show_labels(world, result, rows)
            )
        finally:
            world.kill()
    faults = result.find_faults(rows)
    killed = ", ".join(f"{part} {count}" for part, count in sorted(result.killed.items()))
    print(
        f"{result.events} events of {len(result.acknowledged)} requests acknowledged in {result.seconds:.0f} s"
    )
    print(f"killed: {killed}")
    print(f"{len(rows)} rows in {files} files")
    sides = Counter(len(sides) for sides in result.acknowledged.values())
    print(f"{sides[2]} requests with their answers, {sides[1]} alone")
    for what, ids in faults.items():
        print(f"{what}: {len(ids)}{' ' + ', '.join(ids[:10]) if ids else ''}")
    sys.exit(0 if good and not any(faults.values()) else 1)


async def show_labels(
    world: LabelledWorld, result: FaultResult, rows: list[dict[str, Any]]
) -> bool:
    """Print what became of labels; whether all is well."""
    counts = await world.read_labels()
    offline, right = result.measure_offline(rows)
    told = (counts.rows, counts.right) if counts is not None else (0, 0)
    print(f"live accuracy {told[1]} of {told[0]}, offline {right} of {offline}")
    if counts is not None:
        print(f"labels: {counts.describe()}")
    batches = world.read_batches()
    faults = result.find_batch_faults(batches)
    print(f"{len(batches)} labelled rows in {len(world.list_batches())} batches")
    for what, ids in faults.items():
        print(f"{what} in batches: {len(ids)}{' ' + ', '.join(ids[:10]) if ids else ''}")
    return told == (offline, right) and not any(faults.values())


if __name__ == "__main__":
    main()
