"""A server outside the platform that shows runs and models beside those of other tools."""

from driftloop.spec.base import SpecModel
from driftloop.spec.values import ServerUrl, TrackedName


class Tracking(SpecModel):
    """An MLflow server that is told of each run: its parameters, trials, metrics and records, the model
    that it registered, and which versions are production, candidate and previous. Nothing depends on it."""

    mlflow: ServerUrl
    """Address of the server, without credentials: these come from the Secret `driftloop-tracking`."""
    name: TrackedName | None = None
    """Name of the experiment and of the registered model there; the pipeline's name when left out."""
