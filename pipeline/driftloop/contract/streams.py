"""JetStream streams, subjects and key-value buckets, with their limits.

Names of a subject's tokens are what Kubernetes allows, so they hold no dot; stream names take
upper case, digits and `_` only (`stream_token`).
"""

import re
from dataclasses import dataclass

HOUR = 3600.0
DAY = 24 * HOUR
MIB = 1024 * 1024

BROKER_BYTES = 256 * MIB
"""Room of a Broker's stream where the spec states none."""
DETECTOR_BYTES = 96 * MIB
"""Room of a detector's stream where the spec states none."""
RECORDER_BYTES = 128 * MIB
"""Room of a recorder's stream where the spec states none."""

_RELEASE = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")


@dataclass(frozen=True)
class Stream:
    """One JetStream stream: limits retention on file; 0 and -1 mean no limit."""

    name: str
    subjects: tuple[str, ...]
    description: str
    max_age: float = 0.0
    """Seconds."""
    max_bytes: int = -1
    """Reserved in JetStream's store as long as the stream exists; `max_msgs` reserves nothing."""
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    refuses_when_full: bool = False
    """A full stream refuses new messages; otherwise it drops the oldest."""
    duplicate_window: float = 600.0
    """Seconds in which a message id is recognised; longer than between two tries of a Trigger."""


@dataclass(frozen=True)
class Bucket:
    """One JetStream key-value bucket, on file."""

    name: str
    keys: str
    """Form of its keys."""
    description: str
    history: int = 1
    """Values of one key that are kept."""

    @property
    def stream(self) -> str:
        """Stream behind the bucket."""
        return f"KV_{self.name}"

    @property
    def prefix(self) -> str:
        """Start of the subjects of that stream; the key follows."""
        return f"$KV.{self.name}."


def stream_token(text: str) -> str:
    """Return a name as one part of a stream's name; all but ASCII letters and digits becomes
    `_`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text).upper()


def is_release_token(text: str) -> bool:
    """Return true when the text can be the last token of a subject."""
    return _RELEASE.match(text) is not None


UNJUDGED = "unjudged"
"""Last token of the subject of windows that are not judged, beside the release's verdicts."""
GIVEN_LABELS = "labels"
"""Last token of the subject of labels, in the stream of a detector that reads them; no release has that name."""
VERDICTS = Stream(
    "DRIFTLOOP_VERDICTS",
    ("driftloop.verdicts.>",),
    "verdicts of all detectors, and windows that were not judged",
    max_msgs_per_subject=1000,
)
DEAD_LETTERS = Stream(
    "DRIFTLOOP_DEADLETTERS",
    ("driftloop.deadletters.>",),
    "events that could not be delivered",
    max_age=30 * DAY,
    max_bytes=64 * MIB,
)
RECORDERS = Stream(
    "DRIFTLOOP_RECORDERS",
    ("driftloop.recorders.>",),
    "how far each recorder has written its stream",
    max_msgs_per_subject=16,
)
DECISIONS = Bucket(
    "driftloop-decisions",
    "<namespace>.<pipeline>",
    "state of the decision to retrain",
    history=16,
)
WORKFLOWS = Bucket(
    "driftloop-workflows", "<namespace>.<workflow>", "Workflows of the local stand-in for Argo"
)
SCHEDULES = Bucket(
    "driftloop-schedules", "<namespace>.<cronworkflow>", "last times of the local CronWorkflows"
)
BUCKETS: tuple[Bucket, ...] = (DECISIONS, WORKFLOWS, SCHEDULES)


def dead_letter_subject(namespace: str, pipeline: str) -> str:
    """Return the subject of a pipeline's dead letters."""
    return f"driftloop.deadletters.{namespace}.{pipeline}"


def verdict_subjects(namespace: str, pipeline: str) -> str:
    """Return the subjects of all verdicts of a pipeline."""
    return f"driftloop.verdicts.{namespace}.{pipeline}.*.*"


def decision_key(namespace: str, pipeline: str) -> str:
    """Return the key of a pipeline's decision state."""
    return f"{namespace}.{pipeline}"


