"""How the cluster test tells when the gateway does what a VirtualService says."""

from cluster.watching import SETTLE, Span, settled

BOTH, OLD, NEW = frozenset("ab"), frozenset("a"), frozenset("b")


def test_a_slow_gateway_is_seen_by_the_first_request_that_is_copied():
    spans = [Span({"a": 100}, None, 0, 20), Span({"a": 100}, "b", 20, 60)]
    requests = [(at, OLD if at < 27 else BOTH) for at in range(60)]
    assert settled(spans, requests) == 27 - 20 + 1
    assert spans[1].inside(8) == (28, 59)


def test_the_end_of_the_copies_is_seen_by_the_first_request_that_went_to_one():
    spans = [Span({"a": 100}, "b", 0, 20), Span({"a": 80, "b": 20}, None, 20, 60)]
    requests = [(at, BOTH if at < 26 else NEW if at % 5 == 0 else OLD) for at in range(60)]
    assert settled(spans, requests) == 26 - 20 + 1


def test_where_no_request_can_tell_it_is_taken_to_be_as_slow_as_elsewhere():
    spans = [Span({"a": 80, "b": 20}, None, 0, 20), Span({"a": 50, "b": 50}, None, 20, 60)]
    requests = [(at, NEW if at % 2 else OLD) for at in range(60)]
    assert settled(spans, requests) == SETTLE
    spans.insert(0, Span({"a": 100}, None, -40, 0))
    requests = [(at, OLD) for at in range(-40, 9)] + [(9, NEW), *requests[10:]]
    assert settled(spans, requests) == 10


def test_a_candidate_without_weight_that_is_not_copied_to_can_get_nothing():
    assert Span({"a": 100, "b": 0}, None, 0, 1).reached == {OLD}
