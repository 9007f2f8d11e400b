"""Rows of files through the very code that judges requests: each row becomes a request as a caller would
send it, is decoded, cut into windows and scored. The same files give the same verdicts.

Files are read in the order of their names, rows in that of the file. The target is not sent. Rows of
files have no times, so a window closes when it is full, also where `atMost` would close it before.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.replays import ReplayRecord
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.verdicts import WindowRecord
from driftloop.services.detector.artifact import (
    ArtifactError,
    DetectorArtifact,
    read_files,
    read_folder,
)
from driftloop.services.detector.decoding import choose_decoder
from driftloop.services.detector.judging import WindowJudge
from driftloop.services.detector.learning import NOT_THERE
from driftloop.services.detector.scoring import build_verdict
from driftloop.services.detector.tables import TableFile, Values
from driftloop.services.detector.windows import SECOND, WindowCutter, WindowRule

REPLAY = "replay"
"""Stands for the release, which the rows are not of."""


def read_tables(folder: Path) -> tuple[TableFile, ...]:
    """Read the files of rows of a folder, or one file; ArtifactError when there is none, or one can't be
    read."""
    if folder.is_file():
        return read_files([folder], folder.parent)
    return read_folder(folder)


def replay_tables(
    fitted: DetectorArtifact,
    judge: WindowJudge,
    tables: Sequence[TableFile],
    *,
    rate: float | None = None,
) -> ReplayRecord:
    """Replay rows through the judge of a detector of requests, one request each; ArtifactError for one of answers.

    With a rate, in rows a second, windows close by time as well; without one by rows alone.
    """
    if fitted.profile.of == "answers":
        raise ArtifactError("the detector judges answers, rows of files are requests")
    judge.recall_windows(())
    decoder = choose_decoder(fitted, fitted.config)
    rule = WindowRule(fitted.config.window, fitted.config.window)
    cutter = WindowCutter(rule if rate is None else WindowRule.from_settings(fitted.config))
    names = DetectorStreams(REPLAY, REPLAY, REPLAY, REPLAY)
    windows: list[WindowRecord] = []
    rejected: Counter[str] = Counter()
    rows = 0
    for table in tables:
        for body in build_requests(table, fitted.profile):
            rows += 1
            decoded = decoder.decode_rows(body)
            rejected.update(decoded.faults.rejected)
            time = 0 if rate is None else round(rows / rate * SECOND)
            for window in cutter.add_event(rows, time, decoded, f"row-{rows}").windows:
                verdict = build_verdict(names, window, judge.judge_window(window))
                windows.append(_drop_times(verdict))
    return ReplayRecord(
        windows=tuple(windows),
        rows=rows,
        waiting=cutter.waiting,
        rejected=tuple(rejected.most_common()),
    )


def _drop_times(verdict: WindowRecord) -> WindowRecord:
    """Return a verdict without times, which are those of no traffic, and without the counts of its rows,
    which are there."""
    details = _without_times(verdict.details)
    if "lasting" in details:
        details["lasting"] = _without_times(details["lasting"])
    return replace(verdict, time=None, details=details, counts=None)


def _without_times(details: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("from", "to")}


def build_requests(table: TableFile, profile: TableProfile) -> Iterator[bytes]:
    """Yield the request of each row of a file; ArtifactError for a file that has none of the columns."""
    if profile.is_array:
        ((name, _),) = profile.arrays
        if name not in table.values:
            raise ArtifactError(f"{table.file} has no array `{name}`, which the detector judges")
        for row in table.values[name]:
            yield _encode(row.tolist() if isinstance(row, np.ndarray) else row)
        return
    types = {column.name: column for column in profile.columns}
    names = [name for name in profile.order if name in table.values]
    if not names:
        raise ArtifactError(
            f"{table.file} has none of the columns that the detector judges: {', '.join(profile.order[:10])}"
        )
    columns = [_list_values(table, table.values[name], types.get(name)) for name in names]
    for row in zip(*columns, strict=True):
        yield _encode(list(row), names)


def _encode(row: Any, names: list[str] | None = None) -> bytes:
    rows = [row if isinstance(row, list) else [row]]
    return json.dumps({"data": {"names": names or [], "ndarray": rows}}).encode()


def _list_values(table: TableFile, values: Values, column: ColumnProfile | None) -> list[Any]:
    """Return the values of a column as a caller has them; a .csv file has numbers as text."""
    if not table.texts or column is None or column.type not in ("number", "boolean"):
        listed: list[Any] = values.tolist()
        return listed
    return [_read_text(text, column) for text in values]


def _read_text(text: str | None, column: ColumnProfile) -> Any:
    if text is None or text in NOT_THERE:
        return None
    if column.type == "boolean":
        return text.strip()
    try:
        return float(text)
    except ValueError:
        return text
