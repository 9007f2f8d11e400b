"""Verdict on a rehearsal: a candidate's answers to held-out rows, from the server that will hold
it, beside production's. Pure: answers in, record out.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import is_number
from driftloop.contract.handovers import RehearsalLimits
from driftloop.contract.measures import NumberMeasure, find_measure
from driftloop.contract.records import Evaluation, HeldOutRow, HeldOutRows, Rehearsal
from driftloop.release.answers import Answer, compare_answers
from driftloop.release.numbers import (
    NumberAnswer,
    NumberAnswers,
    are_numbers,
    compare_errors,
    find_tolerance,
)

SIGMAS = 3.0
"""Standard deviations that count as chance."""
FEWEST_NUMBERS = 20
"""Recent rows from which a tolerance is worked out."""
FEW_CLASSES = 20
"""Different numbers of labels that may still be classes that a broken server does not answer."""
SHOWN = 160
"""Characters of a server's text in a reason."""


@dataclass(frozen=True)
class Reply:
    """A server's reply to one row."""

    seconds: float
    answer: Answer | None = None
    """None when it refused the row."""
    label: str | None = None
    """Name of the answer's class, where the server names its classes."""
    status: int = 200
    """0 when there was no reply."""
    text: str = ""
    """What it said when it refused."""
    classes: int = 1
    """Numbers that the answer is the largest of, one of each class; 1 when it is the answer itself."""

    @property
    def refusal(self) -> str:
        """The refusal as a person would read it."""
        return f"{self.status or 'no reply'}: {self.text[:SHOWN]}"


@dataclass(frozen=True)
class ServerRun:
    """One server in a rehearsal."""

    start: float | None
    """Seconds until it had loaded its model; None when it never had."""
    replies: tuple[Reply, ...] = ()
    """To the rows, in their order."""
    captured: tuple[Reply, ...] = ()
    """To the captured requests, in their order."""
    failure: str = ""
    """Why it could not be asked, or not to the end."""
    log: str = ""
    """Its last words."""


def judge_rehearsal(
    rows: HeldOutRows,
    candidate: ServerRun,
    production: ServerRun | None,
    evaluation: Evaluation,
    limits: RehearsalLimits,
) -> Rehearsal:
    """Judge what a candidate answered; `production` is None before the first release."""
    reasons: list[str] = []
    notes = [f"rows: {rows.note}"] if rows.note else []
    if candidate.failure:
        reasons.append(candidate.failure)
    if production is not None and production.failure:
        notes.append(f"production was not compared: {production.failure}")
    replies = candidate.replies
    theirs = production.replies if production is not None else ()
    if len(replies) < len(rows.rows) and not candidate.failure:
        notes.append(f"{len(replies)} of {len(rows.rows)} rows were asked, as many as time allowed")
    if not rows.rows:
        notes.append("there was no row to ask")
    _judge_refusals(replies, theirs, reasons, notes)
    _judge_refusals(
        candidate.captured,
        production.captured if production is not None else (),
        reasons,
        notes,
        "captured requests",
    )
    p99 = _percentile([reply.seconds for reply in replies[1:] or replies], 0.99)
    if limits.p99 is not None and p99 is not None and p99 > limits.p99:
        reasons.append(f"p99 {p99 * 1000:.0f} ms, allowed {limits.p99 * 1000:.0f} ms")
    skew = compare_skew(rows.rows, replies, evaluation, limits)
    reasons.extend(filter(None, [skew.reason]))
    notes.extend(filter(None, [skew.note]))
    answered = sum(reply.answer is not None for reply in replies)
    tolerance, pairs = _compare_with_production(rows.rows, replies, theirs)
    return Rehearsal(
        passed=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        start=candidate.start,
        p99=p99,
        rows=len(replies),
        answered=answered,
        compared=len(pairs),
        agreement=sum(pairs) / len(pairs) if pairs else None,
        tolerance=tolerance,
        accuracy=skew.accuracy,
        metric=skew.metric,
        measured=skew.measured,
        captured=len(candidate.captured),
        log=candidate.log if candidate.failure or len(replies) > answered else "",
    )


