"""Rows of files through the very code that judges requests: each row becomes a request as a caller would
send it, is decoded, cut into windows and scored; and so are answers, and answers with their labels. Captured traffic
has its requests and answers itself. The same files give the same verdicts.

Rows have the times of a column, or of a stated rate; without either a window closes when it is full, also
where `atMost` would close it before. The rows are replayed as they are, and with each change that is asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.labels import Label
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
    RawRow,
    ReplayedRow,
    order_answers,
    order_rows,
)
from driftloop.services.detector.replays.captured import CapturedTraffic
from driftloop.services.detector.replays.injecting import change_rows
from driftloop.services.detector.replays.labelling import join_labels, label_tables
from driftloop.services.detector.rows.decoding import choose_decoder
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.tables import TableFile
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
    """Replay rows through a detector of requests, one request each, the answers to them through one of answers, or
    these with a column of labels; ArtifactError when what it judges is not there, and for rows or changes that do not
    fit."""
    _refuse_pairs(fitted)
    if fitted.profile.of == "rows":
        return _replay_rows(fitted, order_rows(tables, fitted.profile, order), order)
    if answers is None:
        raise ArtifactError(
            "the detector judges answers, rows of files are requests",
            hint="name the answers to them: --answers; captured traffic has them",
        )
    if fitted.profile.of == "answers" or fitted.config.kind == "estimate":
        return _replay_rows(fitted, order_answers(answers, tables, order), order)
    if order.target is None:
        raise ArtifactError("the detector judges answers with their labels, and none are named")
    labelled = label_tables(answers, tables, order.target)
    asked = order_answers(labelled, tables, order)
    return _replay_rows(fitted, _delay_labels(asked, order), order)


def _refuse_pairs(fitted: DetectorArtifact) -> None:
    """ArtifactError for a detector whose rows are answers together with their requests."""
    if fitted.config.kind == "estimate" and fitted.profile.inputs:
        raise ArtifactError(
            "the detector estimates errors from requests and answers together, which a replay has one by one"
        )


def replay_captured(
    fitted: DetectorArtifact,
    traffic: CapturedTraffic,
    order: ReplayOrder,
    labels: Mapping[str, Label] | None = None,
) -> ReplayReport:
    """Replay captured traffic through a detector: requests, answers, or answers with the labels of their requests, at
    the times at which they came; ArtifactError when there are no labels, or changes do not fit."""
    _refuse_pairs(fitted)
    rows: Sequence[ReplayedRow]
    match fitted.profile.of:
        case "rows":
            rows = traffic.ask_rows(fitted.profile)
        case "answers":
            rows = traffic.answer_rows()
        case "labelled" if fitted.config.kind == "estimate":
            rows = traffic.answer_rows()
        case "labelled":
            if labels is None:
                raise ArtifactError(
                    "the detector judges answers with their labels, which captured traffic does not have",
                    hint="name a file of them: --labels",
                )
            rows = join_labels(traffic.answer_rows(), traffic.requests, labels)
        case _:
            assert_never(fitted.profile.of)
    asked = AskedRows(tuple(rows), traffic.times, 0, timed=True)
    if fitted.profile.of == "labelled":
        asked = _delay_labels(asked, order)
    return _replay_rows(fitted, asked, order)


def _delay_labels(asked: AskedRows, order: ReplayOrder) -> AskedRows:
    """Return answers with labels at the times of these."""
    later = round(order.delay * SECOND)
    return replace(asked, times=tuple(time + later for time in asked.times))


def _replay_rows(fitted: DetectorArtifact, asked: AskedRows, order: ReplayOrder) -> ReplayReport:
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
    private: tuple[str, ...] = ()
    """Columns whose values its verdicts must not tell."""
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
                judged = self.judge.judge_window(window)
                verdict = build_verdict(names, window, judged, private=self.private)
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

        def decode(rows: Sequence[ReplayedRow]) -> list[DecodedRows]:
            return [row.decode(decoder) for row in rows]

        requests = [row for row in asked.rows if isinstance(row, AskedRow | RawRow)]
        changed = [
            (start - 1, decode(change_rows(requests, start, change, fitted.profile, order.seed)))
            # what it does not look at stays as it is, and so do answers, which nobody knows of changed rows
            if requests and change.column in fitted.profile.names
            else (len(asked.rows), [])
            for change, start in zip(order.changes, starts, strict=True)
        ]
        return cls(decode(asked.rows), asked.times, changed, asked.timed)

    def play(self, config: DetectorSettings, judge: WindowJudge) -> list[_Course]:
        """Return the course of the rows as they are, and of those with each change."""
        rule = WindowRule.from_settings(config)
        if not self.timed:
            rule = WindowRule(config.window, config.window)
        plain = _Course(WindowCutter(rule), judge, self.timed, config.private or ())
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
