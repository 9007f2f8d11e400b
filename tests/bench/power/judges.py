"""Detectors as the tables compare them: ours as a release has them, alibi-detect's called directly."""

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.budgets import share_rate
from driftloop.contract.handovers import MIXED_KINDS, DetectorKind, DetectorSettings
from driftloop.errors import PipelineError
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.fitting.answer_learning import gather_answers
from driftloop.services.detector.fitting.artifact import DetectorArtifact, draw_reference
from driftloop.services.detector.fitting.learning import LearntTable
from driftloop.services.detector.rows.answers import assemble_rows
from driftloop.services.detector.rows.values import Rows
from power.shifts import World
from power.tables import Random, Table, encode_rows, learn_rows, stack_columns

OURS: tuple[DetectorKind, ...] = (
    "tabular",
    "schema",
    "mmd",
    "ks",
    "cvm",
    "chi2",
    "mahalanobis",
    "iforest",
)
SET: tuple[DetectorKind, ...] = ("tabular", "schema", "mmd")
"""The set of monitors of requests that share one rate."""
MODULES = {"KSDrift": "ks", "CVMDrift": "cvm", "ChiSquareDrift": "chisquare"}
MODULES |= {"TabularDrift": "tabular", "MMDDrift": "mmd"}
THEIRS = tuple(MODULES)
MOST_LEVELS = 100
"""Different numbers of a column up to which ChiSquareDrift is asked, where there are no categories."""
REFERENCE = 2000
"""Rows of a release's training data."""


@dataclass(frozen=True)
class Window:
    """Rows of requests, and the answers to them."""

    rows: Rows
    answers: Rows | None


Judge = Callable[[Window], bool]
"""Tells whether a window alarms."""


class Release:
    """Reference rows that detectors are fitted on."""

    def __init__(self, world: World, random: Random, rows: int = REFERENCE) -> None:
        self.world = world
        table = world.clean(random, rows)
        self.learnt = learn_rows(table)
        self.answers = world.answer(stack_columns(table)) if world.answer else None

    def read_window(self, table: Table) -> Window:
        """Return a window's rows, and the answers to them."""
        answers = self.world.answer(stack_columns(table)) if self.world.answer else None
        return Window(encode_rows(self.learnt, table), answers)


def fit_ours(kind: DetectorKind, release: Release, window: int, rate: float) -> Judge | None:
    """Return a detector of requests, of the columns that it is for; None when it refuses them."""
    settings = DetectorSettings.read(
        {"kind": kind, "window": window, "alarmRate": rate, **_extras(kind)}
    )
    columns = _list_columns(kind, release.learnt)
    if not columns:
        return None
    learnt = release.learnt.profile
    profile = replace(learnt, columns=tuple(learnt.columns[n] for n in columns))
    try:
        drawn = draw_reference(settings, release.learnt.rows[:, columns], profile)
        detector = fit_detector(settings, drawn.reference, drawn.profile)
    except PipelineError:
        return None
    complete = kind not in MIXED_KINDS

    def judge(given: Window) -> bool:
        rows = given.rows[:, columns]
        rows = rows[np.isfinite(rows).all(axis=1)] if complete else rows
        return len(rows) > 1 and detector.score_window(rows).alarm

    return judge


def _list_columns(kind: str, learnt: LearntTable) -> list[int]:
    """Return the columns that a detector is for, ours or alibi-detect's."""
    columns = learnt.profile.columns
    numbers = [n for n, column in enumerate(columns) if column.type == "number"]
    categories = [n for n, c in enumerate(columns) if c.type in ("category", "boolean")]
    match kind:
        case "ks" | "cvm" | "KSDrift" | "CVMDrift" | "MMDDrift":
            return numbers
        case "chi2" | "ChiSquareDrift":
            return categories or [n for n in numbers if columns[n].distinct <= MOST_LEVELS]
        case "TabularDrift":
            # without categories it is KSDrift
            return numbers + categories if categories else []
        case _:
            return list(range(len(columns)))


def _extras(kind: DetectorKind) -> dict[str, float]:
    return {"margin": 0.1, "atLeast": 0.01} if kind == "schema" else {}


def fit_answers(kind: DetectorKind, release: Release, window: int, rate: float) -> Judge | None:
    """Return a detector of answers; None without a model."""
    if release.answers is None:
        return None
    settings = DetectorSettings.read(
        {"kind": kind, "window": window, "alarmRate": rate, "on": "response"}
    )
    drawn = _gather(settings, release.answers)
    detector = fit_detector(settings, drawn.reference, drawn.profile)

    def judge(given: Window) -> bool:
        assert given.answers is not None
        return detector.score_window(assemble_rows(drawn.profile, given.answers)).alarm

    return judge


def _gather(settings: DetectorSettings, answers: Rows) -> DetectorArtifact:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.jsonl"
        with file.open("w") as stream:
            for answer in answers.tolist():
                response = {"data": {"ndarray": [answer]}}
                reply = {"status": 200, "seconds": 0.01, "answer": 0, "response": response}
                stream.write(json.dumps({"recent": True, "candidate": reply}) + "\n")
        return gather_answers(file, settings)


def fit_set(release: Release, window: int, rate: float) -> Judge:
    """Return the set of monitors together, which share the rate as those of a pipeline do."""
    kinds = [*SET, *(("tabular",) if release.answers is not None else ())]
    rates = [rate * part for part in share_rate(kinds)]
    judges = [fit_ours(kind, release, window, part) for kind, part in zip(SET, rates, strict=False)]
    if release.answers is not None:
        judges.append(fit_answers("tabular", release, window, rates[-1]))
    present = [judge for judge in judges if judge is not None]
    return lambda given: any(judge(given) for judge in present)


def fit_theirs(name: str, release: Release, rate: float, *, answers: bool = False) -> Judge | None:
    """Return a detector of alibi-detect's, of the columns that it is for and the rows without gaps; None
    without its backend, or without such columns."""
    read = _choose_answers(name, release) if answers else _choose_columns(name, release.learnt)
    if read is None:
        return None
    columns, take = read
    reference = take(Window(release.learnt.rows, release.answers))
    extra = {"categories_per_feature": dict.fromkeys(columns)} if name == "TabularDrift" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector = load_class(f"cd.{MODULES[name]}", name)(reference, p_val=rate, **extra)
    except (NotImplementedError, ImportError):
        return None

    def judge(given: Window) -> bool:
        window = take(given)
        if len(window) < 2:
            return False
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return bool(detector.predict(window)["data"]["is_drift"])

    return judge


_Columns = tuple[Sequence[int], Callable[[Window], NDArray[np.float32]]]
"""Which of the columns are categories, and the columns of a window."""


def _choose_answers(name: str, release: Release) -> _Columns | None:
    if release.answers is None or name not in ("KSDrift", "CVMDrift", "ChiSquareDrift"):
        return None

    def take(window: Window) -> NDArray[np.float32]:
        assert window.answers is not None
        answers = window.answers
        chosen = answers.argmax(axis=1)[:, None] if name == "ChiSquareDrift" else answers
        return chosen.astype(np.float32)

    return (), take


def _choose_columns(name: str, learnt: LearntTable) -> _Columns | None:
    chosen = _list_columns(name, learnt)
    if not chosen:
        return None

    def take(window: Window) -> NDArray[np.float32]:
        rows = window.rows[:, chosen]
        return rows[np.isfinite(rows).all(axis=1)].astype(np.float32)

    types = [learnt.profile.columns[n].type for n in chosen]
    return [n for n, type_ in enumerate(types) if type_ in ("category", "boolean")], take
