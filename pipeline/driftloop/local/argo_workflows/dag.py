"""Decisions of a DAG: the order of its tasks, the tasks that run, and the phase of the whole."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from driftloop.local.argo.nodes import Node, Phase
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows.model import Task

_SUCCEEDED = re.compile(r"([\w-]+)\.Succeeded")


@dataclass(frozen=True)
class Plan:
    """Tasks of a DAG, each after those it waits for."""

    tasks: tuple[Task, ...]
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

    def runs(self, task: str, ended: Mapping[str, Node]) -> bool:
        """Return true when all that a task waits for, which is in `ended`, succeeded."""
        return all(ended[name].phase == "Succeeded" for name in self.waits_for[task])

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
    waits_for = {task.name: _read_depends(task) for task in tasks}
    for name, before in waits_for.items():
        if unknown := sorted(before - set(by_name)):
            raise NotUnderstoodError(
                f"task `{name}` depends on `{unknown[0]}`, which does not exist"
            )
    return Plan(tuple(by_name[name] for name in _ordered(waits_for)), waits_for)


def worst(phases: Sequence[Phase]) -> Phase:
    """Return Error before Failed before Succeeded."""
    return next((phase for phase in ("Error", "Failed") if phase in phases), "Succeeded")


def _read_depends(task: Task) -> frozenset[str]:
    """Return the tasks named in `a.Succeeded && b.Succeeded`."""
    if task.depends is None:
        return frozenset()
    names: set[str] = set()
    for part in task.depends.split("&&"):
        match = _SUCCEEDED.fullmatch(part.strip())
        if match is None:
            raise NotUnderstoodError(
                f"task `{task.name}`: `depends: {task.depends}` is not supported by the local runtime",
                hint="write `a.Succeeded && b.Succeeded`",
            )
        names.add(match[1])
    return frozenset(names)


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
