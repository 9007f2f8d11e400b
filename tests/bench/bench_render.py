"""What rendering costs beside Hera alone, for one pipeline and for many, and what a check of unchanged trees costs.

    python tests/bench/bench_render.py [--pipelines 500]

One run, each line a process of its own: start, imports, reading and writing included. `driftloop render` writes some 52
files a pipeline. Plain Hera builds the same two WorkflowTemplates a pipeline with the same calls, prints them with its
own `to_yaml`, and does nothing else: no spec is read or checked, no other object made. Then the check of all trees, and
the peak memory of each process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "examples" / "digits" / "pipeline.yaml"
HERA_TARGET, CHECK_TARGET = 0.95, 1 / 3
PLAIN_HERA = Path(__file__).with_name("plain_hera.py")


@dataclass(frozen=True)
class Cost:
    """Of one process, from its start to its end."""

    seconds: float
    memory: float
    """Peak resident set, MiB."""


def cost(command: Sequence[str | Path], cache: Path) -> Cost:
    started = time.perf_counter()
    env = {**os.environ, "DRIFTLOOP_CACHE": str(cache), "PYTHONPATH": str(ROOT / "pipeline")}
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(errors)
    return Cost(time.perf_counter() - started, used.ru_maxrss / 1024)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=int, default=500)
    many = parser.parse_args().pipelines
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as name:
        folder = Path(name)
        text = SPEC.read_text()
        specs = [folder / "specs" / f"p{number:03}.yaml" for number in range(many)]
        specs[0].parent.mkdir()
        for spec in specs:
            spec.write_text(text.replace("{name: digits}", f"{{name: {spec.stem}}}"))
        cache, (one, all_, plain) = (
            folder / "cache",
            (folder / part for part in ("one", "all", "plain")),
        )
        plain.mkdir()
        driftloop = [sys.executable, "-m", "driftloop.cli", "render"]
        single = cost([*driftloop, specs[0], "--into", one], folder / "cache-of-one")
        single_hera = cost([sys.executable, PLAIN_HERA, SPEC, plain, "1"], cache)
        full = cost([*driftloop, *specs, "--into", all_], cache)
        hera = cost([sys.executable, PLAIN_HERA, SPEC, plain, str(many)], cache)
        check = cost([*driftloop, "--into", all_, "--check"], cache)
        files = sum(file.is_file() for file in all_.rglob("*"))
    for what, found, count in (
        ("driftloop render, one pipeline", single, 1),
        ("plain Hera, its two templates", single_hera, 1),
        (f"driftloop render, {many} pipelines, {files} files", full, many),
        ("plain Hera, their templates", hera, many),
        ("driftloop render --check, unchanged", check, many),
    ):
        each = 1000 * found.seconds / count
        print(f"{what:44} {found.seconds:7.2f} s   {each:7.1f} ms each   {found.memory:5.0f} MiB")
    print(f"one pipeline: {single.seconds / single_hera.seconds:.2f} of plain Hera")
    ratio, checked = full.seconds / hera.seconds, check.seconds / full.seconds
    print(f"{many} pipelines: {ratio:.2f} of plain Hera a pipeline (target at most {HERA_TARGET})")
    print(f"unchanged check: {checked:.2f} of a full render (target under {CHECK_TARGET:.2f})")
    print(f"memory: {full.memory / single.memory:.2f} of one pipeline's with {many}")
    return 0 if ratio <= HERA_TARGET and checked < CHECK_TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
