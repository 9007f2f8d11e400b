"""What columns look like in an alarm: shares that add up, of the right rows, whatever the columns hold."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lasting import NAMES, window

from driftloop.contract.distributions import (
    DISTRIBUTIONS,
    MOST_BINS,
    MOST_COLUMNS,
    read_distributions,
)
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.privacy import hide_values
from driftloop.contract.verdicts import WindowRecord, read_changes
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.shapes import REST, UNSEEN, ColumnShapes
from driftloop.services.detector.stream.judging import build_judge
from driftloop.services.detector.stream.scoring import build_verdict
from tests.services.detector.test_lasting import CARRIERS, REFERENCE, TYPES, mixed, profile


def shapes() -> ColumnShapes:
    return ColumnShapes(profile(REFERENCE, TYPES), REFERENCE)


def test_an_alarm_keeps_the_columns_that_changed_and_a_quiet_window_none() -> None:
    config = DetectorSettings("tabular", window=200)
    table = profile(REFERENCE, TYPES)
    judge = build_judge(fit_detector(config, REFERENCE, table), config, REFERENCE, table)
    rows = mixed(np.random.default_rng(1), 200)
    quiet = window(1, rows)
    record = build_verdict(NAMES, quiet, judge.judge_window(quiet))
    assert not record.alarm
    assert DISTRIBUTIONS not in record.details
    moved = rows.copy()
    moved[:, 0] += 20
    moved[:150, 2] = len(CARRIERS)
    loud = window(2, moved)
    document = json.loads(json.dumps(to_json(build_verdict(NAMES, loud, judge.judge_window(loud)))))
    found = {each.column: each for each in read_distributions(WindowRecord.read(document).details)}
    assert set(found) == {"c0", "c2"}
    carrier = found["c2"]
    assert carrier.labels == ("UA", "AA", "B6", "DL", "9E", UNSEEN)
    assert carrier.after[-1] == 0.75
    assert carrier.before[-1] == 0
    delay = found["c0"]
    assert (len(delay.labels), len(delay.before), len(delay.after)) == (MOST_BINS,) * 3
    assert delay.before[0] > 0.2 > delay.after[0]
    assert 0.02 < delay.missing_before < 0.04
    assert float(delay.upper) > float(delay.labels[-1])


def test_an_alarm_tells_no_value_of_a_private_column() -> None:
    """What `capture` drops or hashes is in no verdict, and so in no event, metric, commit, chart or page."""
    private = ("c0", "c2", "c3")
    config = DetectorSettings("tabular", window=200, private=private)
    table = profile(REFERENCE, TYPES)
    judge = build_judge(fit_detector(config, REFERENCE, table), config, REFERENCE, table)
    moved = mixed(np.random.default_rng(1), 200)
    moved[:, :2] += 20
    moved[:150, 2] = 1
    loud = window(2, moved)
    loud = replace(
        loud, faults=replace(loud.faults, unseen=Counter({"c2 secret": 2, "c4 told": 1}))
    )
    record = build_verdict(NAMES, loud, judge.judge_window(loud), private=private)
    text = json.dumps(to_json(record))
    assert not [name for name in (*CARRIERS, "secret") if f'"{name}"' in text or f" {name}" in text]
    assert record.details["unseen"] == {"c2": 2, "c4 told": 1}
    changes = {change.column: change for change in read_changes(record.details)}
    assert (changes["c0"].kind, changes["c0"].before, changes["c0"].of) == ("private", 0, "")
    assert re.fullmatch(r"c2 moved by \d\d % of the rows", changes["c2"].text)
    assert changes["c1"].kind == "shift"
    assert {each.column for each in read_distributions(record.details)} == {"c1"}
    # of what a detector says more than its values nothing is lost
    assert hide_values(record.details, ()) == record.details


def test_details_that_can_not_be_read_have_no_distributions() -> None:
    assert read_distributions({}) == ()
    assert read_distributions({DISTRIBUTIONS: "x"}) == ()
    assert read_distributions({DISTRIBUTIONS: [{"column": "a"}]}) == ()
    lopsided = {
        "column": "a", "type": "number", "labels": ["0"], "upper": "1", "before": [1.0, 0.0], "after": [1.0],
    }  # fmt: skip
    assert read_distributions({DISTRIBUTIONS: [lopsided]}) == ()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40), gaps=st.floats(0, 1))
def test_shares_add_up_to_the_rows_with_a_value(seed: int, rows: int, gaps: float) -> None:
    random = np.random.default_rng(seed)
    sample = mixed(random, rows)
    sample[random.random(sample.shape) < gaps] = np.nan
    found = shapes().compare([f"c{n}" for n in range(6)] + ["c0", "another"], sample)
    assert [each.column for each in found] == ["c0", "c1", "c2", "c3", "c4"], "a time has no shape"
    for each in found:
        assert sum(each.before) + each.missing_before == pytest.approx(1, abs=1e-3)
        assert sum(each.after) + each.missing_after == pytest.approx(1, abs=1e-3)
        assert len(each.labels) == len(each.before) == len(each.after) <= MOST_BINS


def test_many_columns_and_many_categories_are_bounded() -> None:
    wide = np.random.default_rng(0).normal(size=(50, 30))
    table = profile(wide)
    found = ColumnShapes(table, wide).compare(table.names, wide)
    assert len(found) == MOST_COLUMNS
    constant = ColumnShapes(profile(np.ones((9, 1))), np.ones((9, 1))).compare(
        ["c0"], np.ones((3, 1))
    )
    assert sum(constant[0].after) == 1
    assert REST not in found[0].labels
