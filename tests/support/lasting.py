"""Windows judged one after the other as a detector does, and when the decision acts on them."""

import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from support.detector import profile_rows
from support.traffic import DAY, Traffic, fit_traffic

from driftloop.contract.budgets import AlarmBudget, count_windows, find_rate
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings, RetrainPolicy
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import SECOND
from driftloop.contract.verdicts import WindowRecord
from driftloop.retrain.decision import step_decision
from driftloop.retrain.state import AlarmEvent, RetrainState
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.judging import WindowJudge, build_judge
from driftloop.services.detector.stream.scoring import build_verdict
from driftloop.services.detector.stream.windows import EventWindow

Table = NDArray[np.float64]
NAMES = DetectorStreams("n", "p", "drift", "r1")
ROWS, COLUMNS, MOVED, CONSECUTIVE = 200, 30, 3, 2
"""Rows of a window, its columns, the one that moves, and alarms in a row that count."""


def window(number: int, rows: Table) -> EventWindow:
    """The rows of a window by events of one row a second."""
    first = (number - 1) * len(rows) + 1
    last = first + len(rows) - 1
    return EventWindow(
        number=number,
        first=first,
        last=last,
        rows=rows,
        requests=("",) * len(rows),
        events=len(rows),
        faults=RowFaults(),
        since=first * SECOND,
        until=last * SECOND,
        end="rows",
        full=len(rows),
        repeated=0,
    )


def verdict_of(judge: WindowJudge, number: int, rows: Table) -> WindowRecord:
    """The verdict as the stream has it."""
    each = window(number, rows)
    record = build_verdict(NAMES, each, judge.judge_window(each))
    stored = WindowRecord.read(json.loads(json.dumps(to_json(record))))
    return replace(stored, time=None)


def fit_watch(reference: Table, budget: AlarmBudget | None = None) -> WindowJudge:
    """A judge of windows of 200 rows, with an `alarmRate` of 0.01 or a part of a budget."""
    rate = 0.01
    if budget is not None:
        windows = count_windows(budget.traffic, ROWS, None, ROWS)
        rate = find_rate(budget.month, windows, budget.least, budget.of)
    settings = DetectorSettings("tabular", window=ROWS, alarm_rate=rate, budget=budget)
    profile = profile_rows(reference, (), lambda _: ())
    return build_judge(fit_detector(settings, reference, profile), settings, reference)


def find_action(
    seed: int, *, rows: int, shift: float, windows: int, budget: AlarmBudget | None = None
) -> int | None:
    """Rows after which two alarms in a row, or one of windows together, ask for a run, when a column of 30 has
    moved by so many standard deviations; None: nothing does."""
    random = np.random.default_rng(seed)
    judge = fit_watch(random.normal(size=(rows, COLUMNS)), budget)
    policy = RetrainPolicy(consecutive=CONSECUTIVE, on=("drift",))
    state = RetrainState("n.p")
    for number in range(1, windows + 1):
        traffic = random.normal(size=(ROWS, COLUMNS))
        traffic[:, MOVED] += shift
        verdict = verdict_of(judge, number, traffic)
        if verdict.alarm:
            alarm = AlarmEvent("drift", "r1", number, True, "id", lasting=verdict.lasting)
            state, _ = step_decision(state, alarm, float(number), policy)
        if state.phase == "pending":
            return number * ROWS
    return None


def count_lasting(traffic: Traffic, *, seed: int, windows: int, reference: int) -> int:
    """Alarms of windows together, of one row a second after the four days of the reference."""
    times = np.linspace(0, 4 * DAY, reference, endpoint=False)
    fitted, detector = fit_traffic("tabular", traffic, seed=seed, alarm_rate=0.01, times=times)
    judge = build_judge(detector, fitted.config, fitted.reference)
    random = np.random.default_rng([seed, 1])
    alarms = 0
    for number in range(1, windows + 1):
        at = 4 * DAY + number * ROWS + np.arange(float(ROWS))
        verdict = judge.judge_window(window(number, traffic(random, at))).verdict
        alarms += verdict.lasting is not None
    return alarms
