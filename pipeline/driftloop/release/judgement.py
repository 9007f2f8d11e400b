"""May a candidate go one step further? Numbers in, Wait | Pass | Fail out.

Too little traffic is always Wait, never Pass. What has already gone so wrong that no further
traffic could make up for it fails at once. The errors that count are those the candidate adds:
what fails production too is the callers' fault.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import QualityLimit, RolloutLimits
from driftloop.release.live import LabelledFigures, LiveQuality, find_broken
from driftloop.release.record import NumbersAlike, Recent, Version
from driftloop.text.words import count_noun

SLACK = 0.05
"""Allowed distance of live traffic from the recent rows, beyond chance."""
MOST_LONE = 10
"""Requests that only production answered that are named."""
SIGMAS = 3.0
"""Standard deviations that count as chance."""


@dataclass(frozen=True)
class Expected:
    """Expected agreement of two classifiers, from their accuracies on the same rows.

    Where both are right they agree; where only one is right they don't. So with accuracies p and
    c the share of equal answers is at least p + c - 1 and at most 1 - |p - c|. After a drift (p
    = 0.07, c = 0.95) that is at most 0.12: a shadow that agrees more is not the model that was
    evaluated, or the traffic is not like those rows.
    """

    production: float
    """Production's accuracy, 0 to 1."""
    candidate: float
    """The candidate's."""
    rows: int
    """Rows both were measured on."""

    @classmethod
    def of(cls, metric: str, recent: Recent | None, production: str) -> "Expected | None":
        """From what evaluation measured of a candidate and this production; None when it did
        not, or it is not a share."""
        if recent is None or recent.against != production:
            return None
        theirs, ours = recent.production.get(metric), recent.metrics.get(metric)
        if theirs is None or ours is None or not (0 <= theirs <= 1 and 0 <= ours <= 1):
            return None
        return cls(theirs, ours, recent.rows)

    def exact(self) -> tuple[float, float]:
        """Least and largest share of equal answers on the very rows the accuracies were measured
        on."""
        return max(0.0, self.production + self.candidate - 1), 1 - abs(
            self.production - self.candidate
        )

    def band(self, answers: int) -> tuple[float, float]:
        """Least and largest share that chance and `SLACK` allow among so many live answers."""
        measured = _deviation(self.production, self.rows) + _deviation(self.candidate, self.rows)

        def room(bound: float) -> float:
            return SLACK + SIGMAS * math.hypot(measured, _deviation(bound, answers))

        low, high = self.exact()
        return (max(0.0, low - room(low)) if low > 0 else 0.0), min(1.0, high + room(high))


@dataclass(frozen=True)
class ExpectedNumbers:
    """Expected agreement of answers that are numbers: the share that was alike in the rehearsal, on
    recent rows, within a tolerance from the residuals of both."""

    tolerance: float
    share: float
    rows: int
    """Rows on which it was measured."""

    @classmethod
    def of(cls, numbers: NumbersAlike | None, production: str) -> "ExpectedNumbers | None":
        """From the rehearsal of a candidate beside this production; None when it had none."""
        if numbers is None or numbers.against != production:
            return None
        return cls(numbers.tolerance, numbers.agreement, numbers.rows)

    def band(self, answers: int) -> tuple[float, float]:
        """Least and largest share that chance and `SLACK` allow among so many live answers."""
        measured = _deviation(self.share, self.rows)
        room = SLACK + SIGMAS * math.hypot(measured, _deviation(self.share, answers))
        return max(0.0, self.share - room), 1.0


def _deviation(share: float, number: int) -> float:
    """Standard deviation of a share that was counted so often; a share of 0 or 1 is not taken as
    certain."""
    likely = (share * number + 2) / (number + 4)
    return math.sqrt(likely * (1 - likely) / number) if number else 1.0


