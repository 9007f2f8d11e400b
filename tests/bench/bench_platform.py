"""What the platform costs whoever starts it: time to help, CPU of a check of a spec, time to the first answer, memory
when idle.

    python tests/bench/bench_platform.py [--starts 3] [--helps 7] [--checks 5] [--accuracy tabular mnist]

One run. `driftloop --help` and `driftloop validate` of the digits example, each against `python -c pass`, in turns.
Then that example is trained and released once (not measured), the platform is stopped, and started again `--starts`
times: the time from the command to the first answered prediction. Last, the proportional set size of all its processes
together, once it has been idle for `--idle` seconds. `--accuracy` also trains the examples named, through the same
loop, and prints what their evaluation says; digits' is always printed.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.loops import applied, release_once  # noqa: E402

from driftloop.demo.platform import DemoPlatform, find_program, is_answered, run_program  # noqa: E402
from driftloop.errors import LocalError  # noqa: E402
from driftloop.local.ground.state import StateFolder  # noqa: E402
from driftloop.spec import load_spec  # noqa: E402

ENVS = ROOT / ".driftloop" / "envs"
EXAMPLES = ROOT / "examples"
HELP_TARGET, CHECK_TARGET, START_TARGET, MEMORY_TARGET = 0.3, 0.8, 20.0, 1200.0


@dataclass(frozen=True)
class Example:
    """One of examples/, with its labelled batches in a folder."""

    spec: Path
    batches: Path

    def platform(self, folder: Path) -> DemoPlatform:
        """Where it runs: a state folder of its own."""
        metadata = load_spec(self.spec.read_text(), path=str(self.spec)).metadata
        return DemoPlatform(
            StateFolder.open_folder(folder), metadata.name, metadata.namespace or metadata.name
        )

    @property
    def data(self) -> str:
        return load_spec(self.spec.read_text(), path=str(self.spec)).spec.data.uri


def quiet(_: str) -> None:
    """What `up` says is not part of the figures."""


def once(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of one command, by the clock and of CPU; a busy machine shows in the first only."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turns(command: Sequence[str], other: Sequence[str], count: int) -> tuple[float, ...]:
    """Medians of both commands, run in turns: seconds by the clock and of CPU of one, then of the other."""
    found = [(*once(command), *once(other)) for _ in range(count)]
    return tuple(statistics.median(column) for column in zip(*found, strict=True))


def helps(count: int) -> bool:
    """`driftloop --help` and an empty interpreter, in turns, medians."""
    asked, empty = [find_program(), "--help"], [sys.executable, "-c", "pass"]
    took, cpu, bare, bare_cpu = in_turns(asked, empty, count)
    print(
        f"  driftloop --help               {took:6.2f} s, {cpu:.2f} s of CPU   (python -c pass {bare:.2f} s, "
        f"{bare_cpu:.2f} s; medians of {count} in turns; target {HELP_TARGET:g} s)"
    )
    return took <= HELP_TARGET


def checks(count: int) -> bool:
    """`driftloop validate` of a spec and an empty interpreter, in turns, medians of CPU."""
    asked = [find_program(), "validate", str(EXAMPLES / "digits" / "pipeline.yaml")]
    took, cpu, _, bare_cpu = in_turns(asked, [sys.executable, "-c", "pass"], count)
    print(
        f"  driftloop validate SPEC        {cpu:6.2f} s of CPU, {took:.2f} s   (python -c pass {bare_cpu:.2f} s of CPU; "
        f"medians of {count} in turns; target {CHECK_TARGET:g} s of CPU)"
    )
    return cpu <= CHECK_TARGET


async def labelled(name: str, folder: Path) -> Example | None:
    """The example's batches, written by its own script; None when what it needs can't be fetched."""
    example = EXAMPLES / name
    script = [
        str(Path(sys.executable).with_name("uv")),
        "run",
        "--quiet",
        "--no-project",
        str(example / "batches.py"),
    ]
    if (example / "fetch.py").exists():
        await run_program([sys.executable, str(example / "fetch.py")])
        if not any((example / "images").glob("*")):
            print(f"  {name}: its images are not here and can't be fetched; skipped")
            return None
    await run_program([*script, "labelled", "--to", str(folder)])
    return Example(example / "pipeline.yaml", folder)


async def released(example: Example, platform: DemoPlatform) -> dict[str, float]:
    """Train and release once; the evaluation of what is in production then. `up` must be running."""
    await release_once(platform, example.batches.iterdir(), example.data)
    production = platform.read_release().production
    assert production is not None
    return dict(production.metrics)


def show(name: str, metrics: dict[str, float]) -> None:
    values = ", ".join(f"{metric} {value:.4g}" for metric, value in sorted(metrics.items()))
    print(f"  {name}, as its run evaluated it: {values}")


async def measured(folder: Path, starts: int, idle: float) -> bool:
    """Starts and memory of the platform with digits' first release."""
    example = await labelled("digits", folder / "batches")
    assert example is not None
    row = json.loads(await first_row(folder))
    platform = example.platform(folder / "state")
    async with platform.run_up(example.spec, quiet, envs=ENVS):
        metrics = await released(example, platform)
    times = []
    size = 0.0
    for number in range(starts):
        platform = example.platform(folder / "state")
        started = time.perf_counter()
        async with platform.run_up(example.spec, quiet, envs=ENVS):
            await platform.wait_until(
                lambda p=platform: answered(p, row), "a prediction", within=300, every=0.05
            )  # type: ignore[misc]
            times.append(time.perf_counter() - started)
            if number == starts - 1:
                await platform.wait_until(lambda p=platform: applied(p), "the release", within=300)  # type: ignore[misc]
                await asyncio.sleep(idle)
                status = await platform.run_command(
                    "status", "--state", str(platform.state.root), "--output", "json"
                )
                size = json.loads(status)["memory"]["total"]
                processes = len(json.loads(status)["processes"]) + 1
    seconds = ", ".join(f"{value:.1f}" for value in times)
    print(
        f"  up to the first prediction     {statistics.median(times):6.1f} s   (of {seconds}; existing release, warm "
        f"environments; target {START_TARGET:g} s)"
    )
    print(
        f"  idle, {processes} programs             {size:7.0f} MB  (proportional set size after {idle:g} s; "
        f"target {MEMORY_TARGET:g} MB)"
    )
    show("digits", metrics)
    return statistics.median(times) <= START_TARGET and size <= MEMORY_TARGET


