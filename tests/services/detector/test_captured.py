"""Captured traffic through the detectors: requests, answers, and answers with the labels of their requests, as they
would have been judged when they came."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector import write_answers

from driftloop.contract.captures import TrafficPart, TrafficRole
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.labels import Label
from driftloop.contract.profiles import TableProfile
from driftloop.contract.replays import InjectedChange, ReplayOrder
from driftloop.contract.times import SECOND
from driftloop.contract.verdicts import describe_changes, read_changes
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.answer_learning import gather_answers
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.replays.asking import AnsweredRow, read_tables
from driftloop.services.detector.replays.captured import CapturedTraffic, read_captured
from driftloop.services.detector.replays.labelling import UNREADABLE, read_labels
from driftloop.services.detector.replays.replay import replay_captured, replay_tables
from driftloop.services.recorder.columns import Concealment, RequestReader
from driftloop.services.recorder.export import export_parts
from driftloop.services.recorder.joining import Exchange, KeptEvent, Side
from driftloop.services.recorder.parts import PartRows, write_parquet

CARRIERS = ("UA", "AA", "B6")
CLASSES = ("cat", "dog")
BEGAN = 1_780_000_000
NAMES = ["time", "carrier"]
"""The first is a name of the recorder's own columns, too."""

Row = tuple[float | None, str]


def draw_rows(seed: int, count: int, *, moved: float = 0.0) -> list[Row]:
    random = np.random.default_rng(seed)
    delay = np.round(random.gamma(2, 5, count) + moved, 1)
    carriers = random.choice(CARRIERS, p=(0.5, 0.3, 0.2), size=count).tolist()
    gap = random.random(count) < 0.05
    values = (None if lost else float(value) for lost, value in zip(gap, delay, strict=True))
    return list(zip(values, carriers, strict=True))


def draw_answers(seed: int, count: int, *, dogs: float = 0.3) -> list[list[float]]:
    random = np.random.default_rng(seed)
    dog = np.where(random.random(count) < dogs, 0.9, 0.2) + random.uniform(-0.1, 0.1, count)
    return np.round(np.stack([1 - dog, dog], axis=1), 3).tolist()  # type: ignore[no-any-return]


def name_classes(answers: Sequence[Sequence[float]], *, wrong: float = 0.1) -> list[str]:
    """The right answers, of which a share is not what was answered."""
    random = np.random.default_rng(9)
    places = np.argmax(answers, axis=1) ^ (random.random(len(answers)) < wrong)
    return [CLASSES[place] for place in places.tolist()]


def respond(answer: list[float]) -> dict[str, Any]:
    return {"data": {"names": list(CLASSES), "ndarray": [answer]}}


def fit_rows(folder: Path) -> DetectorArtifact:
    text = "".join(f"{'' if late is None else late},{by},0\n" for late, by in draw_rows(0, 3000))
    (folder / "data").mkdir()
    (folder / "data" / "a.csv").write_text(f"time,carrier,y\n{text}")
    config = DetectorSettings("tabular", window=100, alarm_rate=0.001)
    return artifact.gather_reference(folder / "data", "x", config)


def fit_answers(folder: Path, *, labelled: bool = False) -> DetectorArtifact:
    answers = draw_answers(0, 2000)
    labels = name_classes(answers)
    file = write_answers(folder / "rehearsal.jsonl", list(map(respond, answers)), labels=labels)
    if labelled:
        config = DetectorSettings("quality", on="label", window=100, alarm_rate=0.001)
        return gather_labelled(file, config)
    return gather_answers(
        file, DetectorSettings("tabular", on="response", window=100, alarm_rate=0.001)
    )


def record_traffic(
    folder: Path,
    rows: Sequence[Row],
    answers: Sequence[list[float] | None],
    profile: TableProfile | None = None,
    *,
    role: TrafficRole = "production",
    bodies: dict[int, bytes] | None = None,
) -> Path:
    """Files as the recorder writes them: a row every ten minutes, requests `r0`, `r1`, ..."""
    reader = RequestReader([profile] if profile is not None else [])
    written = PartRows({"r1a2b3c4d": reader}, Concealment())

    def event(side: Side, body: bytes, number: int, at: int) -> KeptEvent:
        return KeptEvent(number, at, at, side, f"r{number}", "r1a2b3c4d", role, body)

    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        at = (BEGAN + 600 * number) * SECOND
        body = json.dumps({"data": {"names": NAMES, "ndarray": [row]}}).encode()
        asked = event("request", (bodies or {}).get(number, body), number, at)
        given = None
        if answer is not None:
            given = event("answer", json.dumps(respond(answer)).encode(), number, at + 1_000_000)
        written.add_exchange(Exchange(asked, given))
    for number, (day, release, table) in enumerate(written.list_tables(), 1):
        part = TrafficPart(day, release, role, number, 1, 9, table.num_rows)
        (folder / part.key).parent.mkdir(parents=True, exist_ok=True)
        (folder / part.key).write_bytes(write_parquet(table))
    return folder


def read(place: Path) -> CapturedTraffic:
    traffic = read_captured(place)
    assert traffic is not None
    return traffic


