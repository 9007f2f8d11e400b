"""Learning the profile of a model's answers from answers.jsonl, which the rehearsal wrote.

Rules:

* several numbers that are never negative and sum to 1: the probabilities of classes. `tabular` gets each as a
  column, and the class that is the likeliest as one more, `class`; `chi2` that one alone.
* one whole number that is one of at most 20, each of them five times on average: a class, `class`. Detectors of
  numbers get the number.
* all others by the rules of `learning`: numbers, booleans, categories, text. Columns without names are `answer`, or
  `answer[0]`, `answer[1]`, ...

The reference are the answers to recent rows, which are like the traffic to come; when there are fewer than 50
of them, those to earlier rows as well.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.columns import FileColumns
from driftloop.contract.handovers import MIXED_KINDS, DetectorKind, DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile, name_element
from driftloop.contract.suggestions import suggest_closest
from driftloop.release.tables import BAD_PAYLOAD, AnswerTable, read_answer_table
from driftloop.release.values import category_key
from driftloop.services.detector.fitting.artifact import (
    ArtifactError,
    DetectorArtifact,
    draw_reference,
)
from driftloop.services.detector.fitting.learning import (
    FEW_LEVELS,
    REPEATED,
    LearntTable,
    learn_columns,
)
from driftloop.services.detector.rows.answers import (
    DIGITS,
    assemble_rows,
    find_classes,
)
from driftloop.services.detector.rows.tables import TableFile
from driftloop.services.detector.rows.values import Rows, round_numbers

ANSWER, CLASS = "answer", "class"
"""Names of columns that have none of their own."""
FEWEST_RECENT = 50
SUM_ERROR = 1e-3
"""Distance from 1 of the sum of probabilities, in half precision, too."""
REHEARSED = "the rehearsal writes it"


@dataclass(frozen=True)
class RehearsedAnswer:
    """One answered row of answers.jsonl."""

    line: int
    recent: bool
    table: AnswerTable
    label: Any = None
    """None for a row without one."""
    row: int = 0
    """Its place in rows.json."""


def gather_answers(file: Path, config: DetectorSettings) -> DetectorArtifact:
    """Learn profile and reference from the answers of a rehearsal; ArtifactError names what they lack."""
    used, earlier = choose_recent(read_rehearsal(file))
    learnt = _narrow_columns(file.name, learn_answers(file.name, used, config.kind), config)
    drawn = draw_reference(config, learnt.rows, learnt.profile)
    notes = [f"answers to {len(used)} held-out rows", *earlier]
    if len(used) < config.window:
        notes.append(f"fewer than the {config.window} of a window, so only large changes are seen")
    return replace(drawn, note=", ".join(notes))


def choose_recent(
    answers: list[RehearsedAnswer], fewest: int = FEWEST_RECENT
) -> tuple[list[RehearsedAnswer], tuple[str, ...]]:
    """Return the answers to recent rows; all where these are fewer than `fewest`, and a note that says so."""
    recent = [answer for answer in answers if answer.recent]
    used = recent if len(recent) >= fewest else answers
    earlier = len(used) - len(recent)
    return used, (f"{earlier} of them earlier ones: too few are recent",) if earlier else ()


def _narrow_columns(file: str, learnt: LearntTable, config: DetectorSettings) -> LearntTable:
    """Return the columns that the monitor names, all of them for none; ArtifactError for one that the answers
    do not have."""
    if config.columns is None:
        return learnt
    profile = learnt.profile
    for name in config.columns:
        if name not in profile.names:
            raise ArtifactError(
                f"{file}: the `columns` of a monitor name `{name}`, must be of the answers' columns: "
                + ", ".join(f"`{known}`" for known in profile.names),
                hint=suggest_closest(name, profile.names, fold=True)
                or f"those are what {config.kind} gets of the answers; leave `columns` out to watch all",
            )
    places = [n for n, name in enumerate(profile.names) if name in config.columns]
    narrowed = replace(
        profile,
        columns=tuple(profile.columns[place] for place in places),
        chosen=profile.chosen if profile.chosen in config.columns else "",
    )
    return LearntTable(narrowed, learnt.rows[:, places])


def read_rehearsal(file: Path) -> list[RehearsedAnswer]:
    """Read answers.jsonl; ArtifactError for a file that can't be read, or has hardly any answer."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise ArtifactError(f"{file} can't be read: {error.strerror}", hint=REHEARSED) from error
    answers = []
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            reply, recent = document["candidate"], bool(document["recent"])
            if reply["answer"] is None:
                continue
            response = json.dumps(reply["response"]).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{file.name}, line {number} is not an answer: {error!r}", hint=REHEARSED
            ) from error
        table = _read_response(file.name, number, response)
        row = document.get("row", number - 1)
        answers.append(RehearsedAnswer(number, recent, table, document.get("label"), row))
    if len(answers) < 2:
        raise ArtifactError(
            f"{file.name} has {len(answers)} answers, must have at least 2",
            hint="hold more rows out with `data.heldout`, or watch the requests: `on: request`",
        )
    return answers


