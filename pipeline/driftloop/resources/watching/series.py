"""The series that a pipeline's parts show to Prometheus, as PromQL selects them.

Names and labels are those of `/metrics` (our services), of Envoy and of Seldon's executor; a test reads them all from
what really answers there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from driftloop.contract.names import Names
from driftloop.plan import Plan

SERVICES, MODEL = "services", "model"
"""What the PodMonitors scrape."""
_ANSWERING = {"seldon": "seldon-container-engine", "plain": "logger"}
"""The container that answers for a predictor's pod; beside Seldon's, model servers show metrics of their own."""


def select(series: str, labels: Mapping[str, str], /, **more: str) -> str:
    """`name{label="value",…}`; a value of `~…` is a regular expression."""
    found = {**labels, **more}
    matchers = [
        f"{label}=~{json.dumps(value[1:])}" if value.startswith("~") else f"{label}={json.dumps(value)}"
        for label, value in found.items()
    ]
    return f"{series}{{{','.join(matchers)}}}"


def monitor(names: Names, what: str) -> str:
    """Name of a PodMonitor; Prometheus calls its targets `job: NAMESPACE/NAME`."""
    return f"{names.pipeline}-{what}"


def up(names: Names, what: str, /, **more: str) -> str:
    """1 for each target that answers, 0 for one that doesn't, nothing for a pod that is not there."""
    return select("up", {"namespace": names.namespace, "job": f"{names.namespace}/{monitor(names, what)}"}, **more)


def own(names: Names, series: str, component: str, /, **more: str) -> str:
    """A series of one of our services."""
    labels = {
        "namespace": names.namespace, "app_kubernetes_io_name": names.pipeline, "app_kubernetes_io_component": component
    }  # fmt: skip
    return select(series, labels, **more)


def argo(names: Names, series: str, /, **more: str) -> str:
    """A series of Argo's controller about this namespace."""
    return select(series, {"namespace": names.namespace}, **more)


@dataclass(frozen=True)
class Traffic:
    """What a serving back end says of the requests to predictors, of one release or of all."""

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


def traffic(plan: Plan, release: str | None = None) -> Traffic:
    """The predictors' series; `release` None means all of them."""
    names = plan.names
    if plan.serve.backend == "seldon":
        labels = {"namespace": names.namespace, "deployment_name": names.pipeline, "service": "predictions"}
        labels |= {"predictor_name": release} if release else {}
        name = "seldon_api_executor_server_requests_seconds"
        return Traffic(
            requests=select(f"{name}_count", labels),
            errors=select(f"{name}_count", labels, code="~5.."),
            buckets=select(f"{name}_bucket", labels),
            unit=timedelta(seconds=1),
            release="predictor_name",
        )
    cluster = f"{names.namespace}/{names.predictor(release)}/model" if release else None
    labels = {"namespace": names.namespace, "envoy_cluster_name": cluster or "~.+/model"}
    labels |= {} if release else {"app_kubernetes_io_name": names.pipeline}
    return Traffic(
        # not `rq_total`, which leaves out what never reached a model, and counts what is tried again
        requests=select("envoy_cluster_upstream_rq_completed", labels),
        errors=select("envoy_cluster_upstream_rq_xx", labels, envoy_response_code_class="5"),
        buckets=select("envoy_cluster_upstream_rq_time_bucket", labels),
        unit=timedelta(milliseconds=1),
        release="driftloop_dev_release",
    )


def predictor_up(plan: Plan, release: str) -> str:
    """`up` of a release's own pods, as the pipeline's PodMonitor scrapes them."""
    label = "version" if plan.serve.backend == "seldon" else "driftloop_dev_release"
    return up(plan.names, MODEL, container=_ANSWERING[plan.serve.backend], **{label: release})


def pods_up(plan: Plan) -> str:
    """`up` of all releases' pods, whoever's PodMonitor scrapes them: their labels differ, the pods' names don't."""
    pods = f"~{plan.names.predictor('r')}[0-9a-f]{{8}}-.+"
    return select("up", {"namespace": plan.names.namespace, "container": _ANSWERING[plan.serve.backend], "pod": pods})


def share(plan: Plan, release: str, over: str) -> str:
    """The part of a release's requests that fails."""
    found = traffic(plan, release)
    return f"sum(rate({found.errors}[{over}])) / sum(rate({found.requests}[{over}]))"


def quantile(found: Traffic, which: float, over: str, *by: str) -> str:
    """A quantile of the answer times, in seconds."""
    grouped = ", ".join((*by, "le"))
    scale = "" if found.unit == timedelta(seconds=1) else f" * {found.unit.total_seconds():g}"
    return f"histogram_quantile({which:g}, sum by ({grouped}) (rate({found.buckets}[{over}]))){scale}"


def time(value: timedelta) -> str:
    """A length of time as Prometheus writes it: `1d30m`."""
    left, found = value // timedelta(milliseconds=1), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        found += f"{count}{unit}" if count else ""
    return found or "0s"