@dataclass(frozen=True)
class Limits:
    """Limits of a rollout step; from the spec."""

    seconds: float = 0.0
    """Shortest time the step lasts."""
    requests: int | None = None
    """Fewest requests that the candidate answers (in shadow: that both answer); None: enough to
    see `error_rate`."""
    agreement: float | Expected | ExpectedNumbers | None = None
    """Least share of rows that both answer alike, 0 to 1, or what is expected of it."""
    auto: str | None = None
    """The accuracy from which `expecting` works out what is expected; None when `agreement` is
    given."""
    error_rate: float | None = None
    """Largest share of failed requests beyond production's own, 0 to 1."""
    p99: float | None = None
    """Longest 99th percentile of the candidate's answer time, seconds."""
    mirrored: bool = False
    """The candidate gets a copy of production's requests: what only it refuses is told by their
    ids."""
    quality: QualityLimit | None = None
    """Bound on live quality."""

    @property
    def tolerance(self) -> float | None:
        """Distance at which answers that are numbers count as alike; None for the general one."""
        return self.agreement.tolerance if isinstance(self.agreement, ExpectedNumbers) else None

    @property
    def needed(self) -> int:
        """Requests before anything passes."""
        if self.requests is not None:
            return self.requests
        return max(1, math.ceil(1 / self.error_rate)) if self.error_rate else 1

    @classmethod
    def of(cls, given: RolloutLimits) -> "Limits":
        """Return the limits of a stage as it was rendered."""
        auto = (given.accuracy or "accuracy") if given.agreement == "auto" else None
        return cls(
            seconds=given.seconds or 0.0,
            requests=given.requests,
            agreement=None if given.agreement == "auto" else given.agreement,
            auto=auto,
            error_rate=given.error_rate,
            p99=given.p99,
            mirrored=given.mirrored,
            quality=given.quality,
        )

    def expecting(self, candidate: Version, production: str) -> "Limits":
        """With what is expected of the agreement, where `auto` asks for it and it was measured
        against production."""
        if self.auto is None:
            return self
        numbers = candidate.rehearsed.numbers if candidate.rehearsed is not None else None
        expected = Expected.of(self.auto, candidate.recent, production)
        return replace(self, agreement=expected or ExpectedNumbers.of(numbers, production))


@dataclass(frozen=True)
class Answers:
    """Counts of one predictor's answers since the step began."""

    requests: int = 0
    errors: int = 0
    """Answers 5xx, and requests it did not answer."""
    buckets: Mapping[float, int] = field(default_factory=dict)
    """Answer times: upper bound in seconds -> requests at most that slow (cumulative); `inf` is
    all of them."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Answers 4xx: status code -> number."""

    @property
    def refused(self) -> int:
        """Number of answers 4xx."""
        return sum(self.refusals.values())

    @property
    def refusal_rate(self) -> float:
        """Share of the requests that were refused."""
        return self.refused / self.requests if self.requests else 0.0

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p99(self) -> float | None:
        """Seconds; None before the first request."""
        return quantile(0.99, self.buckets)


@dataclass(frozen=True)
class StageTraffic:
    """What a stage must have seen before it goes on."""

    requests: int
    seconds: float
    compared: int
    """Answers of both releases to the same requests; 0 where none are compared."""

    @classmethod
    def of(cls, limits: Limits) -> "StageTraffic":
        """Return what these limits ask for."""
        compared = 0 if limits.agreement is None else limits.needed
        return cls(limits.needed, limits.seconds, compared)


