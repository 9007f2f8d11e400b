"""Ask a model server beside this process: wait until it has loaded its model, then send it rows one
by one, as callers do.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from driftloop.contract.names import PREDICTIONS, REHEARSED_EXIT, REHEARSED_LOG
from driftloop.contract.records import HeldOutRow, HeldOutRows
from driftloop.release.answers import count_classes, read_answers
from driftloop.release.rehearsal import Reply, ServerRun

PREDICT, HEALTH = f"/{PREDICTIONS}", "/health/ping"
POLL = 0.2
"""Seconds between two looks at a server that starts."""
PATIENCE = 60.0
"""Seconds that one row may take."""
LONGEST = 10.0
"""Seconds after which no further rows are asked, once `FEWEST` have been."""
FEWEST = 20
TAIL = 20
"""Lines of a server's log that are its last words."""
WIDEST = 2000
"""Characters of them."""

_TRACEBACK = "Traceback (most recent call last):"

_OPENER = build_opener(ProxyHandler({}))
"""The server is in this very pod, behind no proxy."""


@dataclass(frozen=True)
class BesideServer:
    """A model server in the same pod."""

    name: str
    url: str
    folder: Path
    """Folder with its log, and its exit code once it has ended."""

    def read_log(self) -> str:
        """Return its last words."""
        return "\n".join(self._read_lines()[-TAIL:])[-WIDEST:]

    def _read_lines(self) -> list[str]:
        try:
            text = (self.folder / REHEARSED_LOG).read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def read_exit(self) -> int | None:
        """Return its exit code; None while it runs."""
        try:
            return int((self.folder / REHEARSED_EXIT).read_text() or -1)
        except FileNotFoundError:
            return None

    def describe_end(self, code: int) -> str:
        """Return how it ended, with the error that it printed last, or its last line."""
        last = find_error(self._read_lines())
        return f"the server ended with exit code {code}" + (f": {last[:300]}" if last else "")

    def is_healthy(self) -> bool:
        """Return True when its health check answers now."""
        try:
            with _OPENER.open(f"{self.url}{HEALTH}", timeout=5) as reply:
                return bool(reply.status == 200)
        except (OSError, HTTPException):
            return False


def find_error(lines: Sequence[str]) -> str:
    """Return the error under the last traceback in a log, or else the last line: what a server
    prints on its way out hides the error before it."""
    ignored = (number for number, line in enumerate(lines) if "Exception ignored in" in line)
    lines = lines[: next(ignored, None)]
    starts = [number for number, line in enumerate(lines) if line.endswith(_TRACEBACK)]
    under = lines[starts[-1] + 1 :] if starts else []
    errors = (line for line in under if not line.startswith(" "))
    return next(errors, lines[-1] if lines else "").strip()


def run_rehearsal(
    candidate: BesideServer,
    production: BesideServer | None,
    rows: HeldOutRows,
    limit: float,
    captured: Sequence[str] = (),
) -> tuple[ServerRun, ServerRun | None]:
    """Wait until the servers have loaded their models, `limit` seconds at most, and ask both the
    same rows, the candidate first; then the same captured requests, as callers had sent them."""
    began = time.monotonic()
    start, failure = wait_until_loaded(candidate, limit, began)
    if start is None:
        return ServerRun(None, failure=failure, log=candidate.read_log()), None
    theirs = None
    if production is not None:
        # before the candidate is asked, whose answers would take longer while another server starts
        loaded, problem = wait_until_loaded(production, limit, began)
        theirs = ServerRun(loaded, failure=problem, log=production.read_log() if problem else "")
    replies, failure = ask_rows(candidate, rows)
    ours = ServerRun(start, tuple(replies), failure=failure, log=candidate.read_log())
    if production is not None and theirs is not None and not theirs.failure:
        same = replace(rows, rows=rows.rows[: len(replies)])
        others, problem = ask_rows(production, same)
        theirs = replace(theirs, replies=tuple(others), failure=problem)
        if captured and not ours.failure and not problem:
            asked, failure = _ask_bodies(candidate, captured)
            again, problem = _ask_bodies(production, captured[: len(asked)])
            ours = replace(ours, captured=tuple(asked), failure=failure)
            theirs = replace(theirs, captured=tuple(again), failure=problem)
    return ours, theirs


def wait_until_loaded(
    server: BesideServer, limit: float, began: float | None = None
) -> tuple[float | None, str]:
    """Return the seconds from `began` (by the monotonic clock; default: now) until it was ready,
    or None and why it never was."""
    began = time.monotonic() if began is None else began
    while not server.is_healthy():
        code = server.read_exit()
        if code is not None:
            return None, server.describe_end(code)
        if time.monotonic() - began > limit:
            return None, f"the server has not loaded the model within {limit:g} s"
        time.sleep(POLL)
    return time.monotonic() - began, ""


def ask_rows(server: BesideServer, rows: HeldOutRows) -> tuple[list[Reply], str]:
    """Return the replies to the rows, and why not all of them were asked; an end of the server is
    a failure."""
    return _ask_bodies(server, (_build_body(row, rows.names) for row in rows.rows), rows=1)


def _build_body(row: HeldOutRow, names: tuple[str, ...] | None) -> str:
    """Build the request of one row, with the names of its columns where it has some."""
    data = {"names": list(names)} if names is not None else {}
    return json.dumps({"data": {**data, "ndarray": [row.features]}})


def _ask_bodies(
    server: BesideServer, bodies: Iterable[str], *, rows: int | None = None
) -> tuple[list[Reply], str]:
    replies: list[Reply] = []
    began = time.monotonic()
    for body in bodies:
        if len(replies) >= FEWEST and time.monotonic() - began > LONGEST:
            break
        reply = _ask_body(server, body.encode(), rows)
        replies.append(reply)
        if reply.status == 0 and (code := server.read_exit()) is not None:
            asked = "rows" if rows is not None else "captured requests"
            return replies, f"{server.describe_end(code)}, after {len(replies)} {asked}"
    return replies, ""


def _ask_body(server: BesideServer, body: bytes, rows: int | None) -> Reply:
    request = Request(f"{server.url}{PREDICT}", body, {"Content-Type": "application/json"})  # noqa: S310
    began = time.perf_counter()
    try:
        with _OPENER.open(request, timeout=PATIENCE) as answer:
            text = answer.read()
        seconds = time.perf_counter() - began
    except HTTPError as error:
        said = " ".join(error.read(4096).decode(errors="replace").split())
        return Reply(time.perf_counter() - began, status=error.code, text=said)
    except (OSError, HTTPException) as error:
        return Reply(time.perf_counter() - began, status=0, text=str(error))
    return read_reply(text, seconds, rows)


def read_reply(text: bytes, seconds: float, rows: int | None = 1) -> Reply:
    """Return the reply in a response body, to a request of so many rows (None: of any number,
    whose first answer it is)."""
    answers = read_answers(text, "seldon")
    if not answers or (rows is not None and len(answers) != rows):
        return Reply(seconds, text=f"{len(answers)} answers to {rows or 'some'} row(s)")
    names = json.loads(text).get("data", {}).get("names") if text.startswith(b"{") else None
    answer = answers[0]
    label = None
    if isinstance(names, list) and isinstance(answer, int) and 0 <= answer < len(names) > 1:
        label = str(names[answer])
    classes = count_classes(text, "seldon")
    return Reply(seconds, answer, label, text=text.decode(errors="replace"), classes=classes)
