"""CloudEvents of the platform: their types, sources, ids and extension attributes."""

import uuid
from dataclasses import dataclass
from typing import Literal

_NAMESPACE = uuid.UUID("6f6b0e1c-8a4f-5f0e-9d5c-3d1f6a1c7b11")
_PREFIX = "dev.driftloop."

RUN_STARTED = f"{_PREFIX}run.started"
RUN_FINISHED = f"{_PREFIX}run.finished"
LOOP_WAITS = f"{_PREFIX}loop.waits"
LABELS_GIVEN = f"{_PREFIX}labels.given"
INFERENCE = "io.seldon.serving.inference."
"""Prefix of what model servers log; Seldon's executor uses the same types."""
INFERENCE_REQUEST = f"{INFERENCE}request"
INFERENCE_RESPONSE = f"{INFERENCE}response"

PIPELINE = "inferenceservicename"
"""Extension: the pipeline."""
NAMESPACE = "namespace"
"""Extension: the pipeline's namespace."""
RELEASE = "endpoint"
"""Extension: the release whose predictor answered, or whose traffic a verdict is about."""
REQUEST_ID = "requestid"
"""Extension: id that request and response, and the shadow's copies of them, share."""
PROTOCOL = "protocol"
"""Extension: protocol of the body (`seldon`, `v2`, `tensorflow`)."""
ERROR_DESTINATION = "knativeerrordest"
"""Extension of a dead letter: the address that did not take the event."""


@dataclass(frozen=True)
class EventType:
    """One row of the reference of events."""

    type: str
    sender: str
    receivers: str
    data: str
    """Record that the body holds."""
    id: str
    """Rule that makes the event's id."""


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        RUN_STARTED,
        "`driftloop step claim`",
        "any Trigger of the user's",
        "RunEvent",
        "UUIDv5 of namespace, pipeline, run and `started`",
    ),
    EventType(
        RUN_FINISHED,
        "`driftloop step finish`; the decision service for a run that was lost",
        "the decision service",
        "RunEvent",
        "UUIDv5 of namespace, pipeline, run and `finished`",
    ),
    EventType(
        LOOP_WAITS,
        "the decision service, once when the loop begins to wait for data, halts itself, orders a "
        "rollback or ends one, or holds after a person's commit",
        "any Trigger of the user's",
        "LoopRecord",
        "UUIDv5 of namespace, pipeline and the wait",
    ),
    EventType(
        f"{_PREFIX}<detector>",
        "the detector service",
        "the decision service, for the detectors in `retrain.on`",
        "DetectorVerdict",
        "UUIDv5 of namespace, pipeline, detector, release and window",
    ),
    EventType(
        LABELS_GIVEN,
        "the decision service, for labels that were posted to `/labels`",
        "detectors with `on: label`; the recorder, for `labels.batches`; the analysis, for `canary.quality`",
        "LabelBatch",
        "a fresh UUID",
    ),
    EventType(
        INFERENCE_REQUEST,
        "the model servers' loggers",
        "detectors with `on: request`",
        "the request's body",
        "the logger's UUID",
    ),
    EventType(
        INFERENCE_RESPONSE,
        "the model servers' loggers",
        "the analysis service; detectors with `on: response` and `on: label`",
        "the response's body",
        "the logger's UUID",
    ),
)
"""Every type of event that crosses from one program to another."""


def detector_type(detector: str) -> str:
    """Return the type of a detector's events."""
    return f"{_PREFIX}{detector}"


def is_own_type(type: str) -> bool:
    """Return true for the types of driftloop's own events."""
    return type.startswith(_PREFIX)


def detector_of(type: str) -> str:
    """Return the detector that sends events of this type."""
    return type.removeprefix(_PREFIX)


def inference_type(side: Literal["request", "response", "label"]) -> str:
    """Return the type of logged requests or responses; labels are of responses."""
    return INFERENCE_REQUEST if side == "request" else INFERENCE_RESPONSE


def event_source(namespace: str, pipeline: str, detector: str | None = None) -> str:
    """Return the source of an event of a pipeline, or of one of its detectors."""
    source = f"driftloop/{namespace}/{pipeline}"
    return source if detector is None else f"{source}/{detector}"


def verdict_id(namespace: str, pipeline: str, detector: str, release: str, window: int) -> str:
    """Return the id of a verdict's event: the same verdict has the same id, so a repeat is
    recognised."""
    return str(uuid.uuid5(_NAMESPACE, f"{namespace}/{pipeline}/{detector}/{release}/{window}"))


def run_id(namespace: str, pipeline: str, run: str, what: Literal["started", "finished"]) -> str:
    """Return the id of an event about a run: sent twice, it is still one event."""
    return str(uuid.uuid5(_NAMESPACE, f"{namespace}/{pipeline}/runs/{run}/{what}"))


def wait_id(namespace: str, pipeline: str, key: str) -> str:
    """Return the id of an event about a wait of the loop: sent twice, it is still one event."""
    return str(uuid.uuid5(_NAMESPACE, f"{namespace}/{pipeline}/waits/{key}"))
