"""`driftloop predict`."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.errors import StepError
from driftloop.operations.commits.releases import read_pipeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.servers.given_rows import build_body, read_rows, read_rows_file
from driftloop.operations.servers.predicting import (
    Prediction,
    ServedModel,
    ask_model,
    choose_login,
    find_model,
)

EXAMPLES = """\b
Examples:
  driftloop predict digits --file rows.csv --most 5
  driftloop predict flights --row '{"distance": 1400, "carrier": "UA", "wind_gust": null}'
  driftloop predict iris --row '[5.1, 3.5, 1.4, 0.2]' --row '[6.7, 3.0, 5.2, 2.3]'
  driftloop predict digits --body request.json --gateway https://models.example.com
  driftloop predict digits --row '[0.1, 0.2]' --cluster --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="JSON",
    help="A row: a list of values, or values by the name of their column. May be repeated.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=False, path_type=Path),
    help="Rows in a file (.csv with a header, .jsonl).",
)
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A request in the words of the model's protocol, sent as it is; - reads standard input.",
)
@click.option(
    "--most", type=click.IntRange(min=1), metavar="N", help="Ask the first N rows of the file only."
)
@click.option(
    "--gateway", metavar="URL", help="URL of the gateway.  [default: that of the state folder]"
)
@options.repository_options
@cluster_options
@options.output
def command(
    *,
    name: str,
    rows: tuple[str, ...],
    file: Path | None,
    body: Path | None,
    most: int | None,
    gateway: str | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Ask the model of pipeline NAME, through the gateway, as its callers do: the request is an event of its
    traffic like any other.

    Prints a line for each row. Values of a .csv have the type of their column, an empty cell is a missing
    value; the column `data.target` is left out. Exit code 1 when the model refuses a request.
    Where the pipeline asks for a login (`access`), the key in DRIFTLOOP_API_KEY or the token in
    DRIFTLOOP_TOKEN is sent.
    """
    if sum(map(bool, (rows, file, body))) != 1:
        raise click.UsageError("one of --row, --file and --body is needed")
    if most is not None and file is None:
        raise click.UsageError("--most is for the rows of --file")
    cluster.refuse_stray()
    if cluster.chosen and gateway is not None:
        raise click.UsageError("--gateway and --cluster are two ways to one gateway: name one")
    with target.open_repository(repository, branch, state, on) as opened:
        pipeline = read_pipeline(opened.repository.tree(opened.repository.tip()), name)
    with _reach_gateway(name, cluster, gateway) as url:
        model = find_model(pipeline, state.folder, url)
        login = choose_login(model.access, os.environ)
        told = False
        for request in _build_requests(model, rows, file, body, most):
            prediction = ask_model(model, request, options.print_progress, login=login)
            _print_prediction(prediction, output)
            if prediction.request and output == "text" and not told:
                told = True
                more = (
                    f": `driftloop trace {prediction.request}`, once it is recorded"
                    if model.recorded
                    else ""
                )
                options.print_progress(f"request {prediction.request}{more}")


def _reach_gateway(
    name: str, cluster: ClusterChoice, gateway: str | None
) -> contextlib.AbstractContextManager[str | None]:
    if not cluster.chosen:
        return contextlib.nullcontext(gateway)
    from driftloop.operations.ground.cluster_services import reach_gateway

    return reach_gateway(
        cluster.namespace or name, kubeconfig=cluster.kubeconfig, context=cluster.context
    )


def _build_requests(
    model: ServedModel, rows: Sequence[str], file: Path | None, body: Path | None, most: int | None
) -> list[bytes]:
    if body is not None:
        if str(body) == "-":
            return [sys.stdin.buffer.read()]
        try:
            return [body.read_bytes()]
        except OSError as error:
            raise StepError(f"{body} can't be read: {error}") from error
    given = (
        read_rows_file(file, model.target, most)
        if file is not None
        else read_rows(rows, model.target)
    )
    if given.left_out:
        options.print_progress(f"`{given.left_out}` is the right answer, so it is left out")
    return [build_body(part, model.protocol) for part in given.split()]


def _print_prediction(prediction: Prediction, output: str) -> None:
    if output != "text":
        document = {
            "request": prediction.request,
            "names": list(prediction.names),
            "answers": list(prediction.answers),
            **({} if prediction.answers else {"text": prediction.text}),
        }
        options.print_document(document, output, one_of_several=True)
        return
    if not prediction.answers:
        click.echo(prediction.text)
    for answer in prediction.answers:
        click.echo(format_answer(prediction.names, answer))


def format_answer(names: Sequence[str], answer: Sequence[object]) -> str:
    """Return the answer to one row: its value, or each with its name, the largest number first."""
    if len(answer) == 1:
        return _format_value(answer[0])
    if len(names) != len(answer):
        return ", ".join(map(_format_value, answer))
    pairs = list(zip(names, answer, strict=True))
    numbers = [value for value in answer if isinstance(value, int | float)]
    if len(numbers) == len(answer):
        pairs.sort(key=lambda pair: -float(str(pair[1])))
    return ", ".join(f"{name} {_format_value(value)}" for name, value in pairs)


def _format_value(value: object) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else value
        if isinstance(value, str)
        else json.dumps(value)
    )