@dataclass(frozen=True)
class Measured:
    """Measures of both predictors since the step began."""

    seconds: float
    production: Answers
    candidate: Answers
    joined: int = 0
    """Requests that both answered, joined by request id."""
    rows: int = 0
    """Rows in those requests."""
    agreed: int = 0
    """Of those rows, the ones they answered alike."""
    alone: int = 0
    """Requests that production answered and the candidate did not, though it had time to."""
    quality: LiveQuality | None = None
    """How good both are by labels; None when nobody asked."""
    lone: tuple[str, ...] = ()
    """Ids of the newest of the requests that are `alone`, at most `MOST_LONE`."""
    asked: StageTraffic | None = None
    """What the stage that measured waits for; None when it does not say."""

    @property
    def waits(self) -> str:
        """What the stage still waits for, in words; empty when that is nothing, or not known."""
        return "; ".join(self.list_missing(self.asked)) if self.asked is not None else ""

    def list_missing(self, asked: StageTraffic) -> tuple[str, ...]:
        """Return what there must be more of, in words."""
        requests = self.candidate.requests
        missing = []
        if requests < asked.requests:
            missing.append(f"{requests} of {asked.requests} requests")
        if self.joined < asked.compared:
            missing.append(f"{self.joined} of {asked.compared} answers to compare")
        if self.seconds < asked.seconds:
            missing.append(f"{self.seconds:.0f} of {asked.seconds:g} s")
        return tuple(missing)

    @property
    def agreement(self) -> float:
        """Share of the rows that both answered alike."""
        return self.agreed / self.rows if self.rows else 0.0

    @property
    def said(self) -> str:
        """The candidate's numbers as a person would read them in a commit."""
        candidate = self.candidate
        parts = [
            count_noun(candidate.requests, "request"),
            f"error rate {candidate.error_rate:.2%}",
        ]
        if candidate.refused:
            parts.append(f"{candidate.refused} refused ({', '.join(sorted(candidate.refusals))})")
        if (p99 := candidate.p99) is not None:
            parts.append(f"p99 {p99 * 1000:.0f} ms")
        if self.joined:
            parts.append(f"{self.agreement:.1%} of {self.rows} answers like production's")
        if self.quality is not None:
            parts.append(self.quality.text)
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """As the judge service answers; bucket bounds become text (`+Inf` for all)."""
        document = asdict(self)
        for side in ("production", "candidate"):
            buckets = document[side]["buckets"]
            document[side]["buckets"] = {
                ("+Inf" if math.isinf(b) else repr(b)): n for b, n in buckets.items()
            }
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Measured":
        """The inverse of `to_json`; other keys are ignored."""

        def answers(side: Mapping[str, Any]) -> Answers:
            return Answers(
                side["requests"],
                side["errors"],
                {float(b): n for b, n in side["buckets"].items()},
                side.get("refusals", {}),
            )

        return cls(
            document["seconds"],
            answers(document["production"]),
            answers(document["candidate"]),
            document["joined"],
            document["rows"],
            document["agreed"],
            document.get("alone", 0),
            _read_quality(document.get("quality")),
            tuple(document.get("lone", ())),
            StageTraffic(**asked) if (asked := document.get("asked")) else None,
        )


def read_last(answer: str | bytes) -> Measured | None:
    """Read what an analysis measured last of its answer; None when it has measured nothing. DocumentError for another
    answer."""
    try:
        last = json.loads(answer).get("last")
        return Measured.from_json(last) if last else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DocumentError(f"the answer of the analysis can't be read: {error}") from error


def describe_last(measured: Measured) -> dict[str, str]:
    """Return what was measured and what the stage waits for, in words, as a release's status has them."""
    return {"measured": measured.said, "waits": measured.waits}


def describe_rollout(release: Mapping[str, Any], waits: str) -> str:
    """Say what the stage of a rollout waits for, with its phase and candidate from a release's status."""
    return f"{release['phase']} of {release['candidate']} waits for more: {waits}"


def _read_quality(document: Mapping[str, Any] | None) -> LiveQuality | None:
    if document is None:
        return None
    production, candidate = (
        LabelledFigures(**document[side]) for side in ("production", "candidate")
    )
    return LiveQuality(document["metric"], document["needed"], production, candidate)


@dataclass(frozen=True)
class Wait:
    """Not enough seen yet."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Pass:
    """Every limit is kept on enough traffic."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Fail:
    """A limit is broken."""

    reasons: tuple[str, ...]


Verdict = Wait | Pass | Fail