def _compare_with_production(
    rows: Sequence[HeldOutRow], replies: Sequence[Reply], theirs: Sequence[Reply]
) -> tuple[float | None, list[int]]:
    """Return the tolerance of answers that are numbers, and for each row that both answered 1 when
    the answers are alike."""
    both = [
        (row, ours.answer, other.answer)
        for row, ours, other in zip(rows, replies, theirs, strict=False)
        if ours.answer is not None and other.answer is not None
    ]
    measured = [
        NumberAnswers(float(row.label), float(ours), float(other))
        for row, ours, other in both
        if row.recent
        and is_number(row.label)
        and isinstance(ours, int | float)
        and isinstance(other, int | float)
    ]
    if not are_numbers(measured) or len(measured) < FEWEST_NUMBERS:
        return None, [compare_answers((ours,), (other,))[1] for _, ours, other in both]
    tolerance = find_tolerance(measured)
    return tolerance, [int(abs(row.candidate - row.production) <= tolerance) for row in measured]


def _judge_refusals(
    replies: Sequence[Reply],
    theirs: Sequence[Reply],
    reasons: list[str],
    notes: list[str],
    noun: str = "rows",
) -> None:
    """A row that production refuses, too, is the row's fault."""
    shared = [
        number
        for number, reply in enumerate(replies)
        if reply.answer is None and number < len(theirs) and theirs[number].answer is None
    ]
    refused = [
        reply
        for number, reply in enumerate(replies)
        if reply.answer is None and number not in shared
    ]
    if shared:
        notes.append(f"{len(shared)} of {len(replies)} {noun} are refused by production, too")
    if refused:
        ((most, _),) = Counter(reply.refusal for reply in refused).most_common(1)
        others = ", which production answers" if theirs else ""
        reasons.append(f"{len(refused)} of {len(replies)} {noun} refused{others}: {most}")


@dataclass(frozen=True)
class Skew:
    """Metrics of a server's answers beside those of the evaluation."""

    accuracy: float | None = None
    """Share of right answers; None for answers that are numbers."""
    metric: str = ""
    """Measure of answers that are numbers."""
    measured: float | None = None
    """Its value."""
    reason: str = ""
    """Why the candidate is refused for it."""
    note: str = ""
    """Why it was not compared."""


def compare_skew(
    rows: Sequence[HeldOutRow],
    replies: Sequence[Reply],
    evaluation: Evaluation,
    limits: RehearsalLimits,
) -> Skew:
    """Compare on the recent rows: by the share of right answers where the evaluation has one, else
    by a measure of numbers."""
    metrics = evaluation.candidate.get("recent") or {}
    measure = find_measure(metrics) if limits.accuracy not in metrics else None
    if measure is None:
        return compare_accuracy(rows, replies, evaluation, limits)
    recent = [pair for pair in zip(rows, replies, strict=False) if pair[0].recent]
    answers = [
        NumberAnswer(float(row.label), float(reply.answer))
        for row, reply in recent
        if is_number(row.label) and isinstance(reply.answer, int | float)
    ]
    if not answers:
        missing = f"`{measure.metric}` was not compared: no recent row with a number for a label was answered by a number"
        return Skew(note=missing if replies else "")
    total = (evaluation.rows or {}).get("recent", 0)
    same = evaluation.asked or {}
    again = measure.metric in same and len(answers) == sum(row.recent for row in rows)
    return _compare_numbers(
        answers,
        measure,
        (same if again else metrics)[measure.metric],
        limits,
        chance=0.0 if again else SIGMAS * _scale_chance(len(answers), total),
    )


def _compare_numbers(
    answers: Sequence[NumberAnswer],
    measure: NumberMeasure,
    measured: float,
    limits: RehearsalLimits,
    *,
    chance: float,
) -> Skew:
    metric, sign = measure.metric, measure.sign
    if chance and len(answers) < FEWEST_NUMBERS:
        few = f"`{metric}` was not compared: {len(answers)} recent rows, at least {FEWEST_NUMBERS} are needed"
        return Skew(note=few)
    errors = compare_errors(
        answers, measure.kind, sign * measured, share=limits.skew, chance=chance
    )
    if errors is None:
        return Skew(note=f"`{metric}` was not compared: the evaluation's {measured:.4g} is none")
    value = sign * errors.value
    reason = (
        f"the server's answers to {len(answers)} rows have {metric} {value:.4g}, the evaluation measured "
        f"{measured:.4g}{'' if chance else ' on the same rows'}: it serves another model than was evaluated, or gets other input"
    )
    return Skew(metric=metric, measured=value, reason="" if errors.alike else reason)


