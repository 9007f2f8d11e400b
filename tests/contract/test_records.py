"""Records read back as they were written, and a newer version's keys are left alone."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError, from_json, to_json
from driftloop.contract.outcomes import OUTCOME_KINDS, RunOutcome, clean_reason, exit_code
from driftloop.contract.records import (
    GATE_BOUNDS,
    Evaluation,
    GateResult,
    GateVerdict,
    ProductionRelease,
    RunRecord,
    SeenBatches,
    Snapshot,
    SnapshotBatch,
    TrialResult,
    parse_trials,
)
from driftloop.contract.verdicts import LastingRecord, UnjudgedRecord, VerdictRecord, WindowRecord
from driftloop.contract.windows import OpenWindow

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200)
BATCHES = st.builds(
    SnapshotBatch,
    key=NAMES,
    size=st.integers(0, 10**12),
    etag=st.text(),
    sha256=NAMES,
    recent=st.booleans(),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.dictionaries(NAMES, NUMBERS, max_size=3)
MEASURES = st.dictionaries(st.sampled_from(["all", "recent"]), METRICS)
RECORDS = st.one_of(
    st.builds(Snapshot, uri=st.text(), batches=st.lists(BATCHES).map(tuple), data_digest=NAMES),
    st.builds(SeenBatches, st.frozensets(st.tuples(st.text(), st.text()))),
    st.builds(
        Evaluation,
        candidate=MEASURES,
        production=st.none() | MEASURES,
        rows=st.none() | st.dictionaries(NAMES, st.integers(0)),
        against=st.none() | NAMES,
    ),
    st.builds(ProductionRelease, id=NAMES),
    st.builds(TrialResult, trial=NAMES, metrics=METRICS, home=st.none() | NAMES),
    st.builds(
        GateVerdict,
        passed=st.booleans(),
        reasons=st.lists(st.text()).map(tuple),
        gates=st.lists(
            st.builds(
                GateResult,
                metric=NAMES,
                on=st.sampled_from(["all", "recent"]),
                rule=st.sampled_from(GATE_BOUNDS),
                value=NUMBERS,
                bound=st.none() | NUMBERS,
                passed=st.booleans(),
                reason=NAMES,
            )
        ).map(tuple),
    ),
    st.builds(
        WindowRecord,
        detector=NAMES,
        release=NAMES,
        window=st.integers(1),
        size=st.integers(0),
        first=st.integers(1),
        last=st.integers(1),
        alarm=st.booleans(),
        score=st.floats(allow_nan=False),
        threshold=st.floats(allow_nan=False),
        details=st.dictionaries(st.text(), st.integers() | st.text()),
        requests=st.lists(st.text()).map(tuple),
    ),
    st.builds(
        RunRecord,
        pipeline=st.text(),
        run=NAMES,
        decision=st.text(),
        outcome=st.none() | st.sampled_from(OUTCOME_KINDS),
        reason=st.none() | st.text(),
    ),
    st.builds(
        RunOutcome,
        kind=st.sampled_from(OUTCOME_KINDS),
        reason=NAMES,
        time=st.just("2026-01-31T09:30:00Z"),
        obstacle=st.none(),
    ),
    st.builds(
        UnjudgedRecord,
        detector=NAMES,
        release=NAMES,
        reference=NAMES,
        size=st.integers(0),
        time=st.just("2026-01-31T09:30:00Z"),
    ),
    st.builds(
        OpenWindow,
        release=NAMES,
        window=st.integers(1),
        rows=st.integers(0),
        full=st.integers(0),
        least=st.integers(0),
        repeated=st.integers(0),
        since=st.none() | st.just("2026-01-31T09:30:00Z"),
        due=st.none() | st.just("2026-01-31T15:30:00Z"),
    ),
    st.builds(
        VerdictRecord,
        detector=NAMES,
        release=NAMES,
        window=st.integers(1),
        alarm=st.booleans(),
        lasting=st.none() | st.integers(2),
    ),
    st.builds(
        LastingRecord,
        alarm=st.booleans(),
        window=st.integers(1),
        windows=st.integers(2),
        rows=st.integers(0),
        score=st.floats(0, 1e9),
        since=st.none() | st.just("2026-01-31T09:30:00Z"),
        until=st.none() | st.just("2026-01-31T15:30:00Z"),
    ),
)


@given(record=RECORDS)
def test_a_record_reads_back_beside_keys_of_a_newer_version(record: Any) -> None:
    document = json.loads(json.dumps({**to_json(record), "newer": 1}))
    assert from_json(type(record), document, label="it", closed=False) == record


@pytest.mark.parametrize(
    ("read", "document", "message"),
    [
        (Snapshot.read, [], "snapshot.json is `[]`, must be a JSON object"),
        (
            Snapshot.read,
            {"uri": "s3://d/b", "objects": [{"key": "a", "size": -1}], "dataDigest": "x"},
            "an object of snapshot.json: `size` is `-1`, must be bytes, 0 or more",
        ),
        (
            SeenBatches.read,
            {"batches": [["a"]]},
            'seen.json: `batches` is `[["a"]]`, must be a list of [key, etag]',
        ),
        (
            Evaluation.read,
            {"candidate": {"all": {"accuracy": float("nan")}}, "production": None},
            'metrics.json: `candidate` is `{"all": {"accuracy": NaN}}`, '
            "must be finite numbers by metric, for `all` and `recent` rows",
        ),
        (
            ProductionRelease.read,
            {"model": "s3://b/m"},
            "release.json has no key `id`, must be a release id",
        ),
        (
            WindowRecord.read,
            {"detector": "drift", "release": "r1", "window": 1, "size": -1},
            "the stored verdict: `size` is `-1`, must be a number of rows",
        ),
        (
            RunRecord.read,
            {"run": ""},
            'the data of the run\'s event: `run` is `""`, must be a name of at most 200 printable characters',
        ),
        (
            VerdictRecord.read,
            {"detector": "drift", "release": "r1", "window": 0, "alarm": True},
            "the data of the verdict's event: `window` is `0`, must be a number from 1",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    read: Any, document: object, message: str
) -> None:
    with pytest.raises(DocumentError) as error:
        read(document)
    assert error.value.message == message


def test_a_score_that_is_not_a_number_is_kept() -> None:
    stored = WindowRecord(
        detector="drift",
        release="r1",
        window=1,
        size=2,
        first=1,
        last=2,
        alarm=False,
        score=float("nan"),
        threshold=float("inf"),
        time="2026-01-31T09:30:00Z",
        details={},
        requests=(),
    )
    text = json.dumps(to_json(stored), separators=(",", ":"))
    assert text == (
        '{"detector":"drift","release":"r1","window":1,"size":2,"firstSequence":1,"lastSequence":2,'
        '"alarm":false,"score":NaN,"threshold":Infinity,"time":"2026-01-31T09:30:00Z",'
        '"details":{},"requests":[]}'
    )
    again = WindowRecord.read(json.loads(text))
    assert math.isnan(again.score)
    assert again.threshold == float("inf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list of trials is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{}", "the list of trials is `{}`, must be a list"),
        ("[]", "the list of trials is empty"),
        (
            '[{"trial": "0"}]',
            "entry 1 of the trials has no key `metrics`, must be finite numbers by metric, as JSON text",
        ),
        (
            '[{"trial": "0", "metrics": "{}"}, {"trial": "1", "metrics": "{\\"a\\": NaN}"}]',
            'entry 2 of the trials: `metrics` is `"{\\"a\\": NaN}"`, must be finite numbers by metric, as JSON text',
        ),
    ],
)
def test_trials_that_are_not_ones_are_named(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        parse_trials(text)
    assert error.value.message == message


def test_each_outcome_has_an_exit_code_of_its_own() -> None:
    codes = [exit_code(kind) for kind in OUTCOME_KINDS]
    assert len(set(codes)) == len(OUTCOME_KINDS)
    # 1 and 2 are those of a command that could not do what it was told
    assert not {1, 2} & set(codes)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"outcome": "lost"}, 'outcome.json: `outcome` is `"lost"`, must be one of: released, '),
        ({"reason": ""}, 'outcome.json: `reason` is `""`'),
        ({"time": "yesterday"}, 'outcome.json: `time` is `"yesterday"`, must be a time in UTC'),
        ({"obstacle": "halted"}, 'outcome.json: `obstacle` is "halted", must be one of: halted'),
        ({"outcome": "not-started"}, "outcome.json: `obstacle` is null, must be one of: halted"),
    ],
)
def test_an_outcome_is_of_the_vocabulary(document: dict[str, str], message: str) -> None:
    good = {"outcome": "failed", "reason": "no rows", "time": "2026-01-31T09:30:00Z"}
    with pytest.raises(DocumentError) as error:
        RunOutcome.read(good | document)
    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "retryStrategy.expression evaluated to false: Error (exit code 1): error: train.py:3: no",
            "train.py:3: no",
        ),
        ("No more retries left: main: Error (exit code 137)", "Error (exit code 137)"),
        ("Pod was active on the node longer than the specified deadline", ""),
    ],
)
def test_a_reason_is_in_the_words_of_the_step(message: str, reason: str) -> None:
    assert clean_reason(message) == (reason or message)
