"""Replay rows of files through the monitors of a spec, before they watch traffic: fitted as a run fits them, in the
monitor image's environment, on the training side of the data.
"""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.replays import ReplayRecord
from driftloop.contract.verdicts import WindowRecord
from driftloop.errors import StepError
from driftloop.local.kubelet.images import LocalImage
from driftloop.plan import Monitor, Plan

MONTH = 30 * 86400.0
"""Seconds."""
CERTAIN = 3.0
"""Alarms that are expected where none came in 5 % of all cases."""
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|min|h|day)")


def read_rate(text: str) -> float | None:
    """Return the rows a second of `1/s`, `50/min`, `1000/h` or `20/day`; None for another text."""
    match = _RATE.fullmatch(text)
    rate = float(match[1]) / UNITS[match[2]] if match else 0.0
    return rate or None


@dataclass(frozen=True)
class MonitorReplay:
    """What one monitor said of the rows."""

    monitor: Monitor
    replay: ReplayRecord

    @property
    def alarms(self) -> tuple[WindowRecord, ...]:
        """Windows that alarmed."""
        return tuple(window for window in self.replay.windows if window.alarm)

    def count_windows(self, rate: float) -> float:
        """Return the windows of a month with so many rows a second."""
        rows = sum(window.size for window in self.replay.windows)
        return rate * MONTH * len(self.replay.windows) / rows if rows else 0.0

    def count_alarms(self, rate: float) -> tuple[float, float]:
        """Return the alarms of a month in which traffic is like the rows, and, where none came, the number
        that they rarely exceed (else the same)."""
        windows, months = len(self.replay.windows), self.count_windows(rate)
        if not windows:
            return 0.0, 0.0
        share = len(self.alarms) / windows
        return months * share, months * (share or min(1.0, CERTAIN / windows))


@dataclass(frozen=True)
class Backtest:
    """A backtest of a project."""

    plan: Plan
    image: LocalImage
    """The monitor image."""
    work: Path
    rate: float
    """Rows of the traffic a second."""
    report: Callable[[str], None]

    def replay_monitors(self, data: Path, rows: Path) -> tuple[MonitorReplay, ...]:
        """Fit each monitor of requests on the data that a run has split, and replay rows; StepError when
        one can't be fitted, or the rows can't be read."""
        for monitor in self.plan.answer_monitors:
            self.report(
                f"{monitor.name} is not replayed: its reference are the answers of a rehearsal"
            )
        return tuple(self._replay_monitor(each, data, rows) for each in self.plan.request_monitors)

    def _replay_monitor(self, monitor: Monitor, data: Path, rows: Path) -> MonitorReplay:
        artifact = self.work / "detectors" / monitor.name
        told = self._call(
            *("fit", "--detector", monitor.detector_config, "--reference", str(data)),
            *(*self.plan.column_options, "--out", str(artifact)),
            doing=f"{monitor.name} can't be fitted",
        )
        self.report(f"{monitor.name}: {told.strip()}")
        printed = self._call(
            *("replay", "--artifact", str(artifact), "--on", str(rows), "--rate", str(self.rate)),
            doing=f"{monitor.name} can't judge the rows",
        )
        try:
            record = ReplayRecord.read(
                parse_json(printed, label="the replay", longest=LONGEST_FILE)
            )
        except DocumentError as error:
            raise StepError(f"{monitor.name}: {error.message}") from error
        return MonitorReplay(monitor, record)

    def _call(self, *words: str, doing: str) -> str:
        command: Sequence[str] = [self.image.find_program("driftloop-detector"), *words]
        environment = {**self.image.build_environment(), "HOME": str(self.work)}
        done = subprocess.run(
            command, env=environment, cwd=self.work, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StepError(doing, hint=done.stderr.strip()[-2000:] or "it said nothing")
        return done.stdout
