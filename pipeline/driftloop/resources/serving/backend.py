"""Everything in which the serving back ends differ, as one record for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel

from driftloop.contract.names import Names
from driftloop.kube import flux, prometheus
from driftloop.plan import Plan
from driftloop.release.record import Release

Labels = dict[str, str]


@dataclass(frozen=True)
class TrafficSeries:
    """Series about the requests to predictors."""

    requests: str
    """Counter of all."""
    errors: str
    """Counter that holds those answered with 5xx."""
    error_labels: Mapping[str, str]
    """Labels that select these from it; a value of `~…` is a regular expression."""
    buckets: str
    """Histogram of answer times."""
    unit: timedelta
    """Unit of the histogram."""
    release: str
    """Label with the release id."""
    labels: Callable[[Names, str | None], Labels]
    """Labels of one release's series, or of all when the release id is None."""


@dataclass(frozen=True)
class Backend:
    """One way to serve a release."""

    render: Callable[[Plan, Release], Mapping[str, BaseModel | None]]
    """File name -> object, of all that serves a release."""
    health: tuple[flux.HealthCheck, ...] | None
    """Conditions that Flux waits for, of kinds without a standard Ready condition."""
    pod_labels: Callable[[Names], Labels]
    """Labels of all its pods."""
    release_labels: Callable[[Names, str], Labels]
    """Labels of the pods of the release with this id."""
    metrics_ports: Callable[[Plan], tuple[int, ...]]
    """Ports with metrics besides the predictor's own."""
    scraped: prometheus.MetricsEndpoint
    """Endpoint with the metrics of a pod."""
    target_labels: tuple[str, ...]
    """Labels of a pod that its series get."""
    target_release: str
    """Name that the release id has among them."""
    answering: str
    """Container that answers for a pod."""
    traffic: TrafficSeries
