"""`driftloop trace`."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import click

from driftloop.cli import options, target
from driftloop.cli.data import in_cluster, namespace_option
from driftloop.cli.runs import ClusterOptions, output
from driftloop.operations.kept_requests import find_nats
from driftloop.operations.place import StateChoice
from driftloop.operations.request_traces import trace_request
from driftloop.operations.traces import (
    TRACE_KINDS,
    Trace,
    TraceKind,
    TracePlace,
    guess_kind,
    trace_batch,
    trace_commit,
    trace_release,
    trace_run,
)

EXAMPLES = """\b
Examples:
  driftloop trace r1a2b3c4d
  driftloop trace digits-4f0c1d2e3a5b -o json
  driftloop trace 2f1c9d3e --as request --pipeline digits
  driftloop trace s3://digits/batches/2026-01-30.npz"""


@click.command(epilog=EXAMPLES)
@click.argument("id")
@click.option(
    "--as",
    "kind",
    type=click.Choice(TRACE_KINDS),
    help="Kind of the id.  [default: what there is of that name, else a request]",
)
@click.option("--pipeline", metavar="NAME", help="Pipeline of a request.  [default: any]")
@options.repository_options
@in_cluster
@options.kubeconfig
@options.context
@namespace_option
@output
def command(
    *,
    id: str,
    kind: TraceKind | None,
    pipeline: str | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    in_cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    output: str,
) -> None:
    """Trace ID back to what it comes of, and forth to what came of it.

    ID is a request id (the answer's header `seldon-puid`), a release, a run, a commit (of the
    cluster repository, or of the code) or a batch (its key or digest). A request leads to its
    answer, release, model, run, parameters, data with its batches, code, images, commit, cause,
    alarm and windows.
    """
    where = ClusterOptions(in_cluster, kubeconfig, context, namespace)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state))
        runs = stack.enter_context(where.open_place(state, pipeline or namespace))
        own = not in_cluster and opened.repository.url == state.folder.repository_url
        nats_url = find_nats(state.folder, os.environ) if own else None
        place = TracePlace(runs, opened.repository, opened.repository.tip(), nats_url)
        trace = _trace(place, kind or guess_kind(place, id), id, pipeline)
    if output == "json":
        click.echo(json.dumps(trace.to_json(), indent=1))
        return
    click.echo("\n".join(_format_trace(trace)))


def _trace(place: TracePlace, kind: TraceKind, id: str, pipeline: str | None) -> Trace:
    match kind:
        case "request":
            return trace_request(place, id, pipeline)
        case "release":
            return trace_release(place, id)
        case "run":
            return trace_run(place, id)
        case "commit":
            return trace_commit(place, id)
        case "batch":
            return trace_batch(place, id)
        case _:
            assert_never(kind)


def _format_trace(trace: Trace) -> Iterator[str]:
    for link in trace.links:
        yield f"{link.kind:<11} {link.id}  {link.text}"
    for link in trace.leads_to:
        yield f"leads to    {link.kind} {link.id}  {link.text}"
    for note in trace.notes:
        yield f"note        {note}"
