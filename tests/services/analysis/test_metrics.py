import math

import pytest

from driftloop.release.judgement import Answers
from driftloop.services.analysis.metrics import PredictorCounting, PredictorScrape, parse_metrics

ENVOY = """\
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="digits/digits-r1/model"} 97
envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="digits/digits-r1/model"} 1
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="digits/digits-r1/model"} 2
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="digits/digits-r1/broker"} 200
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="digits/digits-r12/model"} 9
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="digits/digits-r1/model"} 97
envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="digits/digits-r1/model"} 1
envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="digits/digits-r12/model"} 7
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="digits/digits-r1/model",le="5"} 60
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="digits/digits-r1/model",le="10"} 98
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="digits/digits-r1/model",le="+Inf"} 100
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="digits/digits-r1/model"} 512
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="digits/digits-r1/model"} 100
"""

EXECUTOR = """\
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
# TYPE seldon_api_executor_server_requests_seconds histogram
seldon_api_executor_server_requests_seconds_bucket{code="200",service="predictions",le="0.1"} 30
seldon_api_executor_server_requests_seconds_bucket{code="200",service="predictions",le="+Inf"} 40
seldon_api_executor_server_requests_seconds_sum{code="200",service="predictions"} 4.2
seldon_api_executor_server_requests_seconds_count{code="200",service="predictions"} 40
seldon_api_executor_server_requests_seconds_bucket{code="500",service="predictions",le="0.1"} 1
seldon_api_executor_server_requests_seconds_bucket{code="500",service="predictions",le="+Inf"} 2
seldon_api_executor_server_requests_seconds_count{code="500",service="predictions"} 2
seldon_api_executor_server_requests_seconds_bucket{code="422",service="predictions",le="0.1"} 3
seldon_api_executor_server_requests_seconds_bucket{code="422",service="predictions",le="+Inf"} 3
seldon_api_executor_server_requests_seconds_count{code="422",service="predictions"} 3
seldon_api_executor_server_requests_seconds_count{code="200",service="status"} 99
"""


def test_the_logging_envoy():
    scrape = parse_metrics(ENVOY, "digits-r1", now=1000.0)
    assert scrape.answers == Answers(100, 2, {0.005: 60, 0.01: 98, math.inf: 100}, {"400": 1})


def test_seldons_executor():
    scrape = parse_metrics(EXECUTOR, "digits-r1", now=1000.0)
    assert scrape == PredictorScrape(1.7e9, Answers(45, 2, {0.1: 34, math.inf: 45}, {"422": 3}))


@pytest.mark.parametrize("text", ["", "# nothing\n", "<html>not metrics</html>", "other_total 3\n"])
def test_a_page_without_them_counts_nothing(text):
    assert parse_metrics(text, "digits-r1", now=0.0) == PredictorScrape(0.0, Answers())


def counts(requests: int, errors: int = 0) -> Answers:
    return Answers(requests, errors, {0.1: requests, math.inf: requests})


def test_only_what_came_since_counts():
    counting = PredictorCounting(since=100.0)
    assert counting.add_scrape(PredictorScrape(0.0, counts(50, 5))).requests == 0
    assert counting.add_scrape(PredictorScrape(0.0, counts(60, 6))) == counts(10, 1)
    assert counting.add_scrape(PredictorScrape(0.0, counts(60, 6))) == counts(10, 1)


def test_counters_that_start_again():
    counting = PredictorCounting(since=100.0)
    counting.add_scrape(PredictorScrape(0.0, counts(50, 5)))
    counting.add_scrape(PredictorScrape(0.0, counts(60, 6)))
    assert counting.add_scrape(PredictorScrape(0.0, counts(7, 0))) == counts(17, 1)
    assert counting.add_scrape(PredictorScrape(0.0, counts(8, 1))) == counts(18, 2)


def test_refusals_are_counted_by_their_code():
    counting = PredictorCounting(since=100.0)
    for first, second in (({"400": 5}, {}), ({"400": 7, "422": 1}, {"400": 2}), ({"400": 7}, {})):
        counting.add_scrape(PredictorScrape(0.0, Answers(9, 0, {}, first)))
        counting.add_scrape(PredictorScrape(500.0, Answers(9, 0, {}, second)))
    assert counting.total.refusals == {"400": 2 + 2, "422": 1}
    assert counting.total.refused == 5


def test_several_processes_behind_one_address():
    counting = PredictorCounting(since=1000.0)
    for first, second in ((100, 300), (110, 330), (120, 330)):
        counting.add_scrape(PredictorScrape(10.0, counts(first)))
        counting.add_scrape(PredictorScrape(500.0, counts(second)))
    assert counting.total.requests == 20 + 30


def test_pods_that_started_at_the_same_moment_are_told_apart_by_their_address():
    counting = PredictorCounting(since=1000.0)
    for first, second in ((100, 300), (110, 330), (120, 330)):
        counting.add_scrape(PredictorScrape(500.0, counts(first)), "10.0.0.1:8000")
        counting.add_scrape(PredictorScrape(500.5, counts(second)), "10.0.0.2:8000")
    assert counting.total.requests == 20 + 30


def test_a_process_that_started_later_counts_from_its_start():
    counting = PredictorCounting(since=1000.0)
    assert counting.add_scrape(PredictorScrape(1010.0, counts(5))).requests == 5
