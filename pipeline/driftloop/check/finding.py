"""Findings, and the rules that make them."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftloop.check.world import World


class Severity(StrEnum):
    """An error breaks something at run time; a warning is a risk that somebody may have taken
    knowingly."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong, and where. Lines and columns count from 1."""

    path: str
    line: int
    column: int
    code: str
    severity: Severity
    subject: str
    """Kind and name of the object, `Trigger fraud/drift`; empty for a file as a whole."""
    what: str
    why: str
    """What happens at run time."""
    fix: str

    @property
    def place(self) -> str:
        """`path:line:column`, as editors open it."""
        return f"{self.path}:{self.line}:{self.column}"

    @property
    def text(self) -> str:
        """The object, if it is about one, and what is wrong with it."""
        return f"{self.subject}: {self.what}" if self.subject else self.what


@dataclass(frozen=True)
class RuleMatch:
    """A rule's result: a place and the message about it."""

    path: str
    line: int
    column: int
    subject: str
    what: str
    fix: str | None = None
    """Instead of the rule's own."""


@dataclass(frozen=True)
class CheckRule:
    """One thing that can be wrong. `DL1xx` values and versions, `DL2xx` events, `DL3xx`
    workflows, `DL4xx` serving, `DL5xx` network and monitoring, `DL6xx` workloads and rights,
    `DL7xx` Flux and kustomize, `DL8xx` security, `DL9xx` API schemas."""

    code: str
    title: str
    severity: Severity
    why: str
    fix: str
    apply: "Callable[[World], Iterator[RuleMatch]]"

    def findings(self, world: "World") -> Iterator[Finding]:
        """Everything of this kind in a set of files."""
        for item in self.apply(world):
            yield Finding(
                item.path, item.line, item.column, self.code, self.severity, item.subject, item.what, self.why,
                item.fix or self.fix,
            )  # fmt: skip


def rule(
    code: str, title: str, *, fix: str, severity: Severity = Severity.ERROR
) -> "Callable[[Callable[[World], Iterator[RuleMatch]]], CheckRule]":
    """Make a function a Rule: it yields what it finds; its docstring says why that breaks at run
    time."""

    def made(function: "Callable[[World], Iterator[RuleMatch]]") -> CheckRule:
        why = " ".join((inspect.getdoc(function) or "").split())
        return CheckRule(code, title, severity, why, fix, function)

    return made
