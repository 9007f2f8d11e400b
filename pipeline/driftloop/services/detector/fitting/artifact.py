"""A fitted detector at rest: `detector.json` (settings), `profile.json` (columns) and `reference.npz` (rows
as numbers: NaN for a missing value, the code of a category). No pickle: fitting again takes a second."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from driftloop.contract.columns import NO_USES, SUFFIXES, TARGET, ColumnError, ColumnUses
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json, to_json
from driftloop.contract.handovers import LABELLED_KINDS, MIXED_KINDS, DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile, name_element
from driftloop.contract.trees import DETECTOR_FILE, PROFILE_FILE, REFERENCE_FILE
from driftloop.errors import PipelineError
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.rows.tables import TableFile, drop_gap_marks, read_table
from driftloop.services.detector.rows.values import Rows, drop_noise

MOST_ROWS = 2000
"""Reference rows kept, drawn by the seed, where the tests' cost grows with them."""
MOST_VALUES = 2_000_000
"""Values kept, drawn by the seed in whole rows, where it hardly does."""
MOST_TABULAR_VALUES, MOST_TABULAR_ROWS = 6_400_000, 100_000
"""The same of `tabular`, which has a use for more: windows that are judged together have thousands of rows."""
VERSIONS = (1, 2)
"""Versions of detector.json; the first has rows of single precision and no profile."""
_BESIDE_SETTINGS = ("version", "rows", "width", "release", "calibration")


class ArtifactError(PipelineError):
    """Reference data or a stored detector can't be used."""


@dataclass(frozen=True)
class DetectorArtifact:
    """The settings it was fitted with, and the rows (n x columns)."""

    config: DetectorSettings
    reference: Rows
    profile: TableProfile
    release: str | None = None
    """Release whose training data the rows are; None in an artifact of an earlier version."""
    gathered: int | None = None
    """Rows of the files that it was fitted on; None in an artifact that was read back."""
    unusable: int = 0
    """Those of them with a missing value, which a detector of numbers leaves out."""
    note: str = ""
    """Where the rows are from, when they are answers; empty for training data."""
    ordered: Rows | None = None
    """All usable rows in the order of the files; None in an artifact that was read back, and of rows that
    have no order."""
    calibration: Calibration | None = None
    """What their order says; None in an artifact of an earlier version."""


def save_artifact(artifact: DetectorArtifact, folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / REFERENCE_FILE, rows=artifact.reference)
    document = {"version": VERSIONS[-1], **to_json(artifact.config)}
    document["rows"], document["width"] = map(int, artifact.reference.shape)
    if artifact.release is not None:
        document["release"] = artifact.release
    if artifact.calibration is not None:
        document["calibration"] = to_json(artifact.calibration)
    (folder / DETECTOR_FILE).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    (folder / PROFILE_FILE).write_text(json.dumps(to_json(artifact.profile), indent=1) + "\n")


def load_artifact(folder: Path) -> DetectorArtifact:
    """Read them back; ArtifactError says what is missing or damaged."""
    try:
        document = json.loads((folder / DETECTOR_FILE).read_text())
        with np.load(folder / REFERENCE_FILE, allow_pickle=False) as arrays:
            reference = drop_noise(np.asarray(arrays["rows"], dtype=np.float64))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{error.filename} does not exist",
            hint="the fit step of the training run writes it; check the init container that fetches it",
        ) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ArtifactError(f"the detector in {folder} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{folder}/{DETECTOR_FILE} must be a JSON object")
    version = document.get("version")
    if version not in VERSIONS:
        raise ArtifactError(
            f"{folder}/{DETECTOR_FILE} has version {version!r}, must be one of: 1, 2"
        )
    settings = {name: value for name, value in document.items() if name not in _BESIDE_SETTINGS}
    release = document.get("release")
    if not (release is None or isinstance(release, str)):
        raise ArtifactError(f"{folder}/{DETECTOR_FILE}: `release` must be a release id")
    try:
        config = DetectorSettings.read(settings)
        kept = document.get("calibration")
        calibration = None if kept is None else Calibration.read(kept)
    except DocumentError as error:
        raise ArtifactError(f"{folder}/{DETECTOR_FILE}: {error.message}") from error
    finite = config.kind in (*MIXED_KINDS, *LABELLED_KINDS) or np.isfinite(reference).all()
    if reference.ndim != 2 or not len(reference) or not finite:
        raise ArtifactError(f"the reference rows in {folder} are not a table of finite numbers")
    profile = _load_profile(folder) if version != 1 else _make_profile(reference)
    if len(profile.columns) != reference.shape[1]:
        raise ArtifactError(
            f"{folder}: {PROFILE_FILE} has {len(profile.columns)} columns, {REFERENCE_FILE} has "
            f"{reference.shape[1]}"
        )
    return DetectorArtifact(config, reference, profile, release, calibration=calibration)


