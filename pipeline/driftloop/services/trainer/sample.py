"""Held-out rows as a caller would send them: values with the names of their columns, and the label
apart.

Files are those that `split` wrote. Arrays of a .npz file have no names, columns of a .csv or
.jsonl file do.
"""

import csv
import json
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftloop.contract.columns import (
    NO_USES,
    NOT_THERE,
    TARGET,
    ColumnUses,
    find_gap_marks,
    has_own_form,
    is_number_field,
)
from driftloop.contract.documents import to_json
from driftloop.contract.profiles import TRUTHS
from driftloop.contract.records import HeldOutRow, HeldOutRows
from driftloop.services.trainer.parquet import list_rows, load_table, write_table
from driftloop.services.trainer.split import count_rows

FEATURES = "x"
"""Array with the features, beside others."""
LARGEST = 8 * 1024 * 1024
"""Characters of the file at most."""


@dataclass(frozen=True)
class _Table:
    """Some rows of one file."""

    names: tuple[str, ...] | None
    rows: tuple[HeldOutRow, ...]

    def choose_columns(self, names: tuple[str, ...] | None) -> tuple[HeldOutRow, ...]:
        """Return the rows with these columns alone, in this order."""
        if names is None or self.names is None or names == self.names:
            return self.rows
        places = [self.names.index(name) for name in names]
        return tuple(
            replace(row, features=[row.features[place] for place in places]) for row in self.rows
        )


class _UnaskableError(Exception):
    """Rows that can't be put into a request; the text says why."""


@dataclass(frozen=True)
class _SourcePart:
    """Rows of a file that were taken: the first `rows` of every `step`-th one."""

    file: Path
    step: int
    rows: int


def write_rows(
    heldout: Path,
    file: Path,
    limit: int,
    *,
    target: str = TARGET,
    uses: ColumnUses = NO_USES,
    again: Path | None = None,
) -> HeldOutRows:
    """Write up to `limit` rows below a folder, evenly spread over the recent ones, then over the
    others; into the folder `again` the recent ones of them as they were. Rows have the columns that all files have.
    Columns that `uses` says are no numbers stay texts in .csv files."""
    tables: list[_Table] = []
    parts: list[_SourcePart] = []
    names: tuple[str, ...] | None = None
    notes: list[str] = []
    marks = _find_marks(heldout)
    room = limit
    for part in ("recent", "earlier"):
        if not (heldout / part).is_dir() or room <= 0:
            continue
        step = max(1, math.ceil(count_rows(heldout / part) / room))
        for source in sorted(path for path in (heldout / part).rglob("*") if path.is_file()):
            try:
                table = _read_table(source, step, target, marks, uses, recent=part == "recent")
            except _UnaskableError as error:
                notes.append(f"{source.name}: {error}")
                continue
            if tables and table.rows and not _are_alike(names, table.names):
                notes.append(f"{source.name} has other columns than the files before")
                continue
            taken = table.rows[:room]
            if not taken:
                continue
            room -= len(taken)
            names = _find_shared(names, table.names) if tables else table.names
            tables.append(replace(table, rows=taken))
            if part == "recent":
                parts.append(_SourcePart(source, step, len(taken)))
    rows = [row for table in tables for row in table.choose_columns(names)]
    kept: list[HeldOutRow] = []
    size = 0
    for row in rows:
        size += len(json.dumps(to_json(row)))
        if size > LARGEST and kept:
            notes.append(f"{len(kept)} of {len(rows)} rows fit into {LARGEST // 1024**2} MiB")
            break
        kept.append(row)
    document = HeldOutRows(_mix_rows(kept), names, "; ".join(notes))
    file.write_text(json.dumps(to_json(document)))
    if again is not None:
        rest = len(kept)
        for source_part in parts:
            count = min(source_part.rows, rest)
            rest -= count
            copy = again / source_part.file.relative_to(heldout)
            _copy_rows(replace(source_part, rows=count), copy)
    return document


