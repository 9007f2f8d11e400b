"""Numbers of an array in an .npz file, read without numpy, which the command line does not need
otherwise.
"""

import ast
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from driftloop.contract.columns import ColumnError

_FORMATS = {
    "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "b1": "?",
}  # fmt: skip
_LENGTH = 8
"""Offset of the header's length, after `\\x93NUMPY` and the version."""


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
