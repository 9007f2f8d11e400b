"""Settings that a rendered command hands to the program it starts, as JSON.

`plan` and `resources` write them with `to_json`, services and steps read them with `from_json`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from driftloop.contract.alibi import ALIBI_CLASSES, AlibiClass, AlibiSettings
from driftloop.contract.budgets import AlarmBudget, BudgetUse, count_windows, expect_alarms
from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_text,
    is_texts,
    is_whole,
    parse_json,
    part_key,
    show_value,
    to_json,
)
from driftloop.contract.functions import FunctionSettings
from driftloop.contract.lacks import Lack, are_lacks
from driftloop.contract.quality import ESTIMATE_METHODS, EstimateMethod
from driftloop.contract.quiet import QuietHours

DetectorKind = Literal[
    "tabular",
    "schema",
    "mmd",
    "ks",
    "cvm",
    "chi2",
    "iforest",
    "mahalanobis",
    "function",
    "alibi",
    "quality",
    "estimate",
]
DETECTOR_KINDS: tuple[DetectorKind, ...] = get_args(DetectorKind)
LABELLED_KINDS: tuple[DetectorKind, ...] = ("quality", "estimate")
"""Detectors that are fitted on answers with their labels."""
OWN_KINDS = tuple(
    kind for kind in DETECTOR_KINDS if kind not in ("function", "alibi", *LABELLED_KINDS)
)
"""Detectors of ours of rows, which need nothing but the monitor image and its settings."""
MIXED_KINDS: tuple[DetectorKind, ...] = (
    "tabular",
    "schema",
    "mmd",
    "iforest",
    "mahalanobis",
    "function",
    "alibi",
)
"""Detectors that take columns of any type; the others take numbers."""

T = TypeVar("T")

_NAMED_DIGEST = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)=(sha256:[0-9a-f]{64})")


def _parse(record: type[T], text: str, *, label: str) -> T:
    return from_json(record, parse_json(text, label=label), label=label)


def write_digests(digests: Mapping[str, str]) -> str:
    """Return digests as one parameter hands them on: `NAME=sha256:…`, separated by commas."""
    return ",".join(f"{name}={digest}" for name, digest in sorted(digests.items()))


def read_digests(text: str) -> dict[str, str]:
    """Read what `write_digests` wrote; DocumentError for anything else."""
    digests = {}
    for part in text.split(",") if text else ():
        match = _NAMED_DIGEST.fullmatch(part)
        if match is None or match[1] in digests:
            raise DocumentError(
                f"`{part}` is not a name and its digest, or comes twice: must be NAME=sha256:…"
            )
        digests[match[1]] = match[3]
    return digests


@dataclass(frozen=True)
class AlarmCount:
    """Number of a monitor's windows that must alarm before it counts."""

    least: int = document_key("least", "an integer from 1 to 100", lambda v: is_whole(v, 1, 100))
    """Windows that alarm."""
    of: int = document_key("of", "an integer from 1 to 100", lambda v: is_whole(v, 1, 100))
    """Windows in a row that they are among."""

    @property
    def text(self) -> str:
        """The count in words."""
        if self.of == 1:
            return "an alarm"
        if self.least == self.of:
            return f"{self.least} alarms in a row"
        alarms = "an alarm" if self.least == 1 else f"{self.least} alarms"
        return f"{alarms} in {self.of} windows"


def _are_counts(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(name, str) and isinstance(count, dict) for name, count in value.items())
    )


def _column_names(key: str) -> Any:
    return document_key(
        key,
        "a list of columns",
        lambda v: v is None or (is_texts(v) and len(v) > 0),
        default=None,
        read=tuple,
        write=list,
        omits_none=True,
    )


