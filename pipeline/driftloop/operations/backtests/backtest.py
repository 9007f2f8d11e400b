"""Replay rows of files through the monitors of a spec, before they watch traffic: fitted as a run fits them, in the
monitor image's environment, on the training side of the data; and through the decision, whose runs nothing starts.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json, to_json
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.replays import (
    INJECTED_KINDS,
    InjectedChange,
    InjectedKind,
    ReplayOrder,
    ReplayReport,
)
from driftloop.contract.trees import PROFILE_FILE
from driftloop.errors import SpecError, StepError
from driftloop.local.kubelet.images import LocalImage
from driftloop.operations.backtests.replays import BacktestResult, MonitorReplay
from driftloop.plan import Monitor, Plan, make_plan
from driftloop.retrain.causes import DAY
from driftloop.retrain.simulation import RUN
from driftloop.spec import Pipeline
from driftloop.spec.detector import AlibiDetect

UNDATED = 365 * DAY
"""Seconds since 1970 before which a first row has no date: its time counts from the beginning of the rows."""
SIZES: dict[InjectedKind, float] = {"shift": 1.0, "noise": 1.0, "category": 0.1, "lost": 0.0}
"""How much a change is when nothing is said."""

_CHANGE = re.compile(
    rf"({'|'.join(INJECTED_KINDS)}):(.+?)(?::([+-]?\d+(?:\.\d+)?))?(?:@([1-9]\d*))?"
)


def read_change(text: str) -> InjectedChange | None:
    """Return the change of `KIND:COLUMN[:SIZE][@ROW]`, such as `shift:fare:0.5@3000`; None for another text,
    and for a size that means nothing."""
    match = _CHANGE.fullmatch(text)
    if match is None:
        return None
    kind: InjectedKind = next(each for each in INJECTED_KINDS if each == match[1])
    size = SIZES[kind] if match[3] is None else float(match[3])
    bad = {"shift": size == 0, "noise": size <= 0, "category": not 0 < size <= 1, "lost": size != 0}
    if bad[kind]:
        return None
    row = None if match[4] is None else int(match[4])
    return InjectedChange(kind=kind, column=match[2], size=size, row=row)


def choose_changes(profiles: Iterable[TableProfile]) -> tuple[InjectedChange, ...]:
    """Return one change of each kind, of the columns with the most different values: a number for a shift and
    noise, categories for a new one, and the first column for one that is lost."""
    columns = list({each.name: each for profile in profiles for each in profile.columns}.values())
    numbers = [each for each in columns if each.type == "number" and each.distinct > 1]
    categories = [each for each in columns if each.type == "category"]
    chosen: list[tuple[InjectedKind, ColumnProfile]] = []
    if numbers:
        widest = max(numbers, key=lambda each: each.distinct)
        chosen += [("shift", widest), ("noise", widest)]
    if categories:
        chosen.append(("category", max(categories, key=lambda each: each.distinct)))
    if columns:
        chosen.append(("lost", columns[0]))
    return tuple(
        InjectedChange(kind=kind, column=column.name, size=SIZES[kind]) for kind, column in chosen
    )


@dataclass(frozen=True)
class AnswerFiles:
    """Files that monitors of answers and of labels are fitted on, and those that they judge."""

    rehearsed: Path
    """The answers.jsonl of a rehearsal."""
    given: Path | None
    """Answers to the rows that are replayed, one a line; None: the rows are captured traffic, which has them."""
    labels: Path | None = None
    """Labels by the requests of captured traffic, one a line."""


@dataclass(frozen=True)
class FittedMonitor:
    """A monitor, fitted on the data that a run has split, or on the answers of a rehearsal."""

    monitor: Monitor
    artifact: Path
    profile: TableProfile

    @property
    def looks_at_requests(self) -> bool:
        """Return False for a monitor of answers, or of labels."""
        return self.monitor.detector.on == "request"


@dataclass(frozen=True)
class Backtest:
    """A backtest of a project."""

    plan: Plan
    image: LocalImage
    """The monitor image."""
    work: Path
    report: Callable[[str], None]
    run: float = RUN
    """Seconds that a run is taken to last."""
    answers: AnswerFiles | None = None
    """None: monitors of answers and of labels are not replayed."""

    def fit_monitors(self, data: Path) -> tuple[FittedMonitor, ...]:
        """Fit each monitor that can be replayed; StepError when one can't be fitted, or there is none."""
        replayed: list[Monitor] = []
        for monitor in (*self.plan.request_monitors, *self.plan.answer_monitors):
            why = self._find_obstacle(monitor)
            if why is None:
                replayed.append(monitor)
            else:
                self.report(f"{monitor.name} is not replayed: {why}")
        if not replayed:
            raise StepError(
                "no monitor can be replayed", hint="add one of ours, such as `drift: {}`"
            )
        return tuple(self._fit_monitor(each, data) for each in replayed)

    def replay_rows(
        self,
        fitted: Sequence[FittedMonitor],
        rows: Path,
        order: ReplayOrder,
        changed_at: int | None = None,
    ) -> BacktestResult:
        """Replay rows through the monitors and the decision; StepError when they can't be read, or a change
        does not fit them."""
        for change in order.changes:
            self._check_column(change, fitted)
        if changed_at is not None:
            order = replace(order, marks=(changed_at,))
        replays = tuple(self._replay_monitors(fitted, rows, order))
        if late := replays[0].report.unordered:
            self.report(
                f"{late} rows are asked in another order than that of the files, by `{order.time}`"
            )
        policy = self.plan.retrain_policy
        result = BacktestResult(policy, replays, order.changes, self.run, changed_at)
        if policy.quiet is not None and result.began < UNDATED:
            self.report(
                "quiet hours are left out: the rows have no dates (--time names their column)"
            )
            result = replace(result, policy=replace(policy, quiet=None))
        if policy.least_new_rows is not None:
            self.report(
                f"retrain.leastNewRows is left out: each run is taken to find {policy.least_new_rows} new labelled rows"
            )
        return result

    def try_pipeline(
        self,
        pipeline: Pipeline,
        data: Path,
        rows: Path,
        order: ReplayOrder,
        changed_at: int | None = None,
    ) -> BacktestResult | None:
        """Fit and replay the monitors of another spec of the same data; None when one can't be, which is
        told."""
        try:
            plan = make_plan(pipeline)
            sizes = (monitor.detector.window_rows for monitor in plan.monitors)
            windows = ", ".join(map(str, dict.fromkeys(sizes)))
            other = replace(self, plan=plan, report=lambda _: None)
            result = other.replay_rows(other.fit_monitors(data), rows, order, changed_at)
        except (SpecError, StepError) as error:
            self.report(f"not tried: {error.message}")
            return None
        self.report(f"tried: windows of {windows} rows")
        return result

    def _find_obstacle(self, monitor: Monitor) -> str | None:
        """Return why a monitor can't be replayed; None for one that can."""
        if monitor.detector.on == "response" and self.answers is None:
            return (
                "its reference are the answers of a rehearsal, and it judges answers: --rehearsal and --answers "
                "name files of both, captured traffic has the answers itself"
            )
        if monitor.detector.on == "label" and self.answers is None:
            return (
                "its reference are the labelled answers of a rehearsal, and it judges answers with labels: --rehearsal "
                "names the one, --answers and the column `data.target`, or captured traffic and --labels, the other"
            )
        if monitor.slices:
            return "it judges slices, whose reference are the rows that the rehearsal asked"
        if monitor.reads_requests:
            return "it estimates errors from requests, and learns them of the rows that the rehearsal asked"
        if monitor.function_image is not None:
            return "its function runs in a container of its own"
        if isinstance(monitor.detector, AlibiDetect):
            return "its class of alibi-detect runs in an image of its own"
        return None

    def _check_column(self, change: InjectedChange, fitted: Sequence[FittedMonitor]) -> None:
        profiles = (each.profile for each in fitted if each.looks_at_requests)
        names = list(dict.fromkeys(name for profile in profiles for name in profile.names))
        if change.column not in names:
            shown = ", ".join(f"`{name}`" for name in names[:20])
            raise StepError(
                f"no monitor looks at a column `{change.column}`",
                hint=f"they look at {shown}{' ...' if len(names) > 20 else ''}",
            )

    def _fit_monitor(self, monitor: Monitor, data: Path) -> FittedMonitor:
        artifact = self.work / "detectors" / monitor.name
        source = ("--reference", str(data), *self.plan.column_options)
        if monitor.detector.on != "request" and self.answers is not None:
            source = ("--answers", str(self.answers.rehearsed))
        told = self._call(
            *("fit", "--detector", monitor.detector_config, *source, "--out", str(artifact)),
            doing=f"{monitor.name} can't be fitted",
        )
        self.report(f"{monitor.name}: {told.strip()}")
        text = (artifact / PROFILE_FILE).read_text()
        profile = TableProfile.read(parse_json(text, label=PROFILE_FILE, longest=LONGEST_FILE))
        return FittedMonitor(monitor, artifact, profile)

    def _replay_monitors(
        self, fitted: Sequence[FittedMonitor], rows: Path, order: ReplayOrder
    ) -> Iterator[MonitorReplay]:
        for each in fitted:
            try:
                yield self._replay_monitor(each, rows, order)
            except StepError as error:
                # whether rows have labels is known when they are read
                if each.monitor.detector.on != "label" or len(fitted) == 1:
                    raise
                self.report(f"{each.monitor.name} is not replayed: {error.hint}".strip())

    def _replay_monitor(
        self, fitted: FittedMonitor, rows: Path, order: ReplayOrder
    ) -> MonitorReplay:
        name, answers = fitted.monitor.name, self.answers
        given: list[str] = []
        if not fitted.looks_at_requests and answers is not None and answers.given is not None:
            given += ["--answers", str(answers.given)]
        if fitted.monitor.detector.on == "label" and answers is not None and answers.labels:
            given += ["--labels", str(answers.labels)]
        printed = self._call(
            *("replay", "--artifact", str(fitted.artifact), "--on", str(rows)),
            *("--order", json.dumps(to_json(order)), *given),
            doing=f"{name} can't judge the rows",
        )
        try:
            report = ReplayReport.parse(printed)
        except DocumentError as error:
            raise StepError(f"{name}: {error.message}") from error
        return MonitorReplay(fitted.monitor, fitted.profile.names, report)

    def _call(self, *words: str, doing: str) -> str:
        command: Sequence[str] = [self.image.find_program("driftloop-detector"), *words]
        environment = {**self.image.build_environment(), "HOME": str(self.work)}
        done = subprocess.run(
            command, env=environment, cwd=self.work, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StepError(doing, hint=done.stderr.strip()[-2000:] or "it said nothing")
        return done.stdout
