"""Numbers and lengths of arrays in an .npz file, read without numpy, which the command line does not need
otherwise.
"""

import ast
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from driftloop.contract.columns import ColumnError

_FORMATS = {
    "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "b1": "?",
}  # fmt: skip
_LENGTH = 8
"""Offset of the header's length, after `\\x93NUMPY` and the version."""


def count_array_rows(name: str, file: Path) -> int:
    """Return the length of the arrays of a file; ColumnError when they differ, and for a damaged file."""
    lengths: dict[str, int | None] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for array in archive.namelist():
                with archive.open(array) as stream:
                    lengths[array.removesuffix(".npy")] = _read_length(stream)
    except (zipfile.BadZipFile, ValueError, TypeError, KeyError, SyntaxError) as error:
        raise ColumnError(f"{name} is not an .npz file of plain arrays: {error}") from error
    different = set(lengths.values())
    if len(different) != 1 or (length := different.pop()) is None:
        shown = ", ".join(f"{array} has {rows}" for array, rows in lengths.items()) or "none"
        raise ColumnError(f"{name}: all arrays must have the same number of rows: {shown}")
    return length


def _read_length(stream: IO[bytes]) -> int | None:
    """Return the first number of an array's shape; None of a single number."""
    start = stream.read(_LENGTH)
    if not start.startswith(b"\x93NUMPY"):
        raise ValueError("one of its members is not an array")
    size = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    shape = ast.literal_eval(stream.read(size).decode())["shape"]
    return int(shape[0]) if shape else None


def read_rows(name: str, file: Path, array: str) -> Iterator[tuple[float, ...]]:
    """Yield the rows of an array, each flat; none of an array that is not of plain numbers, row by
    row in little-endian order, which only numpy reads. ColumnError for a damaged one."""
    try:
        with zipfile.ZipFile(file) as archive:
            content = archive.read(f"{array}.npy")
        start = _LENGTH + (2 if content[6:7] == b"\x01" else 4)
        end = start + int.from_bytes(content[_LENGTH:start], "little")
        header = ast.literal_eval(content[start:end].decode())
        kind, shape = str(header["descr"]), tuple(header["shape"])
        code = _FORMATS.get(kind[1:])
        width = math.prod(shape[1:])
        if code is None or kind[0] not in "<|" or header["fortran_order"] or not shape or not width:
            return
        yield from struct.iter_unpack(f"<{width}{code}", memoryview(content)[end:])
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        SyntaxError,
        struct.error,
    ) as error:
        raise ColumnError(f"{name}: array `{array}` can't be read: {error}") from error
