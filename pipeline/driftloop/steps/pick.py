"""`driftloop step pick`: choose the best trial of a search by a metric that the training
function returned."""

from collections.abc import Sequence
from pathlib import Path

import click

from driftloop.contract.documents import DocumentError
from driftloop.contract.records import TrialResult, parse_trials
from driftloop.errors import StepError
from driftloop.steps import options
from driftloop.steps.settings import write_parameters

EXAMPLES = """\b
Examples:
  driftloop step pick --trials "$TRIALS" --metric accuracy --goal maximize --out /tmp/out
"""


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
    listed = read_trials(trials)
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


def read_trials(trials: str) -> tuple[TrialResult, ...]:
    """Read the trials, in the order of the list; StepError."""
    try:
        return parse_trials(trials)
    except DocumentError as error:
        raise StepError(
            f"the trials can't be read: {error.message}",
            hint='expected [{"trial": "0", "metrics": "{…}"}, …]',
        ) from error


def choose_best(trials: Sequence[TrialResult], metric: str, goal: str) -> TrialResult:
    """Return the best trial; of equal ones the first."""
    values = []
    for entry in trials:
        if metric not in entry.metrics:
            names = ", ".join(sorted(entry.metrics)) or "none"
            raise StepError(
                f"trial {entry.trial} has no number `{metric}`, its metrics are: {names}",
                hint="let the training function return it, or change `search.best.metric` in the spec",
            )
        values.append(entry.metrics[metric])
    return trials[values.index(max(values) if goal == "maximize" else min(values))]
