"""Each alert is raised when it should be and not otherwise, as Prometheus's own `promtool` plays it."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from hypothesis import given, settings
from support.promql import parsed

from driftloop.release import record
from driftloop.render import render_tree
from driftloop.retrain.state import Phase
from tests.check.test_generated import specs
from tests.golden.trees import release_text, spec_text, tree
from tests.pipelines import version

ROOT = Path(__file__).parents[2]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on this machine")
RULES = ("observability", "observability-seldon", "platform")
PLATFORM = (
    ROOT / "cluster" / "infrastructure" / "configs" / "watching" / "driftloop.prometheusrule.yaml"
)

Seen = dict[str, str]
"""Series -> values, as promtool writes them: `0+60x20` is 0, 60, 120, … twenty times."""


@cache
def rules(name: str) -> Any:
    """Return the alert rules of a golden pipeline, or of the platform."""
    platform = name == "platform"
    text = (
        PLATFORM.read_text()
        if platform
        else tree(name)[f"monitors/{name}/alerts.prometheusrule.yaml"]
    )
    return yaml.safe_load(text)["spec"]


def alerts(tree: str) -> list[dict[str, Any]]:
    return [rule for group in rules(tree)["groups"] for rule in group["rules"]]


def series(metric: str, /, **labels: str) -> str:
    return f"{metric}{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"


def service(name: str, component: str, *, pod: str = "0", **more: str) -> str:
    """A series of one of our services, with the labels that Prometheus gives it."""
    return series(
        name, namespace="observability", job="observability/observability-services", pod=f"{component}-{pod}",
        app_kubernetes_io_name="observability", app_kubernetes_io_component=component, **more,
    )  # fmt: skip


def phase(*times: tuple[str, int]) -> Seen:
    """The decision's phases one after the other, each for so many minutes."""
    known = get_args(Phase)
    return {
        service("driftloop_decision_phase", "decision", phase=one): " ".join(
            f"{int(one == now)}x{minutes - 1}" for now, minutes in times
        )
        for one in known
    }


def outcome(*values: tuple[str, str]) -> Seen:
    return {
        service("driftloop_decision_outcome", "decision", outcome=name): text
        for name, text in values
    }


def envoy(what: str, release: str = "r56aae35f", **more: str) -> str:
    cluster = f"observability/observability-{release}/model"
    return series(
        f"envoy_cluster_upstream_rq_{what}",
        namespace="observability",
        envoy_cluster_name=cluster,
        **more,
    )


def unlogged(a_minute: int) -> Seen:
    """100 requests a minute, and so many of their events given up."""
    given_up = envoy("retry_limit_exceeded").replace("/model", "/broker")
    return {envoy("completed"): "0+100x60", given_up: f"0+{a_minute}x60"}


def failing(release: str, a_minute: int) -> Seen:
    return {
        envoy("completed", release): "0+100x60",
        envoy("xx", release, envoy_response_code_class="2"): f"0+{100 - a_minute}x60",
        envoy("xx", release, envoy_response_code_class="5"): f"0+{a_minute}x60",
    }


def away() -> Seen:
    """10 requests a minute that no model takes: Envoy answers them itself."""
    return {
        envoy("total"): "100x120",
        envoy("completed"): "100+10x120",
        envoy("xx", envoy_response_code_class="5"): "0+10x120",
    }


def slow(release: str, late: int) -> Seen:
    """100 requests a minute, so many of them between 250 and 500 ms."""
    return {
        envoy(
            "time_bucket", release, le=bound
        ): f"0+{100 - (late if float(bound) <= 250 else 0)}x60"
        for bound in ("100", "250", "500", "+Inf")
    }


def executor(what: str, release: str = "rabf97175", **more: str) -> str:
    return series(
        f"seldon_api_executor_server_requests_seconds_{what}", namespace="watched", service="predictions",
        deployment_name="observability-seldon", predictor_name=release, **more,
    )  # fmt: skip