@pytest.mark.parametrize("exported", [False, True], ids=["files", "an export"])
def test_requests_are_judged_as_the_same_rows_of_files_are(tmp_path: Path, exported: bool) -> None:
    fitted = fit_rows(tmp_path)
    rows = [*draw_rows(1, 300), *draw_rows(2, 150, moved=8.0)]
    answers = draw_answers(1, 450)
    place = record_traffic(tmp_path / "traffic", rows, answers, fitted.profile)
    record_traffic(place, rows[:50], answers[:50], fitted.profile, role="shadow")
    if exported:
        out = tmp_path / "traffic.parquet"
        assert export_parts(place, out, "parquet") == 500
        place = out
    lines = (
        json.dumps({"time": late, "carrier": by, "at": BEGAN + 600 * n})
        for n, (late, by) in enumerate(rows)
    )
    (tmp_path / "on.jsonl").write_text("\n".join(lines) + "\n")
    change = InjectedChange(kind="lost", column="carrier", row=201)
    order = ReplayOrder(changes=(change,), marks=(301,))
    told = replay_captured(fitted, read(place), order)
    same = replay_tables(fitted, read_tables(tmp_path / "on.jsonl"), replace(order, time="at"))
    assert told == same
    assert told.plain.rows == 450, "a shadow's copies are no traffic"
    assert [window.alarm for window in told.plain.windows] == [False] * 3 + [True]
    assert "time median " in describe_changes(read_changes(told.plain.windows[3].details), 1)
    assert dict(told.times)[301] == BEGAN + 300 * 600


def test_what_could_not_be_put_into_columns_is_asked_as_it_came(tmp_path: Path) -> None:
    fitted = fit_rows(tmp_path)
    rows = draw_rows(1, 120)
    wide = json.dumps({"data": {"ndarray": [[1, "UA", 3]]}}).encode()
    place = record_traffic(
        tmp_path / "traffic", rows, [None] * 120, fitted.profile, bodies={7: wide, 8: b"odd"}
    )
    change = InjectedChange(kind="shift", column="time", size=1.0)
    record = replay_captured(fitted, read(place), ReplayOrder(changes=(change,))).plain
    assert sum(count for _, count in record.rejected) == 2
    assert (record.rows, record.waiting) == (120, 18)


def test_answers_are_judged_as_those_of_a_file_are(tmp_path: Path) -> None:
    fitted = fit_answers(tmp_path)
    answers: list[list[float] | None] = [*draw_answers(1, 200), *draw_answers(2, 150, dogs=0.7)]
    answers[20] = None
    place = record_traffic(tmp_path / "traffic", draw_rows(1, 350), answers)
    told = replay_captured(fitted, read(place), ReplayOrder()).plain
    (tmp_path / "on.jsonl").write_text(
        "".join(f'{{"at": {BEGAN + 600 * n}}}\n' for n in range(350))
    )
    given = [
        AnsweredRow(None if answer is None else json.dumps(respond(answer)).encode())
        for answer in answers
    ]
    tables = read_tables(tmp_path / "on.jsonl")
    assert told == replay_tables(fitted, tables, ReplayOrder(time="at"), given).plain
    assert [window.alarm for window in told.windows] == [False, False, True]
    assert told.waiting == 49, "one request has no answer"


def test_labels_are_joined_by_request_and_come_later(tmp_path: Path) -> None:
    fitted = fit_answers(tmp_path, labelled=True)
    answers = draw_answers(1, 400)
    place = record_traffic(tmp_path / "traffic", draw_rows(1, 400), answers)
    said = [*name_classes(answers[:200]), *name_classes(answers[200:], wrong=0.5)]
    file = tmp_path / "labels.jsonl"
    lines = [json.dumps({"request": f"r{n}", "label": label}) for n, label in enumerate(said)]
    file.write_text("\n".join([json.dumps({"request": "r0", "label": "cow"}), *lines]))
    labels: dict[str, Label] = {**read_labels(file), "r5": ["cat", "dog"]}
    del labels["r6"]
    report = replay_captured(fitted, read(place), ReplayOrder(delay=3600.0), labels)
    windows = report.plain.windows
    assert [window.alarm for window in windows] == [False, False, True]
    assert report.plain.rejected == ((UNREADABLE, 1),)
    assert report.plain.waiting == 98, "one label is missing, and one fits no answer"
    assert windows[0].last == 102
    assert report.plain.closed[0] == BEGAN + 101 * 600 + 3600
    assert "accuracy" in describe_changes(read_changes(windows[2].details), 1)
    with pytest.raises(ArtifactError, match="which captured traffic does not have") as refused:
        replay_captured(fitted, read(place), ReplayOrder())
    assert refused.value.hint == "name a file of them: --labels"


def test_a_column_of_files_has_the_labels_of_the_answers(tmp_path: Path) -> None:
    fitted = fit_answers(tmp_path, labelled=True)
    answers = draw_answers(1, 250)
    said = [*name_classes(answers[:100]), *name_classes(answers[100:], wrong=0.5)]
    (tmp_path / "on.csv").write_text("species\n" + "".join(f"{label}\n" for label in said))
    given = [AnsweredRow(json.dumps(respond(answer)).encode()) for answer in answers]
    tables = read_tables(tmp_path / "on.csv")
    order = ReplayOrder(rate=1.0, target="species")
    record = replay_tables(fitted, tables, order, given).plain
    assert [window.alarm for window in record.windows] == [False, True]
    with pytest.raises(ArtifactError, match="has no column `y` with the right answers"):
        replay_tables(fitted, tables, ReplayOrder(target="y"), given)
    with pytest.raises(ArtifactError, match="there are 249 answers, must be one for each"):
        replay_tables(fitted, tables, order, given[1:])


def test_files_of_other_rows_are_no_captured_traffic(tmp_path: Path) -> None:
    place = record_traffic(tmp_path / "traffic", draw_rows(1, 20), [None] * 20)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    assert read_captured(tmp_path / "rows.csv") is None
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": [1.0]}), tmp_path / "rows.parquet")
    assert read_captured(tmp_path / "rows.parquet") is None
    parquet.write_table(pyarrow.table({"a": [1.0]}), place / "rows.parquet")
    with pytest.raises(ArtifactError, match=r"rows.parquet has other rows than captured traffic"):
        read_captured(place)
    (place / "rows.parquet").write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match=r"rows.parquet can't be read"):
        read_captured(place)
