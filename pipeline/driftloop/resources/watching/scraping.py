"""PodMonitors of a pipeline.

These take pods with the label `driftloop.dev/scraped-by`, the platform's those without, so no
pod is ever scraped twice, not even while one replaces the other; and the platform's alerts look
at what the platform's PodMonitors scrape, so nothing is alerted on twice.
"""

from driftloop.contract.names import COMPONENT_LABEL, NAME_LABEL
from driftloop.kube.base import LabelRequirement, LabelSelector, ObjectMeta
from driftloop.kube.prometheus import MetricsEndpoint, PodMonitor, PodMonitorSpec
from driftloop.plan import Plan
from driftloop.resources import decision, judge, parts, recorder
from driftloop.resources.serving import serving_backend
from driftloop.resources.watching import series

COMPONENT = "watching"


def services_monitor(plan: Plan) -> PodMonitor:
    """The retrain decision, the judge, the recorder and the detectors."""
    components = (
        *(decision.COMPONENT, judge.COMPONENT),
        *((recorder.COMPONENT,) if plan.capture is not None else ()),
        *(monitor.name for monitor in plan.monitors),
    )
    return _build_monitor(
        plan,
        series.SERVICES,
        LabelSelector(
            match_labels={NAME_LABEL: plan.names.pipeline, **parts.scraping_labels(plan)},
            match_expressions=(
                LabelRequirement(key=COMPONENT_LABEL, operator="In", values=components),
            ),
        ),
        labels=(NAME_LABEL, COMPONENT_LABEL),
        endpoint=MetricsEndpoint(port="http", path="/metrics"),
    )


def model_monitor(plan: Plan) -> PodMonitor:
    """The predictors: Seldon's executor and the model behind it, or the logger beside it."""
    backend = serving_backend(plan)
    return _build_monitor(
        plan,
        series.MODEL,
        LabelSelector(
            match_labels={**backend.pod_labels(plan.names), **parts.scraping_labels(plan)}
        ),
        labels=backend.target_labels,
        endpoint=backend.scraped,
    )


def monitor_meta(plan: Plan, name: str) -> ObjectMeta:
    """Metadata of what the operator picks by labels, the spec's own among them."""
    settings = plan.observability.prometheus
    own = parts.object_meta(plan.names, name, COMPONENT)
    return own.model_copy(
        update={"labels": {**(settings.labels if settings else {}), **(own.labels or {})}}
    )


def _build_monitor(
    plan: Plan,
    what: str,
    selector: LabelSelector,
    *,
    labels: tuple[str, ...],
    endpoint: MetricsEndpoint,
) -> PodMonitor:
    return PodMonitor(
        metadata=monitor_meta(plan, series.monitor_name(plan.names, what)),
        spec=PodMonitorSpec(
            selector=selector, pod_target_labels=labels, pod_metrics_endpoints=(endpoint,)
        ),
    )