def watched(name: str, component: str) -> str:
    labels = {
        "app_kubernetes_io_name": "observability-seldon",
        "app_kubernetes_io_component": component,
    }
    return series(name, namespace="watched", **labels)


def drift(alarm: str, window: str, *, pod: str = "0") -> Seen:
    return {
        service("driftloop_detector_alarm", "drift", pod=pod): alarm,
        service("driftloop_detector_window", "drift", pod=pod): window,
    }


def logger(release: str, values: str) -> Seen:
    labels = {
        "namespace": "observability",
        "job": "observability/observability-model",
        "container": "logger",
    }
    return {series("up", **labels, driftloop_dev_release=release): values}


def engine(values: str, container: str = "seldon-container-engine") -> Seen:
    """A target in production's pod: the executor, or the model behind it."""
    labels = {
        "namespace": "watched",
        "job": "watched/observability-seldon-model",
        "version": "rabf97175",
    }
    return {series("up", **labels, container=container): values}


def cron(values: str, *, pod: str = "0", what: str = "triggered_total") -> Seen:
    labels = {"namespace": "observability", "name": "observability-cron", "pod": pod}
    return {series(f"argo_workflows_cronworkflows_{what}", **labels): values}


def anywhere(metric: str, job: str, **labels: str) -> str:
    """A series of a pipeline that the platform's PodMonitors scrape."""
    return series(metric, namespace="n", job=f"monitoring/{job}", **labels)


def runs(values: str, phase: str = "Failed") -> Seen:
    """Argo's count of workflows that entered a phase, in a namespace with a pipeline."""
    return {
        series("argo_workflows_total_count", namespace="n", phase=phase): values,
        anywhere("driftloop_decision_phase", "services", phase="idle"): "1x200",
    }


def dispatched(status: str, values: str) -> Seen:
    """What Knative's filter counts of a subscriber's answers."""
    return {
        series(
            "kn_eventing_dispatch_duration_seconds_count",
            job="monitoring/knative",
            namespace="knative-eventing",
            kn_broker_namespace="n",
            messaging_destination_name="trigger:p-drift.n",
            http_response_status_code=status,
        ): values
    }


INITIALIZER = "model-model-initializer"


def ending(
    pod: str = "observability-r1-6c-x",
    container: str = INITIALIZER,
    *,
    turns: str = "1x60",
    namespace: str = "observability",
) -> Seen:
    """An init container that waits to be started again, as kube-state-metrics tells it."""
    labels = {"namespace": namespace, "pod": pod, "container": container}
    name = "kube_pod_init_container_status_waiting_reason"
    return {series(name, **labels, reason="CrashLoopBackOff"): turns}


def answers(codes: Mapping[str, str]) -> Seen:
    """What Seldon's executor counts of a release's answers: values by HTTP status."""
    return {
        anywhere(EXECUTOR, "seldon", service="predictions", predictor_name="r1", code=code): values
        for code, values in codes.items()
    }


def flux(ready: str, values: str) -> Seen:
    return {
        series(
            "gotk_resource_info", name="p-monitors", exported_namespace="flux-system", ready=ready
        ): values
    }


EXECUTOR = "seldon_api_executor_server_requests_seconds_count"
LEADER = {series("argo_workflows_is_leader", pod="0"): "1x3000"}
WEEK = 7 * 24 * 12
"""In steps of five minutes."""


@dataclass(frozen=True)
class Case:
    """What Prometheus has seen, and whether the alert is raised at a moment after it."""

    alert: str
    fires: bool
    about: str
    seen: Seen
    at: str
    tree: str = "observability"
    every: str = "1m"


