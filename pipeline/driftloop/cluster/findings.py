"""Findings of `driftloop doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class DoctorFinding:
    """One thing seen, and what to do about it."""

    level: Level
    what: str
    fix: str | None = None


Findings = Iterator[DoctorFinding]
