"""`driftloop step gate`: compare the metrics of a candidate with the gates, before it gets any
traffic."""

import json
from pathlib import Path
from typing import Any

import click

from driftloop.contract.trees import METRICS_FILE, VERDICT_FILE
from driftloop.errors import StepError
from driftloop.release import gates as rules
from driftloop.steps import options
from driftloop.steps.settings import write_parameters

EXAMPLES = """\b
Examples:
  driftloop step gate --gates '[]' --metrics metrics.json --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@click.option("--gates", required=True, help="Gates of the spec (JSON).")
@click.option(
    "--metrics",
    required=True,
    type=click.Path(path_type=Path),
    help="Path of metrics.json, or its folder.",
)
@click.option(
    "--alone", is_flag=True, help="Let a candidate pass when production can't be evaluated."
)
@options.out
def command(*, gates: str, metrics: Path, alone: bool, out: Path) -> None:
    """Compare the candidate's metrics with the gates; writes `passed` and verdict.json. A
    refusal is not a failure."""
    file = metrics / METRICS_FILE if metrics.is_dir() else metrics
    bounds = rules.parse_gate_rules(gates)
    verdict = rules.judge_gates(bounds, _read_metrics(file), alone=alone)
    folder = out / "verdict"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERDICT_FILE).write_text(
        json.dumps(verdict.to_json(), indent=1, sort_keys=True) + "\n"
    )
    write_parameters(out / "parameters", passed="true" if verdict.passed else "false")
    for gate in verdict.gates:
        options.print_progress(f"{'pass' if gate.passed else 'FAIL'}  {gate.said}")
    if verdict.not_comparable:
        options.print_progress(f"{'pass' if alone else 'FAIL'}  {verdict.reasons[0]}")
    options.print_progress(
        "the candidate goes on" if verdict.passed else "the candidate is refused"
    )


def _read_metrics(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except OSError as error:
        raise StepError(
            f"{file} can't be read: {error.strerror}", hint="the evaluate step writes it"
        ) from error
    except ValueError as error:
        raise StepError(f"{file} can't be read as JSON: {error}") from error
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise StepError(
            f"{file} has a {kind}, must be an object", hint="the evaluate step writes it"
        )
    return document
