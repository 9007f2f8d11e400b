from hypothesis import given
from hypothesis import strategies as st

from driftloop.services.analysis.join import Agreement, ResponseJoin


def test_two_answers_to_one_request():
    join = ResponseJoin()
    join.add_response("a", "r1", (1,), 10.0)
    join.add_response("a", "r2", (1,), 10.5)
    join.add_response("b", "r2", (1,), 11.0)
    join.add_response("b", "r1", (2,), 11.5)
    join.add_response("c", "r1", (2,), 12.0)
    assert join.measure_agreement("r1", "r2", 0) == Agreement(2, 2, 1)
    assert join.measure_agreement("r2", "r1", 11.0) == Agreement(1, 1, 0)
    assert join.measure_agreement("r1", "r3", 0) == Agreement(0, 0, 0)
    assert join.count_responses("r1", 0) == 3
    assert join.count_responses("r1", 11) == 2


def test_the_rows_of_a_batch_count_each():
    join = ResponseJoin()
    for request, ours, theirs in (("a", (1, 2, 3), (1, 2, 4)), ("b", (1, 2), (1,)), ("c", (), ())):
        join.add_response(request, "r1", ours, 0.0)
        join.add_response(request, "r2", theirs, 0.0)
    assert join.measure_agreement("r1", "r2", 0) == Agreement(3, 3 + 2 + 1, 2 + 0 + 1)


def test_numbers_are_alike_within_a_tolerance():
    join = ResponseJoin()
    for request, ours, theirs in (
        ("a", (10.0, 20.0, 3), (10.4, 26.0, 5)),
        ("b", (1.5,), ("town",)),
        ("c", (7.0,), (7.0,)),
    ):
        join.add_response(request, "r1", ours, 0.0)
        join.add_response(request, "r2", theirs, 0.0)
    assert join.measure_agreement("r1", "r2", 0) == Agreement(3, 5, 2)
    assert join.measure_agreement("r1", "r2", 0, 2.0) == Agreement(3, 5, 3)
    assert join.measure_agreement("r1", "r2", 0, 6.0) == Agreement(3, 5, 4)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["r1", "r2"]), st.integers(0, 1)), max_size=60
    )
)
def test_any_order_and_any_repeats_count_once(responses):
    join = ResponseJoin()
    first: dict[tuple[int, str], int] = {}
    for n, (request, release, answer) in enumerate(responses):
        join.add_response(str(request), release, (answer,), float(n))
        first.setdefault((request, release), answer)
    both = [r for r in range(9) if (r, "r1") in first and (r, "r2") in first]
    agreed = [r for r in both if first[r, "r1"] == first[r, "r2"]]
    assert join.measure_agreement("r1", "r2", 0) == Agreement(len(both), len(both), len(agreed))
    assert join.count_responses("r1", 0) == sum(1 for _, release in first if release == "r1")


def test_what_only_production_answered():
    join = ResponseJoin(ttl=50)
    join.add_response("old", "r1", (1,), 1.0)
    join.add_response("both", "r1", (1,), 10.0)
    join.add_response("both", "r2", (1,), 11.0)
    join.add_response("alone", "r1", (1,), 12.0)
    join.add_response("candidate", "r2", (1,), 12.0)
    join.add_response("new", "r1", (1,), 19.0)
    assert join.list_alone("r1", "r2", 5.0, 20.0) == ("alone",)
    assert join.list_alone("r1", "r2", 0.0, 20.0) == ("old", "alone")
    assert join.list_alone("r1", "r2", 5.0, 24.0) == ("alone", "new")
    # also once the entries are forgotten
    join.add_response("later", "r2", (1,), 500.0)
    assert len(join) == 1
    assert join.list_alone("r1", "r2", 5.0, 500.0) == ("alone", "new")


def test_memory_is_bounded_by_number():
    join = ResponseJoin(open=100, kept=50)
    for n in range(1000):
        join.add_response(f"{n}", "r1", (1,), 0.0)
    assert len(join) == 100
    for n in range(1000):
        join.add_response(f"p{n}", "r1", (1,), 0.0)
        join.add_response(f"p{n}", "r2", (1,), 0.0)
    assert join.measure_agreement("r1", "r2", 0) == Agreement(50, 50, 50)


def test_memory_is_bounded_by_age():
    join = ResponseJoin(ttl=10)
    for second in range(100):
        join.add_response(f"{second}", "r1", (1,), float(second))
    assert len(join) == 11


def test_releases_come_and_go():
    join = ResponseJoin()
    for n in range(40):
        join.add_response("x" + str(n), f"r{n}", (1,), float(n))
        join.add_response("x" + str(n), f"s{n}", (1,), float(n))
    assert join.measure_agreement("r39", "s39", 0) == Agreement(1, 1, 1)
    assert join.measure_agreement("r0", "s0", 0) == Agreement(0, 0, 0)
    assert join.count_responses("r0", 0) == 0
