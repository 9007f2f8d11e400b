"""Run in the monitor environment by test_detectors.py: recorded streams in, judgements out, as JSON."""

import json
import sys

import numpy as np

from driftloop.contract.handovers import OWN_KINDS, DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.verdicts import read_changes
from driftloop.services.detector.detectors import WindowDetector, fit_detector, statistics
from driftloop.services.detector.detectors.alibi import load_class


def fit(config: DetectorSettings, reference: np.ndarray) -> WindowDetector:
    """The detector of a table of numbers."""
    columns = tuple(
        ColumnProfile(
            name=f"c{n}",
            type="number",
            rows=len(reference),
            missing=0,
            distinct=len(np.unique(reference[:, n])),
        )
        for n in range(reference.shape[1])
    )
    profile = TableProfile(columns=columns, order=tuple(column.name for column in columns))
    return fit_detector(config, reference, profile)


def streams() -> dict[str, list[np.ndarray]]:
    """Windows of 200 rows x 6: forty clean; ten each whose last four changed in one way."""
    random = np.random.default_rng(3)

    def window(shift: float = 0.0, noisy: int = 0) -> np.ndarray:
        rows = random.normal(size=(200, 6)).astype(np.float32)
        rows[:, 2] += np.float32(shift)
        rows[:noisy] = random.uniform(-9, 9, size=(noisy, 6))
        return rows

    return {
        "clean": [window() for _ in range(40)],
        "shift": [window(shift=1.0 if n >= 6 else 0.0) for n in range(10)],
        "noise": [window(noisy=40 if n >= 6 else 0) for n in range(10)],
    }


COMMON = (0.4, 0.3, 0.2, 0.08, 0.02)
"""How often each of five categories comes up."""


def categories_reference() -> np.ndarray:
    return np.random.default_rng(1).choice(5, p=COMMON, size=(1000, 6)).astype(np.float32)


def categories() -> dict[str, list[np.ndarray]]:
    """Windows of 200 rows x 6 categories: forty clean; ten each whose last four have other shares, or a new one."""
    random = np.random.default_rng(7)

    def window(shares: tuple[float, ...] = COMMON, new: int = 0) -> np.ndarray:
        rows = random.choice(5, p=COMMON, size=(200, 6)).astype(np.float32)
        rows[:, 2] = random.choice(5, p=shares, size=200)
        rows[:new, 4] = 9
        return rows

    return {
        "clean": [window() for _ in range(40)],
        "shift": [window(COMMON[::-1] if n >= 6 else COMMON) for n in range(10)],
        "new": [window(new=20 if n >= 6 else 0) for n in range(10)],
    }


def main() -> None:
    found: dict[str, object] = {}
    measured = np.random.default_rng(1).normal(size=(1000, 6)).astype(np.float32)
    for kind in OWN_KINDS:
        config = DetectorSettings(kind, window=200, alarm_rate=0.01)
        reference, recorded = (
            (categories_reference(), categories()) if kind == "chi2" else (measured, streams())
        )
        detector, again = fit(config, reference), fit(config, reference)
        fires = {}
        for name, windows in recorded.items():
            first = [detector.score_window(rows) for rows in windows]
            second = [again.score_window(rows) for rows in reversed(windows)][::-1]
            assert first == second, f"{kind} depends on what it judged before"
            fires[name] = [n for n, judgement in enumerate(first) if judgement.alarm]
            if kind in ("iforest", "mahalanobis") and name == "noise":
                found[f"{kind} outliers"] = sum(1 for i in first[-1].outliers if i < 40)
                found[f"{kind} blind"] = lose_column(detector, windows[0])
        found[kind] = fires
    found["same as alibi"] = same_as_alibi()
    found["same as scipy"] = same_as_scipy()
    found["rare alarms"] = rare_alarms()
    found["loaded"] = [
        name
        for name in ("transformers", "numba", "tensorflow", "torch", "cv2", "pandas")
        if name in sys.modules
    ]
    json.dump(found, sys.stdout)


