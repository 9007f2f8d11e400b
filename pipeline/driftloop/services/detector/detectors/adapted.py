"""Classes of alibi-detect by name, in an image of their own: the reference goes in, a window's verdict comes out.

A class is made anew of the stored reference, with the stored seed, and seeded before each window, so that the
same rows get the same verdict. It is given no state that a window changes. What it raises is a window that is
not judged.

The rate is the stated one by what the fit learnt (`fitting.bounds`): a p-value, or a distance, must be so many times
as far as its threshold. Where few permutations tell a p-value (100 of them none below 0.01), the distance tells more.

* columns: the values of numbers and booleans, and the codes of categories, as they are. A row with a missing value
  is left out, and counted (`incomplete`).
* features: rows as our own detectors of whole rows encode them (`encoding`), in single precision.
* series: one column in the order of the rows.
"""

import importlib
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import numpy as np

from driftloop.contract.alibi import ALIBI_CLASSES, AlibiName, AlibiSettings
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowDetector, WindowVerdict, outliers
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.column_tests import ColumnReference, TestBatch
from driftloop.services.detector.detectors.encoding import TableEncoder
from driftloop.services.detector.detectors.explanation import choose_columns, describe_columns
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

LEAST = 2
"""Complete rows of a window."""
PERMUTATIONS = 100
"""Of the classes' own default."""
COARSE = 0.01
"""Rate of the threshold of a test by permutations, however small `alarmRate` is: fewer than 1/rate of them tell no
smaller one, and beyond it the distance does."""
SMALLEST = 300.0
"""-log10 of a p-value of 0."""
SERIES: Mapping[str, int] = {"window_amp": 20, "window_local": 20, "n_est_points": 10}
"""Defaults of SpectralResidual, which has none."""
SPREAD = 0.05
"""Standard deviation of what OutlierVAE rebuilds, alibi-detect's own default."""
LONGEST = 400
"""Characters of what a class raised."""
Score = Callable[[Rows], Rows]


def fit_adapted(
    config: DetectorSettings,
    reference: Rows,
    profile: TableProfile,
    calibration: Calibration | None = None,
) -> WindowDetector:
    """Return the detector of a class of alibi-detect; FitError when it can't be fitted."""
    alibi = config.alibi
    if alibi is None:
        raise FitError("`alibi` needs the name of a class")
    try:
        detector = _build_detector(alibi, config, reference, profile, calibration)
        return AdaptedDetector(alibi.name, detector)
    except FitError:
        raise
    except Exception as error:
        raise FitError(f"{alibi.name} can't be fitted: {_describe(error)}") from error


class AdaptedDetector:
    """A detector whose errors are windows that are not judged."""

    def __init__(self, name: str, detector: WindowDetector) -> None:
        self._name = name
        self._detector = detector

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        try:
            return self._detector.score_window(rows)
        except Exception as error:
            failure = f"{self._name} failed: {_describe(error)}"
            return WindowVerdict(alarm=False, score=0.0, threshold=0.0, failure=failure)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"


def _build_detector(
    alibi: AlibiSettings,
    config: DetectorSettings,
    reference: Rows,
    profile: TableProfile,
    calibration: Calibration | None,
) -> WindowDetector:
    match alibi.name:
        case "KSDrift" | "CVMDrift" | "ChiSquareDrift" | "TabularDrift" | "FETDrift":
            return ColumnDrift(alibi, config, reference, profile, calibration)
        case (
            "MMDDrift" | "LSDDDrift" | "ClassifierDrift" | "SpotTheDiffDrift" | "LearnedKernelDrift"
        ):
            return FeatureDrift(alibi, config, reference, profile, calibration)
        case "OutlierAE" | "OutlierVAE":
            return FeatureOutliers(alibi, config, reference, profile, calibration)
        case "SpectralResidual":
            return SeriesOutliers(alibi, config, reference, profile, calibration)
        case _:
            assert_never(alibi.name)


def find_class(name: AlibiName) -> Any:
    """Return the class; of those without a framework nothing else of alibi-detect is imported."""
    known = ALIBI_CLASSES[name]
    if not known.framework:
        return load_class(known.module, name)
    return getattr(importlib.import_module(f"alibi_detect.{known.module}"), name)


