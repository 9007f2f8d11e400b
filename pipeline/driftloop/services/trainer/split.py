"""`driftloop-train split`: rows to train on and rows to hold out, chosen by the hash of the row.

Equal rows have equal hashes, so the same row never stands on both sides, whichever files and
runs it comes from.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driftloop.contract.columns import SUFFIXES, ColumnError, parse_row
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.parquet import list_rows, load_table, write_table

SIDES = ("train", "heldout")
PARTS = ("earlier", "recent")
CHUNK = 2048
"""Rows hashed at a time."""

Chosen = Callable[[bytes], bool]


def split_rows(data: Path, out: Path, heldout: float) -> dict[str, int]:
    """Split every file below data/earlier and data/recent into out/train and out/heldout; rows
    per side."""
    if not 0 < heldout < 1:
        raise TrainerError(f"--heldout is {heldout:g}, must be between 0 and 1")
    files = [
        file
        for file in sorted(data.rglob("*"))
        if file.is_file() and not file.name.startswith((".", "_"))
    ]
    if not files:
        raise TrainerError(
            f"{data} contains no data",
            hint="check that `data.uri` has batches, and that the data step writes or passes them on",
        )
    for side in SIDES:
        for part in PARTS:
            (out / side / part).mkdir(parents=True, exist_ok=True)
    threshold = int(heldout * 2**64)

    def chosen(row: bytes) -> bool:
        return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big") < threshold

    rows = dict.fromkeys(SIDES, 0)
    for file in files:
        name = file.relative_to(data)
        if name.parts[0] not in PARTS or len(name.parts) < 2:
            raise TrainerError(
                f"{name} is neither in earlier/ nor in recent/",
                hint="a data step must write its files into the same two folders as its input",
            )
        targets = {side: out / side / name for side in SIDES}
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            counts = _choose_splitter(file)(file, targets, chosen)
        except (OSError, UnicodeDecodeError) as error:
            raise TrainerError(f"{name} can't be read: {error}") from error
        for side, count in counts.items():
            rows[side] += count
    for side, count in rows.items():
        if count == 0:
            raise TrainerError(
                f"{side}/ contains 0 of {sum(rows.values())} rows, must be at least 1",
                hint="add more rows, or change `data.heldout`",
            )
    return rows


def count_rows(data: Path) -> int:
    """Rows in the files below a folder that `split` wrote; files of other kinds have none."""
    rows = 0
    for file in sorted(data.rglob("*")):
        match file.suffix:
            case ".npz":
                import numpy as np

                with np.load(file, allow_pickle=False) as loaded:
                    rows += len(loaded[loaded.files[0]])
            case ".csv":
                with file.open(newline="") as stream:
                    rows += max(0, sum(1 for row in csv.reader(stream) if row) - 1)
            case ".parquet":
                rows += len(load_table(file))
            case ".jsonl":
                with file.open() as stream:
                    rows += sum(1 for line in stream if line.strip())
    return rows


def _choose_splitter(file: Path) -> Callable[[Path, dict[str, Path], Chosen], dict[str, int]]:
    match file.suffix:
        case ".npz":
            return _split_npz
        case ".csv":
            return _split_csv
        case ".jsonl":
            return _split_jsonl
        case ".parquet":
            return _split_parquet
        case _:
            raise TrainerError(
                f"{file.name} is not a file of rows, must be one of: {', '.join(SUFFIXES)}",
                hint="convert it in a data step, and leave other files out",
            )


def _split_npz(file: Path, targets: dict[str, Path], chosen: Chosen) -> dict[str, int]:
    import zipfile

    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise TrainerError(
            f"{file.name} needs numpy", hint="add numpy to the image's requirements.txt"
        ) from error
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise TrainerError(f"{file.name} is not an .npz file of plain arrays: {error}") from error
    lengths = {name: (array.shape[0] if array.ndim else None) for name, array in arrays.items()}
    if not arrays or len(set(lengths.values())) != 1 or None in lengths.values():
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
        raise TrainerError(
            f"{file.name}: all arrays must have the same number of rows, their shapes are: {shapes}"
        )
    held = np.fromiter(
        (chosen(row) for row in _split_lines(arrays, file)),
        dtype=bool,
        count=next(iter(lengths.values())) or 0,
    )
    counts: dict[str, int] = {}
    for side, mask in (("train", ~held), ("heldout", held)):
        counts[side] = int(mask.sum())
        if counts[side]:
            np.savez(targets[side], **{name: array[mask] for name, array in arrays.items()})
    return counts


def _split_lines(arrays: dict[str, Any], file: Path) -> Iterator[bytes]:
    """Each row as bytes that do not depend on the type a number is stored in."""
    import numpy as np

    names = sorted(arrays)
    for start in range(0, len(arrays[names[0]]), CHUNK):
        columns = []
        for name in names:
            part = arrays[name][start : start + CHUNK]
            if part.dtype.kind in "biuf":
                # adding zero makes -0.0 the same as 0.0
                flat = np.ascontiguousarray(part.reshape(len(part), -1), dtype=np.float64) + 0.0
                columns.append([row.tobytes() for row in flat])
            elif part.dtype.kind in "US":
                texts = part.reshape(len(part), -1).astype(str)
                columns.append(["\x1f".join(row).encode() for row in texts])
            else:
                raise TrainerError(
                    f"{file.name}: array `{name}` is {part.dtype}, must be numbers or text"
                )
        yield from (b"\x1e".join(row) for row in zip(*columns, strict=True))


def _split_csv(file: Path, targets: dict[str, Path], chosen: Chosen) -> dict[str, int]:
    with file.open(newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, None)
        if not header:
            raise TrainerError(f"{file.name} has no header line")
        if len(set(header)) != len(header):
            raise TrainerError(f"{file.name}: two columns have the same name")
        sides: dict[str, list[list[str]]] = {side: [] for side in SIDES}
        try:
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise TrainerError(
                        f"{file.name}, line {reader.line_num}: {len(row)} fields, the header has {len(header)}"
                    )
                key = "\x1e".join(
                    f"{name}\x1f{value}" for name, value in sorted(zip(header, row, strict=True))
                )
                sides["heldout" if chosen(key.encode()) else "train"].append(row)
        except csv.Error as error:
            raise TrainerError(f"{file.name}, line {reader.line_num}: {error}") from error
    for side, rows in sides.items():
        if rows:
            with targets[side].open("w", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return {side: len(rows) for side, rows in sides.items()}


def _split_parquet(file: Path, targets: dict[str, Path], chosen: Chosen) -> dict[str, int]:
    table = load_table(file)
    sides: dict[str, list[int]] = {side: [] for side in SIDES}
    for number, row in enumerate(list_rows(table)):
        key = json.dumps(row, sort_keys=True, separators=(",", ":"))
        sides["heldout" if chosen(key.encode()) else "train"].append(number)
    for side, numbers in sides.items():
        if numbers:
            write_table(table.take(numbers), targets[side])
    return {side: len(numbers) for side, numbers in sides.items()}


def _split_jsonl(file: Path, targets: dict[str, Path], chosen: Chosen) -> dict[str, int]:
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    with file.open() as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = parse_row(line, f"{file.name}, line {number}")
            except ColumnError as error:
                raise TrainerError(error.message) from error
            key = json.dumps(row, sort_keys=True, separators=(",", ":"))
            sides["heldout" if chosen(key.encode()) else "train"].append(line.rstrip("\n"))
    for side, lines in sides.items():
        if lines:
            targets[side].write_text("\n".join(lines) + "\n")
    return {side: len(lines) for side, lines in sides.items()}