def analyze_step(measured: Measured, limits: Limits) -> Verdict:
    """The verdict on a step, with its reasons as a person would read them in a commit."""
    candidate, needed = measured.candidate, limits.needed
    broken: list[str] = []
    kept: list[str] = [count_noun(candidate.requests, "request")]
    missing = list(measured.list_missing(StageTraffic.of(limits)))

    if (limits.error_rate is not None or limits.p99 is not None) and candidate.p99 is None:
        # answers come as events, errors and times from the predictor's own metrics: both must have been seen
        missing.append("no metrics of the candidate yet")
    if limits.error_rate is not None:
        allowed = limits.error_rate + measured.production.error_rate
        message = f"error rate {candidate.error_rate:.2%}, allowed {allowed:.2%}"
        hopeless = candidate.errors > allowed * max(needed, candidate.requests)
        (broken if hopeless else kept).append(message)
        if candidate.refused:
            hopeless, message = _refusals(measured, limits.error_rate, limits)
            (broken if hopeless else kept).append(message)
    if (
        limits.p99 is not None
        and candidate.requests >= needed
        and (p99 := candidate.p99) is not None
    ):
        message = f"p99 {p99 * 1000:.0f} ms, allowed {limits.p99 * 1000:.0f} ms"
        (broken if p99 > limits.p99 else kept).append(message)
    if limits.agreement is not None:
        hopeless, message = _agreement(measured, limits.agreement, needed)
        (broken if hopeless else kept).append(message)
    if limits.quality is not None:
        nothing = LiveQuality(limits.quality.metric, limits.quality.labels)
        _judge_quality(measured.quality or nothing, limits.quality, broken, kept, missing)

    if broken:
        return Fail(tuple(broken))
    return Wait(tuple(missing)) if missing else Pass(tuple(kept))


def _judge_quality(
    quality: LiveQuality,
    limit: QualityLimit,
    broken: list[str],
    kept: list[str],
    missing: list[str],
) -> None:
    """Too few labels are waited for where the limit says so, and told elsewhere."""
    if quality.few:
        (missing if limit.waits else kept).append(quality.few if limit.waits else quality.text)
        return
    message = find_broken(quality, limit)
    (broken if message else kept).append(message or quality.text)


def _refusals(measured: Measured, share: float, limits: Limits) -> tuple[bool, str]:
    """Return True if the candidate refuses too much that production answers, and how it stands.

    Copies of the same requests are compared one by one; a share of the traffic is compared with
    the share that production refuses of its own.
    """
    candidate, production = measured.candidate, measured.production
    codes = ", ".join(sorted(candidate.refusals))
    most = max(limits.needed, candidate.requests)
    if limits.mirrored:
        refused = min(measured.alone, candidate.refused)
        message = (
            f"{refused} of {candidate.requests} refused: {codes}, though production answers them"
        )
        return refused > share * most, message
    allowed = share + production.refusal_rate
    message = (
        f"{candidate.refused} of {candidate.requests} refused: {codes}, "
        f"production refuses {production.refusal_rate:.2%}"
    )
    return candidate.refused > allowed * most, message


def _agreement(
    measured: Measured, asked: float | Expected | ExpectedNumbers, needed: int
) -> tuple[bool, str]:
    """Return True if no further answers can bring the agreement where it must be, and how it
    stands."""
    answers = max(needed, measured.joined)
    # as many rows as there will be when enough requests have come
    rows = measured.rows * answers / measured.joined if measured.joined else 0.0
    low, high = (asked, 1.0) if isinstance(asked, float | int) else asked.band(answers)
    too_few = measured.rows - measured.agreed > (1 - low) * rows + 1e-9
    too_many = measured.agreed > high * rows + 1e-9
    message = f"agreement {measured.agreement:.1%} of {measured.rows}"
    if isinstance(asked, ExpectedNumbers):
        within = f"within {asked.tolerance:.4g}, {asked.share:.1%} on {asked.rows} recent rows"
        message = f"{message} {within}, expected at least {low:.1%}"
        return too_few, f"{message}: {_WRONG}" if too_few else message
    if not isinstance(asked, Expected):
        return too_few, f"{message}, must be at least {low:.1%}"
    seen = f"from accuracies {asked.production:.2g} and {asked.candidate:.2g} on {asked.rows} recent rows"
    if not too_few and not too_many:
        return False, f"{message}, expected {low:.1%} to {high:.1%} {seen}"
    bound = f"at least {low:.1%}" if too_few else f"at most {high:.1%}"
    return True, f"{message} with production, expected {bound} {seen}: {_WRONG}"


_WRONG = "the candidate may serve the wrong model, or the traffic differs from those rows"


def quantile(share: float, buckets: Mapping[float, int]) -> float | None:
    """A quantile from cumulative buckets, linear inside a bucket as Prometheus does it; None
    without requests."""
    bounds: Sequence[float] = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = share * buckets[bounds[-1]]
    below, lower = 0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return lower
            inside = buckets[bound] - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        below, lower = buckets[bound], bound
    return lower
