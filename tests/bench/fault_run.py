"""What kills and hangs of its parts cost a running loop: a real instance of the digits example under steady traffic.

    python tests/bench/fault_run.py [--requests 20000] [--rate 40] [--kills 60] [--freezes 0] [--seed N] [--state FOLDER]

Requests go to the gateway, events of a logger of its own to the broker, and meanwhile every part is killed (SIGKILL) in
random order: NATS, the object store, Envoy, the broker, Argo's stand-in, decision, judge, both detectors, the model
server and its worker, and once `up` itself, which ends everything and is started again. `--freezes` also stops some
(SIGSTOP): they run and do not answer. At the end the client's record, the streams and the stored verdicts are joined,
event by event. Prints what was found against its targets; exit code 1 when one is missed. `--state` keeps the folder,
and uses it again.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import aiohttp
import uvloop

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

import bench_platform  # noqa: E402
from support.faults import MASTER, UP, WORKER, Instance, plan_faults  # noqa: E402
from support.ledger import REQUEST, RESPONSE, EventPoster, Ledger, read_ledger  # noqa: E402
from support.loops import applied, batches  # noqa: E402

from driftloop.demo.platform import DemoPlatform, is_answered  # noqa: E402
from driftloop.demo.traffic import DigitRow, read_rows  # noqa: E402

DIGITS = ROOT / "examples" / "digits"
SPEC = DIGITS / "plain.yaml"
TIMEOUT = aiohttp.ClientTimeout(total=10)
OUTAGE = 15.0
"""Seconds of the traffic that are kept free, since `up` takes some to come back."""
START, BACK, SETTLE = 300.0, 120.0, 300.0
"""Seconds to wait for an `up` that predicts, for parts that were hurt, and for the last verdict."""
POSTED = 10.0
"""Events a second that the logger of the run posts to the broker."""
JUST_AFTER = 0.5
"""Seconds that a request may have been under way when something died."""
UNLOGGED, UNANSWERED, HANG = 0.001, 0.03, 30.0


@dataclass
class Requests:
    """The client's record: when each prediction was asked for, and what came."""

    sent: dict[str, float] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def unanswered(self) -> list[str]:
        return [id for id in self.sent if id not in self.answered]


