"""Records that one program writes and another reads: files of a run, and the data of events.

They are read with the keys that a reader needs checked; other keys are left alone, so that a
record of a newer version can be read.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_text,
    is_texts,
    is_whole,
    parse_json,
    show_value,
    texts_key,
    to_json,
)
from driftloop.contract.outcomes import OBSTACLES, OUTCOME_KINDS, Obstacle, OutcomeKind, is_time

GATE_BOUNDS = ("min", "max", "productionMinus", "productionPlus")
"""Bounds that a gate may have, as verdict.json names them."""
LoopWait = Literal["data", "person", "time"]
LOOP_WAIT_KINDS: tuple[LoopWait, ...] = get_args(LoopWait)

LONGEST_NAME = 200
"""Characters of a name in an event at most."""


def _is_name(value: object) -> bool:
    return is_text(value) and len(str(value)) <= LONGEST_NAME and str(value).isprintable()


def name_key(key: str) -> Any:
    """Return the field of a name."""
    return document_key(key, f"a name of at most {LONGEST_NAME} printable characters", _is_name)


def text_key(key: str, default: str = "") -> Any:
    """Return the field of a text, which may be empty."""
    return document_key(key, "a text", lambda v: isinstance(v, str), default=default)


def moment_key(key: str) -> Any:
    """Return the field of a time, or None."""
    return document_key(
        key, "a time in UTC, or null", lambda v: v is None or is_time(v), default=None
    )


@dataclass(frozen=True)
class PruneRecord:
    """Record of the last removal of files that a pipeline's runs have left."""

    time: str = document_key("time", "a time", is_text)
    removed: int = document_key("removed", "a number", lambda v: is_whole(v, 0))
    """Bytes."""
    files: int = document_key("files", "a number", lambda v: is_whole(v, 0))
    kept: int = document_key("kept", "a number", lambda v: is_whole(v, 0))
    """Bytes of the runs that stay."""
    total: int = document_key("total", "a number", lambda v: is_whole(v, 0), default=0)
    """Bytes that were ever removed."""

    @classmethod
    def read(cls, document: object) -> "PruneRecord":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the record of a prune", closed=False)

    @property
    def text(self) -> str:
        """The record in words."""
        if not self.files:
            return f"nothing to remove, {self.kept / 1e6:.1f} MB stay"
        return f"{self.files} files, {self.removed / 1e6:.1f} MB are removed, {self.kept / 1e6:.1f} MB stay"


@dataclass(frozen=True)
class StoredReference:
    """Location of the reference data of a release's detector, which other releases have, too."""

    key: str = document_key("key", "a key", is_text)
    """Key in the bucket of runs."""
    sha256: str = document_key("sha256", "a digest in hex", is_text)
    bytes: int = document_key("bytes", "a number", lambda v: is_whole(v, 0))

    @classmethod
    def read(cls, document: object) -> "StoredReference":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="a stored reference", closed=False)


