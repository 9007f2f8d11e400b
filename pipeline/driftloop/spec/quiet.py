"""Times in which alarms start no run."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from driftloop.contract.quiet import (
    EXAMPLES,
    SPAN,
    QuietHours,
    QuietHoursError,
    QuietSpan,
    find_zone,
)
from driftloop.spec.base import SpecModel


def _quiet_time(text: str) -> str:
    try:
        QuietSpan.parse(text)
    except QuietHoursError as error:
        raise ValueError(error.message) from error
    return text


def _time_zone(text: str) -> str:
    try:
        find_zone(text)
    except QuietHoursError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise ValueError(f"{error.message}{hint}") from error
    return text


QuietTime = Annotated[
    str,
    AfterValidator(_quiet_time),
    Field(max_length=30, json_schema_extra={"pattern": SPAN, "examples": list(EXAMPLES)}),
]
"""Days, times or both: `sat-sun`, `22:00-06:00`, `mon-fri 08:00-18:00`."""
TimeZone = Annotated[
    str,
    AfterValidator(_time_zone),
    Field(max_length=60, json_schema_extra={"examples": ["Europe/Berlin", "UTC"]}),
]
"""Name of a time zone: `Europe/Berlin`."""


class QuietTimes(SpecModel):
    """Times of the week in which alarms start no run. Alarms that halt or roll back, schedules, new data
    and people know none."""

    during: Annotated[tuple[QuietTime, ...], Field(min_length=1, max_length=20)]
    """Days, times or both, as the clocks of the time zone show them: `[mon-fri 22:00-06:00, sat-sun]`. A
    time that ends before it begins ends on the next day."""
    timezone: TimeZone = "UTC"
    """Time zone of these clocks: `Europe/Berlin`."""

    @property
    def hours(self) -> QuietHours:
        """As the decision reads them."""
        return QuietHours(self.during, self.timezone)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if not self.hours.has_end():
            raise ValueError("must leave a minute of the week in which alarms may start a run")
        return self
