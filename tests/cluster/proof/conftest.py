"""One world for all points; a point that passed in the world of CLUSTER_TEST_OUT is not shown twice."""

from pathlib import Path

from cluster.live import mark
from cluster.points import it, pytest_runtest_makereport, whole

__all__ = ["it", "pytest_runtest_makereport", "whole"]

CRDS = (
    "kustomizations.kustomize.toolkit.fluxcd.io",
    "sealedsecrets.bitnami.com",
    "workflows.argoproj.io",
    "sensors.argoproj.io",
    "triggers.eventing.knative.dev",
    "natsjetstreamchannels.messaging.knative.dev",
    "virtualservices.networking.istio.io",
)


def pytest_collection_modifyitems(items):
    mark(items, Path(__file__).parent, CRDS, seconds=2400)