CASES = (
    Case("PredictorDown", True, "no pod at all", {}, "11m"),
    Case(
        "PredictorDown", True, "a pod that does not answer", logger("r56aae35f", "1x5 0x60"), "20m"
    ),
    Case("PredictorDown", True, "only the candidate's", logger("rb214ec88", "1x60"), "20m"),
    Case("PredictorDown", False, "a restart", logger("r56aae35f", "1x5 0x5 1x60"), "20m"),
    Case("PredictorFailing", True, "3 % of production's", failing("r56aae35f", 3), "20m"),
    Case("PredictorFailing", False, "1 % of production's", failing("r56aae35f", 1), "20m"),
    Case(
        "PredictorFailing",
        False,
        "the candidate's, which are the judge's affair",
        failing("rb214ec88", 50),
        "20m",
    ),
    Case("PredictorFailing", False, "no requests", {envoy("completed"): "5x60"}, "20m"),
    Case(
        "PredictorFailing",
        False,
        "a single one of few",
        {envoy("completed"): "0+1x60", envoy("xx", envoy_response_code_class="5"): "0x20 1x40"},
        "29m",
    ),
    Case(
        "PredictorFailing",
        True,
        "all, as no model takes them",
        {**away(), **failing("rb214ec88", 0)},
        "20m",
    ),
    Case("PredictorSlow", True, "2 % of production's", slow("r56aae35f", 2), "20m"),
    Case("PredictorSlow", False, "none", slow("r56aae35f", 0), "20m"),
    Case("PredictorSlow", False, "the candidate's", slow("rb214ec88", 50), "20m"),
    Case("NoTraffic", True, "none for an hour", {envoy("completed"): "0+5x10 50x100"}, "90m"),
    Case("NoTraffic", True, "never any", {}, "61m"),
    Case(
        "NoTraffic",
        True,
        "only the candidate's",
        {envoy("completed", "rb214ec88"): "0+5x100"},
        "90m",
    ),
    Case("NoTraffic", False, "requests that all fail", away(), "90m"),
    Case("NoTraffic", False, "one within the hour", {envoy("completed"): "1x40 2x100"}, "90m"),
    Case("DecisionDown", True, "gone", {service("up", "judge"): "1x60"}, "20m"),
    Case("DecisionDown", False, "there", {service("up", "decision"): "1x60"}, "20m"),
    Case("JudgeDown", True, "does not answer", {service("up", "judge"): "0x60"}, "20m"),
    Case("JudgeDown", False, "there", {service("up", "judge"): "1x60"}, "20m"),
    Case("DetectorDown", True, "gone", {service("up", "decision"): "1x60"}, "20m"),
    Case(
        "DetectorDown",
        False,
        "a new pod",
        {service("up", "drift"): "1x9 _x60", service("up", "drift", pod="1"): "_x12 1x60"},
        "30m",
    ),
    Case("RunNotStarted", True, "nobody claims", phase(("idle", 5), ("pending", 60)), "20m"),
    Case("RunNotStarted", False, "claimed", phase(("pending", 3), ("running", 60)), "20m"),
    Case("DataNeeded", True, "nothing new", phase(("running", 5), ("waiting", 60)), "20m"),
    Case("DataNeeded", False, "a batch came", phase(("waiting", 5), ("running", 60)), "20m"),
    Case(
        "LoopHalted",
        True,
        "by itself",
        {service("driftloop_decision_halted_itself", "decision"): "0x5 1x60"},
        "20m",
    ),
    Case(
        "LoopHalted",
        False,
        "by a person",
        phase(("halted", 60)) | {service("driftloop_decision_halted_itself", "decision"): "0x60"},
        "20m",
    ),
    Case("RunFailed", True, "failed", outcome(("failed", "0x5 1x60")), "20m"),
    Case("RunFailed", False, "the next one has begun", outcome(("failed", "1x5 0x60")), "20m"),
    Case(
        "RunFailed",
        False,
        "refused by the gate",
        outcome(("refused", "1x60"), ("failed", "0x60")),
        "20m",
    ),
    Case("CandidateRejected", True, "rejected", outcome(("rejected", "1x60")), "20m"),
    Case(
        "CandidateRejected",
        False,
        "released",
        outcome(("released", "1x60"), ("rejected", "0x60")),
        "20m",
    ),
    Case("RolloutStuck", True, "over an hour", phase(("rolling-out", 120)), "61m"),
    Case("RolloutStuck", False, "half an hour", phase(("rolling-out", 30), ("cooling", 90)), "61m"),
    Case("FilesRefused", True, "a model", ending("observability-r1-6c-x", INITIALIZER), "10m"),
    Case("FilesRefused", True, "a detector", ending("observability-drift-7f-x", "fetch"), "10m"),
    Case("FilesRefused", True, "that runs now and then", ending(turns="1x2 0x1 1x2 0x50"), "5m"),
    Case("FilesRefused", False, "another pipeline", ending("other-drift-7f-x", "fetch"), "10m"),
    Case("FilesRefused", False, "the store came back", ending(turns="1x2 0x60"), "20m"),
    Case(
        "EventsAstray",
        True,
        "the first one",
        {service("driftloop_decision_events_total", "decision", kind="deadletter"): "0x10 1x60"},
        "20m",
    ),
    Case(
        "EventsAstray",
        False,
        "long ago",
        {service("driftloop_decision_events_total", "decision", kind="deadletter"): "0x10 3x200"},
        "150m",
    ),
    Case(
        "EventsAstray",
        False,
        "others",
        {service("driftloop_decision_events_total", "decision", kind="alarm"): "0+1x60"},
        "20m",
    ),
    Case(
        "DetectorBehind",
        True,
        "more than a window",
        {service("driftloop_detector_behind_events", "drift"): "0x5 150x60"},
        "20m",
    ),
    Case(
        "DetectorBehind",
        False,
        "catches up",
        {service("driftloop_detector_behind_events", "drift"): "900x5 0x60"},
        "20m",
    ),
    Case(
        "EventsWaiting",
        True,
        "letters that nobody has sent again",
        {service("driftloop_decision_dead_letters_waiting", "decision"): "0x10 3x60"},
        "60m",
    ),
    Case(
        "EventsWaiting",
        False,
        "sent again",
        {service("driftloop_decision_dead_letters_waiting", "decision"): "3x10 0x60"},
        "60m",
    ),
    Case("EventsUnlogged", True, "a broker that takes nothing", unlogged(10), "40m"),
    Case("EventsUnlogged", False, "everything is logged", unlogged(0), "40m"),
    Case(
        "EventsMissing",
        True,
        "requests, and no event",
        {
            envoy("completed"): "0+60x60",
            service("driftloop_detector_events_total", "drift", result="stored"): "500x60",
        },
        "30m",
    ),
    Case(
        "EventsMissing",
        False,
        "an event each",
        {
            envoy("completed"): "0+60x60",
            service("driftloop_detector_events_total", "drift", result="stored"): "0+60x60",
        },
        "30m",
    ),
    Case(
        "EventsMissing",
        False,
        "no requests",
        {
            envoy("completed"): "60x60",
            service("driftloop_detector_events_total", "drift", result="stored"): "60x60",
        },
        "30m",
    ),
    Case("AlarmUnheeded", True, "idle", phase(("idle", 90)) | drift("0x5 1x90", "0+1x90"), "60m"),
    Case("AlarmUnheeded", True, "halted", phase(("halted", 90)) | drift("1x90", "0+1x90"), "60m"),
    Case(
        "AlarmUnheeded",
        True,
        "few windows a day",
        phase(("idle", 1600)) | drift("1x1600", "0x200 1x200 2x200 3x1000"),
        "1500m",
    ),
    Case(
        "AlarmUnheeded",
        False,
        "a run is on",
        phase(("idle", 20), ("running", 90)) | drift("1x110", "0+1x110"),
        "60m",
    ),
    Case(
        "AlarmUnheeded",
        False,
        "a run has ended",
        phase(("running", 30), ("cooling", 30), ("idle", 60)) | drift("1x120", "0+1x120"),
        "75m",
    ),
    Case(
        "AlarmUnheeded",
        False,
        "it waits for data",
        phase(("idle", 20), ("waiting", 90)) | drift("1x110", "0+1x110"),
        "60m",
    ),
    Case(
        "AlarmUnheeded",
        False,
        "not enough windows yet",
        phase(("idle", 90)) | drift("1x90", "0x10 1x80"),
        "60m",
    ),
    Case("AlarmUnheeded", False, "no alarm", phase(("idle", 90)) | drift("0x90", "0+1x90"), "60m"),
    Case(
        "AlarmUnheeded",
        False,
        "every other window",
        phase(("idle", 90)) | drift("0 1 " * 45, "0+1x90"),
        "60m",
    ),
    Case(
        "ScheduleMissed",
        True,
        "not this week",
        LEADER | cron(f"0x100 1x{WEEK + 100}"),
        "178h",
        every="5m",
    ),
    Case("ScheduleMissed", True, "never", LEADER, "169h", every="5m"),
    Case(
        "ScheduleMissed",
        False,
        "every week",
        LEADER | cron(f"0x100 1x{WEEK - 1} 2x500"),
        "185h",
        every="5m",
    ),
    Case(
        "ScheduleMissed",
        False,
        "a new controller counts from its first one",
        LEADER | cron("0x99 1x200") | cron(f"_x{100 + WEEK} 1x500", pod="1"),
        "185h",
        every="5m",
    ),
    Case(
        "ScheduleMissed",
        False,
        "held back by the run before",
        LEADER
        | cron("0x100 1x2500")
        | cron(f"_x{100 + WEEK} 1x500", what="concurrencypolicy_triggered"),
        "185h",
        every="5m",
    ),
    Case("ScheduleMissed", False, "nobody scrapes Argo", {}, "175h", every="5m"),
    Case("PredictorDown", True, "gone", {}, "11m", "observability-seldon"),
    Case("PredictorDown", False, "there", engine("1x60"), "20m", "observability-seldon"),
    Case(
        "PredictorDown",
        True,
        "a model without the executor before it",
        engine("0x60") | engine("1x60", "model"),
        "20m",
        "observability-seldon",
    ),
    Case(
        "PredictorFailing",
        True,
        "2 %",
        {executor("count", code="200"): "0+98x60", executor("count", code="500"): "0+2x60"},
        "20m",
        "observability-seldon",
    ),
    Case(
        "PredictorFailing",
        False,
        "wrong requests",
        {executor("count", code="200"): "0+98x60", executor("count", code="400"): "0+50x60"},
        "20m",
        "observability-seldon",
    ),
    Case(
        "PredictorSlow",
        True,
        "5 % take seconds",
        {
            executor("bucket", le=le): f"0+{many}x60"
            for le, many in (("1", 95), ("2.5", 100), ("+Inf", 100))
        },
        "20m",
        "observability-seldon",
    ),
    Case(
        "PredictorSlow",
        False,
        "none",
        {executor("bucket", le=le): "0+100x60" for le in ("1", "2.5", "+Inf")},
        "20m",
        "observability-seldon",
    ),
    Case(
        "DetectorBehind",
        True,
        "either of two",
        {watched("driftloop_detector_behind_events", "outlier"): "500x60"},
        "20m",
        "observability-seldon",
    ),
    Case(
        "DriftStands",
        True,
        "nobody retrains by it",
        {watched("driftloop_detector_alarm", "drift"): "1x60"},
        "40m",
        "observability-seldon",
    ),
    Case(
        "DriftStands",
        False,
        "one window",
        {watched("driftloop_detector_alarm", "drift"): "1x10 0x60"},
        "40m",
        "observability-seldon",
    ),
    Case(
        "PredictorFailing",
        True,
        "one in ten, behind Seldon's executor",
        answers({"200": "0+90x60", "500": "0+10x60"}),
        "20m",
        "platform",
    ),
    Case(
        "PredictorFailing",
        True,
        "all, as no model takes them",
        {
            anywhere(
                f"envoy_cluster_upstream_rq_{what}",
                "predictors",
                envoy_cluster_name="n/p-r1/model",
                **more,
            ): values
            for what, values, more in (
                ("total", "100x60", {}),
                ("completed", "100+10x60", {}),
                ("xx", "0+10x60", {"envoy_response_code_class": "5"}),
            )
        },
        "20m",
        "platform",
    ),
    Case(
        "PredictorFailing",
        False,
        "wrong requests",
        answers({"200": "0+90x60", "400": "0+10x60"}),
        "20m",
        "platform",
    ),
    Case("RunsFailing", True, "the first one", runs("_x10 1x100"), "20m", "platform"),
    Case("RunsFailing", True, "another one", runs("3x70 4x100"), "80m", "platform"),
    Case("RunsFailing", False, "long ago", runs("0x10 1x150"), "120m", "platform"),
    Case(
        "RunsFailing",
        False,
        "one that succeeded",
        runs("_x10 1x100", "Succeeded"),
        "20m",
        "platform",
    ),
    Case(
        "EventsDropped", True, "the first ones", dispatched("404", "_x10 6x60"), "20m", "platform"
    ),
    Case("EventsDropped", True, "further ones", dispatched("403", "2x70 3x60"), "80m", "platform"),
    Case("EventsDropped", False, "tried again", dispatched("429", "0+1x60"), "20m", "platform"),
    Case("EventsDropped", False, "taken", dispatched("202", "0+1x60"), "20m", "platform"),
    Case("EventsDropped", False, "long ago", dispatched("404", "6x150"), "120m", "platform"),
    Case(
        "FilesRefused",
        True,
        "a model",
        ending(namespace="n") | {anywhere("driftloop_decision_phase", "services"): "1x60"},
        "10m",
        "platform",
    ),
    Case("FilesRefused", False, "a pod of others", ending(namespace="n"), "10m", "platform"),
    Case(
        "EventsAstray",
        True,
        "the first one",
        {anywhere("driftloop_decision_events_total", "services", kind="deadletter"): "0x10 1x60"},
        "20m",
        "platform",
    ),
    Case(
        "EventsAstray",
        False,
        "alarms",
        {anywhere("driftloop_decision_events_total", "services", kind="alarm"): "0+1x60"},
        "20m",
        "platform",
    ),
    Case("FluxNotApplying", True, "refused", flux("False", "1x60"), "20m", "platform"),
    Case(
        "FluxNotApplying",
        False,
        "a turn",
        flux("False", "1x5 _x60") | flux("True", "_x5 1x60"),
        "20m",
        "platform",
    ),
    Case(
        "MonitorDown",
        True,
        "does not answer",
        {anywhere("up", "services"): "0x60"},
        "20m",
        "platform",
    ),
    Case("MonitorDown", False, "there", {anywhere("up", "services"): "1x60"}, "20m", "platform"),
)


