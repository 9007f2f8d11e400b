"""What kills of its parts cost the recorder: events one by one, thousands of them, compared id by id.

    python tests/bench/recorder_faults.py [--requests 50000] [--rate 200] [--kills 60] [--seed N]

Requests and answers are posted to a recorder on a real NATS server and a real object store, each until it is
acknowledged, as the broker does it. Meanwhile the recorder, the process that writes its parts, NATS and the store
are killed (SIGKILL) in random order and started again. At the end every row of every file is read. Exit code 1
when an acknowledged event is in no row, or in two.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import randrange

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import monitor  # noqa: E402
from support.recorder import RecorderWorld  # noqa: E402
from support.recording import run_faults  # noqa: E402


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
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    settings = {"every": arguments.every, "releases": [{"id": "r1", "role": "production"}]}
    with tempfile.TemporaryDirectory(prefix="recorder-faults-") as folder:
        world = RecorderWorld(Path(folder), monitor.python(), settings)
        world.start()
        try:
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
    sys.exit(1 if any(faults.values()) else 0)


if __name__ == "__main__":
    main()
