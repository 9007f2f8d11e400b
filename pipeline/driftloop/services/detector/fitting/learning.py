"""Learning the profile of training data: the type of each column, and what its values look like.

Rules, the first that fits:

* lists, and arrays of an .npz file with more than one dimension: one column of numbers for each element,
  `NAME[0]`, `NAME[1]`, ... in the order of the flattened array;
* boolean: nothing but true and false (in a .csv file in any case);
* number: nothing but numbers. An integer with few levels is a number with ties, not a category. Numbers
  are double precision: whole ones are exact up to 2^53, others are read to 12 digits (`drop_noise`). In
  .csv files `NA`, `N/A`, `NaN` and `null` are missing values of such a column. What marks a gap among
  numbers is one in columns of text, too (`find_gap_marks`); elsewhere it is a category there;
* time: nothing but times as ISO 8601 writes them, with a date;
* category: at most 1000 different texts, each of them five times on average, or at most 20;
* text: all others. A column without any value is one, too.

What `data.columns` says that a column is goes before the rules.

A column that mixes numbers with text is a category or text, and its profile says so. An empty field, a null
and a key that is not there are missing values.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never

import numpy as np

from driftloop.contract.columns import (
    EVERYTHING,
    NO_USES,
    NOT_THERE,
    ColumnError,
    ColumnUse,
    ColumnUses,
    has_own_form,
    is_number_field,
)
from driftloop.contract.profiles import (
    QUANTILES,
    TRUTHS,
    ColumnProfile,
    ColumnType,
    TableProfile,
    name_element,
)
from driftloop.contract.suggestions import suggest_closest
from driftloop.release.values import category_key, is_missing, read_truth
from driftloop.services.detector.rows.tables import TableFile, Values, stack_lists
from driftloop.services.detector.rows.values import (
    ColumnEncoder,
    RowFaults,
    Rows,
    drop_noise,
)

MOST_LEVELS = 1000
"""Different texts that still are categories."""
FEW_LEVELS = 20
_UNREADABLE = object()
_FLAGS = {"0": 0, "1": 1}
"""Fields of a .csv file that are booleans where a person says so."""
REPEATED = 5
"""Rows that a category has on average, when there are more than a few."""


@dataclass(frozen=True)
class LearntTable:
    """Table of columns learnt from training data."""

    profile: TableProfile
    rows: Rows
    """The values as numbers (n x columns)."""


def learn_table(
    tables: Sequence[TableFile],
    features: str,
    target: str,
    own: Sequence[str] | None = None,
    uses: ColumnUses = NO_USES,
) -> LearntTable:
    """Learn the profile of files of rows, of the columns `own` of the features or all of them; ColumnError
    for columns that do not fit together, or are not what `uses` says."""
    every = _choose_columns(tables, features, target, uses)
    first = tables[0].columns
    chosen = first.narrow_features(every, own)
    if first.kind == "array":
        return learn_columns(tables, chosen, uses=uses)
    order = (name for name in first.names if name != target and name in tables[0].values)
    learnt = learn_columns(tables, chosen, tuple(order), uses=uses)
    if chosen == every:
        return learnt
    return replace(learnt, profile=replace(learnt.profile, features=every))


def learn_columns(
    tables: Sequence[TableFile],
    chosen: tuple[str, ...],
    order: tuple[str, ...] | None = None,
    *,
    uses: ColumnUses = NO_USES,
) -> LearntTable:
    """Learn columns that all the files have; values without names are matched by `order` (default: those)."""
    learnt: list[tuple[tuple[ColumnProfile, ...], Rows]] = []
    arrays: dict[str, int] = {}
    for name in chosen:
        use = uses.get(name)
        if any(_holds_lists(table.values[name]) for table in tables):
            if use is not None:
                raise ColumnError(
                    f"`data.columns` says that `{name}` is a {use}, and it holds lists"
                )
            columns, rows = _learn_array(tables, name)
            arrays[name] = len(columns)
        else:
            column, values = (
                _learn_column(tables, name) if use is None else _learn_as(tables, name, use)
            )
            columns, rows = (column,), values[:, None]
        learnt.append((columns, rows))
    if tables[0].columns.kind == "array" and learnt[0][0][0].type == "number":
        arrays.setdefault(chosen[0], 1)
    profile = TableProfile(
        columns=tuple(column for columns, _ in learnt for column in columns),
        order=chosen if order is None else order,
        arrays=tuple(arrays.items()),
    )
    return LearntTable(profile, np.concatenate([rows for _, rows in learnt], axis=1))


def _choose_columns(
    tables: Sequence[TableFile], features: str, target: str, uses: ColumnUses
) -> tuple[str, ...]:
    """Return the columns of all files, in the order of the first; ColumnError names the file that lacks
    one."""
    kinds = {_read_kind(table) for table in tables}
    if len(kinds) > 1:
        raise ColumnError(
            f"{tables[0].file} holds rows as {_read_kind(tables[0])}s, another file does not: must be alike",
            hint="convert the batches in a data step",
        )
    every = [table.columns.choose_features(features, target, uses) for table in tables]
    chosen = tuple(dict.fromkeys(name for names in every for name in names))
    for name in chosen:
        for table in tables:
            if name not in table.values:
                hint = suggest_closest(name, table.columns.names, fold=True)
                raise ColumnError(
                    f"{table.file} has no column `{name}`, which another file has",
                    hint=hint or "list the columns that all files have in `data.features`",
                )
    return chosen


def _read_kind(table: TableFile) -> str:
    """Return `array` also for lines that hold one list."""
    values = table.values.get(EVERYTHING)
    listed = values is not None and _holds_lists(values)
    return "array" if listed or table.columns.kind == "array" else "column"


def _holds_lists(values: Values) -> bool:
    return values.ndim > 1 or (
        values.dtype == object and any(isinstance(value, list) for value in values)
    )


def _learn_array(tables: Sequence[TableFile], name: str) -> tuple[tuple[ColumnProfile, ...], Rows]:
    parts = [stack_lists(table, name) for table in tables]
    for table, part in zip(tables, parts, strict=True):
        if part.dtype.kind not in "biuf":
            raise ColumnError(
                f"{table.file}: array `{name}` is {part.dtype}, must be numbers",
                hint="name an array of numbers in `data.features`",
            )
        if part.shape[1] != parts[0].shape[1]:
            raise ColumnError(
                f"the files have rows of different widths: `{name}` is {parts[0].shape[1]} numbers in "
                f"{tables[0].file}, {part.shape[1]} in {table.file}"
            )
    single = all(part.dtype in (np.float32, np.float16) for part in parts)
    rows = drop_noise(np.concatenate(parts).astype(np.float64))
    profiles = (
        profile_numbers(name_element(name, number), rows[:, number], single=single)
        for number in range(rows.shape[1])
    )
    return tuple(profiles), np.where(np.isinf(rows), np.nan, rows)


def _learn_column(tables: Sequence[TableFile], name: str) -> tuple[ColumnProfile, Rows]:
    parts = [table.values[name] for table in tables]
    single = all(part.dtype in (np.float32, np.float16) for part in parts)
    texts = tables[0].texts
    for read in (_read_truths, _read_numbers):
        values = [read(part, texts=table.texts) for table, part in zip(tables, parts, strict=True)]
        present = [part for part in values if part is not None]
        if len(present) == len(values) and any(np.isfinite(part).any() for part in present):
            joined = drop_noise(np.concatenate(present))
            if read is _read_truths:
                return profile_truths(name, joined), joined
            profile = profile_numbers(name, joined, single=single)
            return profile, np.where(np.isinf(joined), np.nan, joined)
    return _learn_texts(name, np.concatenate([part.astype(object) for part in parts]), texts=texts)


def _learn_as(tables: Sequence[TableFile], name: str, use: ColumnUse) -> tuple[ColumnProfile, Rows]:
    """Learn a column as a person says that it is. What is nothing of that kind is missing, and its profile
    says how much; ColumnError when all of it is."""
    values = [value for table in tables for value in _read_fields(table, name, use)]
    bad = sum(value is _UNREADABLE for value in values)
    present = [None if value is _UNREADABLE else value for value in values]
    if bad and all(map(is_missing, present)):
        raise ColumnError(
            f"`data.columns` says that `{name}` is a {use}, and no value is: {_describe_first(tables, name)}",
            hint="leave it out there: its type is learnt; or `ignore` it",
        )
    note = f"{bad} of {len(values)} values are no {use}, and missing" if bad else ""
    match use:
        case "number":
            column = drop_noise(np.array(present, dtype=np.float64))
            profile = replace(profile_numbers(name, column, single=False), note=note)
            return profile, np.where(np.isinf(column), np.nan, column)
        case "boolean":
            column = np.array(present, dtype=np.float64)
            return replace(profile_truths(name, column), note=note), column
        case "category" | "text" | "time":
            return _learn_texts(name, np.array(present, dtype=object), use, note=note)
        case "ignore":
            raise AssertionError(name)
        case _:
            assert_never(use)


def _read_fields(table: TableFile, name: str, use: ColumnUse) -> Iterator[Any]:
    """Yield the values of a column as a kind of column has them; `_UNREADABLE` for what is none of that kind.

    Numbers in a .csv file are categories as a request of numbers has them, unless their form says more, as
    that of `08001` does.
    """
    values = table.values[name]
    plain = table.texts and use in ("category", "text") and not has_own_form(values)
    for value in values.tolist():
        if is_missing(value) or (
            table.texts and use not in ("category", "text") and value in NOT_THERE
        ):
            yield None
        elif use == "number":
            yield value if isinstance(value, int | float) else _find_number(value)
        elif use == "boolean":
            truth = read_truth(_FLAGS.get(value, value) if isinstance(value, str) else value)
            yield _UNREADABLE if truth is None else truth
        else:
            key = category_key(float(value) if plain else value)
            yield key if key is not None and (use != "time" or _is_time(key)) else _UNREADABLE


def _find_number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and is_number_field(value) else _UNREADABLE


def _describe_first(tables: Sequence[TableFile], name: str) -> str:
    """Return the first value of a column, and its place."""
    for table in tables:
        for number, value in enumerate(table.values[name].tolist()):
            if not is_missing(value):
                return f"the first is `{str(value)[:40]}` ({table.describe_row(number)})"
    raise AssertionError(name)


def _read_numbers(values: Values, *, texts: bool) -> Rows | None:
    """Return numbers, NaN for missing ones; None when a value is not a number."""
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    if not texts:
        if any(not isinstance(value, int | float | None) for value in values):
            return None
        return _convert_floats(values)
    if any("_" in text for text in values if text is not None):
        return None
    return _convert_floats(
        np.fromiter(
            ("nan" if text is None or text in NOT_THERE else text for text in values),
            dtype=object,
            count=len(values),
        )
    )


def _convert_floats(values: Values) -> Rows | None:
    try:
        return values.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return None


def _read_truths(values: Values, *, texts: bool) -> Rows | None:
    """Return 0 and 1, NaN for missing values; None when a value is neither true nor false."""
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype != object:
        return None
    codes: dict[Any, float] = {None: np.nan, False: 0.0, True: 1.0}
    if texts:
        codes = {None: np.nan, **dict.fromkeys(NOT_THERE, np.nan)}
        for value in set(values) - codes.keys():
            text = value.strip().lower()
            if text not in TRUTHS:
                return None
            codes[value] = float(TRUTHS.index(text))
    elif any(not isinstance(value, bool | None) for value in values):
        return None
    return np.fromiter((codes[value] for value in values), dtype=np.float64, count=len(values))


def profile_truths(name: str, values: Rows) -> ColumnProfile:
    """Return the profile of a column of 0 and 1."""
    missing = int(np.isnan(values).sum())
    true = int(np.nansum(values))
    return ColumnProfile(
        name=name,
        type="boolean",
        rows=len(values),
        missing=missing,
        distinct=len(np.unique(values[~np.isnan(values)])),
        categories=((TRUTHS[0], len(values) - missing - true), (TRUTHS[1], true)),
    )


def profile_numbers(name: str, values: Rows, *, single: bool = False) -> ColumnProfile:
    """Return the profile of a column of numbers."""
    infinite = int(np.isinf(values).sum())
    finite = values[np.isfinite(values)]
    return ColumnProfile(
        name=name,
        type="number",
        rows=len(values),
        missing=len(values) - len(finite),
        distinct=len(np.unique(finite)),
        quantiles=_find_quantiles(finite),
        single=single,
        note=f"{infinite} of {len(values)} values are infinite, and missing" if infinite else "",
    )


def _find_quantiles(values: Rows) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, QUANTILES)) if len(values) else ()


def _learn_texts(
    name: str,
    values: Values,
    kind: ColumnType | None = None,
    *,
    texts: bool = False,
    note: str | None = None,
) -> tuple[ColumnProfile, Rows]:
    keys = [None if is_missing(value) else category_key(value) for value in values]
    counts = Counter(key for key in keys if key is not None)
    present = sum(counts.values())
    unreadable = sum(key is None and not is_missing(v) for key, v in zip(keys, values, strict=True))
    kind = kind or _choose_type(counts, present)
    if kind == "category" and len(counts) > MOST_LEVELS:
        raise ColumnError(
            f"`data.columns` says that `{name}` is a category, and it has {len(counts)} different values: at most "
            f"{MOST_LEVELS} are",
            hint="`text` or `ignore`",
        )
    profile = ColumnProfile(
        name=name,
        type=kind,
        rows=len(keys),
        missing=len(keys) - present,
        distinct=len(counts),
        categories=tuple(counts.most_common()) if kind == "category" else (),
        quantiles=_find_quantiles(np.array([len(key) for key in keys if key is not None]))
        if kind == "text"
        else (),
        note=_describe_mix(counts, values, unreadable, texts=texts) if note is None else note,
    )
    return profile, ColumnEncoder.from_profile(profile).encode_values(keys, RowFaults())


def _choose_type(counts: Counter[str], present: int) -> ColumnType:
    if counts and all(_is_time(key) for key in counts):
        return "time"
    few = len(counts) <= FEW_LEVELS or present >= REPEATED * len(counts)
    return "category" if counts and few and len(counts) <= MOST_LEVELS else "text"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) >= len("2026-01-31") and text[4] == "-"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _describe_mix(counts: Counter[str], values: Values, unreadable: int, *, texts: bool) -> str:
    """Say that a column is not what it seems; empty when all its values are texts."""
    if not counts:
        return "no row has a value"
    notes = []
    numbers = (
        sum(count for key, count in counts.items() if _is_number(key))
        if texts
        else sum(isinstance(value, int | float) and not is_missing(value) for value in values)
    )
    if numbers:
        total = sum(counts.values())
        # a few that are no numbers hide where all others move
        hint = ", unless `data.columns` says `number`: then the others are missing"
        notes.append(
            f"{numbers} of {total} values are numbers, the others text: all are read as text"
            f"{hint if 5 * numbers >= 4 * total else ''}"
        )
    if unreadable:
        notes.append(
            f"{unreadable} values are neither numbers, booleans nor text: they are missing"
        )
    return "; ".join(notes)
