"""`driftloop step rehearse`: let a candidate's own server answer held-out rows, before any
traffic."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from driftloop.clients import s3
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.handovers import RehearsalLimits
from driftloop.contract.records import CapturedRequests, Evaluation, HeldOutRows, Rehearsal
from driftloop.contract.trees import (
    ANSWERS_FILE,
    METRICS_FILE,
    PRODUCTION_FILE,
    REHEARSAL_FILE,
)
from driftloop.errors import StepError
from driftloop.operations.servers.rehearsal import BesideServer, run_rehearsal
from driftloop.release.rehearsal import Reply, ServerRun, judge_rehearsal
from driftloop.steps import options
from driftloop.steps.settings import write_parameters

EXAMPLES = """\b
Examples:
  driftloop step rehearse --candidate http://localhost:9000 --servers /rehearsal \\
    --rows rows.json --metrics metrics.json --limits '{"start": 600, "skew": 0.02, "accuracy": "accuracy"}' --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@click.option("--candidate", required=True, help="URL of the candidate's server.")
@click.option("--production", default=None, help="URL of production's server.")
@options.folder_option("--servers", "Folder with one folder for each server.")
@click.option("--rows", required=True, type=click.Path(path_type=Path), help="Path of rows.json.")
@click.option(
    "--metrics",
    required=True,
    type=click.Path(path_type=Path),
    help="Path of metrics.json, or its folder.",
)
@click.option(
    "--requests", type=click.Path(path_type=Path), help="Path of requests.json, captured requests."
)
@click.option("--limits", required=True, help="Limits of the rehearsal (JSON).")
@options.out
def command(
    *,
    candidate: str,
    production: str | None,
    servers: Path,
    rows: Path,
    metrics: Path,
    requests: Path | None,
    limits: str,
    out: Path,
) -> None:
    """Ask the candidate's server held-out rows; writes `passed`, the `model-digest` of what was
    asked, rehearsal.json and answers.jsonl. A refusal is not a failure."""
    try:
        bounds = RehearsalLimits.parse(limits)
        sample = HeldOutRows.read(_read_json(rows))
        evaluation = Evaluation.read(
            _read_json(metrics / METRICS_FILE if metrics.is_dir() else metrics)
        )
        captured = _read_captured(requests)
    except DocumentError as error:
        raise StepError(error.message, hint="the claim and evaluate steps write them") from error
    beside = None
    if production is not None and _read_json(servers / "production" / PRODUCTION_FILE):
        beside = BesideServer("production", production, servers / "production")
    ours, theirs = run_rehearsal(
        BesideServer("candidate", candidate, servers / "candidate"),
        beside,
        sample,
        bounds.start,
        captured.bodies,
    )
    verdict = judge_rehearsal(sample, ours, theirs, evaluation, bounds)
    if beside is not None and captured.note:
        verdict = replace(verdict, notes=(*verdict.notes, f"captured requests: {captured.note}"))
    _write_files(out / "rehearsal", verdict, sample, ours, theirs)
    write_parameters(
        out / "parameters",
        passed="true" if verdict.passed else "false",
        model_digest=s3.folder_digest(servers / "candidate" / "model"),
    )
    _print_verdict(verdict)


def _read_captured(file: Path | None) -> CapturedRequests:
    if file is None:
        return CapturedRequests(note="no monitor watches requests")
    return CapturedRequests.read(_read_json(file))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StepError(
            f"{file} can't be read: {error}", hint="an earlier step writes it"
        ) from error


def _write_files(
    folder: Path, verdict: Rehearsal, rows: HeldOutRows, ours: ServerRun, theirs: ServerRun | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REHEARSAL_FILE).write_text(json.dumps(to_json(verdict), indent=1) + "\n")
    others = theirs.replies if theirs is not None else ()
    with (folder / ANSWERS_FILE).open("w") as stream:
        for number, (row, reply) in enumerate(zip(rows.rows, ours.replies, strict=False)):
            line = {
                "row": number,
                "recent": row.recent,
                "label": row.label,
                "candidate": _show_reply(reply),
                "production": _show_reply(others[number]) if number < len(others) else None,
            }
            stream.write(json.dumps(line) + "\n")


def _show_reply(reply: Reply) -> dict[str, Any]:
    """Return a reply as answers.jsonl holds it: the reduced answer, and the server's own text."""
    try:
        response = json.loads(reply.text)
    except ValueError:
        response = reply.text
    return {
        "status": reply.status,
        "seconds": round(reply.seconds, 6),
        "answer": reply.answer,
        "response": response,
    }


def _print_verdict(verdict: Rehearsal) -> None:
    if verdict.start is not None:
        parts = [
            f"loaded after {verdict.start:.1f} s",
            f"{verdict.answered} of {verdict.rows} rows answered",
        ]
        if verdict.p99 is not None:
            parts.append(f"p99 {verdict.p99 * 1000:.0f} ms")
        if verdict.accuracy is not None:
            parts.append(f"accuracy {verdict.accuracy:.1%}")
        if verdict.measured is not None:
            parts.append(f"{verdict.metric} {verdict.measured:.4g}")
        if verdict.agreement is not None:
            parts.append(f"{verdict.agreement:.1%} of {verdict.compared} like production")
        if verdict.captured:
            parts.append(f"{verdict.captured} captured requests asked")
        options.print_progress(", ".join(parts))
    for note in verdict.notes:
        options.print_progress(f"note: {note}")
    if verdict.log:
        options.print_progress(f"the server's last words:\n{verdict.log}")
    for reason in verdict.reasons:
        options.print_progress(f"FAIL  {reason}")
    options.print_progress(
        "the candidate goes on" if verdict.passed else "the candidate is refused"
    )
