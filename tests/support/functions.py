"""How the tests start the program of a user's function that judges windows."""

import json
import sys
from pathlib import Path
from typing import Any

from support.processes import Process, free_port

from driftloop.contract.documents import to_json
from driftloop.contract.functions import HEALTH, FunctionSettings

ROOT = Path(__file__).parents[2]

FARES = """\
def learn(rows):
    return sorted(rows["fare"])[len(rows["fare"]) // 2]


def judge(reference, window, most=0.4):
    dearer = sum(1 for fare in window["fare"] if fare is not None and fare > reference)
    score = abs(dearer / len(window["fare"]) - 0.5)
    return {"score": score, "threshold": most, "columns": ["fare"]}
"""
"""Alarms when a window's fares lie on one side of the reference's median."""


def serve(code: Path, text: str, *, memory: int | None = None, **settings: Any) -> Process:
    """Start `driftloop-train monitor` on a module `watch` with this text."""
    code.mkdir(parents=True, exist_ok=True)
    (code / "watch.py").write_text(text)
    document = json.dumps(to_json(FunctionSettings(**{"run": "watch:judge", **settings})))
    port = free_port()
    argv = [
        *(sys.executable, "-m", "driftloop.services.trainer", "monitor", "--settings", document),
        *("--port", str(port), "--code", str(code)),
        *(("--memory", str(memory)) if memory is not None else ()),
    ]
    environment = {"PYTHONPATH": str(ROOT / "pipeline"), "NO_PROXY": "127.0.0.1"}
    return Process(argv, code / "log.txt", port, HEALTH, environment).start()
