"""The story of the demo, act by act. Waits are those of the spec; there are no short cuts."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.project import make_batches, rename_model_file
from driftloop.demo.screen import DemoScreen, format_percent
from driftloop.demo.traffic import DigitRow, TrafficGenerator, TrafficTally, read_rows
from driftloop.errors import LocalError
from driftloop.release.record import Release
from driftloop.retrain.state import RetrainCause

KINDS = ("clean", "rotated", "noise")
LABELLED = ("clean", "rotated", "shuffled")
CLEAN_WINDOWS = 3
NOISE_IMAGES = 24
"""12 % of a window: more than outliers may be by chance once in a month at the demo's traffic. They are drift as well,
in one window; that starts no run."""
DRIFTED_BELOW = 0.6
RECOVERED_ABOVE = 0.9
SETTLED_REQUESTS = 400
PROOF_REQUESTS = 150
RUN = 600.0
ROLLOUT = 600.0
SOON = 120.0
REHEARSAL = 20.0
CAUSE = "trailers:key=Driftloop-Cause,valueonly"


@dataclass(frozen=True)
class WaitedAlarm:
    """An alarm that waits for data: the run that had nothing new, and the traffic behind it."""

    run: str
    cause: RetrainCause
    tally: TrafficTally


class DemoStory:
    """One telling: its platform and screen, and the spec's file name, window and data bucket."""

    def __init__(
        self,
        project: Path,
        platform: DemoPlatform,
        screen: DemoScreen,
        *,
        rate: float,
        window: int,
        data: str,
        spec: str,
    ) -> None:
        self._project = project
        self._spec = spec
        self._platform = platform
        self._screen = screen
        self._rate = rate
        self._window = window
        self._data = data
        self._rows: dict[str, tuple[DigitRow, ...]] = {}
        self.answers: list[tuple[float, bool]] = []
        """Moment of each answer that can be right or wrong, and whether it was."""

    async def tell_story(self) -> None:
        """Tell all acts; LocalError as soon as one can't go on."""
        await self._prepare_project()
        first = await self._first_release()
        async with self._open_traffic() as traffic:
            self.answers = traffic.answers
            await self._send_clean(traffic, first)
            waited = await self._wait_for_labels(traffic, first)
            second = await self._send_rotated(traffic, first, waited)
            await self._mute_candidate(traffic, second)
            await self._bad_candidate(traffic, second)
            await self._roll_back(traffic, first, second)

    async def _prepare_project(self) -> None:
        self._screen.print_heading(
            "1  A model project, and an empty git repository that becomes the cluster repository"
        )
        folder = self._platform.state.root / "demo"
        await self._platform.wait_until(
            self._platform.state.platform.exists, "the state folder", within=SOON
        )
        folder.mkdir(exist_ok=True)
        await asyncio.gather(
            make_batches(self._project, "traffic", *KINDS, to=folder / "traffic"),
            make_batches(self._project, "labelled", *LABELLED, to=folder / "labelled"),
        )
        for kind in KINDS:
            self._rows[kind] = read_rows(folder / "traffic" / f"{kind}.jsonl")
        self._rows["noise"] = tuple(DigitRow(row.pixels, None) for row in self._rows["noise"])
        commit = await self._platform.wait_until(
            self._is_applied, "the first commit to be applied", within=1800
        )
        self._screen.print_line(
            "the rendered tree is applied", "the reconciler follows the branch", commit
        )

    async def _first_release(self) -> Release:
        self._screen.print_heading(
            "2  The first model: an authenticated request to the webhook starts a run"
        )
        await self._deliver_batches("clean")
        run = await self._trigger_run("first model")
        release = await self._released_by(run)
        version = release.production
        assert version is not None  # noqa: S101 - phase stable has one
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in version.metrics.items())
        self._screen.print_line(
            f"release {version.id} is in git", metrics, self._platform.read_tip()
        )
        await self._platform.wait_until(self._is_applied, "the release to be applied", within=SOON)
        url = self._platform.predictions
        body = {"data": {"ndarray": [self._rows["clean"][0].pixels]}}
        await self._platform.wait_until(
            lambda: is_answered(url, body), f"a prediction from {url}", within=SOON
        )
        self._screen.print_line("the model answers", url)
        self._screen.record_figure("first release", f"{version.id}  {metrics}")
        if version.rehearsed is not None:
            start, took = version.rehearsed.start, self._platform.measure_step(run, "rehearse")
            self._screen.record_claim(
                f"a rehearsal costs at most {REHEARSAL:.0f} s beside the start of its server",
                took - start <= REHEARSAL,
                f"{took:.0f} s, of which the server started for {start:.1f} s",
            )
        return release

    async def _send_clean(self, traffic: TrafficGenerator, release: Release) -> None:
        self._screen.print_heading(
            "3  Clean traffic: every request and answer becomes an event, no alarm is raised"
        )
        model = _production_id(release)
        tally = traffic.switch_rows("clean")
        await self._wait_for_windows("drift", model, CLEAN_WINDOWS)
        seen = self._platform.list_verdicts("drift", model)
        alarms = [verdict for verdict in seen if verdict["alarm"]]
        self._screen.print_line(str(tally))
        self._screen.record_claim(
            "clean traffic raises no drift alarm",
            not alarms,
            f"{len(alarms)} alarms in {len(seen)} windows",
        )
        self._screen.record_claim(
            "clean digits are answered right",
            tally.accuracy > RECOVERED_ABOVE,
            format_percent(tally.accuracy),
        )
        self._screen.record_figure("accuracy on clean digits", format_percent(tally.accuracy))
        self._screen.record_figure("traffic", str(tally))
        await self._send_noise(traffic, model)

    async def _send_noise(self, traffic: TrafficGenerator, model: str) -> None:
        await self._wait_for_windows(
            "outlier", model, 1
        )  # so that all of the noise lies in one window
        tally = traffic.switch_rows("noise")
        await self._platform.wait_until(
            lambda: tally.sent >= NOISE_IMAGES, "the noise to be sent", within=SOON, every=0.02
        )
        traffic.switch_rows("clean")
        await asyncio.sleep(1)
        noise = set(tally.ids)

        def find_flagged() -> set[str] | None:
            alarms = [
                verdict
                for verdict in self._platform.list_verdicts("outlier", model)
                if verdict["alarm"]
            ]
            requests = {id for verdict in alarms for id in verdict["requests"]} & noise
            return requests if len(requests) > NOISE_IMAGES // 2 else None

        try:
            named = await self._platform.wait_until(find_flagged, "the outlier event", within=SOON)
        except LocalError:
            named = set()
        self._screen.record_claim(
            "noise images raise an outlier event that names them",
            len(named) > NOISE_IMAGES // 2,
            f"{len(named)} of {tally.sent} noise requests named",
        )
        # a window of clean digits, so that the drift of the noise is not counted with that of turned ones
        await self._wait_for_windows("outlier", model, 1)

    async def _wait_for_labels(self, traffic: TrafficGenerator, before: Release) -> WaitedAlarm:
        self._screen.print_heading(
            "4  The digits arrive turned by a quarter, and there are no labelled ones yet"
        )
        runs, tip = await self._platform.list_runs(), self._platform.read_tip()
        drifted = traffic.switch_rows("rotated")
        run = await self._wait_for_run(runs)

        async def find_wait() -> RetrainCause | None:
            waits = (await self._platform.read_decision()).waits
            return waits.cause if waits is not None else None

        cause = await self._platform.wait_until(find_wait, "the loop to wait for data", within=SOON)
        why = await self._platform.run_command(
            "why", self._platform.name, "--state", str(self._platform.state.root)
        )
        for sentence in why.strip().replace("\n", ". ").split(". "):
            self._screen.print_line(sentence.rstrip("."))
        self._screen.record_claim(
            "an alarm without new data trains nothing, and waits",
            self._platform.read_tip() == tip and self._platform.read_release() == before,
            f"run {run}: {(await self._platform.read_decision()).reason}",
        )
        return WaitedAlarm(run, cause, drifted)

    async def _send_rotated(
        self, traffic: TrafficGenerator, before: Release, waited: WaitedAlarm
    ) -> Release:
        self._screen.print_heading(
            "5  Labelled ones land in the data bucket: gate, rehearsal, shadow, canary, promotion"
        )
        model, drifted = _production_id(before), waited.tally
        runs = await self._platform.list_runs()
        await self._deliver_batches("rotated")
        started = await self._wait_for_run(runs)
        self._screen.print_line(f"the batches started run {started}", str(drifted))
        middle: TrafficTally | None = None
        candidate: str | None = None
        end = asyncio.get_running_loop().time() + RUN + ROLLOUT
        while True:
            release = await asyncio.to_thread(self._platform.read_release)
            if release.candidate is not None:
                candidate = release.candidate.id
            if release.phase == "canary" and middle is None:
                middle = traffic.switch_rows("rotated")
            if release.phase == "stable" and _production_id(release) != model:
                break
            if release.phase == "stable" and candidate is not None:
                raise LocalError(
                    f"candidate {candidate} was rejected", hint=self._platform.read_tip()
                )
            ended = await asyncio.to_thread(self._platform.read_outcome, started)
            if ended not in (None, "Succeeded") or asyncio.get_running_loop().time() > end:
                raise LocalError(
                    f"run {started} ended as {ended or 'unfinished'}", hint=self._logs_hint(started)
                )
            await asyncio.sleep(0.2)
        traffic.switch_rows("rotated")
        await self._platform.wait_until(
            self._is_applied, "the promotion to be applied", within=SOON
        )
        after = traffic.switch_rows("rotated")
        promotion = self._platform.read_tip()
        self._screen.print_line(
            f"release {_production_id(release)} is production", "promoted", promotion
        )
        below = await asyncio.to_thread(self._platform.read_release, f"{promotion}^")
        self._screen.record_claim(
            "a revert of the promotion is the release before it, alone",
            below == before,
            f"below it: {_production_id(below)} with {below.weights[_production_id(below)]} %, phase {below.phase}",
        )
        await self._wait_for_answers(after, SETTLED_REQUESTS)
        self._screen.print_line(f"before: {drifted}")
        if middle is not None:
            self._screen.print_line(f"canary: {middle}")
        self._screen.print_line(f"after:  {after}")
        await self._wait_for_windows("drift", _production_id(release), 2)
        quiet = self._platform.list_verdicts("drift", _production_id(release))[-2:]
        self._claim_drift(drifted, middle, after, [bool(verdict["alarm"]) for verdict in quiet])
        new = [run for run in await self._platform.list_runs() if run not in runs]
        alarms = sum(
            bool(verdict["alarm"]) for verdict in self._platform.list_verdicts("drift", model)
        )
        cause = await self._platform.run_git("log", "-1", f"--format=%({CAUSE})", promotion)
        self._screen.record_claim(
            "the alarms trained exactly one model, when there was something to learn",
            new == [started] and cause.strip() == waited.cause.text,
            f"{len(new)} training run(s) from {alarms} drift alarms",
        )
        return release

    def _claim_drift(
        self,
        before: TrafficTally,
        middle: TrafficTally | None,
        after: TrafficTally,
        quiet: list[bool],
    ) -> None:
        screen = self._screen
        screen.record_claim(
            "the first model fails on turned digits",
            before.accuracy < DRIFTED_BELOW,
            format_percent(before.accuracy),
        )
        screen.record_claim(
            "the new model does not",
            after.accuracy > RECOVERED_ABOVE,
            format_percent(after.accuracy),
        )
        failed = before.failed + (middle.failed if middle else 0) + after.failed
        screen.record_claim("no request failed on the way", failed == 0, f"{failed} failed")
        screen.record_claim(
            "the new model's own detector is quiet",
            not any(quiet),
            f"{sum(quiet)} alarms in {len(quiet)} windows",
        )
        screen.record_figure("accuracy on turned digits, before", format_percent(before.accuracy))
        if middle is not None:
            screen.record_figure("  … during the canary", format_percent(middle.accuracy))
        screen.record_figure("accuracy on turned digits, after", format_percent(after.accuracy))

    async def _mute_candidate(self, traffic: TrafficGenerator, release: Release) -> None:
        self._screen.print_heading(
            "6  A candidate that can't answer: its file has another name, and the server was forgotten"
        )
        project = self._platform.state.root / "demo" / "project"
        await asyncio.to_thread(rename_model_file, self._project, project)
        await self._platform.run_command(
            *("commit", str(project / self._spec), "--bump"),
            *("--state", str(self._platform.state.root)),
        )
        await self._platform.wait_until(self._is_applied, "the commit to be applied", within=SOON)
        await self._wait_for_cooldown()
        tally = traffic.switch_rows("rotated")
        run = await self._trigger_run("the model file has a new name")
        await self._platform.wait_until(
            lambda: self._platform.read_outcome(run), f"run {run} to end", within=RUN
        )
        self._screen.print_line(str(tally))
        decision = await self._platform.read_decision()
        self._screen.record_claim(
            "the rehearsal refuses a candidate that can't answer, before any traffic",
            decision.outcome == "refused"
            and decision.reason.startswith("rehearsal")
            and "NO_SUCHFILE" in decision.reason
            and self._platform.read_release() == release,
            decision.reason,
        )
        unharmed = tally.failed == 0 and tally.accuracy > RECOVERED_ABOVE
        answers = f"{tally.failed} failed, {format_percent(tally.accuracy)} right"
        self._screen.record_claim("no request of a caller met it", unharmed, answers)

    async def _bad_candidate(self, traffic: TrafficGenerator, release: Release) -> None:
        self._screen.print_heading("7  A bad candidate: batches whose labels were shuffled")
        await self._deliver_batches("shuffled")
        await self._wait_for_cooldown()
        tip = self._platform.read_tip()
        tally = traffic.switch_rows("rotated")
        run = await self._trigger_run("new batches")
        await self._platform.wait_until(
            lambda: self._platform.read_outcome(run), f"run {run} to end", within=RUN
        )
        self._screen.print_line(str(tally))
        now = self._platform.read_release()
        decision = await self._platform.read_decision()
        self._screen.record_claim(
            "the gate refuses a bad candidate",
            decision.outcome == "refused",
            f"{decision.outcome}: {decision.reason}",
        )
        tip_now = self._platform.read_tip()
        self._screen.record_claim(
            "production is untouched by it",
            now == release and tip_now == tip,
            f"production {_production_id(now)}, tip of the repository {tip_now[:10]}, before {tip[:10]}",
        )
        self._screen.record_claim(
            "production still answers right",
            tally.accuracy > RECOVERED_ABOVE,
            format_percent(tally.accuracy),
        )

    async def _roll_back(self, traffic: TrafficGenerator, first: Release, second: Release) -> None:
        self._screen.print_heading("8  Rollback: the previous release comes back by one commit")
        traffic.pause_sending()
        before = int((await self._platform.run_git("rev-list", "--count", "main")).strip())
        await self._platform.run_command(
            "rollback", self._platform.name, "--state", str(self._platform.state.root)
        )
        commits = (
            int((await self._platform.run_git("rev-list", "--count", "main")).strip()) - before
        )
        await self._platform.wait_until(self._is_applied, "the rollback to be applied", within=SOON)
        # unlogged, so that no detector counts them: that of the old model would start a new run at once
        tally = traffic.switch_rows("rotated", logged=False)
        await self._wait_for_answers(tally, PROOF_REQUESTS)
        traffic.pause_sending()
        self._screen.print_line(str(tally))
        now = _production_id(self._platform.read_release())
        self._screen.record_claim(
            "one commit restores the previous release",
            commits == 1 and now == _production_id(first) != _production_id(second),
            f"{commits} commit, production {now}",
        )
        self._screen.record_claim(
            "the previous model answers again (turned digits puzzle it)",
            tally.accuracy < DRIFTED_BELOW,
            format_percent(tally.accuracy),
        )

    @contextlib.asynccontextmanager
    async def _open_traffic(self) -> AsyncIterator[TrafficGenerator]:
        verdicts = asyncio.create_task(self._platform.follow_verdicts())
        prefix = f"demo-{secrets.token_hex(3)}"
        url = self._platform.predictions
        try:
            async with TrafficGenerator.open_traffic(
                url, self._rows, rate=self._rate, prefix=prefix
            ) as traffic:
                yield traffic
        finally:
            verdicts.cancel()
            await asyncio.gather(verdicts, return_exceptions=True)

    async def _deliver_batches(self, kind: str) -> None:
        folder = self._platform.state.root / "demo" / "labelled"
        await asyncio.to_thread(
            self._platform.upload_files, sorted(folder.glob(f"{kind}-*.npz")), self._data
        )
        self._screen.print_line(f"labelled {kind} digits are in the data bucket", self._data)

    async def _trigger_run(self, cause: str) -> str:
        """Start a run as a person would, and return its name."""
        printed = await self._platform.run_command(
            *("trigger", self._platform.name, "--state", str(self._platform.state.root)),
            *("--cause", cause, "--output", "json"),
        )
        return str(json.loads(printed)["run"])

    def _is_applied(self) -> str | None:
        try:
            return self._platform.applied_commit()
        except LocalError:
            return None

    async def _released_by(self, run: str) -> Release:
        """Wait for the release that has the version of a run as production."""

        def find_release() -> Release | None:
            release = self._platform.read_release()
            if release.production is not None and release.production.run == run:
                return release
            ended = self._platform.read_outcome(run)
            if ended not in (None, "Succeeded"):
                raise LocalError(f"run {run} ended as {ended}", hint=self._logs_hint(run))
            return None

        return await self._platform.wait_until(
            find_release, f"run {run} to be released", within=RUN
        )

    async def _wait_for_run(self, earlier: tuple[str, ...]) -> str:
        async def find_run() -> str | None:
            return next(
                iter(run for run in await self._platform.list_runs() if run not in earlier), None
            )

        return await self._platform.wait_until(
            find_run, "drifted traffic to start a run", within=SOON
        )

    async def _wait_for_windows(self, detector: str, release: str, more: int) -> None:
        """Wait until the detector has scored `more` windows from now on."""
        last = max(
            (verdict["window"] for verdict in self._platform.list_verdicts(detector, release)),
            default=0,
        )

        def are_scored() -> bool:
            return len(self._platform.list_verdicts(detector, release, after=last)) >= more

        expected = more * self._window / self._rate
        await self._platform.wait_until(
            are_scored, f"{more} windows of the {detector} detector", within=3 * expected + SOON
        )

    async def _wait_for_answers(self, tally: TrafficTally, number: int) -> None:
        within = 3 * number / self._rate + SOON
        await self._platform.wait_until(
            lambda: tally.answered >= number, f"{number} answers", within=within
        )

    async def _wait_for_cooldown(self) -> None:
        async def is_idle() -> bool:
            return (await self._platform.read_decision()).phase == "idle"

        await self._platform.wait_until(is_idle, "the cooldown to end", within=SOON)

    def _logs_hint(self, name: str) -> str:
        return f"see `driftloop logs {name} --state {self._platform.state.root}`"


def _production_id(release: Release) -> str:
    if release.production is None:
        raise LocalError(f"pipeline `{release.name}` has no production version")
    return release.production.id
