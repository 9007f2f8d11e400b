"""YAML text to plain data that remembers where each value stands.

A safe subset: one document, string keys, no repeated keys, no custom tags; size, depth and what
aliases expand to are bounded, so a hostile file costs a bounded amount of work.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.spec.problem import InvalidSpec, Problem
from driftloop.text.node import YamlNode
from driftloop.text.read import ReadProblem, ReadRules, read

_RULES = ReadRules(
    max_bytes=1024 * 1024, max_values=20_000, max_depth=40, text_keys=True, exact=True
)

Step = str | int
Location = tuple[Step, ...]


@dataclass(frozen=True)
class Mark:
    """Place of a value and of its key; lines and columns count from 1."""

    line: int
    column: int
    key_line: int
    key_column: int


@dataclass(frozen=True)
class Source:
    """A parsed file: its data and the mark of every value in it."""

    path: str
    value: Any
    marks: Mapping[Location, Mark]

    def found(self, location: Location) -> tuple[Location, bool]:
        """The part of a location that exists in the file, and whether that is all of it.

        A pydantic location names union tags that the file does not hold; they are skipped.
        """
        here: Location = ()
        missing = 0
        for step in location:
            if (*here, step) in self.marks:
                here, missing = (*here, step), 0
            else:
                missing += 1
        return here, missing == 0

    def problem(
        self, location: Location, message: str, *, hint: str | None = None, key: bool = False
    ) -> Problem:
        """A problem at the deepest part of the location that exists; `key` points at the key,
        not at the value."""
        mark = self.marks[self.found(location)[0]]
        line, column = (mark.key_line, mark.key_column) if key else (mark.line, mark.column)
        return Problem(self.path, line, column, message, hint)


def parse(
    text: str,
    *,
    path: str,
    kind: str = "Pipeline",
    start: str = "`driftloop init` writes one to start from",
) -> Source:
    """Parse one YAML document; InvalidSpec says line and column of what is not allowed. `kind` is what the file must
    hold, and `start` how to get one."""
    reading = read(text, rules=_RULES)
    if reading.problems:
        raise InvalidSpec([_name_problem(path, problem) for problem in reading.problems])
    if not reading.documents:
        raise InvalidSpec(
            [
                Problem(
                    path,
                    1,
                    1,
                    f"the file is empty, must hold a {kind}",
                    start,
                )
            ]
        )
    first, *others = reading.documents
    if others:
        message = "a second document begins, must be the only one"
        raise InvalidSpec([Problem(path, others[0].line, others[0].column, message)])
    return Source(path, first.plain_data(), dict(_mark_values(first, ())))


def _name_problem(path: str, problem: ReadProblem) -> Problem:
    syntax = "not YAML: " if problem.fault == "syntax" else ""
    hint = "put it in quotes" if problem.fault in ("key", "number") else None
    return Problem(path, problem.line, problem.column, syntax + problem.said, hint)


def _mark_values(node: YamlNode, location: Location) -> Iterator[tuple[Location, Mark]]:
    yield (
        location,
        Mark(node.line, node.column, node.key_line or node.line, node.key_column or node.column),
    )
    for name, member in node.map.items():
        yield from _mark_values(member, (*location, name))
    for index, item in enumerate(node.list):
        yield from _mark_values(item, (*location, index))
