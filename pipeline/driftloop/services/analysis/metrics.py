"""A predictor's own metrics, from Seldon's executor or the logging Envoy, reduced to requests,
errors, refusals and times."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from driftloop.release.judgement import Answers

_EXECUTOR = "seldon_api_executor_server_requests_seconds"
_ENVOY = "envoy_cluster_upstream_rq"
_WANTED = re.compile(
    rf"{_EXECUTOR}_(bucket|count)\b|{_ENVOY}(_xx|_time_bucket)?\b|envoy_server_uptime\b|process_start_time_seconds\b"
)


@dataclass(frozen=True)
class PredictorScrape:
    """Counters of one process, as far as they have counted since it started."""

    started: float
    """Start of the process, seconds since 1970; 0 if not reported."""
    answers: Answers


def parse_metrics(text: str, predictor: str, *, now: float) -> PredictorScrape:
    """The counters about one predictor in a page of metrics. Raises ValueError when the page
    can't be read.

    One Envoy may speak for several predictors (locally it does): its clusters then carry the
    predictor's name.
    """
    lines = (line for line in text.splitlines() if _WANTED.match(line))
    samples = [
        sample
        for family in text_string_to_metric_families("\n".join(lines))
        for sample in family.samples
    ]
    started = next((s.value for s in samples if s.name.startswith("process_start_time")), 0.0)
    uptime = next((s.value for s in samples if s.name.startswith("envoy_server_uptime")), None)
    if uptime is not None:
        started = now - uptime
    return PredictorScrape(
        started, _read_executor(samples) or _read_envoy(samples, predictor) or Answers()
    )


def _read_executor(samples: list[Sample]) -> Answers | None:
    ours = [
        s
        for s in samples
        if s.name.startswith(_EXECUTOR) and s.labels.get("service") == "predictions"
    ]
    counts = [s for s in ours if s.name.endswith("_count")]
    if not counts:
        return None
    requests = sum(int(s.value) for s in counts)
    errors = sum(int(s.value) for s in counts if s.labels.get("code", "").startswith("5"))
    return Answers(
        requests,
        errors,
        _sum_buckets((s for s in ours if s.name.endswith("_bucket")), scale=1.0),
        _count_refusals(counts, "code"),
    )


def _read_envoy(samples: list[Sample], predictor: str) -> Answers | None:
    ours = [
        s
        for s in samples
        if s.name.startswith(_ENVOY)
        and _is_about(s.labels.get("envoy_cluster_name", ""), predictor)
    ]
    if not ours:
        return None
    classes = [s for s in ours if s.name.startswith(f"{_ENVOY}_xx")]
    requests = sum(int(s.value) for s in classes)
    errors = sum(int(s.value) for s in classes if s.labels.get("envoy_response_code_class") == "5")
    return Answers(
        requests,
        errors,
        _sum_buckets((s for s in ours if s.name.endswith("_time_bucket")), scale=0.001),
        _count_refusals((s for s in ours if s.name == _ENVOY), "envoy_response_code"),
    )


def _count_refusals(samples: Iterable[Sample], label: str) -> dict[str, int]:
    """Numbers of answers by their code 4xx; none for codes that never came."""
    refusals: defaultdict[str, int] = defaultdict(int)
    for sample in samples:
        if (code := sample.labels.get(label, "")).startswith("4") and sample.value:
            refusals[code] += int(sample.value)
    return dict(refusals)


def _is_about(cluster: str, predictor: str) -> bool:
    """The logger's cluster of the model is `<namespace>/<predictor>/model`."""
    return cluster.endswith(f"/{predictor}/model")


def _sum_buckets(samples: Iterator[Sample], *, scale: float) -> dict[float, int]:
    """Cumulative buckets, summed over label sets; bounds in seconds."""
    buckets: defaultdict[float, int] = defaultdict(int)
    for sample in samples:
        bound = float(sample.labels["le"].replace("+Inf", "inf"))
        buckets[bound if math.isinf(bound) else round(bound * scale, 9)] += int(sample.value)
    return dict(buckets)


@dataclass
class PredictorCounting:
    """Counts of a predictor's answers since a time, added up over scrapes of processes that come,
    go and start again."""

    since: float
    _seen: dict[tuple[str, float], Answers] = field(default_factory=dict)
    _total: Answers = field(default_factory=Answers)

    def add_scrape(self, scrape: PredictorScrape, address: str = "") -> Answers:
        """Add what is new in a scrape of the process at an address; returns the sum so far."""
        known = [
            seen
            for seen in self._seen
            if seen[0] == address and abs(seen[1] - scrape.started) < 3.0
        ]
        process = known[0] if known else (address, scrape.started)
        before = self._seen.get(process)
        if before is None:
            # a process that is older than the question has counted things that are not asked for
            before = scrape.answers if scrape.started < self.since else Answers()
        self._seen[process] = scrape.answers
        self._total = _add_counts(self._total, _subtract_counts(before, scrape.answers))
        return self._total

    @property
    def total(self) -> Answers:
        return self._total


def _subtract_counts(before: Answers, now: Answers) -> Answers:
    if now.requests < before.requests:
        return now  # the counters started again
    return Answers(
        now.requests - before.requests,
        max(0, now.errors - before.errors),
        {
            bound: max(0, count - before.buckets.get(bound, 0))
            for bound, count in now.buckets.items()
        },
        {
            code: more
            for code, count in now.refusals.items()
            if (more := max(0, count - before.refusals.get(code, 0)))
        },
    )


def _add_counts(a: Answers, b: Answers) -> Answers:
    return Answers(
        a.requests + b.requests,
        a.errors + b.errors,
        _sum_counts(a.buckets, b.buckets),
        dict(Counter(a.refusals) + Counter(b.refusals)),
    )


def _sum_counts(a: Mapping[float, int], b: Mapping[float, int]) -> dict[float, int]:
    return {bound: a.get(bound, 0) + b.get(bound, 0) for bound in sorted({*a, *b})}