@dataclass(frozen=True)
class SnapshotBatch:
    """One object of the data's folder as a run read it."""

    key: str = document_key("key", "a key below the folder", is_text)
    """Key below the folder."""
    size: int = document_key("size", "bytes, 0 or more", lambda v: is_whole(v, 0))
    """Bytes."""
    etag: str = document_key("etag", "a text", lambda v: isinstance(v, str))
    """Tag of the object in the store."""
    sha256: str = document_key("sha256", "a digest", is_text)
    """Digest in hex."""
    recent: bool = document_key(
        "recent", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """Production was not trained on it."""
    source: str | None = document_key(
        "source",
        "a URL, or null",
        lambda v: v is None or is_text(v),
        default=None,
        omits_none=True,
    )
    """URL that it was copied from; its content is kept under its digest. None of one in the data's folder."""


@dataclass(frozen=True)
class Snapshot:
    """snapshot.json: the data that a run was trained on."""

    uri: str = document_key("uri", "a text", lambda v: isinstance(v, str))
    """Folder of the batches."""
    batches: tuple[SnapshotBatch, ...] = document_key(
        "objects",
        "a list of objects",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(
            from_json(SnapshotBatch, item, label="an object of snapshot.json", closed=False)
            for item in v
        ),
        write=lambda v: [to_json(batch) for batch in v],
    )
    """Batches, in the order of their keys."""
    data_digest: str = document_key("dataDigest", "a digest", is_text)
    """Digest over all batches."""

    @classmethod
    def read(cls, document: object) -> "Snapshot":
        """Read the snapshot from plain data; DocumentError."""
        return from_json(cls, document, label="snapshot.json", closed=False)


def _is_pairs(value: object) -> bool:
    return isinstance(value, list) and all(is_texts(pair) and len(pair) == 2 for pair in value)


@dataclass(frozen=True)
class SeenBatches:
    """seen.json: batches that some run of a pipeline has read."""

    batches: frozenset[tuple[str, str]] = document_key(
        "batches",
        "a list of [key, etag]",
        _is_pairs,
        read=lambda v: frozenset((key, etag) for key, etag in v),
        write=lambda v: sorted(map(list, v)),
    )
    """Key below the data's folder, and ETag, of each."""

    @classmethod
    def read(cls, document: object) -> "SeenBatches":
        """Read the batches from plain data; DocumentError."""
        return from_json(cls, document, label="seen.json", closed=False)


def _is_metrics(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


def _is_metrics_text(value: object) -> bool:
    try:
        return isinstance(value, str) and _is_metrics(json.loads(value))
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True)
class ProductionRelease:
    """release.json: the release that was production when the run began."""

    id: str = document_key("id", "a release id", is_text)
    """Release."""

    @classmethod
    def read(cls, document: object) -> "ProductionRelease | None":
        """Read the release from plain data, None for `{}`: the first release; DocumentError."""
        if document == {}:
            return None
        return from_json(cls, document, label="release.json", closed=False)


@dataclass(frozen=True)
class TrialResult:
    """Output parameters of one train step."""

    trial: str = document_key("trial", "a number in text", is_text)
    """Number of the trial. A cached one has its number in the run that made it, so two may have
    the same."""
    metrics: dict[str, float] = document_key(
        "metrics",
        "finite numbers by metric, as JSON text",
        _is_metrics_text,
        read=json.loads,
        write=lambda v: json.dumps(v, sort_keys=True),
    )
    """Metrics that the training function returned."""
    home: str | None = document_key(
        "home",
        "a folder of the bucket",
        lambda v: v is None or isinstance(v, str),
        default=None,
        omits_none=True,
    )
    """Run that keeps it; None: this run, under its number."""


def parse_trials(text: str) -> tuple[TrialResult, ...]:
    """Read the trials of a search from JSON text, as Argo lists the outputs of a loop;
    DocumentError."""
    document = parse_json(text, label="the list of trials")
    if not isinstance(document, list):
        raise DocumentError(f"the list of trials is {show_value(document)}, must be a list")
    if not document:
        raise DocumentError("the list of trials is empty")
    return tuple(
        from_json(TrialResult, item, label=f"entry {number} of the trials", closed=False)
        for number, item in enumerate(document, 1)
    )


def _is_measures(value: object) -> bool:
    return isinstance(value, dict) and all(
        metrics is None or _is_metrics(metrics) for metrics in value.values()
    )


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(is_whole(count, 0) for count in value.values())


@dataclass(frozen=True)
class Evaluation:
    """metrics.json: the candidate and production on held-out rows."""

    candidate: dict[str, dict[str, float]] = document_key(
        "candidate", "finite numbers by metric, for `all` and `recent` rows", _is_measures
    )
    """`all` and `recent` rows to the candidate's metrics."""
    production: dict[str, dict[str, float]] | None = document_key(
        "production",
        "finite numbers by metric, for `all` and `recent` rows, or null",
        lambda v: v is None or _is_measures(v),
    )
    """The same of production; None before the first release."""
    rows: dict[str, int] | None = document_key(
        "rows", "numbers of rows", lambda v: v is None or _is_counts(v), default=None
    )
    """`all` and `recent` to the number of held-out rows."""
    against: str | None = document_key(
        "against", "a release id, or null", lambda v: v is None or is_text(v), default=None
    )
    """Release that was production."""
    not_comparable: str = text_key("notComparable")
    """Why production could not be evaluated on these rows; empty when it was, or there is none."""
    asked: dict[str, float] | None = document_key(
        "asked",
        "finite numbers by metric, or null",
        lambda v: v is None or _is_metrics(v),
        default=None,
    )
    """The candidate's metrics on the recent rows of rows.json alone, where one is a measure of
    numbers; None otherwise, or when they could not be measured."""

    @classmethod
    def read(cls, document: object) -> "Evaluation":
        """Read the evaluation from plain data; DocumentError names a metric that is not a number."""
        return from_json(cls, document, label="metrics.json", closed=False)


@dataclass(frozen=True)
class GateResult:
    """One gate and how it went."""

    metric: str = document_key("metric", "the name of a metric", is_text)
    """Metric that was compared."""
    on: str = document_key("on", "one of: all, recent", lambda v: v in ("all", "recent"))
    """Rows it was measured on."""
    rule: str = document_key(
        "rule", f"one of: {', '.join(GATE_BOUNDS)}", lambda v: v in GATE_BOUNDS
    )
    """Bound of the gate that was applied."""
    value: float = document_key("value", "a number", is_number)
    """Value of the candidate."""
    bound: float | None = document_key(
        "bound", "a number, or null", lambda v: v is None or is_number(v)
    )
    """Number that the value was compared with; None without production."""
    passed: bool = document_key("passed", "true or false", lambda v: isinstance(v, bool))
    """The value is within the bound."""
    reason: str = document_key("reason", "a text", is_text)
    """The comparison in words."""


@dataclass(frozen=True)
class GateVerdict:
    """verdict.json: the candidate held against the gates."""

    passed: bool = document_key("passed", "true or false", lambda v: isinstance(v, bool))
    """Every gate passed."""
    reasons: tuple[str, ...] = document_key(
        "reasons", "a list of texts", is_texts, read=tuple, write=list
    )
    """Gates that refused the candidate, in words; those that let it pass when none did."""
    gates: tuple[GateResult, ...] = document_key(
        "gates",
        "a list of gates",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(
            from_json(GateResult, item, label="a gate of verdict.json", closed=False) for item in v
        ),
        write=lambda v: [to_json(gate) for gate in v],
    )
    """Gates in the order of the spec."""
    not_comparable: str = text_key("notComparable")
    """Why production could not be evaluated; empty when it was."""

    @classmethod
    def read(cls, document: object) -> "GateVerdict":
        """Read the verdict from plain data; DocumentError."""
        return from_json(cls, document, label="verdict.json", closed=False)


@dataclass(frozen=True)
class HeldOutRow:
    """One held-out row as a caller would send it."""

    features: Any = document_key("features", "a list of values", lambda v: isinstance(v, list))
    """Values of the request, in the order of the names."""
    label: Any = document_key("label", "a value, or null", lambda v: True, default=None)
    """The right answer; None when the rows have no target."""
    recent: bool = document_key(
        "recent", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """Production was not trained on it."""


@dataclass(frozen=True)
class HeldOutRows:
    """rows.json: held-out rows that a rehearsal asks."""

    rows: tuple[HeldOutRow, ...] = document_key(
        "rows",
        "a list of rows",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(
            from_json(HeldOutRow, item, label="a row of rows.json", closed=False) for item in v
        ),
        write=lambda v: [to_json(row) for row in v],
    )
    """Rows, recent ones first."""
    names: tuple[str, ...] | None = document_key(
        "names",
        "a list of texts, or null",
        lambda v: v is None or is_texts(v),
        default=None,
        read=tuple,
        write=list,
    )
    """Names of the columns; None for arrays, whose values have none."""
    note: str = text_key("note")
    """What was left out, and why; empty when nothing was."""

    @classmethod
    def read(cls, document: object) -> "HeldOutRows":
        """Read the rows from plain data; DocumentError."""
        return from_json(cls, document, label="rows.json", closed=False)


@dataclass(frozen=True)
class CapturedRequests:
    """requests.json: the last requests that callers have sent to production, as they sent them."""

    bodies: tuple[str, ...] = texts_key("bodies")
    """Bodies, the oldest first."""
    release: str | None = document_key(
        "release", "a release id, or null", lambda v: v is None or is_text(v), default=None
    )
    """Release that was asked; None before the first one."""
    note: str = text_key("note")
    """Why there is none; empty when there are some."""

    @classmethod
    def read(cls, document: object) -> "CapturedRequests":
        """Read the requests from plain data; DocumentError."""
        return from_json(cls, document, label="requests.json", closed=False)


def _seconds(key: str) -> Any:
    return document_key(
        key, "seconds, or null", lambda v: v is None or (is_number(v) and v >= 0), default=None
    )


def _share(key: str) -> Any:
    return document_key(
        key,
        "between 0 and 1, or null",
        lambda v: v is None or (is_number(v) and 0 <= v <= 1),
        default=None,
    )


def _count(key: str) -> Any:
    return document_key(key, "a number of rows", lambda v: is_whole(v, 0), default=0)


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """rehearsal.json: a candidate's answers to held-out rows, from its own server."""

    passed: bool = document_key("passed", "true or false", lambda v: isinstance(v, bool))
    """The candidate goes on."""
    reasons: tuple[str, ...] = texts_key("reasons")
    """Limits that it broke; empty when it passed."""
    notes: tuple[str, ...] = texts_key("notes")
    """What could not be judged, and why."""
    start: float | None = _seconds("start")
    """Seconds until the server answered its health check; None when it never did."""
    p99: float | None = _seconds("p99")
    """99th percentile of the answer times, in seconds."""
    rows: int = _count("rows")
    """Rows that it was asked."""
    answered: int = _count("answered")
    """Rows that it answered."""
    compared: int = _count("compared")
    """Rows that production, beside it, answered too."""
    agreement: float | None = _share("agreement")
    """Share of these that both answered alike."""
    tolerance: float | None = document_key(
        "tolerance",
        "a number, or null",
        lambda v: v is None or (is_number(v) and v >= 0),
        default=None,
    )
    """Distance at which two answers that are numbers count as alike, from the residuals of both on
    recent rows; then `compared` and `agreement` are of these rows. None for other answers."""
    accuracy: float | None = _share("accuracy")
    """Share of right answers to the recent rows; None without labels."""
    metric: str = text_key("metric")
    """Metric of the evaluation that answers which are numbers were held against; empty for others."""
    measured: float | None = document_key(
        "measured", "a number, or null", lambda v: v is None or is_number(v), default=None
    )
    """Its value, from the answers to the recent rows."""
    captured: int = _count("captured")
    """Requests of production's callers that it was asked, as they had sent them."""
    log: str = text_key("log")
    """The server's last words, when it ended or refused rows."""

    @classmethod
    def read(cls, document: object) -> "Rehearsal":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="rehearsal.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class LoopRecord:
    """Data of `dev.driftloop.loop.waits`."""

    pipeline: str = text_key("pipeline")
    """Pipeline of the loop."""
    waits_for: LoopWait = document_key(
        "waitsFor", f"one of: {', '.join(LOOP_WAIT_KINDS)}", lambda v: v in LOOP_WAIT_KINDS
    )
    """`data`: new batches; `person`: `driftloop resume`; `time`: the end of a pause."""
    reason: str = text_key("reason")
    """Explanation, and what is needed."""

    @classmethod
    def read(cls, document: object) -> "LoopRecord":
        """Read the data of an event; DocumentError."""
        return from_json(cls, document, label="the data of the loop's event", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Data of `dev.driftloop.run.started` and `dev.driftloop.run.finished`."""

    pipeline: str = text_key("pipeline")
    """Pipeline of the run."""
    run: str = name_key("run")
    """Run id."""
    decision: str = text_key("decision")
    """Decision that asked for the run."""
    outcome: OutcomeKind | None = document_key(
        "outcome",
        f"one of: {', '.join(OUTCOME_KINDS)}; null while the run goes on",
        lambda v: v is None or v in OUTCOME_KINDS,
        default=None,
    )
    """Kind of the outcome; None while the run goes on."""
    reason: str | None = document_key(
        "reason", "a text", lambda v: v is None or isinstance(v, str), default=None
    )
    """Cause of a run that started; explanation of how one ended."""
    time: str | None = document_key(
        "time",
        "a time in UTC, such as 2026-01-31T09:30:00Z, or null",
        lambda v: v is None or is_time(v),
        default=None,
        omits_none=True,
    )
    """Time at which it ended; None while the run goes on."""
    obstacle: Obstacle | None = document_key(
        "obstacle",
        f"one of: {', '.join(OBSTACLES)}; null unless the outcome is not-started",
        lambda v: v is None or v in OBSTACLES,
        default=None,
        omits_none=True,
    )
    """What kept a run from starting."""

    @classmethod
    def read(cls, document: object) -> "RunRecord":
        """Read the data of an event; DocumentError."""
        return from_json(cls, document, label="the data of the run's event", closed=False)
