"""Decisions of a DAG: the order of its tasks, the tasks that run, and the phase of the whole."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from driftloop.local.argo import expressions
from driftloop.local.argo.expressions import Dialect, Expression, ExpressionError
from driftloop.local.argo.nodes import BAD, Node, Phase
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows.model import Task

STATES = (
    "Succeeded",
    "Failed",
    "Errored",
    "Skipped",
    "Omitted",
    "Daemoned",
    "AnySucceeded",
    "AllFailed",
)


@dataclass(frozen=True)
class Ended:
    """Phase in which a task ended; `children` are the phases of a loop's items."""

    phase: Phase
    children: tuple[Phase, ...] = ()

    def holds(self, state: str) -> bool:
        """Return true when `<task>.<state>` is."""
        match state:
            case "Errored":
                return self.phase == "Error"
            case "Daemoned":
                return False
            case "AnySucceeded":
                return "Succeeded" in self.children
            case "AllFailed":
                return bool(self.children) and all(phase in BAD for phase in self.children)
            case _:
                return self.phase == state


@dataclass(frozen=True)
class Plan:
    """Tasks of a DAG, each after those it waits for."""

    tasks: tuple[Task, ...]
    conditions: Mapping[str, Expression | None]
    waits_for: Mapping[str, frozenset[str]]

    def startable(self, ended: Collection[str], started: Collection[str]) -> tuple[Task, ...]:
        """Return the tasks that may start now: not started, and all they wait for ended."""
        return tuple(
            task
            for task in self.tasks
            if task.name not in started and self.waits_for[task.name] <= set(ended)
        )

    def ancestors(self, task: str) -> set[str]:
        """Return every task before this one; their outputs are in scope."""
        ancestors: set[str] = set()
        pending = list(self.waits_for[task])
        while pending:
            name = pending.pop()
            if name not in ancestors:
                ancestors.add(name)
                pending.extend(self.waits_for[name])
        return ancestors

    def runs(self, task: str, ended: Mapping[str, Ended]) -> bool:
        """Return true when a task's `depends` is; all it waits for is in `ended`."""
        condition = self.conditions[task]
        if condition is None:
            return True
        return bool(expressions.evaluate(condition, lambda parts: _state(parts, ended)))

    def phase(self, nodes: Mapping[str, Node]) -> Phase:
        """Return the phase of the DAG, which is that of its last tasks.

        A task that did not run counts as those it waited for.
        """
        branch: dict[str, Phase] = {}
        for task in self.tasks:
            own = nodes[task.name].phase
            if own in ("Skipped", "Omitted"):
                own = worst([branch[name] for name in self.waits_for[task.name]])
            branch[task.name] = own
        inner = {name for names in self.waits_for.values() for name in names}
        return worst([branch[task.name] for task in self.tasks if task.name not in inner])


def plan_dag(tasks: Sequence[Task]) -> Plan:
    """Return the plan of a DAG. NotUnderstoodError for unknown names, states and cycles."""
    by_name = {task.name: task for task in tasks}
    if len(by_name) != len(tasks):
        raise NotUnderstoodError("two tasks of one dag have the same name")
    conditions = {task.name: _condition(task) for task in tasks}
    waits_for: dict[str, frozenset[str]] = {}
    for name, condition in conditions.items():
        references = [] if condition is None else list(expressions.names(condition))
        for parts in references:
            if parts[0] not in by_name:
                raise NotUnderstoodError(
                    f"task `{name}` depends on `{parts[0]}`, which does not exist"
                )
            if len(parts) > 1 and parts[1] not in STATES:
                raise NotUnderstoodError(
                    f"task `{name}`: state `{parts[1]}` must be one of: {', '.join(STATES)}"
                )
        waits_for[name] = frozenset(parts[0] for parts in references)
    return Plan(tuple(by_name[name] for name in _ordered(waits_for)), conditions, waits_for)


def worst(phases: Sequence[Phase]) -> Phase:
    """Return Error before Failed before Succeeded."""
    return next((phase for phase in ("Error", "Failed") if phase in phases), "Succeeded")


def _condition(task: Task) -> Expression | None:
    if task.dependencies:
        return expressions.parse(" && ".join(task.dependencies), Dialect.DEPENDS)
    if task.depends is None or not task.depends.strip():
        return None
    try:
        return expressions.parse(task.depends, Dialect.DEPENDS)
    except ExpressionError as error:
        raise NotUnderstoodError(f"task `{task.name}`: {error.message}") from error


def _state(parts: tuple[str, ...], ended: Mapping[str, Ended]) -> bool:
    if len(parts) > 1:
        return ended[parts[0]].holds(parts[1])
    return any(ended[parts[0]].holds(state) for state in ("Succeeded", "Skipped", "Daemoned"))


def _ordered(waits_for: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the tasks in rounds: each after those it waits for, in a round as they are written."""
    position = {name: place for place, name in enumerate(waits_for)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name, before in waits_for.items():
        sorter.add(name, *sorted(before))
    try:
        sorter.prepare()
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise NotUnderstoodError(f"the tasks {circle} wait for each other") from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        order.extend(ready)
        sorter.done(*ready)
    return order
