"""Labels from a file to a pipeline, through the door of its decision service."""

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

from driftloop.contract.documents import DocumentError, escape_text, from_json, show_value, to_json
from driftloop.contract.labels import LABELS, LARGEST_SENT, LabelReceipt, RequestLabel
from driftloop.errors import LocalError, StepError
from driftloop.operations.ground import endpoints
from driftloop.operations.watching.suspend import DecisionEndpoint

REQUEST, LABEL = "request", "label"
"""Columns of a file, unless somebody says otherwise."""
AT_ONCE = 1000
"""Labels of one request to the door."""
MOST_BYTES = LARGEST_SENT // 2
ATTEMPTS = 20
"""Times that the door is asked to take the same labels."""
LONGEST_PAUSE = 5.0
SUFFIXES = (".csv", ".jsonl", ".parquet")
HINT = "see `driftloop logs`, and check that NATS runs"


@dataclass(frozen=True)
class LoadedLabels:
    """Result of loading the labels of a file."""

    accepted: int
    malformed: int
    reasons: tuple[str, ...]
    """A line for each of the first malformed ones."""


def load_labels(
    decision: DecisionEndpoint,
    file: Path,
    *,
    request: str = REQUEST,
    label: str = LABEL,
    report: Callable[[int], None] = lambda _: None,
    shown: int = 20,
) -> LoadedLabels:
    """Send the labels of a file, a part at a time; `report` hears how many were accepted so far. StepError for a
    file that can't be read, LocalError when the door does not take them."""
    accepted, malformed = 0, 0
    reasons: list[str] = []

    def count_malformed(reason: str) -> None:
        nonlocal malformed
        malformed += 1
        if len(reasons) < shown:
            reasons.append(reason)

    readable = _read_labels(file, request, label, count_malformed)
    for part in _split(readable):
        accepted += _send(decision, part, accepted)
        report(accepted)
    return LoadedLabels(accepted, malformed, tuple(reasons))


def copy_labels(
    file: Path, out: Path, *, request: str = REQUEST, label: str = LABEL
) -> LoadedLabels:
    """Write the labels of a file as lines of JSON, for who reads no other form; StepError for a file that can't be
    read."""
    reasons: list[str] = []
    count = 0
    with out.open("w", encoding="utf-8") as stream:
        for each in _read_labels(file, request, label, reasons.append):
            stream.write(json.dumps(to_json(each)) + "\n")
            count += 1
    return LoadedLabels(count, len(reasons), tuple(reasons))


def _read_labels(
    file: Path, request: str, label: str, refuse: Callable[[str], None]
) -> Iterator[RequestLabel]:
    """Yield the labels of a file; `refuse` hears of each row that has none."""
    for place, row in _read_rows(file, (request, label)):
        given = {"request": _read_id(row.get(request)), "label": row.get(label)}
        try:
            yield from_json(RequestLabel, given, label="the row")
        except DocumentError as error:
            refuse(f"{file.name}, {place}: {escape_text(error.message)}")


def _read_id(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole else value


def _read_rows(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each row is, and its values."""
    try:
        match file.suffix:
            case ".csv":
                yield from _read_csv(file, needed)
            case ".jsonl":
                yield from _read_lines(file)
            case ".parquet":
                yield from _read_parquet(file, needed)
            case suffix:
                raise StepError(
                    f"{file.name} is of kind `{suffix}`, must be one of: {', '.join(SUFFIXES)}"
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StepError(f"{file} can't be read: {error}") from error


def _read_csv(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        _require_columns(file, tuple(reader.fieldnames or ()), needed)
        for row in reader:
            # an empty field is no label
            yield f"line {reader.line_num}", {name: value or None for name, value in row.items()}


def _read_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StepError(f"{file.name}, line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise StepError(
                    f"{file.name}, line {number} is {show_value(row)}, must be an object",
                    hint='a line is `{"request": "ID", "label": 3}`',
                )
            yield f"line {number}", row


def _read_parquet(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise StepError(
            f"{file.name} needs pyarrow, which is not installed",
            hint="`uv pip install pyarrow`, or write the labels as .csv or .jsonl",
        ) from error
    try:
        table = parquet.ParquetFile(file)
        _require_columns(file, tuple(table.schema_arrow.names), needed)
        number = 0
        for batch in table.iter_batches(columns=list(needed)):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except ArrowException as error:
        raise StepError(f"{file.name} is not a .parquet file: {error}") from error


def _require_columns(file: Path, names: tuple[str, ...], needed: tuple[str, str]) -> None:
    for column, option in zip(needed, ("--request", "--label"), strict=True):
        if column not in names:
            raise StepError(
                f"{file.name} has no column `{column}`, its columns are: {', '.join(map(str, names)) or 'none'}",
                hint=f"name it with `{option} COLUMN`",
            )


def _split(labels: Iterator[RequestLabel]) -> Iterator[list[dict[str, Any]]]:
    """Yield labels in parts that the door takes at once."""
    while chunk := [to_json(label) for label in islice(labels, AT_ONCE)]:
        part: list[dict[str, Any]] = []
        size = 0
        for label in chunk:
            more = len(json.dumps(label))
            if part and size + more > MOST_BYTES:
                yield part
                part, size = [], 0
            part.append(label)
            size += more
        yield part


def _send(decision: DecisionEndpoint, labels: list[dict[str, Any]], before: int) -> int:
    """Send labels until all are accepted; how many these are."""
    accepted, pause, trouble = 0, 0.2, ""
    for _ in range(ATTEMPTS):
        status, body = _post(decision, json.dumps({LABELS: labels[accepted:]}).encode())
        match status:
            case 202 | 503:
                receipt = _read_receipt(body)
                accepted += receipt.accepted if receipt else 0
                if accepted == len(labels):
                    return accepted
                trouble = body.decode(errors="replace")[:200]
            case 429:
                trouble = "it is busy"
            case 401 | 403:
                raise LocalError(
                    f"the decision service refuses the token ({status})", hint=endpoints.TOKEN_HINT
                )
            case _:
                text = body.decode(errors="replace")[:300].strip()
                raise LocalError(
                    f"the decision service answered {status}: {text}",
                    hint=None if status == 404 else HINT,
                )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    raise LocalError(
        f"{before + accepted} labels were accepted, then no more: {trouble}",
        hint=f"{HINT}; then load the file again: labels that come twice count once",
    )


def _post(decision: DecisionEndpoint, body: bytes) -> tuple[int, bytes]:
    request = Request(  # noqa: S310 - http by design
        f"{decision.url}/{LABELS}",
        data=body,
        headers={
            "Authorization": f"Bearer {decision.token}",
            "Content-Type": "application/json",
        },
        method="POST",
    )
    try:
        with endpoints.open_near(request, timeout=60) as response:
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read(4096)
    except (URLError, OSError) as error:
        raise LocalError(
            f"{decision.url} can't be reached: {error}", hint=endpoints.NOT_RUNNING
        ) from error


def _read_receipt(body: bytes) -> LabelReceipt | None:
    """Return the receipt in an answer; None for an answer that has none, as of a service that has just
    begun."""
    try:
        return LabelReceipt.read(json.loads(body))
    except (ValueError, DocumentError):
        return None
