"""A function of the user's that judges windows, asked in its own container: user code runs in no process of
ours, and beside no credential.

What goes wrong there (an exception, a hang, too much memory, an answer that is none) is a window that is not
judged, with the reason; in a fit it refuses the detector. The columns that the function names are described
as those of other detectors are, by the tests that are the most certain of them.

The threshold that a function returns is a guess: where windows of the training data say that it is too low for the
stated rate, it is raised (`fitting.bounds`). Of one that returns a score alone the fit learns the threshold.
"""

import hashlib
import http.client
import math
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.functions import (
    FIT,
    JUDGE,
    LOADING,
    LONGEST_FAILURE,
    MARGIN,
    ColumnHead,
    FunctionFailure,
    FunctionSettings,
    FunctionVerdict,
    RowsHead,
    pack_rows,
)
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.explanation import MOST_NAMED, describe_columns
from driftloop.services.detector.errors import FitError, WindowFailedError
from driftloop.services.detector.rows.values import Rows

STARTING = 60.0
"""Seconds that the program may take to answer at all."""
PAUSE = 0.2
SMALLEST = 1e-300
"""P-value that one of 0 is taken for."""


class FunctionFailedError(Exception):
    """A call that brought no verdict."""

    def __init__(self, failure: str, hint: str | None = None) -> None:
        super().__init__(failure)
        self.failure = failure[:LONGEST_FAILURE]
        self.hint = hint


@dataclass(frozen=True)
class FunctionProgram:
    """Program that the user's function is asked through."""

    url: str
    strict: bool = False
    """A failure refuses the detector, as in a fit."""

    def post_rows(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Send rows; status and answer. Waits for a program that starts; FunctionFailedError when it
        does not answer."""
        end = time.monotonic() + STARTING
        while True:
            try:
                return self._post(path, body, timeout)
            except (ConnectionError, http.client.HTTPException) as error:
                if time.monotonic() > end:
                    raise FunctionFailedError(
                        f"the function's container does not answer: {error or type(error).__name__}",
                        "`driftloop logs` shows what it says",
                    ) from error
                time.sleep(PAUSE)
            except TimeoutError as error:
                raise FunctionFailedError(
                    "the function's container does not answer in time"
                ) from error

    def _post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=timeout
        )
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class FunctionDetector:
    """Sends the reference once, and again whenever the program has lost it."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        program: FunctionProgram | None,
        calibration: Calibration | None = None,
    ) -> None:
        if program is None or config.function is None:
            raise FitError(
                "`function` needs the program of the user's function",
                hint="start it with `driftloop-train monitor`, and name its URL with --function",
            )
        self._settings: FunctionSettings = config.function
        self._bound = calibration.bound if calibration is not None else None
        self._program = program
        self._reference = reference
        self._profile = profile
        self._columns = tuple(
            ColumnHead(column.name, column.type, tuple(name for name, _ in column.categories))
            for column in profile.columns
        )
        self._names = {column.name: number for number, column in enumerate(profile.columns)}
        self._fit_id = hashlib.sha256(self._pack(reference)).hexdigest()[:16]

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Ask the function; a window that it fails on is not judged."""
        try:
            said = self._judge(rows)
            return self._build_verdict(said, rows)
        except FunctionFailedError as error:
            if self._program.strict:
                raise WindowFailedError(error.failure, hint=error.hint) from error
            return WindowVerdict(alarm=False, score=0.0, threshold=0.0, failure=error.failure)

    def _judge(self, rows: Rows) -> FunctionVerdict:
        timeout = self._settings.timeout + LOADING + MARGIN
        path, body = f"{JUDGE}?fit={self._fit_id}", self._pack(rows)
        status, answer = self._program.post_rows(path, body, timeout)
        if status == 409:
            fit = f"{FIT}?fit={self._fit_id}"
            status, answer = self._program.post_rows(fit, self._pack(self._reference), timeout)
            if status == 200:
                status, answer = self._program.post_rows(path, body, timeout)
        try:
            if status == 200:
                return FunctionVerdict.parse(answer)
            told = FunctionFailure.parse(answer)
        except DocumentError as error:
            raise FunctionFailedError(f"status {status}: {error.message}") from error
        raise FunctionFailedError(told.failure, told.hint)

    def _pack(self, rows: Rows) -> bytes:
        head = RowsHead(len(rows), self._columns)
        return pack_rows(head, np.ascontiguousarray(rows.T, dtype="<f8").tobytes())

    def _build_verdict(self, said: FunctionVerdict, rows: Rows) -> WindowVerdict:
        parts = said.columns or {}
        unknown = next((name for name in parts if name not in self._names), None)
        if unknown is not None or any(number >= len(rows) for number in said.outliers):
            raise FunctionFailedError("the function's verdict names columns or rows that are none")
        total = sum(parts.values())
        chosen = sorted(parts, key=lambda name: -parts[name])[:MOST_NAMED]
        shares = {self._names[name]: parts[name] / total if total else 0.0 for name in chosen}
        severity = _find_severity(said)
        alarm, score, threshold = self._decide(said, severity)
        changes = describe_columns(shares, self._profile, self._reference, rows, alarm=alarm)
        details: dict[str, object] = {"figure": said.figure} if said.figure is not None else {}
        if parts:
            details["changed"] = len(parts)
            details["columns"] = [to_json(change) for change in changes]
        return WindowVerdict(
            alarm=alarm,
            score=score,
            threshold=threshold,
            details=details,
            outliers=said.outliers,
            severity=severity,
        )

    def _decide(self, said: FunctionVerdict, severity: float | None) -> tuple[bool, float, float]:
        """Return whether a window alarms, its score and the threshold, as the function has them."""
        bound = self._bound
        if said.threshold is None:
            # without a bound the fit is still learning it
            far = said.score if bound is None else bound
            return said.score > far, said.score, far
        if bound is None or severity is None or bound <= 1:
            return said.alarm, said.score, said.threshold
        below = _alarms_below(said)
        raised = said.threshold**bound if below else said.threshold * bound
        return said.alarm and severity > bound, said.score, raised


def _alarms_below(said: FunctionVerdict) -> bool:
    """Return True for a verdict that is an alarm below its threshold, as p-values are."""
    above = said.threshold is not None and said.score > said.threshold
    return said.threshold is not None and above != said.alarm


def _find_severity(said: FunctionVerdict) -> float | None:
    """Return how far a verdict is beyond its threshold: the score by the threshold, or of one that alarms below it
    the logarithms. None for one without a scale."""
    score, bound = said.score, said.threshold
    if bound is None:
        return score
    if not said.own:
        return None
    if not _alarms_below(said):
        return score / bound if bound > 0 else None
    if 0 < bound < 1 and 0 <= score <= 1:
        return math.log(max(score, SMALLEST)) / math.log(bound)
    return None
