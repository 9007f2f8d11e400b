"""Monitoring objects of a pipeline's own: none, unless the spec asks for them."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from driftloop.contract.names import API_GROUP, NAME_LABEL
from driftloop.spec.base import SpecModel
from driftloop.spec.values import LabelValue, duration, is_label_key, written

_OWN = (NAME_LABEL.removesuffix("name"), f"{API_GROUP}/")


def _key(text: str) -> str:
    if not is_label_key(text):
        raise ValueError(
            "must be the key of a Kubernetes label, such as release or example.org/team"
        )
    if text.startswith(_OWN):
        raise ValueError(
            "must not begin with app.kubernetes.io/ or driftloop.dev/: those say whose the object is"
        )
    return text


def _quiet(text: object) -> timedelta | None:
    value = None if text is None else duration(text)
    if value is not None and not timedelta(minutes=5) <= value <= timedelta(days=7):
        raise ValueError("must be between 5m and 7d, or null")
    return value


LabelKey = Annotated[str, AfterValidator(_key), Field(max_length=317)]
QuietTime = Annotated[
    timedelta | None,
    PlainValidator(_quiet),
    PlainSerializer(
        lambda value: None if value is None else written(value), return_type=str | None
    ),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "examples": ["30m", "1h", "2d"]}, {"type": "null"}]}
    ),
]
"""A length of time, or none."""


class Prometheus(SpecModel):
    """PodMonitors and alert rules; the cluster needs the CRDs of the Prometheus operator."""

    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=20)
    """Labels of those objects, for a Prometheus that selects them by labels: `release:
    kube-prometheus-stack`."""
    quiet: QuietTime = timedelta(hours=1)
    """Time without a request to production after which an alert says so, 5m to 7d; null: it may
    be quiet for ever."""


class Observability(SpecModel):
    """Monitoring objects of the pipeline's own; thresholds come from `rollout.canary`,
    `monitors` and `retrain`."""

    prometheus: Prometheus | None = None
    """Scrape this pipeline's pods and alert on what they say; `{}` takes all defaults, null: the
    platform's do."""
    dashboard: bool = False
    """A Grafana dashboard: a ConfigMap with the label that Grafana's sidecar looks for, usable
    on any cluster."""
