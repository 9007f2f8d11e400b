"""Records read back as they were written, and a newer version's keys are left alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError, from_json, to_json
from driftloop.contract.records import (
    RUN_OUTCOMES,
    Evaluation,
    RunRecord,
    SeenBatches,
    Snapshot,
    SnapshotBatch,
    VerdictRecord,
)

NAMES = st.text(min_size=1, max_size=200)
BATCHES = st.builds(
    SnapshotBatch,
    key=NAMES,
    size=st.integers(0, 10**12),
    etag=st.text(),
    sha256=NAMES,
    recent=st.booleans(),
)
METRICS = st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
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
    st.builds(
        RunRecord,
        pipeline=st.text(),
        run=NAMES,
        decision=st.text(),
        outcome=st.none() | st.sampled_from(RUN_OUTCOMES),
        reason=st.none() | st.text(),
    ),
    st.builds(
        VerdictRecord, detector=NAMES, release=NAMES, window=st.integers(1), alarm=st.booleans()
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
            RunRecord.read,
            {"run": ""},
            'the data of the run\'s event: `run` is `""`, must be a name of at most 200 characters',
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