def _are_alike(names: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether one of two files has all columns of the other: rows of captured traffic have those of requests, in an order
    of their own."""
    if names is None or others is None:
        return names == others
    shared = set(names) & set(others)
    return names == others or (bool(shared) and shared in (set(names), set(others)))


def _find_shared(
    names: tuple[str, ...] | None, others: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """Return the columns that both have, in the order of the first."""
    if names is None or others is None:
        return names
    return tuple(name for name in names if name in others)


def _mix_rows(rows: Sequence[HeldOutRow]) -> tuple[HeldOutRow, ...]:
    """Return the rows in an order that is drawn, recent ones first: those that are asked when time runs out
    are like all."""
    order = random.Random(0)  # noqa: S311 - the same order each time, not a secret
    parts = [[row for row in rows if row.recent], [row for row in rows if not row.recent]]
    for part in parts:
        order.shuffle(part)
    return tuple(row for part in parts for row in part)


def _copy_rows(part: _SourcePart, target: Path) -> None:
    """Write rows of a file into another one of its kind."""
    if not part.rows:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if part.file.suffix == ".npz":
        import numpy as np

        with np.load(part.file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name][:: part.step][: part.rows] for name in loaded.files}
        np.savez(target, **arrays)
    elif part.file.suffix == ".parquet":
        table = load_table(part.file)
        write_table(table.take(list(range(0, len(table), part.step))[: part.rows]), target)
    elif part.file.suffix == ".csv":
        with part.file.open(newline="") as stream, target.open("w", newline="") as copy:
            header, *lines = csv.reader(stream)
            csv.writer(copy, lineterminator="\n").writerows(
                [header, *lines[:: part.step][: part.rows]]
            )
    else:
        texts = [line for line in part.file.read_text().splitlines() if line.strip()]
        target.write_text("\n".join(texts[:: part.step][: part.rows]) + "\n")


def _find_marks(heldout: Path) -> frozenset[str]:
    """Return what marks gaps in the .csv files, as the detectors' fit finds it."""
    marks: set[str] = set()
    for file in heldout.rglob("*.csv"):
        _, lines = _read_csv(file)
        marks |= find_gap_marks(zip(*lines, strict=True))
    return frozenset(marks)


def _read_csv(file: Path) -> tuple[list[str], list[list[str]]]:
    with file.open(newline="") as stream:
        header, *lines = csv.reader(stream)
    return header, lines


def _read_table(
    file: Path, step: int, target: str, marks: frozenset[str], uses: ColumnUses, *, recent: bool
) -> _Table:
    match file.suffix:
        case ".npz":
            return _read_npz(file, step, target, recent)
        case ".csv":
            header, lines = _read_csv(file)
            label = header.index(target) if target in header else None
            texts = {n for n, name in enumerate(header) if uses.get(name) in ("category", "text")}
            converted = _convert_columns(lines, marks, label, texts)
            return _read_columns(header, converted[::step], target, recent)
        case ".jsonl":
            with file.open() as stream:
                objects = [json.loads(line) for line in stream if line.strip()][::step]
            # a row need not have all columns: one that it lacks is a missing value
            header = list(dict.fromkeys(name for row in objects for name in row))
            return _read_columns(
                header, [[row.get(name) for name in header] for row in objects], target, recent
            )
        case ".parquet":
            table = load_table(file)
            header = table.column_names
            lines = [list(row.values()) for row in list_rows(table)[::step]]
            return _read_columns(header, lines, target, recent)
        case _:
            raise _UnaskableError(f"rows of {file.suffix or 'such a file'} are not read")


def _read_npz(file: Path, step: int, target: str, recent: bool) -> _Table:
    import numpy as np

    with np.load(file, allow_pickle=False) as loaded:
        arrays = {name: loaded[name][::step] for name in loaded.files}
    labels = arrays.pop(target, None)
    if FEATURES not in arrays and len(arrays) != 1:
        listed = ", ".join(sorted(arrays)) or "none"
        raise _UnaskableError(
            f"the arrays are {listed}, none is named `{FEATURES}`: name the one that holds the requests"
        )
    features = arrays.get(FEATURES, next(iter(arrays.values())))
    rows = tuple(
        HeldOutRow(
            _as_list(_plain(values.tolist())),
            None if labels is None else _plain(labels[number].tolist()),
            recent,
        )
        for number, values in enumerate(features)
    )
    return _Table(None, rows)


def _read_columns(
    header: Sequence[str], lines: Sequence[Sequence[Any]], target: str, recent: bool
) -> _Table:
    label = header.index(target) if target in header else None
    names = tuple(name for name in header if name != target)
    values = [
        [_plain(value) for number, value in enumerate(line) if number != label] for line in lines
    ]
    labels = [None if label is None else _plain(line[label]) for line in lines]
    if len(names) == 1 and all(isinstance(row[0], list) for row in values):
        # one column of arrays: an array is the request
        names, values = (), [row[0] for row in values]
    rows = (HeldOutRow(row, right, recent) for row, right in zip(values, labels, strict=True))
    return _Table(names or None, tuple(rows))


def _convert_columns(
    lines: list[list[str]], marks: frozenset[str], label: int | None, texts: Collection[int]
) -> list[list[Any]]:
    """Columns whose values are all numbers become numbers, of features also true and false booleans; an
    empty field is a missing value, and so is what marks a gap. Those that are `texts` stay as they are where
    a number would lose its form (`08001`)."""
    columns = [
        _drop_gaps(column, marks)
        if number in texts and has_own_form(column)
        else _convert_column(column, marks, truths=number != label)
        for number, column in enumerate(zip(*lines, strict=True))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _convert_column(column: Sequence[str], marks: frozenset[str], *, truths: bool) -> Sequence[Any]:
    present = {text for text in column if text} - NOT_THERE
    if not present:
        return _drop_gaps(column, marks)
    converted: dict[str, Any]
    if all(map(is_number_field, present)):
        converted = {text: _convert_number(text) for text in present}
    elif truths and all(text.strip().lower() in TRUTHS for text in present):
        converted = {text: text.strip().lower() == TRUTHS[1] for text in present}
    else:
        return _drop_gaps(column, marks)
    return [converted.get(text) for text in column]


def _drop_gaps(column: Sequence[str], marks: frozenset[str]) -> list[str | None]:
    return [text if text and text not in marks else None for text in column]


def _convert_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not a finite number is missing."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
