"""Number of rows of a .parquet file, read from its footer without pyarrow, which the command line does not
need otherwise.

The footer is a FileMetaData of parquet.thrift in Thrift's compact protocol; its field 3 is the number.
"""

from pathlib import Path
from typing import BinaryIO

from driftloop.contract.columns import ColumnError

_MAGIC = b"PAR1"
_TAIL = 8
"""Bytes after the footer: its length and the magic."""
_ROWS = 3
"""Field of the number of rows."""
_DEPTH = 16
"""Structs within structs, of which a schema has three."""
_STOP, _BOOLEANS, _BYTE, _WHOLE, _DOUBLE, _BINARY = 0, (1, 2), 3, (4, 5, 6), 7, 8
_LISTS, _MAP, _STRUCT = (9, 10), 11, 12
_LONG_LIST = 15


def count_parquet_rows(name: str, file: Path) -> int:
    """Return the number of rows of a file; ColumnError for one that is not Parquet."""
    try:
        with file.open("rb") as stream:
            return _Footer(_read_footer(stream)).find_rows()
    except (IndexError, ValueError) as error:
        raise ColumnError(
            f"{name} is not a .parquet file: {error}",
            hint="write it again; a file with an encrypted footer can't be read either",
        ) from error


def _read_footer(stream: BinaryIO) -> bytes:
    size = stream.seek(0, 2)
    if size < _TAIL + len(_MAGIC):
        raise ValueError(f"it has {size} bytes")
    stream.seek(size - _TAIL)
    tail = stream.read(_TAIL)
    if tail[4:] != _MAGIC:
        raise ValueError(f"it ends with {tail[4:]!r}, must be {_MAGIC!r}")
    length = int.from_bytes(tail[:4], "little")
    if length > size - _TAIL:
        raise ValueError(f"its footer has {length} bytes, the file {size}")
    stream.seek(size - _TAIL - length)
    return stream.read(length)


class _Footer:
    """Fields of a FileMetaData, read one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def find_rows(self) -> int:
        """Return field 3; the fields before it are passed over."""
        number = 0
        while (head := self._take(1)[0]) & 0x0F != _STOP:
            number = number + (head >> 4) if head >> 4 else self._read_whole()
            if number == _ROWS and head & 0x0F in _WHOLE:
                return self._read_whole()
            self._skip(head & 0x0F, _DEPTH)
        raise ValueError("its footer has no number of rows")

    def _take(self, count: int) -> bytes:
        taken = self._content[self._place : self._place + count]
        if len(taken) < count:
            raise ValueError("its footer ends early")
        self._place += count
        return taken

    def _read_length(self) -> int:
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    def _read_whole(self) -> int:
        value = self._read_length()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, depth: int) -> None:
        if not depth:
            raise ValueError("its footer is nested too deep")
        if kind in _BOOLEANS:
            # of a field, the type is the value
            return
        if kind == _BYTE:
            self._take(1)
        elif kind in _WHOLE:
            self._read_length()
        elif kind == _DOUBLE:
            self._take(8)
        elif kind == _BINARY:
            self._take(self._read_length())
        elif kind in _LISTS:
            self._skip_list(depth)
        elif kind == _MAP:
            self._skip_map(depth)
        elif kind == _STRUCT:
            while (head := self._take(1)[0]) & 0x0F != _STOP:
                if not head >> 4:
                    self._read_length()
                self._skip(head & 0x0F, depth - 1)
        else:
            raise ValueError(f"its footer has a value of the unknown type {kind}")

    def _skip_list(self, depth: int) -> None:
        head = self._take(1)[0]
        length = head >> 4
        for _ in range(self._read_length() if length == _LONG_LIST else length):
            self._skip_item(head & 0x0F, depth)

    def _skip_map(self, depth: int) -> None:
        if length := self._read_length():
            kinds = self._take(1)[0]
            for _ in range(length):
                self._skip_item(kinds >> 4, depth)
                self._skip_item(kinds & 0x0F, depth)

    def _skip_item(self, kind: int, depth: int) -> None:
        """Pass over an item of a list or map, where a boolean is a byte."""
        if kind in _BOOLEANS:
            self._take(1)
        else:
            self._skip(kind, depth - 1)
