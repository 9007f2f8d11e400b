"""Streams, subjects and buckets."""

import re

from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.streams import (
    BUCKETS,
    DEAD_LETTERS,
    RECORDERS,
    VERDICTS,
    AnalysisStreams,
    DetectorStreams,
    RecorderStreams,
    dead_letter_subject,
    event_bus_stream,
    event_bus_subject,
    is_release_token,
    stream_token,
    verdict_subjects,
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


def takes(pattern: str, subject: str) -> bool:
    """NATS's rule: `*` is one token, `>` is all the rest."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(r">", ".+").replace(r"\>", ".+")
    return re.fullmatch(expression, subject) is not None


def test_a_name_becomes_a_token() -> None:
    assert stream_token("my-ns.x") == "MY_NS_X"


@given(LABELS, LABELS, LABELS, LABELS)
def test_each_stream_takes_the_subjects_that_are_published(
    namespace: str, pipeline: str, detector: str, release: str
) -> None:
    streams = DetectorStreams(namespace, pipeline, detector, release)
    assert takes(streams.events_stream.subjects[0], streams.event_subject(release))
    assert takes(VERDICTS.subjects[0], streams.verdicts)
    assert takes(verdict_subjects(namespace, pipeline), streams.verdicts)
    assert takes(DEAD_LETTERS.subjects[0], dead_letter_subject(namespace, pipeline))
    analysis = AnalysisStreams(namespace, pipeline)
    assert takes(analysis.responses.subjects[0], analysis.subject(release))
    recorder = RecorderStreams(namespace, pipeline)
    assert takes(recorder.events_stream.subjects[0], recorder.event_subject("request"))
    assert takes(RECORDERS.subjects[0], recorder.state)
    bus = event_bus_stream(namespace)
    assert takes(bus.subjects[0], event_bus_subject(namespace, pipeline, "retrain"))
    for stream in (
        streams.events_stream,
        recorder.events_stream,
        analysis.responses,
        bus,
        VERDICTS,
        DEAD_LETTERS,
    ):
        assert re.fullmatch(r"[A-Z0-9_]+", stream.name)
    assert "." not in streams.emitter
    assert is_release_token(release)


def test_a_subject_token_has_no_dot_or_wildcard() -> None:
    for text in ("", "a.b", "*", ">", "a b", "x" * 64):
        assert not is_release_token(text)


def test_a_bucket_is_a_stream() -> None:
    assert next((bucket.stream, bucket.prefix) for bucket in BUCKETS) == (
        "KV_driftloop-decisions",
        "$KV.driftloop-decisions.",
    )
    assert len({bucket.name for bucket in BUCKETS}) == len(BUCKETS)
