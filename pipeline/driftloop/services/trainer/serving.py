"""`driftloop-train monitor`: a user's function behind HTTP, for the detector in the same pod.

It holds no credential and listens on the loopback alone. One call runs at a time, in a child
process that is ended when it hangs or takes too much memory; what went wrong is the answer.
"""

import json
import signal
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.functions import (
    FIT,
    HEALTH,
    JUDGE,
    LARGEST_ROWS,
    FunctionFailure,
    FunctionSettings,
)
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.worker import FunctionWorker

HOST = "127.0.0.1"
PATIENCE = 30.0
"""Seconds that a caller may take to send what it announced."""


@dataclass(frozen=True)
class TrainerMonitor:
    """A function to serve; memory in bytes, of the whole container."""

    settings: str
    code: Path
    port: int
    memory: int | None = None


def serve_function(task: TrainerMonitor) -> None:
    """Serve until SIGTERM; TrainerError when the settings are wrong or the port is taken."""
    try:
        settings = FunctionSettings.parse(task.settings)
    except DocumentError as error:
        raise TrainerError(error.message) from error
    worker = FunctionWorker(settings, task.code, task.memory)
    try:
        server = HTTPServer((HOST, task.port), _build_handler(worker))
    except OSError as error:
        raise TrainerError(f"port `{task.port}` can't be used: {error.strerror}") from error
    # beside a step of Argo another exit code makes the pod a failed one for Kubernetes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    print(f"{settings.run}: ready on port {task.port}", flush=True)
    try:
        server.serve_forever()
    finally:
        worker.stop()


def _build_handler(worker: FunctionWorker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            self._answer(200 if self.path == HEALTH else 404, b"")

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            fit = parse_qs(parts.query).get("fit", [""])[0]
            size = int(self.headers.get("Content-Length") or 0)
            if parts.path not in (FIT, JUDGE) or not fit or not 0 < size <= LARGEST_ROWS:
                self._answer(400, b"")
                return
            body = self.rfile.read(size)
            if parts.path == JUDGE and not worker.knows(fit):
                self._answer(409, b"")
                return
            try:
                if parts.path == FIT:
                    worker.learn_rows(fit, body)
                    self._answer(200, b"{}")
                else:
                    self._answer(200, worker.judge_window(fit, body))
            except TrainerError as error:
                print(f"error: {error.message}", file=sys.stderr, flush=True)
                failure = FunctionFailure(error.message, error.hint)
                self._answer(422, json.dumps(to_json(failure)).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: Any) -> None:
            """Nothing: a line for each window tells nobody anything."""

    return Handler
