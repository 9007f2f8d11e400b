"""`driftloop trace`."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.runs import open_runs
from driftloop.cli.try_ import choose_envs
from driftloop.local.kubelet.images import LocalImage, prepare_monitor
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.traces.kept_requests import find_nats
from driftloop.operations.traces.request_traces import TrafficReader, trace_request
from driftloop.operations.traces.traces import (
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
@options.envs
@options.repository_options
@cluster_options
@options.output
def command(
    *,
    id: str,
    kind: TraceKind | None,
    pipeline: str | None,
    envs: Path | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Trace ID back to what it comes of, and forth to what came of it.

    ID is a request id (the answer's header `seldon-puid`), a release, a run, a commit (of the
    cluster repository, or of the code) or a batch (its key or digest). A request leads to its
    answer, release, model, run, parameters, data with its batches, code, images, commit, cause,
    alarm and windows.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        runs = stack.enter_context(open_runs(cluster, state, pipeline or cluster.namespace))
        own = not cluster.chosen and opened.repository.url == state.folder.repository_url
        nats_url = find_nats(state.folder, os.environ) if own else None
        place = TracePlace(runs, opened.repository, opened.repository.tip(), nats_url)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftloop-trace-")))
        reader = TrafficReader(
            functools.cache(lambda: _prepare_image(work / "monitor", envs or choose_envs(state))),
            work,
        )
        trace = _trace(place, kind or guess_kind(place, id), id, pipeline, reader)
    if output != "text":
        options.print_document(trace.to_json(), output, indent=1)
        return
    click.echo("\n".join(_format_trace(trace)))


def _prepare_image(folder: Path, envs: Path) -> LocalImage:
    return prepare_monitor(folder, envs=envs, say=options.print_progress)


def _trace(
    place: TracePlace, kind: TraceKind, id: str, pipeline: str | None, reader: TrafficReader
) -> Trace:
    match kind:
        case "request":
            return trace_request(place, id, reader, pipeline)
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
