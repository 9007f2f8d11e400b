"""Errors of the detector service."""

from driftloop.errors import PipelineError


class FitError(PipelineError):
    """Settings with which a detector cannot be fitted on its reference data."""


class WindowFailedError(FitError):
    """A window of the reference itself that a detector fails on."""
