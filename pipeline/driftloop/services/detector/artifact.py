"""A fitted detector at rest: `detector.json` (settings) and `reference.npz` (rows). No pickle:
fitting again takes a second."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from driftloop.contract.columns import SUFFIXES, ColumnError, FileColumns, parse_row
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.trees import DETECTOR_FILE, REFERENCE_FILE
from driftloop.errors import PipelineError
from driftloop.services.detector.payload import Rows

MOST_ROWS = 2000
"""Reference rows kept, drawn by the seed; the tests' cost grows with them."""


_BESIDE_SETTINGS = ("version", "rows", "width", "release")


class ArtifactError(PipelineError):
    """Reference data or a stored detector can't be used."""


@dataclass(frozen=True)
class DetectorArtifact:
    """The settings it was fitted with, and the rows (n x width, finite)."""

    config: DetectorSettings
    reference: Rows
    release: str | None = None
    """Release whose training data the rows are; None in an artifact of an earlier version."""
    gathered: int | None = None
    """Rows of the files that it was fitted on; None in an artifact that was read back."""
    unusable: int = 0
    """Those of them with a value that is not finite, which are left out."""


def save_artifact(artifact: DetectorArtifact, folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / REFERENCE_FILE, rows=artifact.reference)
    document = {"version": 1, **to_json(artifact.config), "rows": len(artifact.reference)}
    document["width"] = int(artifact.reference.shape[1])
    if artifact.release is not None:
        document["release"] = artifact.release
    (folder / DETECTOR_FILE).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def load_artifact(folder: Path) -> DetectorArtifact:
    """Read them back; ArtifactError says what is missing or damaged."""
    try:
        document = json.loads((folder / DETECTOR_FILE).read_text())
        with np.load(folder / REFERENCE_FILE, allow_pickle=False) as arrays:
            reference = np.asarray(arrays["rows"], dtype=np.float32)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{error.filename} does not exist",
            hint="the fit step of the training run writes it; check the init container that fetches it",
        ) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ArtifactError(f"the detector in {folder} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{folder}/{DETECTOR_FILE} must be a JSON object")
    if document.get("version") != 1:
        raise ArtifactError(
            f"{folder}/{DETECTOR_FILE} has version {document.get('version')!r}, must be 1"
        )
    settings = {name: value for name, value in document.items() if name not in _BESIDE_SETTINGS}
    release = document.get("release")
    if not (release is None or isinstance(release, str)):
        raise ArtifactError(f"{folder}/{DETECTOR_FILE}: `release` must be a release id")
    if reference.ndim != 2 or not len(reference) or not np.isfinite(reference).all():
        raise ArtifactError(f"the reference rows in {folder} are not a table of finite numbers")
    try:
        return DetectorArtifact(DetectorSettings.read(settings), reference, release)
    except DocumentError as error:
        raise ArtifactError(f"{folder}/{DETECTOR_FILE}: {error.message}") from error


def gather_reference(folder: Path, features: str, config: DetectorSettings) -> DetectorArtifact:
    """The reference rows below `folder`: `.npz` (array `features`), `.csv` (all columns but the
    target) or `.jsonl`."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES)
    if not files:
        raise ArtifactError(
            f"{folder} contains no .npz, .csv or .jsonl file",
            hint="the data steps' output is empty",
        )
    parts = [_read_rows(file, features) for file in files]
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise ArtifactError(
            f"the files in {folder} have rows of different widths: {sorted(widths)}"
        )
    every = np.concatenate(parts)
    rows = every[np.isfinite(every).all(axis=1)]
    unusable = len(every) - len(rows)
    if len(rows) < 2:
        raise ArtifactError(
            f"{folder} contains {len(rows)} usable reference rows, must be at least 2",
            hint=f"{unusable} rows have a value that is not finite" if unusable else None,
        )
    if len(rows) > MOST_ROWS:
        chosen = np.random.default_rng(config.seed).choice(len(rows), MOST_ROWS, replace=False)
        rows = rows[np.sort(chosen)]
    return DetectorArtifact(config, rows, gathered=len(every), unusable=unusable)


def _read_rows(file: Path, features: str) -> Rows:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                (name,) = FileColumns(str(file), "array", tuple(arrays.files)).choose_features(
                    features
                )
                array = np.asarray(arrays[name], dtype=np.float32)
                return array.reshape(len(array), -1)
        return np.asarray(list(_read_records(file, features)), dtype=np.float32)
    except ColumnError as error:
        raise ArtifactError(error.message, hint=error.hint) from error
    except (ValueError, TypeError, KeyError, BadZipFile) as error:
        raise ArtifactError(f"{file} can't be read as rows of numbers: {error}") from error


def _read_records(file: Path, features: str) -> Iterator[list[float]]:
    """`features` names columns, separated by commas; `x` in a file without such a column means
    all but `y`. ColumnError for a column that a row lacks."""
    with file.open(newline="") as stream:
        if file.suffix == ".csv":
            reader = csv.DictReader(stream)
            names = tuple(reader.fieldnames or ())
            chosen = FileColumns(str(file), "column", names).choose_features(features)
            for row in reader:
                yield [float(row[name]) for name in chosen]
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                place = f"{file}, line {number}"
                record = parse_row(line, place)
                chosen = FileColumns(place, "column", tuple(record)).choose_features(features)
                yield _flatten_values([record[name] for name in chosen])


def _flatten_values(values: list[Any]) -> list[float]:
    """Return the numbers of some columns; a single column may hold an array."""
    if len(values) == 1 and isinstance(values[0], list):
        return [float(value) for value in np.asarray(values[0], dtype=np.float64).reshape(-1)]
    return [float(value) for value in values]