@dataclass(frozen=True)
class RetrainPolicy:
    """The `retrain` part of a spec. Times in seconds."""

    consecutive: int = document_key(
        "consecutive", "an integer from 1 to 100", lambda v: is_whole(v, 1, 100), default=1
    )
    """Windows in a row that must alarm."""
    cooldown: float = document_key(
        "cooldown", "seconds, 0 or more", lambda v: is_number(v) and v >= 0, default=0.0, read=float
    )
    """Pause after a run ends, however it ended."""
    while_running: Literal["drop", "remember"] = document_key(
        "whileRunning",
        "one of: drop, remember",
        lambda v: v in ("drop", "remember"),
        default="drop",
    )
    """Fate of alarms from the decision until the end of the cooldown."""
    budget: int | None = document_key(
        "budget",
        "a number of runs in 24 hours, or null",
        lambda v: v is None or is_whole(v, 0),
        default=None,
    )
    """Decisions in any 24 hours that alarms may cause; None: no limit. Schedules and persons are
    not counted."""
    on: tuple[str, ...] = document_key(
        "on", "a list of detectors", is_texts, default=(), read=tuple, write=list
    )
    """Monitors whose alarms start runs."""
    halt_on: tuple[str, ...] | None = document_key(
        "haltOn",
        "a list of detectors",
        lambda v: v is None or is_texts(v),
        default=None,
        read=tuple,
        write=list,
        omits_none=True,
    )
    """Monitors whose alarms halt the loop; None: none do."""
    rollback_on: tuple[str, ...] | None = document_key(
        "rollbackOn",
        "a list of detectors",
        lambda v: v is None or is_texts(v),
        default=None,
        read=tuple,
        write=list,
        omits_none=True,
    )
    """Monitors whose alarms go back to the previous release; None: none do."""
    counts: Mapping[str, AlarmCount] | None = document_key(
        "counts",
        "an object of counts by detector",
        _are_counts,
        default=None,
        read=lambda v: {
            name: from_json(AlarmCount, count, label=f"the count of {name}")
            for name, count in v.items()
        },
        write=lambda v: {name: to_json(count) for name, count in v.items()},
        omits_none=True,
    )
    """Monitors that count otherwise than `consecutive` says; None: none do."""
    hold: float = document_key(
        "hold", "seconds, 0 or more", lambda v: is_number(v) and v >= 0, default=0.0, read=float
    )
    """Pause after a person took a release back; schedules wait for its end, too."""
    halt_after: int | None = document_key(
        "haltAfter",
        "a number of candidates from 1, or null",
        lambda v: v is None or is_whole(v, 1),
        default=None,
    )
    """Refused or rejected candidates in a row after which the loop halts itself; None: never."""
    quiet: QuietHours | None = part_key("quietHours", QuietHours)
    """Times in which alarms start no run; None: there are none."""
    least_new_rows: int | None = document_key(
        "leastNewRows",
        "a number of rows from 1, or null",
        lambda v: v is None or is_whole(v, 1),
        default=None,
        omits_none=True,
    )
    """New labelled rows with fewer of which alarms and new data train nothing; None: with any."""
    unfitted: Mapping[str, Lack] | None = document_key(
        "unfitted",
        "an object of `missing` or `outdated` by monitor, or null",
        lambda v: v is None or are_lacks(v),
        default=None,
        omits_none=True,
    )
    """Monitors that production has no detector of (`missing`), or one that was fitted with other settings
    (`outdated`); None: there are none."""
    refire: float = 2.0
    """Seconds before an unclaimed decision is fired again; doubles up to `refire_limit`."""
    refire_limit: float = 60.0

    @property
    def heeded(self) -> frozenset[str]:
        """Monitors whose alarms change anything."""
        return frozenset((*self.on, *(self.halt_on or ()), *(self.rollback_on or ())))

    def halts(self, monitor: str) -> bool:
        """Return True for a monitor whose alarms halt the loop."""
        return monitor in (self.halt_on or ())

    def rolls_back(self, monitor: str) -> bool:
        """Return True for a monitor whose alarms go back to the previous release."""
        return monitor in (self.rollback_on or ())

    def interrupts(self, monitor: str) -> bool:
        """Return True for a monitor whose alarms count in whatever phase the loop is."""
        return self.halts(monitor) or self.rolls_back(monitor)

    def count_of(self, monitor: str) -> AlarmCount:
        """Return how many alarms of a monitor count."""
        own = (self.counts or {}).get(monitor)
        return own if own is not None else AlarmCount(self.consecutive, self.consecutive)

    @classmethod
    def parse(cls, text: str) -> "RetrainPolicy":
        """Read the policy from JSON text; DocumentError."""
        return _parse(cls, text, label="the retrain policy")