@dataclass
class FaultRun:
    """One run: the instance, and everything that was counted of it."""

    instance: Instance
    rows: tuple[DigitRow, ...]
    arguments: argparse.Namespace
    requests: Requests = field(default_factory=Requests)
    prefix: str = field(default_factory=lambda: f"fault-{time.time():.0f}")
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From the death of `up` to the next one's first prediction."""
    _up: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def platform(self) -> DemoPlatform:
        return self.instance.platform

    async def start_up(self) -> None:
        """Start `up` and wait until it predicts."""
        platform = self.platform
        self._up = contextlib.AsyncExitStack()
        running = platform.run_up(SPEC, lambda _: None, envs=bench_platform.ENVS)
        await self._up.enter_async_context(running)
        await platform.wait_until(lambda: applied(platform), "the release", within=START)
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body_of(self.rows[0])),
            "a prediction",
            within=START,
            every=0.1,
        )

    async def stop_up(self) -> None:
        """Stop `up`, or forget one that has ended."""
        await self._up.aclose()

    async def send(self) -> None:
        """Send all requests at the rate, whether or not the others are answered."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=TIMEOUT
        ) as session:
            started = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(self.arguments.requests):
                    due = started + number / self.arguments.rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    group.create_task(self._request(session, number))

    async def _request(self, session: aiohttp.ClientSession, number: int) -> None:
        id = f"{self.prefix}-{number:06}"
        self.requests.sent[id] = time.monotonic()
        body = body_of(self.rows[number % len(self.rows)])
        headers = {"Seldon-Puid": id}
        try:
            async with session.post(
                self.platform.predictions, json=body, headers=headers
            ) as answer:
                await answer.read()
                if answer.status == 200:
                    self.requests.answered.add(id)
                else:
                    self.requests.errors[str(answer.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.requests.errors[type(error).__name__] += 1

    async def injure(self, random: Random) -> None:
        """Kill and freeze parts for as long as requests are sent."""
        arguments = self.arguments
        parts = set(self.instance.find_pids())
        turns = plan_faults(
            parts,
            random,
            kills=arguments.kills,
            freezes=arguments.freezes,
            once=(UP, MASTER, WORKER),
        )
        length = arguments.requests / arguments.rate - OUTAGE
        started = time.monotonic()
        for number, (part, how) in enumerate(turns):
            at = started + length * (number + 0.3 + 0.4 * random.random()) / len(turns)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            for _ in range(20):
                if (fault := self.instance.injure(part, how)) is not None:
                    print(f"  {how} {part}", flush=True)
                    break
                await asyncio.sleep(1)
            else:
                print(f"  {how} {part}: it does not run", flush=True)
            if part == UP and fault is not None:
                await self._restart_up()
                started += self.outages[-1][1] - self.outages[-1][0]

    async def _restart_up(self) -> None:
        died = time.monotonic()
        await self.stop_up()
        await self.start_up()
        self.outages.append((died, time.monotonic()))


def body_of(row: DigitRow) -> dict[str, object]:
    return {"data": {"ndarray": [row.pixels]}}


@contextlib.asynccontextmanager
async def released(folder: Path) -> AsyncIterator[DemoPlatform]:
    """A state folder in which digits is released, made on first use."""
    example = await bench_platform.labelled("digits", folder / "batches")
    assert example is not None
    platform = bench_platform.Example(SPEC, example.batches).platform(folder / "state")
    if not platform.state.repository.exists():
        async with platform.run_up(SPEC, lambda _: None, envs=bench_platform.ENVS):
            await bench_platform.released(bench_platform.Example(SPEC, example.batches), platform)
    yield platform


async def run(arguments: argparse.Namespace, folder: Path) -> bool:
    """Make the run and print it; whether all targets hold."""
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(
        f"fault run: {arguments.requests} requests at {arguments.rate:g}/s, {arguments.kills} kills,"
        f" {arguments.freezes} freezes, --seed {seed}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f} at the start"
    )
    await batches(DIGITS, "traffic", "clean", to=folder / "traffic")
    rows = read_rows(folder / "traffic" / "clean.jsonl")
    async with released(folder) as platform:
        production = platform.read_release().production
        assert production is not None
        faults = FaultRun(Instance(platform, production.id), rows, arguments)
        await faults.start_up()
        try:
            ledger, poster = await measure(faults, production.id, Random(seed))
            assert platform.read_release().production == production
        finally:
            await faults.stop_up()
    return show(faults, ledger, poster)


async def measure(faults: FaultRun, release: str, random: Random) -> tuple[Ledger, EventPoster]:
    """Send and injure, then wait until everything is judged."""
    platform = faults.platform
    before = await read_ledger(platform, release)
    poster = EventPoster(platform, release, faults.rows)
    async with faults.instance.watched():
        await asyncio.sleep(2)
        async with poster.running(rate=POSTED):
            await asyncio.gather(faults.send(), faults.injure(random))
            await faults.instance.wait_back(BACK)
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            await asyncio.sleep(3)
            ledger = await read_ledger(platform, release)
            if ledger.settled:
                break
    print(f"  {ledger} (before the run: {before})")
    return ledger, poster


def show(faults: FaultRun, ledger: Ledger, poster: EventPoster) -> bool:
    """The table; whether every target holds."""
    requests, instance = faults.requests, faults.instance
    lost, doubled = ledger.list_lost(poster.acknowledged), ledger.list_doubled()
    wrong = ledger.list_misjudged()
    unlogged = requests.answered - (ledger.logged[REQUEST] & ledger.logged[RESPONSE])
    show_parts(faults, unlogged)
    down = [
        id
        for id in requests.unanswered
        if any(since <= requests.sent[id] <= until for since, until in faults.outages)
    ]
    unanswered = len(requests.unanswered) - len(down)
    sent = len(requests.sent)
    worst = max(instance.silence.longest.values(), default=0.0)
    asked, said = (requests.answered - ledger.logged[type] for type in (REQUEST, RESPONSE))
    print(
        f"  answered without a request event: {len(asked)}, without a response event: {len(said)}"
    )
    for line in [
        *sorted(instance.blind)[:5],
        *lost[:5],
        *doubled[:5],
        *wrong[:5],
        *sorted(unlogged)[:3],
    ]:
        print(f"    {line}")
    print(f"  errors of requests: {dict(requests.errors)}; {len(down)} of them while no `up` ran")
    rows = (
        ("acknowledged events lost", f"{len(lost)}", "0", not lost),
        ("events doubled", f"{len(doubled)}", "0", not doubled),
        ("windows misjudged", f"{len(wrong)}", "0", not wrong),
        share("answered, not logged", len(unlogged), len(requests.answered), UNLOGGED),
        (
            "told by status",
            f"{len(instance.blind)} lines",
            "some, if any is not logged",
            bool(instance.blind) or not unlogged,
        ),
        share("not answered", unanswered, sent, UNANSWERED),
        ("longest silence", f"{worst:.0f} s", f"{HANG:.0f} s", worst <= HANG),
        (
            "silent minutes",
            f"{instance.silence.beyond / 60:.1f}",
            "0",
            not instance.silence.beyond,
        ),
    )
    for name, value, target, holds in rows:
        print(f"  {name:<26} {value:>18}   (target {target}){'' if holds else '   MISSED'}")
    return all(holds for *_, holds in rows)


def share(name: str, part: int, whole: int, target: float) -> tuple[str, str, str, bool]:
    """A row of the table."""
    ratio = part / max(whole, 1)
    return name, f"{part} of {whole}, {ratio:.2%}", f"{target:.1%}", ratio <= target


def show_parts(faults: FaultRun, unlogged: Collection[str]) -> None:
    """What was done to each part, how soon it answered again, and what the requests until the next fault came to."""
    instance, requests = faults.instance, faults.requests
    blamed = {
        name: Counter(blame(faults, requests.sent[id]) for id in ids)
        for name, ids in (("unanswered", requests.unanswered), ("unlogged", unlogged))
    }
    print(
        f"  {'part':<26} {'kills':>5} {'freezes':>7} {'back after':>14} {'silent for':>10} {'unanswered':>10} {'unlogged':>8}"
    )
    for part in sorted({fault.part for fault in instance.faults}):
        mine = [fault for fault in instance.faults if fault.part == part]
        times = [fault.back for fault in mine if fault.back is not None]
        back = f"{median(times):.1f}, {max(times):.1f} s" if times else "-"
        lost = "" if len(times) == len(mine) else f"   {len(mine) - len(times)} not back"
        kills = sum(fault.how == "kill" for fault in mine)
        print(
            f"  {part:<26} {kills:>5} {len(mine) - kills:>7} {back:>14}"
            f" {instance.silence.longest.get(part, 0.0):>8.0f} s {blamed['unanswered'][part]:>10}"
            f" {blamed['unlogged'][part]:>8}{lost}"
        )


def blame(faults: FaultRun, sent: float) -> str:
    """The part that was not back when a request was sent (rather one that requests go through), or the last one hurt."""
    before = [fault for fault in faults.instance.faults if fault.time <= sent + JUST_AFTER]
    still = [
        fault
        for fault in before
        if fault.back is None or sent <= fault.time + fault.back + JUST_AFTER
    ]
    serving = [fault for fault in still if faults.instance.serves(fault.part)]
    hurt = serving or still or before
    return hurt[-1].part if hurt else "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--freezes", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--state", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.state or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="driftloop-faults-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        held = uvloop.run(run(arguments, folder.resolve()))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