@dataclass(frozen=True)
class DetectorStreams:
    """Streams and subjects of one detector of one pipeline's release."""

    namespace: str
    pipeline: str
    detector: str
    release: str
    max_bytes: int = DETECTOR_BYTES
    """Room of the stream of events."""

    @property
    def events_stream(self) -> Stream:
        """Stream that the detector's service writes events to; one for all releases.

        What is not judged yet must never be thrown away, however long its window stays open: no
        event ends by its age, and a full stream refuses, so that the broker tries again later.
        """
        tokens = "_".join(map(stream_token, (self.namespace, self.pipeline, self.detector)))
        return Stream(
            f"DRIFTLOOP_{tokens}",
            (self.event_subject(">"),),
            "logged requests or responses that a detector reads, and labels",
            max_bytes=self.max_bytes,
            refuses_when_full=True,
        )

    @property
    def stream(self) -> str:
        """Name of `events_stream`."""
        return self.events_stream.name

    def event_subject(self, release: str) -> str:
        """Return the subject of a release's events."""
        return f"driftloop.events.{self.namespace}.{self.pipeline}.{self.detector}.{release}"

    @property
    def labels(self) -> str:
        """Subject of the labels, of answers of all releases."""
        return self.event_subject(GIVEN_LABELS)

    @property
    def verdicts(self) -> str:
        """Subject of this release's verdicts."""
        names = f"{self.namespace}.{self.pipeline}.{self.detector}.{self.release}"
        return f"driftloop.verdicts.{names}"

    def unjudged_subject(self, release: str) -> str:
        """Return the subject of the windows of a release that were not judged when they came."""
        names = f"{self.namespace}.{self.pipeline}.{self.detector}.{release}"
        return f"driftloop.verdicts.{names}.{UNJUDGED}"

    @property
    def emitter(self) -> str:
        """Durable consumer that remembers which verdicts have been sent."""
        return f"emit_{self.namespace}_{self.pipeline}_{self.detector}_{self.release}"


@dataclass(frozen=True)
class AnalysisStreams:
    """Stream and subjects of the service that measures one pipeline's rollouts."""

    namespace: str
    pipeline: str

    @property
    def responses(self) -> Stream:
        """Stream of what is kept of each response."""
        return Stream(
            f"DRIFTLOOP_{stream_token(self.namespace)}_{stream_token(self.pipeline)}_JUDGE",
            (self.subject("*"),),
            "what the analysis service keeps of each response",
            max_age=HOUR,
            max_msgs=200_000,
        )

    def subject(self, release: str) -> str:
        """Return the subject of a release's responses."""
        return f"driftloop.events.{self.namespace}.{self.pipeline}.judge.{release}"

    @property
    def labels(self) -> str:
        """Subject of the labels."""
        return self.subject(GIVEN_LABELS)


@dataclass(frozen=True)
class RecorderStreams:
    """Stream and subjects of the service that records one pipeline's traffic."""

    namespace: str
    pipeline: str
    max_bytes: int = RECORDER_BYTES
    """Room of the stream of events."""

    @property
    def events_stream(self) -> Stream:
        """Stream of requests and answers that are not written yet. A full one refuses, so that the broker
        tries again later: none is thrown away."""
        return Stream(
            f"DRIFTLOOP_{stream_token(self.namespace)}_{stream_token(self.pipeline)}_RECORDER",
            (self.event_subject("*"),),
            "logged requests and answers that the recorder has not written yet",
            max_bytes=self.max_bytes,
            refuses_when_full=True,
        )

    def event_subject(self, side: str) -> str:
        """Return the subject of requests or of answers."""
        return f"driftloop.events.{self.namespace}.{self.pipeline}.recorder.{side}"

    @property
    def state(self) -> str:
        """Subject of what the recorder remembers."""
        return f"driftloop.recorders.{self.namespace}.{self.pipeline}"


def event_bus_stream(namespace: str) -> Stream:
    """Return the stream of a namespace's event bus in the local stand-in for Argo Events."""
    return Stream(
        f"EVENTBUS_{stream_token(namespace)}",
        (f"eventbus.{namespace}.>",),
        "events of the local EventSources",
        max_age=7 * DAY,
        max_msgs=1000,
        duplicate_window=300.0,
    )


def event_bus_subject(namespace: str, source: str, event: str) -> str:
    """Return the subject of one event of a local EventSource."""
    return f"eventbus.{namespace}.{source}.{event}"
