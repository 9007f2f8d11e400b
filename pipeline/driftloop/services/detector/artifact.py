"""A fitted detector at rest: `detector.json` (settings) and `reference.npz` (rows). No pickle:
fitting again takes a second."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

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
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".npz", ".csv", ".jsonl"))
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
    rows = np.concatenate(parts)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        raise ArtifactError(
            f"{folder} contains {len(rows)} usable reference rows, must be at least 2"
        )
    if len(rows) > MOST_ROWS:
        chosen = np.random.default_rng(config.seed).choice(len(rows), MOST_ROWS, replace=False)
        rows = rows[np.sort(chosen)]
    return DetectorArtifact(config, rows)


def _read_rows(file: Path, features: str) -> Rows:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                if features not in arrays:
                    raise ArtifactError(
                        f"{file} has no array `{features}`, must be one of: {', '.join(arrays.files)}",
                        hint="set `data.features` in the spec to the name of the array",
                    )
                array = np.asarray(arrays[features], dtype=np.float32)
                return array.reshape(len(array), -1)
        return np.asarray(list(_read_records(file, features)), dtype=np.float32)
    except (ValueError, TypeError, KeyError, BadZipFile) as error:
        raise ArtifactError(f"{file} can't be read as rows of numbers: {error}") from error


def _read_records(file: Path, features: str) -> Iterator[list[float]]:
    """`features` names columns, separated by commas; `x` in a file without such a column means
    all but `y`."""
    with file.open(newline="") as stream:
        if file.suffix == ".csv":
            for row in csv.DictReader(stream):
                yield [float(row[name]) for name in _choose_columns(list(row), features)]
        else:
            for line in stream:
                if line.strip():
                    record = json.loads(line)
                    value = record.get(features)
                    if isinstance(value, list):
                        yield [
                            float(each) for each in np.asarray(value, dtype=np.float64).reshape(-1)
                        ]
                    else:
                        yield [
                            float(record[name]) for name in _choose_columns(list(record), features)
                        ]


def _choose_columns(names: list[str], features: str) -> list[str]:
    wanted = features.split(",")
    if all(name in names for name in wanted):
        return wanted
    return [name for name in names if name != "y"]
