"""Problems of a spec: one for each finding, all of them in one error."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.errors import SpecError


@dataclass(frozen=True)
class Problem:
    """One finding and where it stands; lines and columns count from 1."""

    path: str
    line: int
    column: int
    message: str
    """`field is VALUE, must be …`"""
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"


class InvalidSpec(SpecError):  # noqa: N818 - reads as what it says
    """Every problem of one spec, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(
            sorted(problems, key=lambda problem: (problem.line, problem.column, problem.message))
        )
        hints = list(
            dict.fromkeys(problem.hint for problem in self.problems if problem.hint is not None)
        )
        super().__init__("\n".join(map(str, self.problems)), hint="\nhint: ".join(hints) or None)
