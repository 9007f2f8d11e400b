"""Exchanges as Parquet: typed by the profile, the same bytes again, and nothing that stops the writer."""

import io
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.captures import TrafficPart, first_kept_day
from driftloop.contract.profiles import TableProfile
from driftloop.contract.times import SECOND
from driftloop.services.recorder.columns import WITHHELD, Concealment, RequestReader
from driftloop.services.recorder.joining import Exchange, KeptEvent, Side
from driftloop.services.recorder.parts import PartRows, write_parquet

from .test_columns import ARRAY, BODIES, ROW, TABLE, column, seldon

DAY = 86400 * SECOND


def event(side: Side, body: bytes, *, request: str = "a", at: int = DAY) -> KeptEvent:
    return KeptEvent(1, at, at, side, request, "r1", "production", body)


def exchange(asked: bytes | None, answered: bytes | None = None, *, at: int = DAY) -> Exchange:
    return Exchange(
        None if asked is None else event("request", asked, at=at),
        None if answered is None else event("answer", answered, at=at + 1_000_000),
    )


def write(
    exchanges: Sequence[Exchange], reader: RequestReader, hidden: Concealment | None = None
) -> list[tuple[str, str, bytes]]:
    rows = PartRows({"r1": reader}, hidden or Concealment())
    for each in exchanges:
        rows.add_exchange(each)
    return [(day, release, write_parquet(table)) for day, release, table in rows.list_tables()]


def read(data: bytes) -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(data)).to_pylist())


def test_columns_have_the_types_of_the_profile() -> None:
    ((day, release, data),) = write(
        [exchange(seldon([ROW, [None] * 4]), seldon([[0.5], [1]]))], RequestReader([TABLE])
    )
    table = pq.read_table(io.BytesIO(data))
    assert (day, release) == ("1970-01-02", "r1")
    kinds = {field.name: field.type for field in table.schema}
    assert kinds["fare"] == pa.float64()
    assert kinds["member"] == pa.bool_()
    assert kinds["carrier"] == kinds["request.time"] == pa.string()
    assert kinds["time"] == pa.timestamp("us", tz="UTC")
    first, second = table.to_pylist()
    assert (first["row"], second["row"]) == (0, 1)
    assert (first["answer"], second["answer"]) == (0.5, 1.0)
    assert (first["status"], first["latency_ms"], first["role"]) == (200, 1.0, "production")
    assert second["fare"] is None


def test_answers_do_not_have_the_type_of_a_column_of_requests_with_their_name() -> None:
    profile = TableProfile(columns=(column("answer", "number"),), order=("answer",))
    ((_, _, data),) = write(
        [exchange(seldon([[1], [None]]), seldon([["yes"], ["no"]]))], RequestReader([profile])
    )
    table = pq.read_table(io.BytesIO(data))
    assert table["request.answer"].to_pylist() == [1.0, None]
    assert table["answer"].to_pylist() == ["yes", "no"]


def test_the_same_exchanges_make_the_same_bytes() -> None:
    made = [exchange(seldon([[1, 2, 3]]), seldon([[0.1, 0.9]]), at=n * DAY) for n in (1, 2, 2)]
    assert write(made, RequestReader([ARRAY])) == write(made, RequestReader([ARRAY]))
    assert [day for day, _, _ in write(made, RequestReader([ARRAY]))] == [
        "1970-01-02",
        "1970-01-03",
    ]


def test_what_can_not_be_read_is_kept_as_it_came() -> None:
    ((_, _, data),) = write([exchange(b"\x00odd", b"{}")], RequestReader([TABLE]))
    (row,) = read(data)
    assert (row["raw_request"], row["raw_answer"]) == (b"\x00odd", b"{}")
    assert row["problem"] == "request: no rows of any protocol; answer: no rows of any protocol"


def test_answers_to_other_rows_are_kept_as_they_came() -> None:
    ((_, _, data),) = write([exchange(seldon([ROW]), seldon([[1], [2]]))], RequestReader([TABLE]))
    (row,) = read(data)
    assert row["raw_answer"] == seldon([[1], [2]])
    assert row["raw_request"] is None
    assert row["problem"] == "answer: 2 answers to 1 rows"


def test_nothing_is_kept_as_it_came_that_may_hold_a_dropped_column() -> None:
    hidden = Concealment(frozenset({"fare"}))
    ((_, _, data),) = write([exchange(b"fare 7")], RequestReader([TABLE]), hidden)
    (row,) = read(data)
    assert row["raw_request"] is None
    assert row["problem"].endswith(WITHHELD)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(BODIES | st.none(), BODIES), min_size=1, max_size=4))
def test_any_bodies_become_rows(bodies: list[tuple[bytes | None, bytes]]) -> None:
    made = [exchange(asked, answered) for asked, answered in bodies]
    for reader in (RequestReader(), RequestReader([TABLE]), RequestReader([ARRAY])):
        rows = sum(len(read(data)) for _, _, data in write(made, reader))
        assert rows >= len(made)


@given(
    st.dates(),
    st.from_regex(r"r[0-9a-f]{8}", fullmatch=True),
    st.lists(st.integers(0, 10**9), min_size=4, max_size=4),
)
def test_a_key_says_what_is_in_a_file(day: date, release: str, numbers: list[int]) -> None:
    number, first, last, rows = numbers
    part = TrafficPart(day.isoformat(), release, "6a2b", number, first, last, rows)
    assert TrafficPart.parse(part.key) == part


def test_all_days_of_the_time_that_is_kept_are_kept() -> None:
    now = datetime(2026, 11, 30, 0, 30, tzinfo=UTC)
    assert first_kept_day(now, 30 * 86400) == "2026-10-31"
    assert first_kept_day(now, 3600) == "2026-11-29"
    assert first_kept_day(now, 60) == "2026-11-30"
    assert TrafficPart.parse("day=2026-11-30/release=r1/other.parquet") is None


def test_a_program_that_ends_after_a_read_ends_well(tmp_path: Path) -> None:
    """Read with Arrow's threads, one of three such programs was aborted with all of its work done."""
    file = tmp_path / "part.parquet"
    file.write_bytes(write_parquet(pa.table({"x": [1.0, 2.0], "y": ["a", "b"]})))
    read = "from pathlib import Path; from driftloop.services.recorder.parts import read_parquet"
    rows = f"read_parquet(Path({str(file)!r}).read_bytes()).num_rows"
    program = [sys.executable, "-c", f"{read}; print({rows})"]
    ended = [
        subprocess.run(program, capture_output=True, text=True, check=False) for _ in range(10)
    ]
    assert {(each.returncode, each.stdout, each.stderr) for each in ended} == {(0, "2\n", "")}
