"""A function of the user's that judges windows, asked in its own container: user code runs in no process of
ours, and beside no credential.

What goes wrong there (an exception, a hang, too much memory, an answer that is none) is a window that is not
judged, with the reason; in a fit it refuses the detector. The columns that the function names are described
as those of other detectors are, by the tests that are the most certain of them.
"""

import hashlib
import http.client
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
from driftloop.services.detector.detectors.explanation import MOST_NAMED, describe_columns
from driftloop.services.detector.errors import FitError, WindowFailedError
from driftloop.services.detector.rows.values import Rows

STARTING = 60.0
"""Seconds that the program may take to answer at all."""
PAUSE = 0.2


class FunctionFailedError(Exception):
    """A call that brought no verdict."""

    def __init__(self, failure: str, hint: str | None = None) -> None:
        super().__init__(failure)
        self.failure = failure[:LONGEST_FAILURE]
        self.hint = hint


@dataclass(frozen=True)
class FunctionProgram:
    """Where the user's function is asked."""

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
    ) -> None:
        if program is None or config.function is None:
            raise FitError(
                "`function` needs the program of the user's function",
                hint="start it with `driftloop-train monitor`, and name its URL with --function",
            )
        self._settings: FunctionSettings = config.function
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
        changes = describe_columns(shares, self._profile, self._reference, rows, alarm=said.alarm)
        details: dict[str, object] = {"figure": said.figure} if said.figure is not None else {}
        if parts:
            details["changed"] = len(parts)
            details["columns"] = [to_json(change) for change in changes]
        return WindowVerdict(
            alarm=said.alarm,
            score=said.score,
            threshold=said.threshold,
            details=details,
            outliers=said.outliers,
        )