def _are_shares(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(is_number(share) and 0 <= share <= 1 for share in value.values())
    )


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of one detector."""

    kind: DetectorKind = document_key(
        "kind", f"one of: {', '.join(DETECTOR_KINDS)}", lambda v: v in DETECTOR_KINDS
    )
    """Algorithm."""
    on: Literal["request", "response", "label"] = document_key(
        "on",
        "one of: request, response, label",
        lambda v: v in ("request", "response", "label"),
        default="request",
    )
    """Events that carry the rows; of `label` responses, and the labels to them."""
    window: int = document_key(
        "window", "an integer from 2 to 100000", lambda v: is_whole(v, 2, 100_000), default=200
    )
    """Rows at which a window closes; an event's rows stay together, so it may have more."""
    at_most: float | None = document_key(
        "atMost",
        "seconds, more than 0",
        lambda v: v is None or (is_number(v) and v > 0),
        default=None,
        omits_none=True,
    )
    """Seconds after its first row at which a window closes with fewer rows; None: never."""
    least: int | None = document_key(
        "least",
        "an integer from 2 to 100000",
        lambda v: v is None or is_whole(v, 2, 100_000),
        default=None,
        omits_none=True,
    )
    """Rows without which a window does not close by time; comes with `atMost`."""
    alarm_rate: float = document_key(
        "alarmRate", "between 0 and 1", lambda v: is_number(v) and 0 < v < 1, default=0.01
    )
    """Share of windows that may alarm although nothing has changed."""
    columns: tuple[str, ...] | None = _column_names("columns")
    """Columns of `data.features` that it looks at; None for all of them."""
    margin: float | None = document_key(
        "margin",
        "a number, 0 or more",
        lambda v: v is None or (is_number(v) and v >= 0),
        default=None,
        omits_none=True,
    )
    """Part of the range of the training data's values by which others may lie beyond it; of `schema`."""
    at_least: float | None = document_key(
        "atLeast",
        "between 0 and 1",
        lambda v: v is None or (is_number(v) and 0 <= v <= 1),
        default=None,
        omits_none=True,
    )
    """Difference, as a share of rows, below which nothing is an alarm; None: any is, or `atLeastByType` says
    it."""
    at_least_by_type: Mapping[str, float] | None = document_key(
        "atLeastByType",
        "an object of numbers between 0 and 1",
        _are_shares,
        default=None,
        omits_none=True,
    )
    """The same by type of column, and for missing values; of `tabular`."""
    budget: AlarmBudget | None = part_key("budget", AlarmBudget)
    """What `alarmRate` was derived from; None when the spec says it."""
    lasting: bool | None = document_key(
        "lasting",
        "true or false, or null",
        lambda v: v is None or isinstance(v, bool),
        default=None,
        omits_none=True,
    )
    """False: windows are judged one by one only, and not together as well; of `tabular`."""
    function: FunctionSettings | None = part_key("function", FunctionSettings)
    """The user's function; of `function`."""
    alibi: AlibiSettings | None = part_key("alibi", AlibiSettings)
    """Class of alibi-detect; of `alibi`."""
    wait: float | None = document_key(
        "wait",
        "seconds, more than 0",
        lambda v: v is None or (is_number(v) and v > 0),
        default=None,
        omits_none=True,
    )
    """Seconds for which an answer and its label wait for each other; of `quality`."""
    slices: tuple[str, ...] | None = _column_names("slices")
    """Columns of requests by whose values answers are judged apart, too; of `quality`."""
    by: EstimateMethod | None = document_key(
        "by",
        f"one of: {', '.join(ESTIMATE_METHODS)}, or null",
        lambda v: v is None or v in ESTIMATE_METHODS,
        default=None,
        omits_none=True,
    )
    """How answers without labels are estimated; of `estimate`, and of `quality` beside one."""
    private: tuple[str, ...] | None = _column_names("private")
    """Columns whose values its verdicts must not tell; None: there are none."""
    seed: int = document_key(
        "seed", "an integer", lambda v: isinstance(v, int) and not isinstance(v, bool), default=0
    )
    """Seed of everything random."""

    def __post_init__(self) -> None:
        if (self.on == "label") != (self.kind == "quality"):
            raise DocumentError(
                f"the detector's settings: `on` is `{self.on}` of kind `{self.kind}`, must be `label` of "
                "`quality`, and of no other kind"
            )
        if self.kind == "estimate" and (self.on != "response" or self.by is None):
            raise DocumentError(
                "the detector's settings: `on` must be `response` of kind `estimate`, and `by` be there"
            )
        if (self.at_most is None) != (self.least is None):
            raise DocumentError(
                "the detector's settings have one of `atMost` and `least`, must have both or none"
            )
        if self.least is not None and self.least > self.window:
            raise DocumentError(
                f"the detector's settings: `least` is {self.least}, must be at most `window`, {self.window}"
            )

    @property
    def alibi_class(self) -> AlibiClass | None:
        """The class of alibi-detect; None of another kind."""
        return None if self.alibi is None else ALIBI_CLASSES[self.alibi.name]

    @property
    def title(self) -> str:
        """The class of alibi-detect, or the kind: what a person calls it."""
        return self.kind if self.alibi is None else self.alibi.name

    @property
    def least_rows(self) -> int:
        """Rows of the smallest window."""
        return self.window if self.least is None else self.least

    def compare_budget(self, measured: float | None) -> BudgetUse | None:
        """Return the budget beside so many rows a second that came; None without a budget."""
        if self.budget is None:
            return None
        own, expected = self.budget, None
        if measured is not None:
            windows = count_windows(measured, self.window, self.at_most, self.least_rows)
            expected = expect_alarms(self.alarm_rate, windows, own.least, own.of)
        return BudgetUse(own.month, own.traffic, own.assumed, measured, expected)

    @classmethod
    def parse(cls, text: str) -> "DetectorSettings":
        """Read the settings from JSON text; DocumentError."""
        return _parse(cls, text, label="the detector's settings")

    @classmethod
    def read(cls, document: object) -> "DetectorSettings":
        """Read the settings from plain data; DocumentError."""
        return from_json(cls, document, label="the detector's settings")


