"""A backtest as a picture (SVG): windows over time, each monitor's score against its threshold, alarms, runs.

A panel for each monitor shows the rows as they are, one for each change what it makes of them. The height of a window is
its score as a multiple of the threshold (of a p-value: of its logarithm), on a logarithmic scale; above the dashed line
it alarms. Pointing at a window shows its rows and what moved.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as Xml

from driftloop.contract.replays import ReplayRecord
from driftloop.contract.times import format_time
from driftloop.contract.verdicts import WindowRecord, describe_changes, read_changes
from driftloop.operations.backtests.replays import MOST_NAMED, BacktestResult, MonitorReplay
from driftloop.pages.levels import find_height, measure_level
from driftloop.retrain.simulation import SimulatedLoop
from driftloop.spec.detector import ChiSquared, CramerVonMises, KolmogorovSmirnov
from driftloop.text.words import count_noun

WIDTH, LEFT, RIGHT = 980, 20, 20
TALL, LOW, GAP = 90, 46, 30
"""Heights of a panel of the rows as they are, and of one with a change; space above each."""
TICKS = (1, 10, 100)
DAY = 86400.0
SINCE_1970 = 3e8
"""Seconds from which on a time is one of a calendar."""
QUIET, ALARM, RUN, LINE, INK = "#5b8db8", "#d55e00", "#6a3d9a", "#8a8a8a", "#222222"


def draw_result(result: BacktestResult) -> str:
    """Return the picture of a backtest as the text of an .svg file."""
    return _Picture(result).draw()


@dataclass
class _Picture:
    result: BacktestResult
    height: float = 0.0
    root: Xml.Element = field(default_factory=lambda: Xml.Element("svg"))

    def draw(self) -> str:
        result = self.result
        loop = result.simulate_loop()
        self._write(LEFT, 22, _describe_rows(result), size=15, weight="bold")
        self._write(LEFT, 40, _describe_runs(loop, result), size=12)
        self._draw_key()
        self.height = 62
        for replay in result.replays:
            title = f"{replay.monitor.name} ({replay.monitor.detector.detector})"
            self._draw_panel(
                replay, replay.plain, loop, changed_at=result.changed_at, title=title, height=TALL
            )
        for place, change in enumerate(result.changes):
            start = result.replays[0].report.starts[place]
            changed = result.simulate_loop(place)
            self._write(
                LEFT, self.height + 26, f"{change.text} from row {start} on", size=13, weight="bold"
            )
            self.height += 16
            for replay in result.replays:
                record, title = replay.report.changed[place], replay.monitor.name
                self._draw_panel(replay, record, changed, changed_at=start, title=title, height=LOW)
        self._draw_axis()
        self.root.attrib.update(
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {WIDTH} {self.height:.0f}",
                "role": "img",
                "font-family": "system-ui, sans-serif",
            }
        )
        name = Xml.Element("title")
        name.text = f"Backtest: {_describe_rows(result)}"
        self.root.insert(0, name)
        self.root.insert(
            1, Xml.Element("rect", {"width": "100%", "height": "100%", "fill": "white"})
        )
        Xml.indent(self.root)
        return Xml.tostring(self.root, encoding="unicode") + "\n"

    def _draw_key(self) -> None:
        place = WIDTH - RIGHT - 330.0
        for color, word in ((QUIET, "quiet"), (ALARM, "alarm"), (RUN, "run starts")):
            self._add("rect", x=place, y=13, width=10, height=10, fill=color)
            self._write(place + 15, 22, word, size=12)
            place += 70
        self._add("line", x1=place + 20, y1=18, x2=place + 44, y2=18, stroke=INK, dash="4 3")
        self._write(place + 50, 22, "threshold", size=12)

    def _draw_panel(
        self,
        replay: MonitorReplay,
        record: ReplayRecord,
        loop: SimulatedLoop,
        *,
        changed_at: int | None,
        title: str,
        height: float,
    ) -> None:
        top = self.height + GAP
        bottom = top + height
        alarms = sum(window.alarm for window in record.windows)
        words = (
            f"{title}: {count_noun(len(record.windows), 'window')}, {count_noun(alarms, 'alarm')}"
        )
        self._write(LEFT, top - 6, words, size=12)
        self._add("rect", x=LEFT, y=top, width=self._width, height=height, fill="#f6f6f6")
        before = self.result.began
        for window, closed in zip(record.windows, record.closed, strict=True):
            level = find_height(_measure_level(replay, window)) * height
            left, right = self._find_place(before), self._find_place(closed)
            bar = self._add(
                "rect",
                x=left,
                y=bottom - level,
                width=max(right - left - 0.6, 0.8),
                height=level,
                fill=ALARM if window.alarm else QUIET,
            )
            Xml.SubElement(bar, "title").text = _describe_window(window)
            before = closed
        for tick in TICKS if height == TALL else TICKS[:1]:
            y = bottom - find_height(tick) * height
            dash, color = ("4 3", INK) if tick == 1 else ("1 4", LINE)
            self._add("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, stroke=color, dash=dash)
            if height == TALL:
                self._write(WIDTH - RIGHT - 2, y - 2, f"{tick} x", size=9, anchor="end")
        if changed_at is not None:
            self._draw_change(self._find_place(self.result.find_second(changed_at)), top, bottom)
        for run in loop.runs:
            if run.monitor == replay.monitor.name:
                mark = self._draw_run(self._find_place(run.at), top, bottom)
                Xml.SubElement(mark, "title").text = f"run after row {run.row}: {run.words}"
        self.height = bottom

    def _draw_change(self, x: float, top: float, bottom: float) -> None:
        self._add("line", x1=x, y1=top - 4, x2=x, y2=bottom, stroke=INK, width=1.5)

    def _draw_run(self, x: float, top: float, bottom: float) -> Xml.Element:
        self._add("line", x1=x, y1=top, x2=x, y2=bottom, stroke=RUN, width=1.2)
        points = f"{x - 5:.1f},{top - 7:.1f} {x + 5:.1f},{top - 7:.1f} {x:.1f},{top + 1:.1f}"
        return self._add("polygon", points=points, fill=RUN)

    def _draw_axis(self) -> None:
        y = self.height + 16
        began, ended = self.result.began, self.result.ended
        for part in range(5):
            second = began + (ended - began) * part / 4
            anchor = {0: "start", 4: "end"}.get(part, "middle")
            text = _format_moment(second, began, ended)
            self._write(self._find_place(second), y, text, size=11, anchor=anchor)
        self.height = y + 12

    @property
    def _width(self) -> float:
        return WIDTH - LEFT - RIGHT

    def _find_place(self, second: float) -> float:
        began, ended = self.result.began, self.result.ended
        part = (second - began) / (ended - began) if ended > began else 0.0
        return LEFT + self._width * min(max(part, 0.0), 1.0)

    def _write(self, x: float, y: float, text: str, *, size: int, **more: str) -> None:
        names = {"weight": "font-weight", "anchor": "text-anchor"}
        attributes = {names[name]: value for name, value in more.items()}
        attributes |= {"x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": str(size), "fill": INK}
        Xml.SubElement(self.root, "text", attributes).text = text

    def _add(self, tag: str, **attributes: Any) -> Xml.Element:
        if tag == "line":
            names = {"dash": "stroke-dasharray", "width": "stroke-width"}
            attributes = {names.get(name, name): value for name, value in attributes.items()}
        texts = {
            name: f"{value:.1f}" if isinstance(value, float) else str(value)
            for name, value in attributes.items()
        }
        return Xml.SubElement(self.root, tag, texts)


def _describe_rows(result: BacktestResult) -> str:
    return f"{count_noun(result.rows, 'row')}, {_format_length(result.seconds)}"


def _describe_runs(loop: SimulatedLoop, result: BacktestResult) -> str:
    text = f"decision: {count_noun(len(loop.runs), 'run')}"
    month = result.estimate_month(len(result.list_clean(loop.runs)))
    if month is None:
        return text
    return f"{text}, {month.value:.3g} a month (19 of 20: {month.low:.3g} to {month.high:.3g})"


def _format_length(seconds: float) -> str:
    return f"{seconds / DAY:.3g} d" if seconds >= DAY else f"{seconds / 3600:.3g} h"


def _format_moment(second: float, began: float, ended: float) -> str:
    if second >= SINCE_1970:
        return format_time(datetime.fromtimestamp(second, UTC)).replace("T", " ")[:16]
    after = second - began
    return f"{after / DAY:.3g} d" if ended - began >= 2 * DAY else f"{after / 3600:.3g} h"


def _describe_window(window: WindowRecord) -> str:
    words = describe_changes(read_changes(window.details), MOST_NAMED)
    return (
        f"window {window.window}, rows {window.first}-{window.last}: score {window.score:.4g}, "
        f"threshold {window.threshold:.4g}{f': {words}' if words else ''}"
    )


def _measure_level(replay: MonitorReplay, window: WindowRecord) -> float:
    """Return the score as a multiple of the threshold: above 1 it alarms."""
    p_value = isinstance(replay.monitor.detector, KolmogorovSmirnov | CramerVonMises | ChiSquared)
    return measure_level(window.score, window.threshold, alarm=window.alarm, p_value=p_value)
