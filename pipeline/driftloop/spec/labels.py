"""Uses of labels besides monitors of them."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from driftloop.spec.base import SpecModel
from driftloop.spec.values import PositiveDuration


class LabelledBatches(SpecModel):
    """Captured requests with the last label of each, written as `.parquet` batches into
    `labelled/` below `data.uri`: the training data of what follows, without anybody who copies files. Each
    labelled request is in one batch."""

    least: Annotated[int, Field(ge=1)] = 500
    """Labelled rows that a batch has at least; fewer wait."""
    every: PositiveDuration = timedelta(days=1)
    """Time between two batches, and between two looks whether there are enough."""


class Labels(SpecModel):
    """Uses of labels besides monitors of them."""

    batches: LabelledBatches | None = None
    """Make training data of labelled traffic: `batches: {}` does once a day. It needs `capture`. When left
    out nothing is written."""
