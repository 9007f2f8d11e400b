"""The story of the demo, act by act. Waits are those of the spec; there are no short cuts."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from uv import find_uv_bin

from driftloop.demo.platform import Platform, answers, output
from driftloop.demo.screen import Screen, percent
from driftloop.demo.traffic import Row, Tally, Traffic, read_rows
from driftloop.errors import LocalError
from driftloop.release.record import Release

KINDS = ("clean", "rotated", "noise")
LABELLED = ("clean", "rotated", "shuffled")
CLEAN_WINDOWS = 3
NOISE_IMAGES = 16
"""8 % of a window: many for the outlier detector, few for the drift detector."""
DRIFTED_BELOW = 0.6
RECOVERED_ABOVE = 0.9
SETTLED_REQUESTS = 400
PROOF_REQUESTS = 150
RUN = 600.0
ROLLOUT = 600.0
SOON = 120.0


class Story:
    """One telling: its platform and screen, and the spec's window and data bucket."""

    def __init__(
        self, project: Path, platform: Platform, screen: Screen, *, rate: float, window: int, data: str
    ) -> None:
        self._project = project
        self._platform = platform
        self._screen = screen
        self._rate = rate
        self._window = window
        self._data = data
        self._rows: dict[str, tuple[Row, ...]] = {}

    async def tell(self) -> None:
        """Tell all acts; LocalError as soon as one can't go on."""
        await self._prepare()
        first = await self._first_release()
        async with self._traffic() as traffic:
            await self._clean(traffic, first)
            second = await self._drift(traffic, first)
            await self._bad_candidate(traffic, second)
            await self._rollback(traffic, first, second)

    async def _prepare(self) -> None:
        self._screen.act("1  A model project, and an empty git repository that becomes the cluster repository")
        folder = self._platform.state.root / "demo"
        await self._platform.until(self._platform.state.platform.exists, "the state folder", within=SOON)
        folder.mkdir(exist_ok=True)
        await asyncio.gather(
            self._batches("traffic", *KINDS, to=folder / "traffic"),
            self._batches("labelled", *LABELLED, to=folder / "labelled"),
        )
        for kind in KINDS:
            self._rows[kind] = read_rows(folder / "traffic" / f"{kind}.jsonl")
        self._rows["noise"] = tuple(Row(row.pixels, None) for row in self._rows["noise"])
        commit = await self._platform.until(self._is_applied, "the first commit to be applied", within=1800)
        self._screen.say("the rendered tree is applied", "the reconciler follows the branch", commit)

    async def _first_release(self) -> Release:
        self._screen.act("2  The first model: an authenticated request to the webhook starts a run")
        await self._deliver("clean")
        run = await self._trigger("first model")
        release = await self._released_by(run)
        version = release.production
        assert version is not None  # noqa: S101 - phase stable has one
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in version.metrics.items())
        self._screen.say(f"release {version.id} is in git", metrics, self._platform.head())
        await self._platform.until(self._is_applied, "the release to be applied", within=SOON)
        url = self._platform.predictions
        body = {"data": {"ndarray": [self._rows["clean"][0].pixels]}}
        await self._platform.until(lambda: answers(url, body), f"a prediction from {url}", within=SOON)
        self._screen.say("the model answers", url)
        self._screen.figure("first release", f"{version.id}  {metrics}")
        return release

    async def _clean(self, traffic: Traffic, release: Release) -> None:
        self._screen.act("3  Clean traffic: every request and answer becomes an event, no alarm is raised")
        model = _production(release)
        tally = traffic.turn("clean")
        await self._windows("drift", model, CLEAN_WINDOWS)
        seen = self._platform.said("drift", model)
        alarms = [verdict for verdict in seen if verdict["alarm"]]
        self._screen.say(str(tally))
        self._screen.claim(
            "clean traffic raises no drift alarm", not alarms, f"{len(alarms)} alarms in {len(seen)} windows"
        )
        self._screen.claim("clean digits are answered right", tally.accuracy > RECOVERED_ABOVE, percent(tally.accuracy))
        self._screen.figure("accuracy on clean digits", percent(tally.accuracy))
        self._screen.figure("traffic", str(tally))
        await self._noise(traffic, model)

    async def _noise(self, traffic: Traffic, model: str) -> None:
        await self._windows("outlier", model, 1)  # so that all of the noise lies in one window
        tally = traffic.turn("noise")
        await self._platform.until(lambda: tally.sent >= NOISE_IMAGES, "the noise to be sent", within=SOON, every=0.02)
        traffic.turn("clean")
        await asyncio.sleep(1)
        noise = set(tally.ids)

        def flagged() -> set[str] | None:
            alarms = [verdict for verdict in self._platform.said("outlier", model) if verdict["alarm"]]
            requests = {id for verdict in alarms for id in verdict["requests"]} & noise
            return requests if len(requests) > NOISE_IMAGES // 2 else None

        try:
            named = await self._platform.until(flagged, "the outlier event", within=SOON)
        except LocalError:
            named = set()
        self._screen.claim(
            "noise images raise an outlier event that names them",
            len(named) > NOISE_IMAGES // 2,
            f"{len(named)} of {tally.sent} noise requests named",
        )

    async def _drift(self, traffic: Traffic, before: Release) -> Release:
        self._screen.act("4  The digits arrive turned by a quarter; labelled ones land in the data bucket")
        model = _production(before)
        runs = await self._platform.runs()
        await self._deliver("rotated")
        drifted = traffic.turn("rotated")

        started = await self._new_run(runs)
        self._screen.say(f"the alarms started run {started}", str(drifted))

        self._screen.act("5  The new model: gate, shadow, canary, promotion, every step a commit")
        middle: Tally | None = None
        candidate: str | None = None
        end = asyncio.get_running_loop().time() + RUN + ROLLOUT
        while True:
            release = await asyncio.to_thread(self._platform.release)
            if release.candidate is not None:
                candidate = release.candidate.id
            if release.phase == "canary" and middle is None:
                middle = traffic.turn("rotated")
            if release.phase == "stable" and _production(release) != model:
                break
            if release.phase == "stable" and candidate is not None:
                raise LocalError(f"candidate {candidate} was rejected", hint=self._platform.head())
            ended = await asyncio.to_thread(self._platform.ended, started)
            if ended not in (None, "Succeeded") or asyncio.get_running_loop().time() > end:
                raise LocalError(f"run {started} ended as {ended or 'unfinished'}", hint=self._logs(started))
            await asyncio.sleep(0.2)
        traffic.turn("rotated")
        await self._platform.until(self._is_applied, "the promotion to be applied", within=SOON)
        after = traffic.turn("rotated")
        promotion = self._platform.head()
        self._screen.say(f"release {_production(release)} is production", "promoted", promotion)
        below = await asyncio.to_thread(self._platform.release, f"{promotion}^")
        self._screen.claim(
            "a revert of the promotion is the release before it, alone",
            below == before,
            f"below it: {_production(below)} with {below.weights[_production(below)]} %, phase {below.phase}",
        )
        await self._answered(after, SETTLED_REQUESTS)
        self._screen.say(f"before: {drifted}")
        if middle is not None:
            self._screen.say(f"canary: {middle}")
        self._screen.say(f"after:  {after}")
        await self._windows("drift", _production(release), 2)
        quiet = self._platform.said("drift", _production(release))[-2:]
        self._claim_drift(drifted, middle, after, [bool(verdict["alarm"]) for verdict in quiet])
        new = [run for run in await self._platform.runs() if run not in runs]
        alarms = sum(bool(verdict["alarm"]) for verdict in self._platform.said("drift", model))
        self._screen.claim(
            "the alarms started exactly one run", new == [started], f"{len(new)} run(s) from {alarms} drift alarms"
        )
        return release

    def _claim_drift(self, before: Tally, middle: Tally | None, after: Tally, quiet: list[bool]) -> None:
        screen = self._screen
        screen.claim(
            "the first model fails on turned digits", before.accuracy < DRIFTED_BELOW, percent(before.accuracy)
        )
        screen.claim("the new model does not", after.accuracy > RECOVERED_ABOVE, percent(after.accuracy))
        failed = before.failed + (middle.failed if middle else 0) + after.failed
        screen.claim("no request failed on the way", failed == 0, f"{failed} failed")
        screen.claim(
            "the new model's own detector is quiet", not any(quiet), f"{sum(quiet)} alarms in {len(quiet)} windows"
        )
        screen.figure("accuracy on turned digits, before", percent(before.accuracy))
        if middle is not None:
            screen.figure("  … during the canary", percent(middle.accuracy))
        screen.figure("accuracy on turned digits, after", percent(after.accuracy))

    async def _bad_candidate(self, traffic: Traffic, release: Release) -> None:
        self._screen.act("6  A bad candidate: batches whose labels were shuffled")
        await self._deliver("shuffled")
        await self._cooled_down()
        tip = self._platform.head()
        tally = traffic.turn("rotated")
        run = await self._trigger("new batches")
        ended = await self._platform.until(lambda: self._platform.ended(run), f"run {run} to end", within=RUN)
        self._screen.say(str(tally))
        now = self._platform.release()
        decision = await self._platform.decision()
        self._screen.claim(
            "the gate refuses a bad candidate", decision.outcome == "refused", f"run {ended.lower()}: {decision.reason}"
        )
        tip_now = self._platform.head()
        self._screen.claim(
            "production is untouched by it",
            now == release and tip_now == tip,
            f"production {_production(now)}, tip of the repository {tip_now[:10]}, before {tip[:10]}",
        )
        self._screen.claim("production still answers right", tally.accuracy > RECOVERED_ABOVE, percent(tally.accuracy))

    async def _rollback(self, traffic: Traffic, first: Release, second: Release) -> None:
        self._screen.act("7  Rollback: the previous release comes back by one commit")
        traffic.pause()
        before = int((await self._platform.git("rev-list", "--count", "main")).strip())
        await self._platform.call("rollback", self._platform.name, "--state", str(self._platform.state.root))
        commits = int((await self._platform.git("rev-list", "--count", "main")).strip()) - before
        await self._platform.until(self._is_applied, "the rollback to be applied", within=SOON)
        # unlogged, so that no detector counts them: that of the old model would start a new run at once
        tally = traffic.turn("rotated", logged=False)
        await self._answered(tally, PROOF_REQUESTS)
        traffic.pause()
        self._screen.say(str(tally))
        now = _production(self._platform.release())
        self._screen.claim(
            "one commit restores the previous release",
            commits == 1 and now == _production(first) != _production(second),
            f"{commits} commit, production {now}",
        )
        self._screen.claim(
            "the previous model answers again (turned digits puzzle it)",
            tally.accuracy < DRIFTED_BELOW,
            percent(tally.accuracy),
        )

    @contextlib.asynccontextmanager
    async def _traffic(self) -> AsyncIterator[Traffic]:
        verdicts = asyncio.create_task(self._platform.follow_verdicts())
        prefix = f"demo-{secrets.token_hex(3)}"
        url = self._platform.predictions
        try:
            async with Traffic.open(url, self._rows, rate=self._rate, prefix=prefix) as traffic:
                yield traffic
        finally:
            verdicts.cancel()
            await asyncio.gather(verdicts, return_exceptions=True)

    async def _batches(self, what: str, *kinds: str, to: Path) -> None:
        """Run the project's own batches.py, in an environment that uv makes for it."""
        command = [find_uv_bin(), "run", "--quiet", "--no-project", str(self._project / "batches.py"), what]
        await output([*command, "--to", str(to), "--kind", *kinds])

    async def _deliver(self, kind: str) -> None:
        folder = self._platform.state.root / "demo" / "labelled"
        await asyncio.to_thread(self._platform.upload, sorted(folder.glob(f"{kind}-*.npz")), self._data)
        self._screen.say(f"labelled {kind} digits are in the data bucket", self._data)

    async def _trigger(self, cause: str) -> str:
        """Start a run as a person would, and return its name."""
        printed = await self._platform.call(
            *("trigger", self._platform.name, "--state", str(self._platform.state.root)),
            *("--cause", cause, "--output", "json"),
        )
        return str(json.loads(printed)["run"])

    def _is_applied(self) -> str | None:
        try:
            return self._platform.applied()
        except LocalError:
            return None

    async def _released_by(self, run: str) -> Release:
        """Wait for the release that has the version of a run as production."""

        def released() -> Release | None:
            release = self._platform.release()
            if release.production is not None and release.production.run == run:
                return release
            ended = self._platform.ended(run)
            if ended not in (None, "Succeeded"):
                raise LocalError(f"run {run} ended as {ended}", hint=self._logs(run))
            return None

        return await self._platform.until(released, f"run {run} to be released", within=RUN)

    async def _new_run(self, earlier: tuple[str, ...]) -> str:
        async def new() -> str | None:
            return next(iter(run for run in await self._platform.runs() if run not in earlier), None)

        return await self._platform.until(new, "drifted traffic to start a run", within=SOON)

    async def _windows(self, detector: str, release: str, more: int) -> None:
        """Wait until the detector has scored `more` windows from now on."""
        last = max((verdict["window"] for verdict in self._platform.said(detector, release)), default=0)

        def scored() -> bool:
            return len(self._platform.said(detector, release, after=last)) >= more

        expected = more * self._window / self._rate
        await self._platform.until(scored, f"{more} windows of the {detector} detector", within=3 * expected + SOON)

    async def _answered(self, tally: Tally, number: int) -> None:
        within = 3 * number / self._rate + SOON
        await self._platform.until(lambda: tally.answered >= number, f"{number} answers", within=within)

    async def _cooled_down(self) -> None:
        async def idle() -> bool:
            return (await self._platform.decision()).phase == "idle"

        await self._platform.until(idle, "the cooldown to end", within=SOON)

    def _logs(self, name: str) -> str:
        return f"see `driftloop logs {name} --state {self._platform.state.root}`"


def _production(release: Release) -> str:
    if release.production is None:
        raise LocalError(f"pipeline `{release.name}` has no production version")
    return release.production.id