@pytest.mark.parametrize("name", RULES)
def test_expressions_are_promql_and_texts_say_what_to_do(name: str) -> None:
    for rule in alerts(name):
        parsed(rule["expr"])
        if name != "platform":
            assert rule["annotations"]["summary"].startswith(f"{name}: ")
            assert rule["annotations"]["description"].endswith(".")
            assert rule["labels"]["pipeline"] == name
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_alert_has_a_case_of_each_kind() -> None:
    own = ("observability", "observability-seldon")
    for trees in (own, ("platform",)):
        wanted = {rule["alert"] for tree in trees for rule in alerts(tree)}
        for fires in (True, False):
            assert {
                case.alert for case in CASES if case.fires is fires and case.tree in trees
            } == wanted


def test_what_is_told_of_each_monitor_follows_from_what_its_alarms_do() -> None:
    text = spec_text("monitors") + "  observability: {prometheus: {}}\n"
    rendered = render_tree(text, release_text("monitors"))
    groups = yaml.safe_load(rendered["monitors/monitors/alerts.prometheusrule.yaml"])["spec"][
        "groups"
    ]
    found = [rule for group in groups for rule in group["rules"]]
    told = {
        (rule["alert"], rule["labels"]["detector"]): rule
        for rule in found
        if rule["alert"] in ("AlarmUnheeded", "DriftStands", "OutliersStand")
    }
    assert told.keys() == {
        ("AlarmUnheeded", "drift"), ("AlarmUnheeded", "fares"), ("AlarmUnheeded", "carriers"),
        ("OutliersStand", "rows"),
    }  # fmt: skip
    for alarm, windows in (("drift", 2), ("fares", 3), ("carriers", 2)):
        assert f"> {windows}\n" in told["AlarmUnheeded", alarm]["expr"]
    assert "the loop goes on" in told["AlarmUnheeded", "carriers"]["annotations"]["summary"]
    (halted,) = [rule for rule in found if rule["alert"] == "LoopHalted"]
    assert halted["annotations"]["summary"].endswith("or an alarm of carriers")