def lose_column(detector: WindowDetector, rows: np.ndarray) -> list[str]:
    """What an alarm says of a window whose fourth column has no values."""
    window = rows.astype(np.float64)
    window[:, 3] = np.nan
    return [change.text for change in read_changes(detector.score_window(window).details)]


def rare_alarms() -> int:
    """How many of 300 clean windows alarm when most categories are rare."""
    random = np.random.default_rng(11)
    shares = (0.9, 0.09, 0.005, 0.003, 0.002)
    detector = fit(
        DetectorSettings("chi2", alarm_rate=0.01),
        random.choice(5, p=shares, size=(1000, 6)).astype(np.float32),
    )
    windows = (random.choice(5, p=shares, size=(200, 6)).astype(np.float32) for _ in range(300))
    return sum(detector.score_window(rows).alarm for rows in windows)


def same_as_alibi() -> bool:
    """Whether our Kolmogorov-Smirnov scores are KSDrift's own, ties included, for several sizes."""
    random = np.random.default_rng(5)
    for rows, size, width in ((1000, 200, 8), (300, 500, 5), (50, 50, 3), (60, 2, 1)):
        reference = random.normal(size=(rows, width)).astype(np.float32)
        window = (random.normal(size=(size, width)) + random.uniform(0, 0.5, width)).astype(
            np.float32
        )
        reference[:, 0], window[:, 0] = np.round(reference[:, 0]), np.round(window[:, 0])
        ours = fit(DetectorSettings("ks", alarm_rate=0.05), reference)
        theirs = load_class("cd.ks", "KSDrift")(reference, p_val=0.05)
        p_values, distances = ours._feature_score(reference, window)  # type: ignore[attr-defined]
        expected_p, expected_d = theirs.feature_score(reference, window)
        if not (np.array_equal(p_values, expected_p) and np.array_equal(distances, expected_d)):
            return False
        verdict = ours.score_window(window)
        if verdict.alarm != bool(p_values.min() < verdict.threshold <= 0.05 / width):
            return False
    return True


def same_as_scipy() -> dict[str, float]:
    """The largest difference of tabular's p-values from scipy's, relative where p is below 0.2."""
    from scipy.stats import chi2, hypergeom, ks_2samp, mannwhitneyu

    random = np.random.default_rng(5)
    worst = {"shift": 0.0, "rank": 0.0, "share": 0.0, "mix": 0.0}

    def note(test: str, score: float, expected: float) -> None:
        difference = abs(10**-score - expected) / (expected if expected < 0.2 else 1.0)
        worst[test] = max(worst[test], difference)

    for rows, size in ((2000, 200), (300, 500), (50, 50), (1000, 2000)):
        for shift in np.linspace(0, 0.6, 20):
            reference, window = np.sort(random.normal(size=rows)), np.sort(random.normal(size=size))
            window += shift
            found = statistics.compare_samples(
                [(statistics.SortedSample(reference, False), window)]
            )
            gap = found.gaps
            score = statistics.score_gaps(gap, np.array([size]), np.array([rows]))
            ranks = statistics.UNTIED[0]
            rank = statistics.score_ranks(float(found.ranks[0]), ranks, size, rows)
            law = mannwhitneyu(window, reference, use_continuity=False, method="asymptotic")
            if law.pvalue > 1e-6:
                note("rank", rank or 0.0, law.pvalue)
            theirs = ks_2samp(reference, window, method="asymp")
            assert abs(gap[0] - theirs.statistic) < 1e-12
            note("shift", float(score[0]), theirs.pvalue)
            hits, before = random.integers(0, size // 4), random.integers(0, rows)
            law = hypergeom(rows + size, hits + before, size)
            counts = [np.array([n]) for n in (hits, size, before, rows)]
            tail = min(law.sf(hits - 1), law.cdf(hits))
            note("share", float(statistics.score_counts(*counts)[0]), min(1.0, 2 * tail))
            freedom, square = int(random.integers(1, 60)), float(random.uniform(0, 300))
            note("mix", statistics.score_squares(square, freedom), chi2.sf(square, freedom))
    return worst


if __name__ == "__main__":
    main()
