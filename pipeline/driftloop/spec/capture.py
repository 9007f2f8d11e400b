"""Recording of a pipeline's traffic, and for how long it is kept."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from driftloop.contract.captures import EVERY
from driftloop.spec.base import SpecModel, take_list
from driftloop.spec.values import ColumnName, Memory, PositiveDuration, memory_bytes

LONGEST = timedelta(hours=1)


CaptureColumns = Annotated[
    tuple[ColumnName, ...],
    Field(max_length=200),
    BeforeValidator(take_list, json_schema_input_type=tuple[ColumnName, ...]),
]
"""Columns of requests and answers."""


class Capture(SpecModel):
    """Requests and answers as Parquet files in the object store, joined by request id."""

    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the requests that are recorded, chosen by a hash of the request id."""
    keep: PositiveDuration | None = timedelta(days=30)
    """Time after which the files of a day are deleted; `null` keeps them."""
    most: Memory | None = None
    """Size of all files above which the oldest days are deleted; without it, any size."""
    every: PositiveDuration = timedelta(seconds=EVERY)
    """Time after which what has come is written at the latest, 1h at most; under much traffic it is
    written sooner."""
    drop: CaptureColumns = ()
    """Columns of requests and answers that are not written."""
    hash: CaptureColumns = ()
    """Columns of which a keyed hash is written: equal values stay equal, and can't be read."""

    @property
    def most_bytes(self) -> int | None:
        """Size of all files in bytes; None for any size."""
        return None if self.most is None else memory_bytes(self.most)

    @property
    def private(self) -> frozenset[str]:
        """Columns whose values nobody is to see."""
        return frozenset({*self.drop, *self.hash})

    @model_validator(mode="after")
    def _check_capture(self) -> Self:
        if self.every > LONGEST:
            raise ValueError("`every` must be at most 1h")
        if both := sorted(set(self.drop) & set(self.hash)):
            raise ValueError(f"`{both[0]}` is in both `drop` and `hash`, must be in one of them")
        return self