def test_a_loop_that_waits_for_rows_says_for_how_many() -> None:
    text = spec_text("new-data") + "  observability: {prometheus: {}}\n"
    rendered = render_tree(text, release_text("new-data"))
    told = yaml.safe_load(rendered["monitors/new-data/alerts.prometheusrule.yaml"])["spec"]
    rules = [rule for group in told["groups"] for rule in group["rules"]]
    (needed,) = [rule for rule in rules if rule["alert"] == "DataNeeded"]
    assert (
        "fewer than 500 labelled rows came since production's" in needed["annotations"]["summary"]
    )


@settings(max_examples=15, deadline=None)
@given(specs())
def test_whatever_the_spec_says_the_rules_are_promql(spec: tuple[str, str]) -> None:
    name, text = spec
    document = json.loads(text)
    document["spec"]["observability"] = {"prometheus": {}, "dashboard": True}
    namespace = document["metadata"].get("namespace", name)
    release = record.release_first(
        record.empty_release(name, namespace), version(f"{name}-000000000001")
    )
    tree = render_tree(json.dumps(document), record.dump_release(release))
    found = yaml.safe_load(tree[f"monitors/{name}/alerts.prometheusrule.yaml"])["spec"]["groups"][
        0
    ]["rules"]
    for rule in found:
        parsed(rule["expr"])
        assert promql_parser.parse_duration(rule.get("for", "1s")).total_seconds() > 0
    ((_, dashboard),) = yaml.safe_load(tree[f"monitors/{name}/dashboard.configmap.yaml"])[
        "data"
    ].items()
    for panel in json.loads(dashboard)["panels"]:
        for target in panel.get("targets", []):
            parsed(target["expr"])
    down = [rule for rule in found if rule["alert"] == "DetectorDown"]
    assert len(down) == len(document["spec"].get("monitors", {}))


@needs_promtool
@pytest.mark.parametrize("name", RULES)
def test_promtool_finds_nothing_in_the_rules(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules(name)))
    done = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("tree", "every", "alert"), sorted({(case.tree, case.every, case.alert) for case in CASES})
)
def test_an_alert_is_raised_when_it_should_be(
    tree: str, every: str, alert: str, tmp_path: Path
) -> None:
    group = {"name": "tested", "rules": [rule for rule in alerts(tree) if rule["alert"] == alert]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    tests = [
        _played(case)
        for case in CASES
        if (case.tree, case.every, case.alert) == (tree, every, alert)
    ]
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": tests})
    )
    done = _promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def _played(case: Case) -> dict[str, Any]:
    raised = series("ALERTS", alertname=case.alert, alertstate="firing")
    wanted = [{"labels": "{}", "value": 1}] if case.fires else []
    return {
        "name": f"{case.alert}: {case.about}",
        "interval": case.every,
        "input_series": [{"series": name, "values": text} for name, text in case.seen.items()],
        "promql_expr_test": [
            {"expr": f"count({raised}) > bool 0", "eval_time": case.at, "exp_samples": wanted}
        ],
    }


def _promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
