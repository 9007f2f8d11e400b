"""`driftloop-train monitor`: what a user's function gets and may return, and that nothing it does ends the program."""

import http.client
import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import functions
from support.processes import Process

from driftloop.contract.functions import (
    FIT,
    JUDGE,
    ColumnHead,
    FunctionVerdict,
    PackedRows,
    RowsHead,
    pack_rows,
    unpack_rows,
)
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.forms import build_rows
from driftloop.services.trainer.judging import read_verdict

Serve = Callable[..., Process]
NAN = float("nan")
COLUMNS = (
    ColumnHead("fare", "number"),
    ColumnHead("paid", "boolean"),
    ColumnHead("carrier", "category", ("AA", "UA")),
    ColumnHead("note", "text"),
    ColumnHead("at", "time"),
)
ROWS = ((1.5, NAN), (1.0, NAN), (1.0, 7.0), (12.0, NAN), (0.0, NAN))


def packed(*columns: tuple[float, ...], heads: tuple[ColumnHead, ...] = COLUMNS) -> bytes:
    values = b"".join(array("d", column).tobytes() for column in columns)
    return pack_rows(RowsHead(len(columns[0]), heads), values)


def fares(*values: float) -> bytes:
    return packed(values, heads=COLUMNS[:1])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Process] = []

    def start(text: str, **settings: Any) -> Process:
        started.append(functions.serve(tmp_path / "code", text, **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def post(program: Process, path: str, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def judge(program: Process, window: bytes, reference: bytes = fares(1.0, 2.0, 3.0)) -> Any:
    """The verdict on a window, or why there is none."""
    assert post(program, f"{FIT}?fit=a", reference)[0] in (200, 422)
    status, answer = post(program, f"{JUDGE}?fit=a", window)
    return answer if status == 200 else answer["failure"]


def test_the_program_ends_well_when_it_is_told_to(serve: Serve) -> None:
    program = serve(functions.FARES, fit="watch:learn")
    assert judge(program, fares(1.0, 3.0))["alarm"] is False
    assert program.stop() == 0


def test_a_function_judges_by_what_its_fit_returned(serve: Serve) -> None:
    program = serve(functions.FARES, fit="watch:learn")
    quiet = judge(program, fares(1.0, 3.0))
    assert (quiet["alarm"], quiet["score"], quiet["threshold"]) == (False, 0.0, 0.4)
    assert judge(program, fares(3.0, 4.0))["alarm"] is True
    assert FunctionVerdict.parse(json.dumps(quiet).encode()).columns == {"fare": 1.0}


def test_parameters_go_to_the_functions_that_name_them(serve: Serve) -> None:
    program = serve(functions.FARES, fit="watch:learn", parameters={"most": 0.6})
    assert judge(program, fares(3.0, 4.0))["threshold"] == 0.6


def test_a_reference_that_is_not_there_is_asked_for(serve: Serve) -> None:
    program = serve(functions.FARES, fit="watch:learn")
    assert post(program, f"{JUDGE}?fit=b", fares(1.0))[0] == 409
    assert post(program, FIT, fares(1.0))[0] == 400, "no id"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "return 1 / 0",
            "`watch:judge` failed: ZeroDivisionError: division by zero (watch.py, line 2)",
        ),
        ("import sys; sys.exit(3)", "`watch:judge` failed: SystemExit: 3 (watch.py, line 2)"),
        ("import os; os._exit(3)", "the process of `watch:judge` ended with exit code 3"),
        (
            "import os; os.kill(os.getpid(), 11)",
            "the process of `watch:judge` ended with signal SIGSEGV",
        ),
        ("any(iter(int, 1))", "`watch:judge` was stopped after 2 s"),
        ("return [bytearray(2**20) for _ in range(400)]", "MiB, of the container's 256"),
        ("return 3", "`watch:judge` returned `3`, must return a dict"),
    ],
    ids=["raises", "exits", "dies", "crashes", "hangs", "grows", "returns no dict"],
)
def test_what_goes_wrong_is_the_answer_and_the_next_call_works(
    serve: Serve, body: str, says: str
) -> None:
    text = f"def judge(reference, window):\n    if len(window['fare']) > 2: {body}\n    return {{'alarm': False}}\n"
    # a time that only the one that hangs may need
    program = serve(text, timeout=2.0 if "iter(" in body else 60.0, memory=256 * 2**20)
    assert says in judge(program, fares(1.0, 2.0, 3.0))
    assert judge(program, fares(1.0, 2.0)) == {
        **{"alarm": False, "score": 0.0, "threshold": 0.5, "own": False, "outliers": []}
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nowhere\n", "importing `watch` failed: module `nowhere` is not installed"),
        ("def look(reference, window): ...\n", "module `watch` has no function `judge`"),
        ("def judge(reference): return {'alarm': True}\n", "`watch:judge` has no parameter"),
    ],
)
def test_code_that_does_not_fit_is_told_again_and_again(serve: Serve, text: str, says: str) -> None:
    program = serve(text, parameters={} if "judge(" not in text else {"least": 1})
    for _ in range(2):
        status, answer = post(program, f"{FIT}?fit=a", fares(1.0))
        if status == 200:
            status, answer = post(program, f"{JUDGE}?fit=a", fares(1.0))
        assert (status, says in answer["failure"]) == (422, True), answer