def _load_profile(folder: Path) -> TableProfile:
    label = f"{folder}/{PROFILE_FILE}"
    try:
        text = (folder / PROFILE_FILE).read_text()
        return TableProfile.read(parse_json(text, label=label, longest=LONGEST_FILE))
    except OSError as error:
        raise ArtifactError(f"{label} can't be read: {error.strerror}") from error
    except DocumentError as error:
        raise ArtifactError(f"{label}: {error.message}") from error


def _make_profile(reference: Rows) -> TableProfile:
    """Return the profile of an artifact without one: numbers in single precision, matched by position."""
    width = reference.shape[1]
    return TableProfile(
        columns=tuple(
            ColumnProfile(
                name=name_element("x", number),
                type="number",
                rows=len(reference),
                missing=0,
                distinct=len(np.unique(reference[:, number])),
                single=True,
            )
            for number in range(width)
        ),
        order=("x",),
        arrays=(("x", width),),
    )


def gather_reference(
    folder: Path,
    features: str,
    config: DetectorSettings,
    target: str = TARGET,
    uses: ColumnUses = NO_USES,
) -> DetectorArtifact:
    """Learn the profile and the reference rows of the files below `folder`: of the columns that
    `features` names, or all but the target, and of these the detector's own; `uses` says what
    columns are where they are learnt wrong."""
    from driftloop.services.detector.fitting.learning import learn_table

    tables = read_folder(folder, hint="the data steps' output is empty")
    try:
        learnt = learn_table(tables, features, target, config.columns, uses)
    except ColumnError as error:
        raise ArtifactError(error.message, hint=error.hint) from error
    return draw_reference(config, learnt.rows, learnt.profile)


def read_folder(folder: Path, *, hint: str | None = None) -> tuple[TableFile, ...]:
    """Read the files of rows below a folder, in the order of their names; ArtifactError when there is
    none, or one can't be read."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES)
    if not files:
        raise ArtifactError(
            f"{folder} contains no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file", hint=hint
        )
    return read_files(files, folder)


def read_files(files: Sequence[Path], folder: Path) -> tuple[TableFile, ...]:
    """Read files of rows of a folder; ArtifactError when one can't be read."""
    try:
        tables = [read_table(file, file.relative_to(folder).as_posix()) for file in files]
    except ColumnError as error:
        raise ArtifactError(error.message, hint=error.hint) from error
    return drop_gap_marks(tables)


def draw_reference(config: DetectorSettings, rows: Rows, profile: TableProfile) -> DetectorArtifact:
    """Draw the rows that a detector is fitted on; ArtifactError for columns that it can't use."""
    if config.kind in MIXED_KINDS:
        return _draw_mixed(config, rows, profile)
    return _draw_complete(config, rows, profile)


def _draw_mixed(config: DetectorSettings, every: Rows, profile: TableProfile) -> DetectorArtifact:
    if len(every) < 2:
        raise ArtifactError(f"the files contain {len(every)} rows, must be at least 2")
    most = MOST_VALUES // len(profile.columns)
    if config.kind == "tabular":
        most = min(MOST_TABULAR_ROWS, MOST_TABULAR_VALUES // len(profile.columns))
    most = max(MOST_ROWS, most)
    drawn = _draw_rows(every, most, config)
    return DetectorArtifact(config, drawn, profile, gathered=len(every), ordered=every)


def _draw_complete(
    config: DetectorSettings, every: Rows, profile: TableProfile
) -> DetectorArtifact:
    for column in profile.columns:
        if column.type not in ("number", "boolean") and config.kind != "chi2":
            raise ArtifactError(
                f"column `{column.name}` is of type {column.type}"
                f"{f' ({column.note})' if column.note else ''}, {config.kind} takes numbers",
                hint="use `tabular`, which takes columns of every type, or list columns of numbers in "
                "`data.features`",
            )
    rows = every[np.isfinite(every).all(axis=1)]
    unusable = len(every) - len(rows)
    if len(rows) < 2:
        raise ArtifactError(
            f"the files contain {len(rows)} usable reference rows, must be at least 2",
            hint=f"{unusable} rows have a missing value: `tabular` takes them"
            if unusable
            else None,
        )
    drawn = _draw_rows(rows, MOST_ROWS, config)
    return DetectorArtifact(
        config, drawn, profile, gathered=len(every), unusable=unusable, ordered=rows
    )


def _draw_rows(rows: Rows, most: int, config: DetectorSettings) -> Rows:
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng(config.seed).choice(len(rows), most, replace=False)
    return rows[np.sort(chosen)]
