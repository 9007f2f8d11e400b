"""Learning from answers.jsonl, which the rehearsal wrote, how right the model's answers to held-out rows are.

Rules:

* several numbers in an answer: one of each class, and the largest one names it. Labels are names of classes where one of
  them is, else their places, from 0;
* texts and booleans, and whole numbers of at most 20 kinds where labels are such, too: classes;
* all other numbers: numbers, and so must be the labels.

The reference are the recent rows; when there are fewer than 50 of them, earlier ones as well.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.labels import is_label
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.release.values import category_key
from driftloop.services.detector.detectors.estimate import LEAST
from driftloop.services.detector.fitting.answer_learning import (
    FEWEST_RECENT,
    RehearsedAnswer,
    choose_recent,
    is_class,
    join_answers,
    name_columns,
    read_probabilities,
    read_rehearsal,
)
from driftloop.services.detector.fitting.artifact import (
    MOST_TABULAR_ROWS,
    ArtifactError,
    DetectorArtifact,
)
from driftloop.services.detector.fitting.asked_rows import AskedRows, learn_inputs, learn_slices
from driftloop.services.detector.fitting.learning import profile_numbers, profile_truths
from driftloop.services.detector.rows.labelled import (
    ANSWER,
    ERROR,
    LABEL,
    NAMES,
    PLACES,
    RIGHT,
    LabelledReader,
    UnreadableLabelError,
    count_chances,
    list_slices,
)
from driftloop.services.detector.rows.values import Rows

SHOWN = 3
FEWEST_ESTIMATED = 2 * LEAST
"""Labelled answers of an estimate: the self-test fits it on a half."""
CLASSES_HINT = (
    "labels must be the classes' names, which the server returns from `class_names`, or their places from 0; make "
    "them so in a data step, and name the column in `data.target`"
)


def gather_labelled(
    file: Path, config: DetectorSettings, asked: AskedRows | None = None
) -> DetectorArtifact:
    """Learn profile and reference from the labelled answers of a rehearsal, and from the rows that it asked where
    answers are judged by slices; ArtifactError names what they lack."""
    answers = read_rehearsal(file)
    labelled = [answer for answer in answers if is_label(answer.label)]
    if not labelled:
        raise ArtifactError(
            f"{file.name}: none of {len(answers)} answered rows has a label",
            hint="name the column of the right answers in `data.target`",
        )
    estimates = config.kind == "estimate"
    used, earlier = choose_recent(labelled, FEWEST_ESTIMATED if estimates else FEWEST_RECENT)
    if estimates and len(used) < FEWEST_ESTIMATED:
        raise ArtifactError(
            f"{file.name}: {len(used)} answered rows have a label, an estimate needs at least {FEWEST_ESTIMATED}: "
            f"its self-test learns from half of them",
            hint="hold more rows out with `data.heldout`, or bring more data",
        )
    names, rows = join_answers(file.name, used)
    profile = _choose_profile(names, rows, [answer.label for answer in used])
    probabilities = read_probabilities(rows) if profile.columns[0].name == RIGHT else None
    if probabilities is not None:
        chances = (_column(f"P({name})") for name in names)
        profile = replace(profile, columns=(*profile.columns, *chances))
    if estimates:
        _check_answers(file.name, config, profile)
    parts: list[Rows] = []
    if config.by == "dle" and profile.columns[0].name == ERROR:
        profile, inputs = _add_inputs(file.name, profile, used, asked)
        parts.append(inputs)
    if config.slices is not None:
        profile, slices = _add_slices(file.name, config.slices, profile, used, asked)
        parts.append(slices)
    reader = LabelledReader(profile)
    encoded = _encode_rows(file.name, reader, names, rows, used)
    _fill_rows(reader, encoded, probabilities, parts)
    return DetectorArtifact(
        config,
        encoded[-MOST_TABULAR_ROWS:],
        replace(profile, columns=tuple(_profile_columns(profile, encoded))),
        gathered=len(encoded),
        note=", ".join(
            (
                f"answers to {len(used)} held-out rows with labels",
                *earlier,
                _describe(profile, encoded),
                *_describe_slices(profile),
            )
        ),
    )


def _choose_profile(
    names: tuple[str, ...], rows: list[list[Any]], labels: Sequence[Any]
) -> TableProfile:
    """Return a profile that says how answers and labels are read."""
    several = len(names) > 1
    keys = {category_key(label) for label in labels}
    unnamed = names == name_columns(len(names))
    by_name = several and not unnamed and bool(keys & set(names))
    if several or _are_classes(rows, labels):
        measure, chosen = RIGHT, (NAMES if by_name else PLACES if several else "")
        known = names if by_name else tuple(map(str, range(len(names)))) if several else ()
    else:
        measure, chosen, known = ERROR, "", ()
    plain = TableProfile(
        columns=(_column(measure), _column(ANSWER), _column(LABEL)),
        order=names,
        of="labelled",
        chosen=chosen,
    )
    if measure == ERROR:
        return plain
    reader = LabelledReader(plain)
    every = Counter(dict.fromkeys(known, 0))
    for row, label in zip(rows, labels, strict=True):
        answer = reader.read_answer(names, row)
        every.update({str(each): 1 for each in (answer, _read_key(label)) if each is not None})
    classes = tuple(sorted(every.items(), key=lambda item: (item[0] not in known, item[0])))
    if known:
        classes = (*((name, every[name]) for name in known), *classes[len(known) :])
    columns = (*plain.columns[:1], *(_column(n, classes) for n in (ANSWER, LABEL)))
    return replace(plain, columns=columns)


def _check_answers(file: str, config: DetectorSettings, profile: TableProfile) -> None:
    """ArtifactError for answers of which the method estimates nothing."""
    numbers = profile.columns[0].name == ERROR
    if config.by == "cbpe" and not count_chances(profile):
        raise ArtifactError(
            f"{file}: the answers are no probabilities of classes, of which `cbpe` estimates how many are right",
            hint="say `by: dle`, which estimates errors of numbers"
            if numbers
            else "let `predict` return a probability for each class, that sum to 1",
        )
    if config.by == "dle" and not numbers:
        raise ArtifactError(
            f"{file}: the answers are classes, and `dle` estimates absolute errors of numbers",
            hint="say `by: cbpe`, which estimates from their probabilities how many are right",
        )


def _require_asked(file: str, asked: AskedRows | None, need: str) -> AskedRows:
    if asked is None:
        raise ArtifactError(
            f"{file}: {need} the rows that were answered", hint="give `--rows rows.json`"
        )
    return asked


def _add_inputs(
    file: str,
    profile: TableProfile,
    used: Sequence[RehearsedAnswer],
    asked: AskedRows | None,
) -> tuple[TableProfile, Rows]:
    """Return the profile with the columns of requests that errors are estimated from, and these of the rows."""
    asked = _require_asked(file, asked, "errors are estimated from")
    learnt = learn_inputs(asked, [answer.row for answer in used])
    own = learnt.profile
    return (
        replace(
            profile,
            columns=(*profile.columns, *own.columns),
            asked=own.order,
            arrays=own.arrays,
            features=asked.features,
            inputs=len(own.columns),
        ),
        learnt.rows,
    )


def _add_slices(
    file: str,
    columns: Sequence[str],
    profile: TableProfile,
    used: Sequence[RehearsedAnswer],
    asked: AskedRows | None,
) -> tuple[TableProfile, Rows]:
    """Return the profile with the columns of slices, and these columns of the rows."""
    asked = _require_asked(file, asked, "slices need")
    places = [answer.row for answer in used]
    learnt = learn_slices(asked, columns, places)
    return (
        replace(
            profile,
            columns=(*profile.columns, *learnt.columns),
            asked=asked.names,
            features=asked.features,
            slices=len(learnt.columns),
        ),
        learnt.codes,
    )


def _fill_rows(
    reader: LabelledReader, rows: Rows, chances: Rows | None, asked: Sequence[Rows]
) -> None:
    """Write into encoded rows what is not known of answers and labels alone."""
    if chances is not None:
        reader.place_chances(rows, chances)
    if asked:
        reader.place_asked(rows, np.concatenate(asked, axis=1))


def _describe_slices(profile: TableProfile) -> Iterator[str]:
    for column in list_slices(profile):
        known = sum(count for _, count in column.categories)
        rest = column.rows - known
        others = (
            f", {rest} rows of {column.distinct - len(column.categories)} others" if rest else ""
        )
        yield f"{len(column.categories)} slices by `{column.name}`{others}"


def _read_key(label: Any) -> str | None:
    value = label[0] if isinstance(label, list) and len(label) == 1 else label
    return category_key(value)


def _are_classes(rows: list[list[Any]], labels: Sequence[Any]) -> bool:
    values = [row[0] for row in rows]
    if any(isinstance(value, str | bool) for value in values):
        return True
    if any(isinstance(label, str | bool) for label in labels):
        return False
    return is_class(rows) and is_class([[label] for label in labels])


def _column(name: str, categories: tuple[tuple[str, int], ...] = ()) -> ColumnProfile:
    return ColumnProfile(
        name=name,
        type="category" if categories else "boolean" if name == RIGHT else "number",
        rows=0,
        missing=0,
        distinct=len(categories),
        categories=categories,
    )


def _encode_rows(
    file: str,
    reader: LabelledReader,
    names: tuple[str, ...],
    rows: list[list[Any]],
    used: Sequence[RehearsedAnswer],
) -> Rows:
    encoded = []
    for row, rehearsed in zip(rows, used, strict=True):
        answer = reader.read_answer(names, row)
        try:
            label = reader.read_label(rehearsed.label, 1)
        except UnreadableLabelError as error:
            raise _refuse(file, rehearsed, answer, reader) from error
        if answer is None:
            raise _refuse(file, rehearsed, answer, reader)
        encoded.append(reader.encode_rows((answer,), label)[0])
    table = np.stack(encoded)
    if reader.classes and not table[:, 0].any():
        labels = sorted({str(_read_key(each.label)) for each in used})[:SHOWN]
        said = sorted({str(reader.read_answer(names, row)) for row in rows})[:SHOWN]
        raise ArtifactError(
            f"{file}: no answer is right: the labels are {_show(labels)}, the answers {_show(said)}",
            hint=CLASSES_HINT,
        )
    return table


def _refuse(
    file: str, rehearsed: RehearsedAnswer, answer: object, reader: LabelledReader
) -> ArtifactError:
    what = "a class" if reader.classes else "a number"
    return ArtifactError(
        f"{file}, line {rehearsed.line}: the answer is `{answer}` and the label `{rehearsed.label}`: both must be {what}",
        hint=CLASSES_HINT if reader.classes else "labels of answers that are numbers are numbers",
    )


def _show(texts: Sequence[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def _profile_columns(profile: TableProfile, rows: Rows) -> list[ColumnProfile]:
    """Return the columns with what their values look like."""
    columns = []
    # what columns of requests look like was learnt with them
    known = (profile.inputs or 0) + (profile.slices or 0)
    for place, (column, values) in enumerate(zip(profile.columns, rows.T, strict=True)):
        if place >= len(profile.columns) - known:
            columns.append(column)
            continue
        match column.type:
            case "category":
                codes = values.astype(np.int64)
                counts = np.bincount(codes, minlength=len(column.categories))
                named = (
                    (name, int(n)) for (name, _), n in zip(column.categories, counts, strict=False)
                )
                distinct = len(np.unique(values))
                told = replace(column, rows=len(values), distinct=distinct, categories=tuple(named))
            case "boolean":
                told = profile_truths(column.name, values)
            case _:
                told = profile_numbers(column.name, values)
        columns.append(told)
    return columns


def _describe(profile: TableProfile, rows: Rows) -> str:
    measured = rows[:, 0]
    if profile.columns[0].name == RIGHT:
        return f"accuracy {measured.mean():.4g}"
    return f"mean absolute error {measured.mean():.4g}, RMSE {np.sqrt((measured**2).mean()):.4g}"
