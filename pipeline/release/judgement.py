"""May a candidate go one step further? Numbers in, Wait | Pass | Fail out.

Too little traffic is always Wait, never Pass. What has already gone so wrong that no further traffic could make up for
it fails at once. The errors that count are those the candidate adds: what fails production too is the callers' fault.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import ReleaseError


@dataclass(frozen=True)
class Limits:
    """What a step of the rollout asks for; from the spec."""

    seconds: float = 0.0
    """Shortest time the step lasts."""
    requests: int | None = None
    """Fewest requests that the candidate answers (in shadow: that both answer); None: enough to see `error_rate`."""
    agreement: float | None = None
    """Least share of requests that both answer alike, 0 to 1."""
    error_rate: float | None = None
    """Largest share of failed requests beyond production's own, 0 to 1."""
    p99: float | None = None
    """Longest 99th percentile of the candidate's answer time, seconds."""

    @property
    def needed(self) -> int:
        """Requests before anything passes."""
        if self.requests is not None:
            return self.requests
        return max(1, math.ceil(1 / self.error_rate)) if self.error_rate else 1

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Limits":
        """From the keys the spec uses (`for`, `requests`, `agreement`, `errorRate`, `p99`), times in seconds."""
        known = {
            "for": "seconds",
            "requests": "requests",
            "agreement": "agreement",
            "errorRate": "error_rate",
            "p99": "p99",
        }
        fields: dict[str, float] = {}
        for key, number in value.items():
            if key not in known:
                raise ReleaseError(f"no limit `{key}`, must be one of: {', '.join(known)}")
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise ReleaseError(f"limit `{key}` is {number!r}, must be a number of at least 0")
            fields[known[key]] = number
        return cls(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Answers:
    """What one predictor answered since the step began."""

    requests: int = 0
    errors: int = 0
    """Answers 5xx, and requests it did not answer."""
    buckets: Mapping[float, int] = field(default_factory=dict)
    """Answer times: upper bound in seconds -> requests at most that slow (cumulative); `inf` is all of them."""

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p99(self) -> float | None:
        """Seconds; None before the first request."""
        return quantile(0.99, self.buckets)


@dataclass(frozen=True)
class Measured:
    """What the judge saw since the step began."""

    seconds: float
    production: Answers
    candidate: Answers
    joined: int = 0
    """Requests that both answered, joined by request id."""
    agreed: int = 0
    """Of those, the ones they answered alike."""

    @property
    def said(self) -> str:
        """The candidate's numbers as a person would read them in a commit."""
        candidate = self.candidate
        parts = [f"{candidate.requests} requests", f"error rate {candidate.error_rate:.2%}"]
        if (p99 := candidate.p99) is not None:
            parts.append(f"p99 {p99 * 1000:.0f} ms")
        if self.joined:
            parts.append(f"{self.agreed / self.joined:.1%} of {self.joined} answers like production's")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """As the judge service answers; bucket bounds become text (`+Inf` for all)."""
        document = asdict(self)
        for side in ("production", "candidate"):
            buckets = document[side]["buckets"]
            document[side]["buckets"] = {("+Inf" if math.isinf(b) else repr(b)): n for b, n in buckets.items()}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Measured":
        """The inverse of `to_json`; other keys are ignored."""

        def answers(side: Mapping[str, Any]) -> Answers:
            return Answers(side["requests"], side["errors"], {float(b): n for b, n in side["buckets"].items()})

        return cls(
            document["seconds"],
            answers(document["production"]),
            answers(document["candidate"]),
            document["joined"],
            document["agreed"],
        )


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


def judge(measured: Measured, limits: Limits) -> Verdict:
    """The verdict on a step, with its reasons as a person would read them in a commit."""
    candidate, needed = measured.candidate, limits.needed
    broken: list[str] = []
    kept: list[str] = [f"{candidate.requests} requests"]
    missing: list[str] = []

    if candidate.requests < needed:
        missing.append(f"{candidate.requests} of {needed} requests")
    if limits.error_rate is not None:
        allowed = limits.error_rate + measured.production.error_rate
        said = f"error rate {candidate.error_rate:.2%}, allowed {allowed:.2%}"
        hopeless = candidate.errors > allowed * max(needed, candidate.requests)
        (broken if hopeless else kept).append(said)
    if limits.p99 is not None and candidate.requests >= needed:
        p99 = candidate.p99
        if p99 is None:
            missing.append("no answer times yet")
        else:
            said = f"p99 {p99 * 1000:.0f} ms, allowed {limits.p99 * 1000:.0f} ms"
            (broken if p99 > limits.p99 else kept).append(said)
    if limits.agreement is not None:
        if measured.joined < needed:
            missing.append(f"{measured.joined} of {needed} answers to compare")
        share = measured.agreed / measured.joined if measured.joined else 0.0
        said = f"agreement {share:.1%} of {measured.joined}, asked {limits.agreement:.1%}"
        hopeless = measured.joined - measured.agreed > (1 - limits.agreement) * max(needed, measured.joined) + 1e-9
        (broken if hopeless else kept).append(said)
    if measured.seconds < limits.seconds:
        missing.append(f"{measured.seconds:.0f} of {limits.seconds:g} s")

    if broken:
        return Fail(tuple(broken))
    return Wait(tuple(missing)) if missing else Pass(tuple(kept))


def quantile(share: float, buckets: Mapping[float, int]) -> float | None:
    """A quantile from cumulative buckets, linear inside a bucket as Prometheus does it; None without requests."""
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
