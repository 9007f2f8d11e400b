"""`driftloop step claim`: of all runs that were started, one goes on."""

import json
from pathlib import Path

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.contract.documents import to_json
from driftloop.contract.events import NAMESPACE, PIPELINE, RUN_STARTED, event_source, run_id
from driftloop.contract.names import Names, find_given_model
from driftloop.contract.outcomes import Obstacle
from driftloop.contract.records import CapturedRequests, RunRecord
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.trees import REQUESTS_FILE
from driftloop.errors import PipelineError, StepError
from driftloop.git.head import read_head
from driftloop.operations.traces.capturing import read_captured
from driftloop.retrain import store as decisions
from driftloop.retrain.decision import is_claimed
from driftloop.retrain.state import (
    ClaimEvent,
    HeadEvent,
    RetrainState,
    is_automatic,
    is_new_data,
)
from driftloop.steps import options
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step claim --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b \\
    --decision 4f0c1d2e3a5b --cause "person eve" --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@options.run
@click.option(
    "--decision",
    required=True,
    help="Id of the decision that started the run; empty for a schedule.",
)
@click.option(
    "--cause",
    required=True,
    help="Cause: `alarm <event id>`, `webhook <id>`, `schedule` or `person <name>`.",
)
@click.option("--adopts", is_flag=True, help="The workflow can release a model that is given.")
@click.option("--capture", metavar="DETECTOR", help="Detector that keeps production's requests.")
@click.option(
    "--requests",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write requests.json to; needs --capture.",
)
@options.out
def command(
    *,
    pipeline: str,
    namespace: str,
    run: str,
    decision: str,
    cause: str,
    adopts: bool,
    capture: str | None,
    requests: Path | None,
    out: Path,
) -> None:
    """Claim the pipeline's run; writes `claimed` (true, false, or `model` for one that releases a given
    model), `obstacle` and `reason`, and
    the last requests of production's callers, for the rehearsal."""
    settings = StepSettings.from_environment()
    decision = decision or run.removeprefix(f"{pipeline}-")
    given = find_given_model(cause) is not None
    if given and not adopts:
        raise StepError(
            f"the spec of {pipeline} that is applied names no tracking server, so its workflow trains",
            hint="commit it with `tracking`, and wait until it is applied",
        )
    head = _read_head(settings, pipeline)
    if head is not None:
        decisions.apply_once(settings.nats_url, namespace, pipeline, head)
    production = head.production if head is not None else None
    state = decisions.apply_once(
        settings.nats_url, namespace, pipeline, ClaimEvent(run, decision, cause, production)
    )
    won = is_claimed(state, run)
    obstacle, reason = ("", "") if won else _explain_refusal(state, run, decision, cause)
    write_parameters(
        out,
        claimed=("model" if given else "true") if won else "false",
        obstacle=obstacle,
        reason=reason,
    )
    options.print_progress(
        f"claimed by {run} because of {cause}" if won else f"not started ({obstacle}): {reason}"
    )
    if requests is not None and capture is not None:
        _write_captured(
            requests,
            settings.reader_url,
            DetectorStreams(namespace, pipeline, capture, production or ""),
        )
    if won:
        event = events.make_event(
            RUN_STARTED,
            event_source(namespace, pipeline),
            to_json(RunRecord(pipeline=pipeline, run=run, decision=decision, reason=cause)),
            id=run_id(namespace, pipeline, run, "started"),
            **{PIPELINE: pipeline, NAMESPACE: namespace},
        )
        try:
            sdk.send_event(Names(pipeline, namespace).broker_url, event)
        except EventRefusedError as error:
            # the claim counts; nothing waits for this event
            options.print_progress(f"the event was not taken: {error.message}")


def _write_captured(folder: Path, url: str, streams: DetectorStreams) -> None:
    none = CapturedRequests((), None, "there is no production yet, or git can't be read")
    captured = read_captured(url, streams) if streams.release else none
    options.print_progress(
        f"{len(captured.bodies)} captured requests"
        + (f": {captured.note}" if captured.note else "")
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REQUESTS_FILE).write_text(json.dumps(to_json(captured)))


def _read_head(settings: StepSettings, pipeline: str) -> HeadEvent | None:
    """Read what git calls production; None when git is away, which the next step sees, too."""
    try:
        head = read_head(settings.open_repository(), pipeline)
    except PipelineError as error:
        options.print_progress(f"git can't be read, so commits of people are not seen: {error}")
        return None
    return None if head is None else head.event


def _explain_refusal(
    state: RetrainState, run: str, decision: str, cause: str
) -> tuple[Obstacle, str]:
    if run in state.ended:
        return "busy", "this run has ended before"
    if state.hold is not None and is_automatic(cause):
        commit = f"`{state.hold.subject}` ({state.hold.commit[:12]})"
        return "held", f"a person took a release back by {commit}"
    if state.waits is not None and is_new_data(cause):
        return "busy", f"the run that waits for new data starts because of {state.waits.cause.text}"
    if decision in state.ended and state.dropped and not state.live:
        return "stale", state.dropped
    if state.phase == "halted":
        return "halted", f"retraining is suspended: {state.halt}"
    if state.live:
        return "busy", f"run {state.run} is {state.phase}"
    return "busy", "its decision has started another run already"
