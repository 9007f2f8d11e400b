"""`driftloop step pick`: the best trial of a search, by one metric that the training function returned."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.cli.steps import options
from pipeline.cli.steps.settings import write_parameters
from pipeline.errors import StepError


@click.command()
@click.option("--trials", required=True, help="The train steps' outputs as Argo lists them (JSON).")
@click.option("--metric", default="", help="Metric to compare; may be left out when there is one trial.")
@click.option("--goal", type=click.Choice(["maximize", "minimize"]), default="maximize", show_default=True)
@options.out
def command(*, trials: str, metric: str, goal: str, out: Path) -> None:
    """Choose the best trial of a search; writes `trial`, and `home` when the trials say where they are kept."""
    found = entries(trials)
    parsed = {trial: metrics for trial, metrics, _ in found}
    if not metric and len(parsed) > 1:
        raise StepError("several trials and no metric to compare them by", hint="give `search.best.metric` in the spec")
    trial = best(parsed, metric, goal) if metric else next(iter(parsed))
    home = next(where for name, _, where in found if name == trial)
    write_parameters(out, trial=trial, **({"home": home} if home else {}))
    options.say(f"trial {trial} of {len(parsed)}" + (f": {metric} {parsed[trial][metric]}" if metric else ""))


def parse(trials: str) -> dict[str, Mapping[str, Any]]:
    """Trial number to metrics, in the order of the list."""
    return {trial: metrics for trial, metrics, _ in entries(trials)}


def entries(trials: str) -> list[tuple[str, Mapping[str, Any], str]]:
    """(trial number, metrics, where it is kept or empty), in the order of the list."""
    try:
        listed = json.loads(trials)
        if isinstance(listed, dict):
            listed = [listed]
        found: list[tuple[str, Mapping[str, Any], str]] = []
        for n, raw in enumerate(listed):
            entry = json.loads(raw) if isinstance(raw, str) else raw
            metrics = entry.get("metrics", entry)
            metrics = json.loads(metrics) if isinstance(metrics, str) else metrics
            found.append((str(entry.get("trial", n)), dict(metrics), str(entry.get("home", ""))))
    except (ValueError, TypeError, AttributeError) as error:
        raise StepError(
            f"the trials can't be read: {error}", hint='expected [{"trial": "0", "metrics": "{…}"}, …]'
        ) from error
    if not found:
        raise StepError("there is no trial to choose from")
    return found


def best(trials: Mapping[str, Mapping[str, Any]], metric: str, goal: str) -> str:
    """The number of the best trial; of equal ones the first."""
    values = {}
    for trial, metrics in trials.items():
        value = metrics.get(metric)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            known = ", ".join(sorted(map(str, metrics))) or "nothing"
            raise StepError(
                f"trial {trial} has no number `{metric}`, its metrics are: {known}",
                hint="let the training function return it, or change `search.best.metric` in the spec",
            )
        values[trial] = value
    choose = max if goal == "maximize" else min
    return choose(values, key=lambda trial: values[trial])