def _bound(name: str) -> Any:
    return document_key(
        name, "a number", lambda v: v is None or is_number(v), default=None, omits_none=True
    )


def _not_negative(name: str) -> Any:
    return document_key(
        name,
        "a number of at least 0",
        lambda v: v is None or (is_number(v) and v >= 0),
        default=None,
        omits_none=True,
    )


@dataclass(frozen=True)
class GateRule:
    """One gate: bounds on a metric of the candidate."""

    metric: str = document_key("metric", "the name of a metric", is_text)
    """Metric that the evaluation function returns."""
    on: Literal["all", "recent"] = document_key(
        "on", "one of: all, recent", lambda v: v in ("all", "recent"), default="all"
    )
    """All held-out rows, or only those that production has not been trained on."""
    min: float | None = _bound("min")
    """Least value of the candidate."""
    max: float | None = _bound("max")
    """Largest value of the candidate."""
    production_minus: float | None = _not_negative("productionMinus")
    """Largest distance below production on the same rows."""
    production_plus: float | None = _not_negative("productionPlus")
    """Largest distance above production on the same rows."""


def parse_gates(text: str) -> tuple[GateRule, ...]:
    """Read a list of gates from JSON text; DocumentError."""
    document = parse_json(text, label="the gates")
    if not isinstance(document, list):
        raise DocumentError(f"the gates are {show_value(document)}, must be a list")
    rules = tuple(
        from_json(GateRule, item, label=f"gate {number}") for number, item in enumerate(document, 1)
    )
    for number, rule in enumerate(rules, 1):
        if rule.min is rule.max is rule.production_minus is rule.production_plus is None:
            raise DocumentError(
                f"gate {number} has no bound, must have one of: min, max, productionMinus, productionPlus"
            )
    return rules