def compare_accuracy(
    rows: Sequence[HeldOutRow],
    replies: Sequence[Reply],
    evaluation: Evaluation,
    limits: RehearsalLimits,
) -> Skew:
    """Compare on the recent rows that were answered and have labels."""
    answered = [
        (reply, row.label)
        for row, reply in zip(rows, replies, strict=False)
        if row.recent and row.label is not None and reply.answer is not None
    ]
    if not answered:
        missing = "accuracy was not compared: no recent row with a label was answered"
        return Skew(note=missing if replies else "")
    strange = describe_strange_labels(answered)
    if strange:
        return Skew(note=f"accuracy was not compared: {strange}")
    recent = [is_right(reply, label) for reply, label in answered]
    accuracy = sum(recent) / len(recent)
    measured = (evaluation.candidate.get("recent") or {}).get(limits.accuracy)
    total = (evaluation.rows or {}).get("recent", 0)
    if measured is None or not 0 <= measured <= 1:
        return Skew(
            note=f"accuracy was not compared: the evaluation has no share `{limits.accuracy}`, and no measure of "
            "numbers (mae, mse, rmse, r2)"
        )
    allowed = limits.skew + SIGMAS * _deviation(measured, len(recent), total)
    if abs(accuracy - measured) <= allowed:
        return Skew(accuracy)
    return Skew(
        accuracy,
        reason=f"the server answers {accuracy:.1%} of {len(recent)} rows right, the evaluation measured "
        f"{limits.accuracy} {measured:.1%}: it serves another model than was evaluated, or gets other input",
    )


def describe_strange_labels(answered: Sequence[tuple[Reply, Any]]) -> str:
    """Say why labels are none of the classes that were answered, so that no answer could be right; empty when
    they are, or may be."""
    replies, labels = zip(*answered, strict=True)
    classes = max(reply.classes for reply in replies)
    if classes == 1:
        return ""
    shown = ", ".join(f"`{label}`" for label in sorted(set(map(str, labels)))[:3])
    if all(isinstance(label, str) for label in labels):
        if any(_names_classes(reply) for reply in replies):
            return ""
        return (
            f"the labels are texts ({shown}), and the server does not name its {classes} classes: return "
            "their names, in the order of the probabilities, from a method `class_names` of its class"
        )
    numbers = [label for label in labels if is_number(label)]
    foreign = sum(label not in range(classes) for label in numbers)
    if foreign * 2 > len(labels) and len(set(numbers)) > FEW_CLASSES:
        return (
            f"the labels are {len(set(numbers))} different numbers ({shown}), and the server answers {classes} classes: "
            "the code makes classes of them. To have it compared, make the class a column in a data step, and name "
            "it in `data.target`"
        )
    return ""


def _names_classes(reply: Reply) -> bool:
    """Return True unless the name of the class is Seldon's own, `t:0`, `t:1`, ..."""
    return reply.label is not None and reply.label != f"t:{reply.answer}"


def is_right(reply: Reply, label: Any) -> bool:
    """Return True if a reply gives the row's label: by the name of its class where the server
    names classes so, else by its number."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if reply.label is not None and (reply.label == str(label) or reply.label.isdigit()):
        return reply.label == str(label)
    return reply.answer == label and not isinstance(label, bool)


def _deviation(share: float, asked: int, total: int) -> float:
    """Standard deviation of a share that was counted on some of so many rows; none on all of
    them."""
    likely = (share * asked + 2) / (asked + 4)
    return math.sqrt(likely * (1 - likely) / asked) * _scale_chance(asked, total)


def _scale_chance(asked: int, total: int) -> float:
    """Factor of a standard deviation for rows that are drawn from so many."""
    return math.sqrt(max(0, total - asked) / max(1, total - 1))


def _percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
