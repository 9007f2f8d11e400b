"""The series that a pipeline's parts show to Prometheus, as PromQL selects them.

Names and labels are those of `/metrics` (our services), of Envoy and of Seldon's executor; a
test reads them all from what really answers there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from driftloop.contract.names import Names
from driftloop.plan import Plan
from driftloop.resources.serving import serving_backend
from driftloop.resources.serving.servers import initializer_name

SERVICES, MODEL = "services", "model"
"""What the PodMonitors scrape."""


def select_series(series: str, labels: Mapping[str, str], /, **more: str) -> str:
    """`name{label="value",…}`; a value of `~…` is a regular expression."""
    label_matchers = {**labels, **more}
    matchers = [
        f"{label}=~{json.dumps(value[1:])}"
        if value.startswith("~")
        else f"{label}={json.dumps(value)}"
        for label, value in label_matchers.items()
    ]
    return f"{series}{{{','.join(matchers)}}}"


def monitor_name(names: Names, what: str) -> str:
    """Name of a PodMonitor; Prometheus calls its targets `job: NAMESPACE/NAME`."""
    return f"{names.pipeline}-{what}"


def up_series(names: Names, what: str, /, **more: str) -> str:
    """1 for each target that answers, 0 for one that doesn't, nothing for a pod that is not
    there."""
    return select_series(
        "up",
        {"namespace": names.namespace, "job": f"{names.namespace}/{monitor_name(names, what)}"},
        **more,
    )


def service_series(names: Names, series: str, component: str, /, **more: str) -> str:
    """A series of one of our services."""
    labels = {
        "namespace": names.namespace, "app_kubernetes_io_name": names.pipeline, "app_kubernetes_io_component": component
    }  # fmt: skip
    return select_series(series, labels, **more)


def argo_series(names: Names, series: str, /, **more: str) -> str:
    """A series of Argo's controller about this namespace."""
    return select_series(series, {"namespace": names.namespace}, **more)


def fetches_ending(plan: Plan) -> str:
    """1 for each init container of a pipeline's pods that fetches a model or detector and ends
    again and again, as kube-state-metrics tells it."""
    return select_series(
        "kube_pod_init_container_status_waiting_reason",
        {"namespace": plan.names.namespace},
        pod=f"~{plan.names.pipeline}-.+",
        container=f"~fetch|{initializer_name('.+')}",
        reason="CrashLoopBackOff",
    )


@dataclass(frozen=True)
class TrafficQueries:
    """Series of a serving back end about the requests to predictors, of one release or of all."""

    requests: str
    """Counter."""
    errors: str
    """Counter of those that were answered with 5xx."""
    buckets: str
    """Histogram of answer times."""
    unit: timedelta
    """Of the histogram."""
    release: str
    """Label with the release id."""


def traffic_series(plan: Plan, release: str | None = None) -> TrafficQueries:
    """The predictors' series; `release` None means all of them."""
    series = serving_backend(plan).traffic
    labels = series.labels(plan.names, release)
    return TrafficQueries(
        requests=select_series(series.requests, labels),
        errors=select_series(series.errors, labels, **series.error_labels),
        buckets=select_series(series.buckets, labels),
        unit=series.unit,
        release=series.release,
    )


def predictor_up(plan: Plan, release: str) -> str:
    """`up` of a release's own pods, as the pipeline's PodMonitor scrapes them."""
    backend = serving_backend(plan)
    return up_series(
        plan.names, MODEL, container=backend.answering, **{backend.target_release: release}
    )


def pods_up(plan: Plan) -> str:
    """`up` of all releases' pods, whoever's PodMonitor scrapes them: their labels differ, the
    pods' names don't."""
    pods = f"~{plan.names.predictor('r')}[0-9a-f]{{8}}-.+"
    container = serving_backend(plan).answering
    return select_series(
        "up", {"namespace": plan.names.namespace, "container": container, "pod": pods}
    )


def error_share(plan: Plan, release: str, over: str) -> str:
    """The part of a release's requests that fails."""
    requests = traffic_series(plan, release)
    return f"sum(rate({requests.errors}[{over}])) / sum(rate({requests.requests}[{over}]))"


def unlogged_share(plan: Plan, release: str, over: str) -> str:
    """The part of a release's requests that is answered and not logged."""
    names = plan.names
    match plan.serve.backend:
        case "plain":
            requests = traffic_series(plan, release).requests
            place = f"{names.namespace}/{names.predictor(release)}"
            broker, bodies = (
                {"namespace": names.namespace, "envoy_cluster_name": f"{place}/{cluster}"}
                for cluster in ("broker", "unlogged")
            )
            losses = (
                select_series("envoy_cluster_upstream_rq_retry_limit_exceeded", broker),
                select_series("envoy_cluster_upstream_rq_timeout", broker),
                select_series(
                    "envoy_cluster_upstream_rq_xx", broker, envoy_response_code_class="4"
                ),
                select_series("envoy_cluster_upstream_cx_none_healthy", bodies),
            )
            lost = " + ".join(f"(sum(rate({loss}[{over}])) or vector(0))" for loss in losses)
            return f"({lost}) / sum(rate({requests}[{over}]))"
        case "seldon":
            # the executor does not count what it could not log; the judge counts what came
            series = serving_backend(plan).traffic
            answered = select_series(series.requests, series.labels(names, None), code="200")
            came = service_series(
                names, "driftloop_analysis_responses_total", "judge", what="~stored|duplicate"
            )
            return f"1 - (sum(rate({came}[{over}])) or vector(0)) / sum(rate({answered}[{over}]))"
        case _:
            assert_never(plan.serve.backend)


def latency_quantile(found: TrafficQueries, which: float, over: str, *by: str) -> str:
    """A quantile of the answer times, in seconds."""
    grouped = ", ".join((*by, "le"))
    scale = "" if found.unit == timedelta(seconds=1) else f" * {found.unit.total_seconds():g}"
    return (
        f"histogram_quantile({which:g}, sum by ({grouped}) (rate({found.buckets}[{over}]))){scale}"
    )


def prometheus_duration(value: timedelta) -> str:
    """A length of time as Prometheus writes it: `1d30m`."""
    left, text = value // timedelta(milliseconds=1), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
