"""Types, sources and ids of events."""

from driftloop.contract import events


def test_a_detector_is_told_from_its_events_type() -> None:
    assert events.detector_of(events.detector_type("drift")) == "drift"
    assert events.is_own_type(events.RUN_FINISHED)
    assert not events.is_own_type(events.INFERENCE_RESPONSE)
    assert events.inference_type("request") == events.INFERENCE_REQUEST


def test_ids_are_the_same_for_the_same_thing_and_differ_otherwise() -> None:
    ids = {
        events.verdict_id("n", "p", "drift", "r1", 1),
        events.verdict_id("n", "p", "drift", "r1", 2),
        events.run_id("n", "p", "r", "started"),
        events.run_id("n", "p", "r", "finished"),
    }
    assert len(ids) == 4
    assert events.verdict_id("n", "p", "drift", "r1", 1) == "56ac8bcf-a5dc-5e64-af81-3f5e69e16a1a"