def _seed_libraries(seed: int) -> None:
    np.random.seed(seed % 2**32)
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        # the initial weights of a network are drawn by Python's own generator
        tensorflow.keras.utils.set_random_seed(seed % 2**32)


class _Drift:
    """A test of windows against the reference, by a p-value or a distance."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None,
        rate: float,
    ) -> None:
        self._config = config
        self._rate = rate
        """Rate of the class's own threshold."""
        bound = calibration.bound if calibration is not None else None
        # what is not known of a tail is taken for that of a p-value
        least = math.log(config.alarm_rate) / math.log(rate)
        self._bound = max(1.0, least if bound is None else bound)
        self._reference = reference
        self._profile = profile
        columns = [
            ColumnReference(column, reference[:, number])
            for number, column in enumerate(profile.columns)
        ]
        self._tests = TestBatch(columns)

    def judge(self, detector: Any, window: Any, rows: Rows, **details: object) -> WindowVerdict:
        """Ask a detector of alibi-detect, and say what moved by our own tests of columns. The score is how far
        the window is beyond the class's threshold."""
        _seed_libraries(self._config.seed)
        data = detector.predict(window)["data"]
        severity = self._find_severity(data)
        alarm = bool(data["is_drift"]) and severity > self._bound
        results = self._tests.test_window(rows)
        scores = np.array([max((r.score for r in each), default=0.0) for each in results])
        named = choose_columns(np.maximum(scores, 0.0))
        changes = describe_columns(named, self._profile, self._reference, rows, alarm=alarm)
        return WindowVerdict(
            alarm=alarm,
            score=severity,
            threshold=self._bound,
            details={
                **details,
                "pValue": float(np.min(data["p_val"])),
                "columns": [to_json(change) for change in changes],
            },
            severity=severity,
        )

    def _find_severity(self, data: Mapping[str, Any]) -> float:
        """Return the distance, or else the logarithm of the p-value, by that of the threshold."""
        far = float(data["distance_threshold"]) if "distance_threshold" in data else 0.0
        if far > 0:
            return float(data["distance"]) / far
        least, bound = float(np.min(data["p_val"])), float(np.min(data["threshold"]))
        score = -math.log10(least) if least > 0 else SMALLEST
        return score / -math.log10(bound) if 0 < bound < 1 else score


