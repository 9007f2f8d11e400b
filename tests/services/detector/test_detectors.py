"""The detectors on recorded streams, run where they run: in the monitor image's environment."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector import ROOT, WIDTH, Settings, reference, run

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.handovers import DETECTOR_KINDS, OWN_KINDS, DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors.chi2 import ChiSquaredDetector
from driftloop.services.detector.detectors.cvm import CramerVonMisesDetector
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.rows.payload import RowDecoder
from driftloop.services.detector.rows.values import drop_noise


@pytest.fixture(scope="module")
def judgements(monitor_python: Path) -> Any:
    done = subprocess.run(
        [str(monitor_python), str(Path(__file__).with_name("judgements.py"))],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "stream", "fires"),
    [
        ("tabular", "shift", [6, 7, 8, 9]),
        ("mmd", "shift", [6, 7, 8, 9]),
        ("ks", "shift", [6, 7, 8, 9]),
        ("cvm", "shift", [6, 7, 8, 9]),
        ("chi2", "shift", [6, 7, 8, 9]),
        ("chi2", "new", [6, 7, 8, 9]),
        ("iforest", "noise", [6, 7, 8, 9]),
        ("mahalanobis", "noise", [6, 7, 8, 9]),
        ("schema", "noise", [6, 7, 8, 9]),
        ("schema", "shift", []),
    ],
)
def test_fires_at_the_change_and_not_before(
    judgements: Any, kind: str, stream: str, fires: list[int]
) -> None:
    assert judgements[kind][stream] == fires


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_clean_windows_hardly_ever_alarm(judgements: Any, kind: str) -> None:
    assert len(judgements[kind]["clean"]) <= 2


@pytest.mark.parametrize("kind", ["iforest", "mahalanobis"])
def test_the_noisy_rows_are_the_outliers(judgements: Any, kind: str) -> None:
    assert judgements[f"{kind} outliers"] >= 30


@pytest.mark.parametrize("kind", ["iforest", "mahalanobis"])
def test_a_column_without_values_makes_outliers(judgements: Any, kind: str) -> None:
    assert judgements[f"{kind} blind"] == ["c3 missing 0 % -> 100 %"]


def test_rare_categories_do_not_raise_alarms(judgements: Any) -> None:
    assert judgements["rare alarms"] <= 7, "3 of 300 are asked for"


def test_measurements_are_no_categories(monitor_python: Path, tmp_path: Path) -> None:
    folder = reference(tmp_path / "reference")
    settings = Settings(kind="chi2").json
    done = run(
        monitor_python,
        "fit",
        "--detector",
        settings,
        "--reference",
        str(folder),
        "--out",
        str(tmp_path / "o"),
    )
    assert done.returncode == 1
    assert "feature 0 has 600 different values, chi2 takes categories: at most 100" in done.stderr
    assert "hint: use `ks` for measurements" in done.stderr


def test_a_feature_of_rare_categories_only_is_refused() -> None:
    rows = np.arange(1000.0)[:, None] % 50
    with pytest.raises(
        FitError, match="feature 0 has 50 categories, none of them is expected 5 times in 100 rows"
    ):
        ChiSquaredDetector(DetectorSettings("chi2", window=100), rows, PAIR)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda r: r.integers(0, 17, 900), "has 17 different values in 900 rows"),
        (lambda r: np.where(r.random(900) < 0.2, 0, r.normal(size=900)), "`0` in 2"),
    ],
)
def test_cvm_refuses_a_column_whose_values_repeat(
    rows: Callable[[np.random.Generator], Any], says: str
) -> None:
    random = np.random.default_rng(0)
    table = np.stack([random.normal(size=900), rows(random)], axis=1)
    with pytest.raises(FitError, match="column `b`") as refused:
        CramerVonMisesDetector(DetectorSettings("cvm"), table, PAIR)
    assert says in refused.value.message
    assert "`tabular`" in (refused.value.hint or "")


def test_the_fast_scores_are_alibi_detects_own(judgements: Any) -> None:
    assert judgements["same as alibi"] is True


def test_the_p_values_of_tabular_are_scipys(judgements: Any) -> None:
    worst = judgements["same as scipy"]
    assert worst["shift"] < 2e-3
    assert worst["rank"] < 0.15, "the sizes as they are, not less 1: of 50 rows each"
    assert max(worst["share"], worst["mix"]) < 1e-6


def test_only_what_is_needed_is_loaded(judgements: Any) -> None:
    assert judgements["loaded"] == []


@pytest.mark.parametrize("kind", ["tabular", "ks", "iforest"])
def test_fit_writes_what_serve_reads(kind: str, monitor_python: Path, tmp_path: Path) -> None:
    settings = Settings(kind=kind).json
    folder = reference(tmp_path / "reference")
    done = run(
        monitor_python,
        "fit",
        "--detector",
        settings,
        "--reference",
        str(folder),
        "--out",
        str(tmp_path / "o"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == [
        "detector.json",
        "profile.json",
        "reference.npz",
    ]
    found = artifact.load_artifact(tmp_path / "o")
    assert found.config == DetectorSettings.parse(settings)
    assert found.reference.shape == (600, WIDTH)


@pytest.mark.parametrize(
    ("detector", "files", "says"),
    [
        ('{"kind": "nix"}', {}, f'`kind` is `"nix"`, must be one of: {", ".join(DETECTOR_KINDS)}'),
        ('{"kind": "ks", "windov": 3}', {}, "unknown key `windov`"),
        ('{"kind": "ks", "alarmRate": 2}', {}, "`alarmRate` is `2`, must be between 0 and 1"),
        ('{"kind": "ks"}', {}, "no .npz, .csv, .jsonl or .parquet file"),
        (
            '{"kind": "ks"}',
            {"a.csv": "a,b,y\n1,x,0\n"},
            "`b` is of type category, ks takes numbers",
        ),
        (
            '{"kind": "ks"}',
            {"a.csv": "a,b,y\n1,2,0\n2,3,0\n", "b.csv": "a,y\n1,0\n"},
            "b.csv has no column `b`, which another file has",
        ),
        ('{"kind": "ks"}', {"a.npz": "not a zip"}, "a.npz can't be read as rows"),
    ],
)
def test_fit_says_what_is_wrong(
    detector: str, files: dict[str, str], says: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = run(
        Path(sys.executable),
        "fit",
        "--detector",
        detector,
        "--reference",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("features", "files", "says"),
    [
        ("a,c", {"a.csv": "a,b,y\n1,2,0\n"}, "has no column `c`, which `data.features` names"),
        ("a,c", {"a.jsonl": '{"a": 1, "c": 2}\n{"a": 1}\n'}, "contain 1 usable reference rows"),
        ("x", {"a.csv": "a,b\n1,2\n"}, "has no column `y` for the label"),
        ("x", {"a.jsonl": "[1, 2]\n"}, "line 1 is not a JSON object"),
        (
            "x",
            {"a.jsonl": '{"a": NaN, "y": 1}\n' * 3},
            "`a` is of type text (no row has a value), ks takes numbers",
        ),
    ],
)
def test_no_other_columns_are_taken_than_those_that_are_named(
    features: str, files: dict[str, str], says: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    arguments = ("--features", features, "--reference", str(tmp_path), "--out", str(tmp_path / "o"))
    done = run(Path(sys.executable), "fit", "--detector", '{"kind": "ks"}', *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_fit_says_how_many_rows_it_left_out(tmp_path: Path, monitor_python: Path) -> None:
    rows = "".join(f"{number},{number % 7},0\n" for number in range(300))
    (tmp_path / "a.csv").write_text(f"a,b,y\n{rows}nan,1,0\n2,inf,0\n")
    arguments = ("--features", "a,b", "--reference", str(tmp_path), "--out", str(tmp_path / "o"))
    done = run(monitor_python, "fit", "--detector", '{"kind": "ks"}', *arguments)
    assert done.returncode == 0, done.stderr
    assert "300 of 302 reference rows of 2 columns, 2 left out since a value is missing" in (
        done.stdout
    )


def test_rows_of_arrays_are_bounded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((3000, 1, 2)), y=np.zeros(3000))
    (tmp_path / "c.jsonl").write_text('{"x": [[5, 6]], "y": 0}\n\n{"x": [9, NaN]}\n')
    found = artifact.gather_reference(tmp_path, "x", DetectorSettings("ks"))
    assert found.reference.shape == (artifact.MOST_ROWS, 2)
    assert (found.gathered, found.unusable) == (3002, 1)
    assert found.profile.names == ("x[0]", "x[1]")
    artifact.save_artifact(found, tmp_path / "o")
    assert np.array_equal(artifact.load_artifact(tmp_path / "o").reference, found.reference)


def test_a_detector_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez_compressed(tmp_path / "reference.npz", rows=rows)
    (tmp_path / "detector.json").write_text('{"version": 1, "kind": "ks", "rows": 60, "width": 3}')
    found = artifact.load_artifact(tmp_path)
    assert np.array_equal(found.reference, drop_noise(rows.astype(np.float64)))
    assert (found.profile.is_array, found.release) == (True, None)
    body = json.dumps({"data": {"names": ["a", "b", "c"], "ndarray": rows.tolist()}}).encode()
    decoded = RowDecoder(found.profile, complete=True).decode_rows(body)
    assert np.array_equal(drop_noise(decoded.rows), found.reference)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "detector.json").write_text('{"version": 1, "kind": "ks"}')
    np.savez(tmp_path / "reference.npz", rows=np.array([object()], dtype=object))
    with pytest.raises(artifact.ArtifactError, match="can't be read"):
        artifact.load_artifact(tmp_path)


def test_settings_read_back() -> None:
    config = DetectorSettings("cvm", "response", 70, 0.02, 3)
    assert DetectorSettings.read(to_json(config)) == config
    with pytest.raises(DocumentError, match="`window` is `true`"):
        DetectorSettings.read({"kind": "ks", "window": True})


PAIR = TableProfile(
    columns=tuple(
        ColumnProfile(name=name, type="number", rows=10, missing=0, distinct=1) for name in "ab"
    ),
    order=("a", "b"),
)


def test_an_unknown_setting_at_rest_is_refused_by_name(tmp_path: Path) -> None:
    artifact.save_artifact(
        artifact.DetectorArtifact(DetectorSettings("ks"), np.ones((10, 2)), PAIR), tmp_path
    )
    file = tmp_path / "detector.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "windw": 3}))
    with pytest.raises(
        artifact.ArtifactError,
        match=r"detector\.json: .* unknown key `windw`, must be one of: kind, on, window",
    ):
        artifact.load_artifact(tmp_path)
    file.write_text("[]")
    with pytest.raises(artifact.ArtifactError, match="must be a JSON object"):
        artifact.load_artifact(tmp_path)


def test_image_and_group_name_the_same_requirements() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    folder = ROOT / "pipeline/driftloop/images/monitor"
    left_out = re.findall(r"^([a-z-]+);", (folder / "overrides.txt").read_text(), re.MULTILINE)
    lines = (folder / "requirements.in").read_text().splitlines()
    named = [line for line in groups["monitor"] if re.split("[<>=]", line)[0] not in left_out]
    assert [line for line in lines if line and not line.startswith("#")] == named
