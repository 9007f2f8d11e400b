"""`driftloop step pick`: choose the best trial of a search by a metric that the training
function returned."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from driftloop.errors import StepError
from driftloop.steps import options
from driftloop.steps.settings import write_parameters

EXAMPLES = """\b
Examples:
  driftloop step pick --trials "$TRIALS" --metric accuracy --goal maximize --out /tmp/out
"""


@dataclass(frozen=True)
class TrialEntry:
    """One trial; a cached one has its number in the run that made it, so two may have the same."""

    trial: str
    metrics: Mapping[str, Any]
    home: str = ""
    """The run that keeps it; empty: this run, under its number."""


@click.command(epilog=EXAMPLES)
@click.option(
    "--trials", required=True, help="Outputs of the train steps, as Argo lists them (JSON)."
)
@click.option("--metric", default="", help="Metric to compare; optional for one trial.")
@click.option("--goal", type=click.Choice(["maximize", "minimize"]), default="maximize", show_default=True,
              help="Direction in which the metric is better.")  # fmt: skip
@options.out
def command(*, trials: str, metric: str, goal: str, out: Path) -> None:
    """Choose the best trial of a search; writes `trial`, and `home` when the trials name the
    runs that keep them."""
    listed = parse_trials(trials)
    if not metric and len(listed) > 1:
        raise StepError(
            "several trials and no metric to compare them by",
            hint="set `search.best.metric` in the spec",
        )
    chosen = choose_best(listed, metric, goal) if metric else listed[0]
    write_parameters(out, trial=chosen.trial, **({"home": chosen.home} if chosen.home else {}))
    options.print_progress(
        f"trial {chosen.trial} of {len(listed)}"
        + (f": {metric} {chosen.metrics[metric]}" if metric else "")
    )


def parse_trials(trials: str) -> list[TrialEntry]:
    """Parse the trials, in the order of the list; StepError when there is none."""
    try:
        listed = json.loads(trials)
        if isinstance(listed, dict):
            listed = [listed]
        parsed: list[TrialEntry] = []
        for n, raw in enumerate(listed):
            entry = json.loads(raw) if isinstance(raw, str) else raw
            metrics = entry.get("metrics", entry)
            metrics = json.loads(metrics) if isinstance(metrics, str) else metrics
            parsed.append(
                TrialEntry(str(entry.get("trial", n)), dict(metrics), str(entry.get("home", "")))
            )
    except (ValueError, TypeError, AttributeError) as error:
        raise StepError(
            f"the trials can't be read: {error}",
            hint='expected [{"trial": "0", "metrics": "{…}"}, …]',
        ) from error
    if not parsed:
        raise StepError("the list of trials is empty")
    return parsed


def choose_best(trials: Sequence[TrialEntry], metric: str, goal: str) -> TrialEntry:
    """Return the best trial; of equal ones the first."""
    values = []
    for entry in trials:
        value = entry.metrics.get(metric)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            names = ", ".join(sorted(map(str, entry.metrics))) or "none"
            raise StepError(
                f"trial {entry.trial} has no number `{metric}`, its metrics are: {names}",
                hint="let the training function return it, or change `search.best.metric` in the spec",
            )
        values.append(value)
    return trials[values.index(max(values) if goal == "maximize" else min(values))]