class ColumnDrift(_Drift):
    """Classes that test one column after the other."""

    def __init__(
        self,
        alibi: AlibiSettings,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(config, reference, profile, calibration, config.alarm_rate)
        categories = _check_columns(alibi.name, profile)
        complete = reference[np.isfinite(reference).all(axis=1)]
        if len(complete) < LEAST:
            raise FitError(f"{alibi.name} has {len(complete)} complete reference rows")
        own: dict[str, object] = {"categories_per_feature": categories} if categories else {}
        self._detector = find_class(alibi.name)(
            complete, p_val=config.alarm_rate, **own, **(alibi.settings or {})
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge the complete rows of a window."""
        complete = rows[np.isfinite(rows).all(axis=1)]
        if len(complete) < LEAST:
            raise ValueError(f"{len(complete)} of {len(rows)} rows have no missing value")
        left = len(rows) - len(complete)
        return self.judge(self._detector, complete, rows, **({"incomplete": left} if left else {}))


def _check_columns(name: AlibiName, profile: TableProfile) -> dict[int, None]:
    """Return the columns that a class takes as categories; FitError for one that it can't take."""
    categories: dict[int, None] = {}
    for number, column in enumerate(profile.columns):
        counted = column.type in ("category", "boolean")
        fits = {
            "ChiSquareDrift": counted,
            "FETDrift": column.type == "boolean",
            "TabularDrift": counted or column.type == "number",
        }.get(name, column.type in ("number", "boolean"))
        if not fits:
            raise FitError(
                f"column `{column.name}` is of type {column.type}, {name} does not take it",
                hint="name the columns that it takes in the monitor's `columns`; `tabular` takes all",
            )
        if counted and name == "TabularDrift":
            categories[number] = None
    return categories


class FeatureDrift(_Drift):
    """Classes that test rows as wholes."""

    def __init__(
        self,
        alibi: AlibiSettings,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        permuted = "n_permutations" in ALIBI_CLASSES[alibi.name].settings
        rate = max(COARSE, config.alarm_rate) if permuted else config.alarm_rate
        super().__init__(config, reference, profile, calibration, rate)
        self._encoder = TableEncoder(profile, reference)
        features = self._encode(reference)
        if not features.shape[1]:
            raise FitError(f"{alibi.name}: no column of the reference varies")
        self._name = alibi.name
        self._features = features
        self._settings = dict(alibi.settings or {})
        self._hidden = self._settings.pop("hidden", None)
        if permuted:
            self._check_permutations(alibi.name, self._settings)
        self._detector = self._make_detector()

    def _make_detector(self) -> Any:
        _seed_libraries(self._config.seed)
        network = _build_network(self._name, self._features.shape[1], self._hidden)
        return find_class(self._name)(self._features, p_val=self._rate, **self._settings, **network)

    def _check_permutations(self, name: AlibiName, settings: dict[str, Any]) -> None:
        least = math.ceil(1 / self._rate)
        count = settings.setdefault("n_permutations", max(PERMUTATIONS, least))
        if count < least:
            raise FitError(
                f"{name}: n_permutations is {count}, must be at least {least}: no p-value is below 1/n",
                hint="leave it out",
            )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        # what was trained on a window, a kernel's width for one, is still there in the next
        trained = "epochs" in ALIBI_CLASSES[self._name].settings
        detector = self._make_detector() if trained else self._detector
        return self.judge(detector, self._encode(rows), rows)

    def _encode(self, rows: Rows) -> Any:
        return self._encoder.encode_rows(rows)[0].astype(np.float32)


def _build_network(name: AlibiName, width: int, hidden: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the network that a class needs, as its keyword argument."""
    if name not in ("ClassifierDrift", "LearnedKernelDrift"):
        return {}
    tensorflow = importlib.import_module("tensorflow")
    layers = tensorflow.keras.layers
    sizes = hidden if hidden is not None else (max(8, min(64, 2 * width)),)
    dense = [layers.Dense(size, activation="relu") for size in sizes]
    start = tensorflow.keras.Input(shape=(width,))
    if name == "ClassifierDrift":
        # Keras trains by what goes into a last softmax either way, and with one each answer is kept for ever
        return {
            "model": tensorflow.keras.Sequential([start, *dense, layers.Dense(2)]),
            "preds_type": "logits",
        }
    kernels = importlib.import_module("alibi_detect.utils.tensorflow")
    return {"kernel": kernels.DeepKernel(tensorflow.keras.Sequential([start, *dense]), eps=0.01)}


class FeatureOutliers:
    """Classes that score rows by how well a network rebuilds them."""

    def __init__(
        self,
        alibi: AlibiSettings,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        order: Calibration | None = None,
    ) -> None:
        fit, calibration = outliers.split_reference(config, reference)
        self._encoder = TableEncoder(profile, fit)
        self._seed = config.seed
        features = self._encoder.encode_rows(fit)[0].astype(np.float32)
        if not features.shape[1]:
            raise FitError(f"{alibi.name}: no column of the reference varies")
        settings = dict(alibi.settings or {})
        training: dict[str, Any] = {
            name: settings.pop(name) for name in ("epochs", "batch_size") if name in settings
        }
        _seed_libraries(self._seed)
        networks = _build_encoder(alibi.name, features.shape[1], settings)
        self._detector = find_class(alibi.name)(threshold=0.0, **networks, **settings)
        if alibi.name == "OutlierVAE":
            training["loss_fn"] = _build_loss()
        self._detector.fit(features, verbose=False, **training)
        self._judge = outliers.OutlierJudge(
            config,
            reference,
            profile,
            calibration,
            order=order,
            score=self._score_rows,
            split=self._split_rows,
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return self._judge.judge_window(rows)

    def _predict(self, rows: Rows) -> tuple[Mapping[str, Any], Any]:
        features, differs = self._encoder.encode_rows(rows)
        _seed_libraries(self._seed)
        return self._detector.predict(features.astype(np.float32))["data"], differs

    def _score_rows(self, rows: Rows) -> Rows:
        data, differs = self._predict(rows)
        scores: Rows = np.asarray(data["instance_score"], dtype=np.float64)
        # a feature that never varied is none of the network's: a row that differs there is unlike any
        scores += differs.sum(axis=1) * float(self._encoder.rows)
        return scores

    def _split_rows(self, rows: Rows) -> Rows:
        data, differs = self._predict(rows)
        parts = np.asarray(data["feature_score"], dtype=np.float64)
        return self._encoder.sum_columns(parts, differs.astype(np.float64) * self._encoder.rows)


def _build_encoder(name: AlibiName, width: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the networks of an autoencoder; takes `hidden`, and what only they need, out of the settings."""
    tensorflow = importlib.import_module("tensorflow")
    layers = tensorflow.keras.layers
    sizes = tuple(settings.pop("hidden", ())) or (max(2, width // 2),)
    latent = settings.get("latent_dim", max(1, width // 4))
    if name == "OutlierAE":
        settings.pop("latent_dim", None)
        sizes = (*sizes, latent)
    else:
        settings["latent_dim"] = latent
    encoder = [layers.Dense(size, activation="relu") for size in sizes]
    decoder = [layers.Dense(size, activation="relu") for size in reversed(sizes)]
    inside = tensorflow.keras.Input(shape=(sizes[-1] if name == "OutlierAE" else latent,))
    return {
        "encoder_net": tensorflow.keras.Sequential(
            [tensorflow.keras.Input(shape=(width,)), *encoder]
        ),
        "decoder_net": tensorflow.keras.Sequential([inside, *decoder, layers.Dense(width)]),
    }


def _build_loss() -> Callable[[Any, Any], Any]:
    """Return the loss of alibi-detect's `elbo` but for a constant: its own calls a distribution by an argument
    that TensorFlow Probability 0.20 no longer has."""
    tensorflow = importlib.import_module("tensorflow")

    def lose_likelihood(true: Any, rebuilt: Any) -> Any:
        distances = tensorflow.reduce_sum(tensorflow.square((true - rebuilt) / SPREAD), axis=-1)
        return tensorflow.reduce_mean(distances) / 2

    return lose_likelihood


class SeriesOutliers:
    """Rows of one column that stand out of the series that a window is (Ren et al., 2019)."""

    def __init__(
        self,
        alibi: AlibiSettings,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        order: Calibration | None = None,
    ) -> None:
        (column, *others) = profile.columns
        if others or column.type != "number":
            raise FitError(
                f"{alibi.name} reads one column of numbers, there are {len(profile.columns)}",
                hint=f"name it in the monitor's `columns`, such as `{column.name}`",
            )
        if len(reference) < outliers.LEAST:
            raise FitError(
                f"{alibi.name} has {len(reference)} reference rows, must be at least {outliers.LEAST}"
            )
        settings = {**SERIES, **(alibi.settings or {})}
        self._middle = float(np.nanmedian(reference))
        self._window = config.window
        self._detector = find_class(alibi.name)(threshold=0.0, **settings)
        # in its own order: the score of a row depends on those around it
        self._judge = outliers.OutlierJudge(
            config,
            reference,
            profile,
            reference,
            order=order,
            score=self._score_rows,
            split=self._score_column,
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return self._judge.judge_window(rows)

    def _score_rows(self, rows: Rows) -> Rows:
        """Score rows in windows as they are judged: the spectrum of a longer series is another, and so are its ends."""
        parts = np.array_split(rows, max(1, len(rows) // self._window))
        return np.concatenate([self._score_series(part) for part in parts])

    def _score_series(self, rows: Rows) -> Rows:
        series = np.where(np.isnan(rows[:, 0]), self._middle, rows[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            scores: Rows = np.asarray(self._detector.score(series), dtype=np.float64)
        if not np.isfinite(scores).all():
            # its spectrum has no amplitude somewhere, of which the logarithm is asked
            raise ValueError(
                f"the {len(rows)} values are all the same, or repeat a pattern exactly: nothing stands out"
            )
        return scores

    def _score_column(self, rows: Rows) -> Rows:
        return np.ones((len(rows), 1))
