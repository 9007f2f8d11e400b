"""Retention of what runs leave in the bucket."""

from datetime import timedelta

from driftloop.spec.base import SpecModel
from driftloop.spec.values import Cron, Duration


class Retention(SpecModel):
    """How long what runs leave in the bucket is kept; `driftloop prune` removes what is older. What
    production, the previous release, a candidate, a running run, a cached output or an open window
    needs stays in any case, and so do the records of all runs."""

    trials: Duration = timedelta(days=30)
    """Models of trials, which the release has a copy of; a `cache` of the training keeps them two days
    longer than it lasts, if that is more."""
    runs: Duration = timedelta(days=90)
    """Files of runs that became no release."""
    releases: Duration = timedelta(days=365)
    """Models and detectors of releases that were replaced or rejected: after that no rollback leads
    to them."""
    logs: Duration = timedelta(days=30)
    """Logs of steps in the bucket."""
    schedule: Cron | None = "30 3 * * *"
    """Times (UTC) at which it is removed by itself, where the spec has `retention`: five cron fields;
    `null`: by `driftloop prune` only."""
