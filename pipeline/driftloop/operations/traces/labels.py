"""Labels from a file to a pipeline, through the door of its decision service."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

from driftloop.clients.label_files import LABEL, REQUEST, read_labels
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.labels import LABELS, LARGEST_SENT, LabelReceipt, RequestLabel
from driftloop.errors import LocalError
from driftloop.operations.ground import endpoints
from driftloop.operations.watching.suspend import DecisionEndpoint

AT_ONCE = 1000
"""Labels of one request to the door."""
MOST_BYTES = LARGEST_SENT // 2
ATTEMPTS = 20
"""Times that the door is asked to take the same labels."""
LONGEST_PAUSE = 5.0
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

    readable = read_labels(file, count_malformed, request=request, label=label)
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
        for each in read_labels(file, reasons.append, request=request, label=label):
            stream.write(json.dumps(to_json(each)) + "\n")
            count += 1
    return LoadedLabels(count, len(reasons), tuple(reasons))


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