def _read_response(file: str, line: int, response: bytes) -> AnswerTable:
    try:
        return read_answer_table(response)
    except BAD_PAYLOAD as error:
        raise ArtifactError(
            f"{file}, line {line}: the model's answer has no values that a monitor can read: "
            f"{response[:80].decode(errors='replace')}",
            hint="let `predict` return numbers or texts for each row, or watch the requests: `on: request`",
        ) from error


def learn_answers(file: str, answers: Sequence[RehearsedAnswer], kind: DetectorKind) -> LearntTable:
    """Learn the columns of answers for a kind of detector; ArtifactError when they are not alike."""
    names, rows = join_answers(file, answers)
    probabilities = read_probabilities(rows)
    if probabilities is None:
        return _learn_values(file, names, rows, kind)
    chosen = CLASS if CLASS not in names else f"{ANSWER} {CLASS}"
    classes = find_classes(probabilities)
    column = _profile_classes(chosen, names, classes)
    columns: tuple[ColumnProfile, ...] = ()
    if kind != "chi2":
        columns = _learn_table(file, names, rows).profile.columns
    if kind == "chi2" or kind in MIXED_KINDS:
        columns = (*columns, column)
    else:
        chosen = ""
    profile = TableProfile(columns=columns, order=names, of="answers", chosen=chosen)
    return LearntTable(profile, assemble_rows(profile, probabilities))


def _learn_values(
    file: str, names: tuple[str, ...], rows: list[list[Any]], kind: DetectorKind
) -> LearntTable:
    if len(names) == 1 and (kind in MIXED_KINDS or kind == "chi2") and is_class(rows):
        rows = [[category_key(value) for value in row] for row in rows]
    learnt = _learn_table(file, names, rows)
    columns = learnt.profile.columns
    if names == (ANSWER,) and columns[0].type == "category":
        names, columns = (CLASS,), (replace(columns[0], name=CLASS),)
    profile = TableProfile(columns=columns, order=names, of="answers")
    return LearntTable(profile, assemble_rows(profile, learnt.rows))


def _learn_table(file: str, names: tuple[str, ...], rows: list[list[Any]]) -> LearntTable:
    columns = zip(names, zip(*rows, strict=True), strict=True)
    values = {name: np.fromiter(values, dtype=object, count=len(rows)) for name, values in columns}
    return learn_columns([TableFile(file, FileColumns(file, "column", names), values)], names)


def join_answers(
    file: str, answers: Sequence[RehearsedAnswer]
) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return the names of the columns, and the values of all answers in their order."""
    first = answers[0]
    width = len(first.table.rows[0])
    given = first.table.names
    rows = []
    for answer in answers:
        names, (row,) = answer.table.names, answer.table.rows
        if len(row) != width or sorted(names) != sorted(given):
            raise ArtifactError(
                f"{file}, line {answer.line}: the answer is {_describe(names, row)}, that of line {first.line} "
                f"is {_describe(given, first.table.rows[0])}: must be alike",
                hint="answers of several shapes have no common reference: watch the requests, `on: request`",
            )
        rows.append([row[names.index(name)] for name in given] if given else row)
    return given or name_columns(width), rows


def name_columns(width: int) -> tuple[str, ...]:
    """Return the names of columns that have none of their own."""
    if width == 1:
        return (ANSWER,)
    return tuple(name_element(ANSWER, number) for number in range(width))


def _describe(names: tuple[str, ...], row: list[Any]) -> str:
    named = f" named {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
    return f"{len(row)} value{'' if len(row) == 1 else 's'}{named}"


def read_probabilities(rows: list[list[Any]]) -> Rows | None:
    """Return rows of probabilities (n x classes), None for what is none."""
    if len(rows[0]) < 2 or any(isinstance(v, bool | str | None) for row in rows for v in row):
        return None
    try:
        values = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    sums = np.abs(values.sum(axis=1) - 1)
    likely = (values >= -SUM_ERROR).all() and (sums <= SUM_ERROR).all()
    return round_numbers(values, DIGITS) if likely else None


def is_class(rows: list[list[Any]]) -> bool:
    """Return True for whole numbers of few levels."""
    values = [row[0] for row in rows]
    whole = all(
        isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        for value in values
    )
    return whole and REPEATED * len(set(values)) <= len(values) and len(set(values)) <= FEW_LEVELS


def _profile_classes(name: str, names: tuple[str, ...], classes: Rows) -> ColumnProfile:
    """Return the column of the likeliest class; classes are named as their numbers, by position without
    names."""
    unnamed = names == name_columns(len(names))
    labels = tuple(map(str, range(len(names)))) if unnamed else names
    counts = np.bincount(classes.astype(np.int64), minlength=len(names))
    return ColumnProfile(
        name=name,
        type="category",
        rows=len(classes),
        missing=0,
        distinct=int((counts > 0).sum()),
        categories=tuple(zip(labels, counts.tolist(), strict=True)),
    )