async def first_row(folder: Path) -> str:
    """A request's body of one real digit."""
    script = [str(Path(sys.executable).with_name("uv")), "run", "--quiet", "--no-project"]
    await run_program(
        [
            *script,
            str(EXAMPLES / "digits" / "batches.py"),
            "traffic",
            "--to",
            str(folder / "traffic"),
        ]
    )
    row = json.loads((folder / "traffic" / "clean.jsonl").read_text().splitlines()[0])
    return json.dumps({"data": {"ndarray": [row["x"]]}})


async def answered(platform: DemoPlatform, body: dict[str, object]) -> bool:
    """Whether a prediction comes back; also while the ports are not known yet."""
    try:
        return await is_answered(platform.predictions, body)
    except LocalError:
        return False


async def accuracy(name: str, folder: Path) -> None:
    """Another example through the loop, up to its first release."""
    example = await labelled(name, folder / "batches")
    if example is None:
        return
    platform = example.platform(folder / "state")
    async with platform.run_up(example.spec, quiet, envs=ENVS):
        show(name, await released(example, platform))


async def run(arguments: argparse.Namespace) -> bool:
    print(
        f"platform: digits example, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    )
    ok = helps(arguments.helps)
    ok = checks(arguments.checks) and ok
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
        ok = await measured(Path(folder), arguments.starts, arguments.idle) and ok
    for name in arguments.accuracy:
        with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder:
            await accuracy(name, Path(folder))
    return ok


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--helps", type=int, default=7)
    parser.add_argument("--checks", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--idle", type=float, default=20)
    parser.add_argument(
        "--accuracy", nargs="*", default=[], metavar="EXAMPLE", help="tabular, mnist"
    )
    arguments, _ = parser.parse_known_args()
    sys.exit(0 if asyncio.run(run(arguments)) else 1)


if __name__ == "__main__":
    main()