def test_each_form_holds_every_type() -> None:
    rows = unpack_rows(packed(*ROWS))
    assert build_rows(rows, "lists") == {
        "fare": [1.5, None],
        "paid": [True, None],
        "carrier": ["UA", "(unseen)"],
        "note": [12, None],
        "at": [True, False],
    }
    assert build_rows(rows, "arrow").to_pydict() == build_rows(rows, "lists")
    numbers = PackedRows(RowsHead(2, COLUMNS[:2]), rows.values[:2])
    assert build_rows(numbers, "numpy").shape == (2, 2)
    with pytest.raises(TrainerError, match="column `carrier` is of type category"):
        build_rows(rows, "numpy")


def test_a_table_of_pandas_holds_every_type() -> None:
    pytest.importorskip("pandas")
    frame = build_rows(unpack_rows(packed(*ROWS)), "pandas")
    assert [str(kind) for kind in frame.dtypes] == ["float64", "boolean", "object", "Int64", "bool"]
    assert frame["carrier"].tolist() == ["UA", "(unseen)"]
    assert frame.isna().sum().tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("returned", "alarm", "score", "threshold", "own"),
    [
        ({"score": 3, "threshold": 2}, True, 3.0, 2.0, True),
        ({"score": 2, "threshold": 2.0}, False, 2.0, 2.0, True),
        ({"score": 0.01, "threshold": 0.05, "alarm": True}, True, 0.01, 0.05, True),
        ({"score": 7}, False, 7.0, None, True),
        ({"alarm": True}, True, 1.0, 0.5, False),
        ({"alarm": False, "score": 7}, False, 0.0, 0.5, False),
    ],
)
def test_a_verdict_is_read_as_it_was_meant(
    returned: dict[str, Any], alarm: bool, score: float, threshold: float | None, own: bool
) -> None:
    verdict = read_verdict(returned, "watch:judge", ["fare"], 10)
    assert (verdict.alarm, verdict.score, verdict.threshold) == (alarm, score, threshold)
    assert verdict.own is own


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ({}, "neither `alarm` nor `score`"),
        ({"threshold": 1.0}, "a threshold without a `score`"),
        ({"score": NAN, "threshold": 1.0}, "the score `nan`, must be a finite number"),
        ({"score": "high", "threshold": 1.0}, "the score `'high'`, must be a finite number"),
        ({"alarm": 1}, "the alarm `1`, must be true or false"),
        ({"alarm": True, "colums": ["fare"]}, "the key `'colums'`, which is none"),
        ({"alarm": True, "columns": "fare"}, "must be a list of names"),
        ({"alarm": True, "columns": ["fares"]}, "the column `'fares'`, which is none"),
        ({"alarm": True, "columns": {"fare": -1}}, "`-1` for column `fare`"),
        ({"alarm": True, "outliers": [10]}, "the outlier `10`, must be a row's number, 0 to 9"),
    ],
)
def test_what_is_no_verdict_is_told(returned: Any, says: str) -> None:
    with pytest.raises(TrainerError) as refused:
        read_verdict(returned, "watch:judge", ["fare"], 10)
    assert says in refused.value.message
