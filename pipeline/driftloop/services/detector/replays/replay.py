"""Rows of files through the very code that judges requests: each row becomes a request as a caller would
send it, is decoded, cut into windows and scored; and so are answers. The same files give the same verdicts.

Rows have the times of a column, or of a stated rate; without either a window closes when it is full, also
where `atMost` would close it before. The rows are replayed as they are, and with each change that is asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.replays import (
    ReplayOrder,
    ReplayRecord,
    ReplayReport,
)
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import SECOND
from driftloop.contract.verdicts import WindowRecord
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.replays.asking import (
    AnsweredRow,
    AskedRow,
    AskedRows,
    order_answers,
    order_rows,
)
from driftloop.services.detector.replays.injecting import change_rows
from driftloop.services.detector.rows.decoding import choose_decoder
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.tables import TableFile
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.judging import WindowJudge, build_judge
from driftloop.services.detector.stream.scoring import build_verdict
from driftloop.services.detector.stream.windows import EventWindow, WindowCutter, WindowRule

REPLAY = "replay"
"""Stands for the release, which the rows are not of."""


def replay_tables(
    fitted: DetectorArtifact,
    tables: Sequence[TableFile],
    order: ReplayOrder,
    answers: Sequence[AnsweredRow] | None = None,
) -> ReplayReport:
    """Replay rows through a detector of requests, one request each, or the answers to them through one of
    answers; ArtifactError for one of answers without any, and for rows or changes that do not fit."""
    if fitted.config.kind == "quality":
        raise ArtifactError(
            "the detector judges answers with their labels, which no file of rows has"
        )
    if fitted.profile.of == "rows":
        asked = order_rows(tables, fitted.profile, order)
    elif answers is not None:
        asked = order_answers(answers, tables, order)
    else:
        raise ArtifactError("the detector judges answers, rows of files are requests")
    starts = tuple(change.row or len(asked.rows) // 2 + 1 for change in order.changes)
    for row in (*starts, *order.marks):
        if row > len(asked.rows):
            raise ArtifactError(
                f"a change begins at row {row}, must be one of the {len(asked.rows)} rows"
            )
    scene = _Scene.prepare(fitted, asked, order, starts)
    detector = fit_detector(
        fitted.config, fitted.reference, fitted.profile, calibration=fitted.calibration
    )
    judge = build_judge(detector, fitted.config, fitted.reference)
    plain, *changed = scene.play(fitted.config, judge)
    moments = {1, len(asked.rows), *starts, *order.marks}
    return ReplayReport(
        plain=plain.record(asked),
        changed=tuple(course.record(asked) for course in changed),
        starts=starts,
        times=tuple((row, asked.find_second(row)) for row in sorted(moments)),
        unordered=asked.unordered,
    )


@dataclass
class _Course:
    """A replay that goes on."""

    cutter: WindowCutter
    judge: WindowJudge
    timed: bool
    windows: list[WindowRecord] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def fork(self) -> "_Course":
        """Return a course that goes on from here by itself."""
        return replace(
            self,
            cutter=deepcopy(self.cutter),
            judge=self.judge.fork(),
            windows=list(self.windows),
            closed=list(self.closed),
            rejected=self.rejected.copy(),
        )

    def add_rows(self, first: int, decoded: Sequence[DecodedRows], times: Sequence[int]) -> None:
        """Take the rows from the number `first` on."""
        names = DetectorStreams(REPLAY, REPLAY, REPLAY, REPLAY)
        for number, (row, time) in enumerate(zip(decoded, times, strict=True), first):
            self.rejected.update(row.faults.rejected)
            for window in self.cutter.add_event(number, time, row, f"row-{number}").windows:
                verdict = build_verdict(names, window, self.judge.judge_window(window))
                self.windows.append(_drop_times(verdict))
                if self.timed:
                    self.closed.append(_find_close(window, self.cutter.rule))

    def record(self, asked: AskedRows) -> ReplayRecord:
        return ReplayRecord(
            windows=tuple(self.windows),
            closed=tuple(self.closed),
            rows=len(asked.rows),
            waiting=self.cutter.waiting,
            rejected=tuple(self.rejected.most_common()),
        )


@dataclass(frozen=True)
class _Scene:
    """Decoded rows, as they are and with each change."""

    rows: list[DecodedRows]
    times: tuple[int, ...]
    changed: list[tuple[int, list[DecodedRows]]]
    """First changed row, counted from 0, and the rows from there on."""
    timed: bool

    @classmethod
    def prepare(
        cls,
        fitted: DetectorArtifact,
        asked: AskedRows,
        order: ReplayOrder,
        starts: Sequence[int],
    ) -> "_Scene":
        decoder = choose_decoder(fitted, fitted.config)

        def decode(rows: Sequence[AskedRow | AnsweredRow]) -> list[DecodedRows]:
            bodies = (row.encode() for row in rows)
            return [
                DecodedRows(decoder.no_rows(), RowFaults())
                if body is None
                else decoder.decode_rows(body)
                for body in bodies
            ]

        requests = [row for row in asked.rows if isinstance(row, AskedRow)]
        changed = [
            (start - 1, decode(change_rows(requests, start, change, fitted.profile, order.seed)))
            # what it does not look at stays as it is, and so do answers, which nobody knows of changed rows
            if requests and change.column in fitted.profile.names
            else (len(asked.rows), [])
            for change, start in zip(order.changes, starts, strict=True)
        ]
        timed = order.time is not None or order.rate is not None
        return cls(decode(asked.rows), asked.times, changed, timed)

    def play(self, config: DetectorSettings, judge: WindowJudge) -> list[_Course]:
        """Return the course of the rows as they are, and of those with each change."""
        rule = WindowRule.from_settings(config)
        if not self.timed:
            rule = WindowRule(config.window, config.window)
        plain = _Course(WindowCutter(rule), judge, self.timed)
        forks: dict[int, _Course] = {}
        done = 0
        for place in sorted({place for place, _ in self.changed} | {len(self.rows)}):
            plain.add_rows(done + 1, self.rows[done:place], self.times[done:place])
            done = place
            forks[place] = plain.fork()
        courses = []
        for place, rows in self.changed:
            course = forks[place].fork()
            course.add_rows(place + 1, rows, self.times[place:])
            courses.append(course)
        return [plain, *courses]


def _find_close(window: EventWindow, rule: WindowRule) -> float:
    """Return when a window closed: one that was due closes without waiting for the next event."""
    due = window.since + rule.at_most if window.end == "time" and rule.at_most else 0
    return max(window.until, due) / SECOND


def _drop_times(verdict: WindowRecord) -> WindowRecord:
    """Return a verdict without times, which are those of no traffic, and without the counts of its rows, which
    are there."""
    details = _without_times(verdict.details)
    if "lasting" in details:
        details["lasting"] = _without_times(details["lasting"])
    return replace(verdict, time=None, details=details, counts=None)


def _without_times(details: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("from", "to")}