def write_gates(rules: tuple[GateRule, ...]) -> str:
    """Return gates as JSON text."""
    return json.dumps([to_json(rule) for rule in rules])


@dataclass(frozen=True)
class QualityLimit:
    """A bound on live quality in a step of the canary."""

    metric: Literal["accuracy", "mae", "rmse"] = document_key(
        "metric",
        "one of: accuracy, mae, rmse",
        lambda v: v in ("accuracy", "mae", "rmse"),
        default="accuracy",
    )
    """Share of right answers, or errors of numbers."""
    min: float | None = _bound("min")
    """Least value of the candidate."""
    max: float | None = _bound("max")
    """Largest value of the candidate."""
    production_minus: float | None = _not_negative("productionMinus")
    """Largest distance below production."""
    production_plus: float | None = _not_negative("productionPlus")
    """Largest distance above production."""
    labels: int = document_key(
        "labels", "an integer of at least 1", lambda v: is_whole(v, 1), default=200
    )
    """Labelled rows of each version without which nothing is said."""
    waits: bool = document_key(
        "waits", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """The step waits for so many; otherwise it goes on without when its time is over."""

    @classmethod
    def read(cls, document: object) -> "QualityLimit":
        """Read the bound from plain data; DocumentError."""
        return from_json(cls, document, label="the bound on live quality")


@dataclass(frozen=True)
class RolloutLimits:
    """Limits that a candidate is measured by in one stage of its rollout. Times in seconds."""

    seconds: float | None = _not_negative("for")
    """Shortest time that the stage lasts."""
    requests: int | None = document_key(
        "requests",
        "an integer of at least 0",
        lambda v: v is None or is_whole(v, 0),
        default=None,
        omits_none=True,
    )
    """Fewest requests that the candidate answers (in shadow: that both answer)."""
    agreement: float | Literal["auto"] | None = document_key(
        "agreement",
        "a number of at least 0, or auto",
        lambda v: v is None or v == "auto" or (is_number(v) and v >= 0),
        default=None,
        omits_none=True,
    )
    """Least share of rows that both answer alike; `auto` works it out from `accuracy`."""
    accuracy: str | None = document_key(
        "accuracy",
        "the name of a metric",
        lambda v: v is None or is_text(v),
        default=None,
        omits_none=True,
    )
    """Metric from which `auto` works out the expected agreement."""
    error_rate: float | None = _not_negative("errorRate")
    """Largest share of failed requests beyond production's own."""
    p99: float | None = _not_negative("p99")
    """Longest 99th percentile of the candidate's answer time."""
    quality: QualityLimit | None = part_key("quality", QualityLimit)
    """Bound on live quality; None: none."""
    mirrored: bool = document_key(
        "mirrored", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """The candidate gets a copy of production's requests."""

    @classmethod
    def parse(cls, text: str) -> "RolloutLimits":
        """Read the limits from JSON text; DocumentError."""
        return _parse(cls, text, label="the rollout's limits")


@dataclass(frozen=True)
class RehearsalLimits:
    """Limits of a rehearsal. Times in seconds."""

    start: float = document_key(
        "start", "seconds, more than 0", lambda v: is_number(v) and v > 0, read=float
    )
    """Longest time until the server has loaded the model."""
    skew: float = document_key(
        "skew", "between 0 and 1", lambda v: is_number(v) and 0 <= v <= 1, read=float
    )
    """Largest distance between the accuracy of the answers and the evaluation's, beyond chance; of
    numbers, between their typical errors, as a share of the evaluation's."""
    accuracy: str = document_key("accuracy", "the name of a metric", is_text)
    """Metric of the evaluation that is the share of right answers."""
    p99: float | None = _not_negative("p99")
    """Longest 99th percentile of the answer time."""

    @classmethod
    def parse(cls, text: str) -> "RehearsalLimits":
        """Read the limits from JSON text; DocumentError."""
        return _parse(cls, text, label="the rehearsal's limits")
