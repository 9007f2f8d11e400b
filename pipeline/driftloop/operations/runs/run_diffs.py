"""Differences between two runs: parameters, data, code, environment, metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.documents import DocumentError, is_number
from driftloop.contract.records import Evaluation, Snapshot
from driftloop.contract.runs import RunReport
from driftloop.contract.trees import snapshot_key
from driftloop.operations.runs.run_store import RunPlace
from driftloop.text.words import join_some

MISSING = "not known"
MOST_NAMED = 5
"""Batches of a kind that are named."""


@dataclass(frozen=True)
class ValueChange:
    """A value that the two runs have differently; None is not there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class DataChange:
    """Batches that the two runs saw differently."""

    same: bool | None
    """None when it is not known."""
    added: tuple[str, ...] = ()
    """Keys that only the second run saw."""
    removed: tuple[str, ...] = ()
    """Keys that only the first run saw."""
    changed: tuple[str, ...] = ()
    """Keys with other contents."""
    note: str = ""
    """Why the batches can't be compared."""


@dataclass(frozen=True)
class RunDifference:
    """Two runs held against each other; a section without entries is alike."""

    first: str
    second: str
    parameters: tuple[ValueChange, ...]
    data: DataChange
    code: tuple[ValueChange, ...]
    environment: tuple[ValueChange, ...]
    metrics: tuple[ValueChange, ...]
    """`all accuracy` and such, of the candidates."""
    ends: tuple[ValueChange, ...]
    """Trigger, outcome, model."""

    def to_json(self) -> dict[str, Any]:
        """Return the difference as plain data."""
        return asdict(self)


def compare_runs(place: RunPlace, first: RunReport, second: RunReport) -> RunDifference:
    """Compare two runs; the batches by their snapshots."""
    return RunDifference(
        first=first.run,
        second=second.run,
        parameters=compare_values(first.parameters or {}, second.parameters or {}),
        data=compare_data(place, first, second),
        code=compare_values(_list_code(first), _list_code(second)),
        environment=compare_values(_list_environment(first), _list_environment(second)),
        metrics=compare_values(list_metrics(first.metrics), list_metrics(second.metrics)),
        ends=compare_values(_list_ends(first), _list_ends(second)),
    )


def compare_data(place: RunPlace, first: RunReport, second: RunReport) -> DataChange:
    """Compare the batches that two runs saw."""
    digests = first.digests.data, second.digests.data
    same = digests[0] == digests[1] if all(digests) else None
    if same:
        return DataChange(same=True)
    try:
        before, after = (_read_batches(place, report.run) for report in (first, second))
    except (MissingObjectError, DocumentError) as error:
        return DataChange(same=same, note=error.message)
    return compare_batches(before, after)


def compare_batches(before: Mapping[str, str], after: Mapping[str, str]) -> DataChange:
    """Compare batches by key and digest."""
    return DataChange(
        same=before == after,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(k for k in before.keys() & after.keys() if before[k] != after[k])),
    )


def list_metrics(evaluation: Evaluation | None) -> dict[str, float]:
    """Return a candidate's metrics by rows and name, such as `all accuracy`; none without."""
    if evaluation is None:
        return {}
    return {
        f"{rows} {name}": value
        for rows, values in evaluation.candidate.items()
        for name, value in (values or {}).items()
    }


def _read_batches(place: RunPlace, run: str) -> dict[str, str]:
    snapshot = Snapshot.read(place.store.read_json(place.bucket / snapshot_key(run)))
    return {batch.key: batch.sha256 for batch in snapshot.batches}


def _list_code(report: RunReport) -> dict[str, Any]:
    digests = report.digests
    values: dict[str, Any] = {
        "function": report.function or None,
        "command": report.command,
        "code": digests.code,
        "revision": digests.revision,
        "recipe": digests.recipe,
        "heldout": report.heldout,
        **{f"image of {step}": image for step, image in (digests.images or {}).items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def _list_environment(report: RunReport) -> dict[str, Any]:
    environment = report.environment or {}
    values = {
        **{f"library {n}": v for n, v in (environment.get("libraries") or {}).items()},
        **{f"hardware {n}": v for n, v in (environment.get("hardware") or {}).items()},
    }
    if "python" in environment:
        values["python"] = environment["python"]
    return values


def _list_ends(report: RunReport) -> dict[str, Any]:
    values: dict[str, Any] = {
        "trigger": report.trigger,
        "trials": len(report.trials),
        "outcome": report.outcome.kind if report.outcome is not None else None,
        "model": report.digests.model,
    }
    return {name: value for name, value in values.items() if value is not None}


def compare_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Return the values that differ, in the order of their names."""
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        ValueChange(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def describe_difference(difference: RunDifference) -> Iterator[str]:
    """Yield a difference in words, section by section."""
    data = difference.data
    if data.same:
        yield "data         the same batches"
    elif data.note:
        yield f"data         {'other batches' if data.same is False else MISSING}: {data.note}"
    else:
        for word, keys in (
            ("added", data.added),
            ("removed", data.removed),
            ("changed", data.changed),
        ):
            if keys:
                yield f"data         {len(keys)} {word}: {join_some(keys, MOST_NAMED)}"
    for name, changes in (
        ("parameters", difference.parameters),
        ("code", difference.code),
        ("environment", difference.environment),
        ("metrics", difference.metrics),
        ("run", difference.ends),
    ):
        if not changes:
            yield f"{name:<12} alike"
        for change in changes:
            yield f"{name:<12} {change.name}: {_show(change.before)} -> {_show(change.after)}{_show_step(change)}"


def _show(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:19] if text.startswith("sha256:") else text


def _show_step(change: ValueChange) -> str:
    if not (is_number(change.before) and is_number(change.after)):
        return ""
    return f" ({change.after - change.before:+.4g})"
