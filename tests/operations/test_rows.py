"""The rows of batches, counted in the step's own image, which has neither numpy nor pyarrow."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from driftloop.errors import StepError
from driftloop.operations.ground.parquet import count_parquet_rows
from driftloop.operations.project.rows import count_rows


def count(*files: Path) -> int:
    return count_rows((file.name, file) for file in files)


def test_rows_are_counted_as_the_split_counts_them(tmp_path: Path) -> None:
    files = {
        "a.csv": 'text,y\n"two\nlines",1\n\nplain,0\n',
        "b.jsonl": '{"y": 1}\n\n{"y": 0}\n{"y": 0}\n',
        "empty.csv": "",
        "_SUCCESS": "",
        ".hidden.csv": "y\n1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "c.npz", x=np.zeros((7, 2, 2)), y=np.array(["a"] * 7))
    parquet.write_table(pyarrow.table({"y": list(range(11))}), tmp_path / "d.parquet")
    assert count(*tmp_path.iterdir()) == 2 + 3 + 7 + 11


@given(
    rows=st.integers(0, 300),
    columns=st.integers(1, 40),
    group=st.integers(1, 100),
    compression=st.sampled_from(["none", "snappy", "zstd"]),
    version=st.sampled_from(["1.0", "2.6"]),
)
def test_the_footer_says_what_pyarrow_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    columns: int,
    group: int,
    compression: str,
    version: str,
) -> None:
    kinds = [pyarrow.int64(), pyarrow.string(), pyarrow.bool_(), pyarrow.list_(pyarrow.float32())]
    kinds += [pyarrow.decimal128(12, 2), pyarrow.timestamp("us", "UTC"), pyarrow.date32()]
    kinds += [
        pyarrow.struct([("a", pyarrow.int8()), ("b", pyarrow.map_(pyarrow.string(), kinds[0]))])
    ]
    table = pyarrow.table(
        {
            f"column {number}": pyarrow.nulls(rows, kinds[number % len(kinds)])
            for number in range(columns)
        }
    ).replace_schema_metadata({"note": "x" * columns})
    file = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    parquet.write_table(table, file, row_group_size=group, compression=compression, version=version)
    assert count_parquet_rows(file.name, file) == rows


@given(content=st.binary(max_size=80), length=st.integers(0, 90))
def test_a_damaged_footer_is_a_number_or_an_error_of_a_step(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "rows.parquet"
    file.write_bytes(b"PAR1" + content + length.to_bytes(4, "little") + b"PAR1")
    with suppress(StepError):
        count(file)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"a,b\n1,2\n1,2\n", "a.parquet is not a .parquet file: it ends with"),
        ("a.parquet", b"PAR1", "a.parquet is not a .parquet file: it has 4 bytes"),
        ("a.npz", b"no archive", "a.npz is not an .npz file of plain arrays"),
        ("a.csv", b"y\n\xff\n", "a.csv can't be read"),
        ("a.tar", b"", "the rows of a.tar can't be counted for `retrain.leastNewRows`"),
    ],
)
def test_what_has_no_rows_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(StepError) as caught:
        count(file)
    assert caught.value.message.startswith(said)


def test_arrays_of_different_lengths_have_no_number_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(StepError, match="the same number of rows: x has 3, y has 4"):
        count(tmp_path / "a.npz")
