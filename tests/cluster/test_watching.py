"""Dashboard and alert rules ask for metrics and labels that exist, and somebody scrapes each of them."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.handovers import DetectorSettings, RetrainPolicy
from driftloop.contract.recorders import RecorderSettings
from driftloop.contract.streams import DetectorStreams, RecorderStreams
from driftloop.retrain.state import Outcome, Phase
from driftloop.services.analysis.service import TAKEN, AnalysisService, AnalysisSettings
from driftloop.services.decision.deadletters import RESULTS as REPLAYED
from driftloop.services.decision.deadletters import DeadLetters
from driftloop.services.decision.handler import KINDS
from driftloop.services.decision.handler import DecisionHandlers as DecisionDoor
from driftloop.services.decision.inbox import InboxWatch
from driftloop.services.decision.labels import RESULTS as LABELLED
from driftloop.services.decision.labels import LabelDoor
from driftloop.services.decision.links import tell_pages
from driftloop.services.decision.loop import FIRED, DecisionLoop
from driftloop.services.decision.pruned import PruneWatch
from driftloop.services.decision.tracking import TrackingLoop
from driftloop.services.detector.stream.emit import VerdictEmitter
from driftloop.services.detector.stream.handler import DetectorHandler as DetectorDoor
from driftloop.services.detector.stream.kept import KeptEvents
from driftloop.services.detector.stream.scoring import WindowScorer as Detector
from driftloop.services.detector.stream.telemetry import ALARMS, ROWS, _build_quality
from driftloop.services.detector.stream.unjudged import UnjudgedWindows
from driftloop.services.detector.stream.windows import WindowRule
from driftloop.services.door import RESULTS
from driftloop.services.recorder.handler import RESULTS as RECORDED
from driftloop.services.recorder.handler import RecorderHandler
from driftloop.services.recorder.service import PartRecorder
from driftloop.services.recorder.yielding import Yielder
from tests.golden.trees import NAMES, documents, tree
from tests.resources.test_logger import ask, standing
from tests.resources.test_network import matches
from tests.support.promql import asked

ROOT = Path(__file__).parents[2]
WATCHING = ROOT / "cluster" / "infrastructure" / "configs" / "watching"
STACK = ROOT / "cluster" / "infrastructure" / "monitoring" / "kube-prometheus-stack.yaml"

TARGET = {"namespace", "pod", "container", "job", "instance", "endpoint"}
"""Labels that Prometheus gives every target of a PodMonitor."""

FOREIGN = {
    # Seldon Core 1.17, the executor's /prometheus
    **{
        f"seldon_api_executor_server_requests_seconds_{part}": {
            "deployment_name", "predictor_name", "predictor_version", "service", "method", "code", "le",
        }
        for part in ("bucket", "sum", "count")
    },
    # argoproj/argo-workflows, docs/metrics.md; util/telemetry/exporter_prometheus.go: a prefix, and no suffixes
    "argo_workflows_total_count": {"phase", "namespace"},
    "argo_workflows_cronworkflows_triggered_total": {"name", "namespace"},
    "argo_workflows_cronworkflows_concurrencypolicy_triggered": {"name", "namespace", "concurrency_policy"},
    "argo_workflows_workflowtemplate_triggered_total": {"name", "namespace", "cluster_scope", "phase"},
    "argo_workflows_is_leader": set(),
    # a filter of Knative Eventing 1.21 on a cluster, asked on port 9092
    "kn_eventing_dispatch_duration_seconds_count": {
        "http_response_status_code", "messaging_destination_name", "kn_broker_name", "kn_broker_namespace", "cloudevents_type",
    },
    # kubernetes/kube-state-metrics docs/metrics/workload/pod-metrics.md, on by default
    "kube_pod_container_status_restarts_total": {"namespace", "pod", "container", "uid"},
    "kube_pod_init_container_status_waiting_reason": {"namespace", "pod", "container", "reason", "uid"},
    "up": set(),
}  # fmt: skip
"""What programs of others export: name -> labels, with where it was read."""


def ours():
    """Name -> labels of what detector, decision, judge and recorder export, as Prometheus reads them."""
    found = {}
    for file in (ROOT / "pipeline" / "driftloop" / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if (
                node.func.id in ("Counter", "Gauge")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                name = node.args[0].value + ("_total" if node.func.id == "Counter" else "")
                found[name] = set(ast.literal_eval(node.args[2])) if len(node.args) > 2 else set()
            assert node.func.id not in ("Histogram", "Summary"), (
                f"{file} exports a kind that this test does not know"
            )
    return found


def flux():
    """What kube-state-metrics is told to export of Flux's objects."""
    stack = [d for d in yaml.safe_load_all(STACK.read_text()) if d["kind"] == "HelmRelease"]
    state = stack[0]["spec"]["values"]["kube-state-metrics"]
    found, allowed = {}, {r for rule in state["rbac"]["extraRules"] for r in rule["resources"]}
    for one in state["customResourceState"]["config"]["spec"]["resources"]:
        kind = one["groupVersionKind"]["kind"].lower()
        assert {f"{kind}s", f"{kind[:-1]}ies"} & allowed, f"kube-state-metrics may not list {kind}"
        for metric in one["metrics"]:
            labels = {*metric["labelsFromPath"], *metric["each"]["info"]["labelsFromPath"]}
            found[f"{one['metricNamePrefix']}_{metric['name']}"] = labels
    return found


async def envoy(folder):
    """What the logger beside a predictor answers on /prometheus, after a good and a bad request."""
    async with standing(folder) as places:
        place = places["r1"]
        await ask(place, b"{}")
        await ask(place, b"x", path="/fail")
        await ask(place, b"x" * (1024 * 1024 + 1))
        async with place.http.get(
            place.url + "/prometheus", timeout=aiohttp.ClientTimeout(5)
        ) as answer:
            lines = (await answer.text()).splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#") and line:
            name, _, labels = line.partition(" ")[0].partition("{")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def rendered(suffix):
    """(pipeline, object) of the golden trees' files whose paths end like this."""
    for name in NAMES:
        yield from (
            (name, document) for path, document in documents(tree(name)) if path.endswith(suffix)
        )


def dashboards():
    """(where, dashboard): the platform's, and those of pipelines that bring one."""
    yield "platform", json.loads((WATCHING / "driftloop.json").read_text())
    for name, document in rendered("dashboard.configmap.yaml"):
        ((_, text),) = document["data"].items()
        yield name, json.loads(text)


def rules():
    """Every PrometheusRule: the platform's, and those of pipelines that bring one."""
    platform = [yaml.safe_load(file.read_text()) for file in WATCHING.glob("*.prometheusrule.yaml")]
    return platform + [document for _, document in rendered(".prometheusrule.yaml")]


def expressions():
    """(where, PromQL, legend) of dashboards, their variables, and rules."""
    for name, dashboard in dashboards():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"], target.get("legendFormat", "")
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asking = re.fullmatch(
                    r"label_values\((.*), \w+\)|query_result\((.*)\)", variable["query"]
                )
                yield variable["name"], asking[1] or asking[2], ""
        for annotation in dashboard["annotations"]["list"]:
            shown = annotation["titleFormat"] + annotation["textFormat"]
            yield f"{name}: {annotation['name']}", annotation["target"]["expr"], shown
    for rule in rules():
        for group in rule["spec"]["groups"]:
            for one in group["rules"]:
                yield f"{rule['metadata']['name']}: {one['alert']}", one["expr"], ""


def targets():
    """Labels that the PodMonitors copy from pods."""
    found = set()
    for monitor in (one for name in NAMES for one in monitors(name)):
        for label in monitor["spec"].get("podTargetLabels", []):
            found.add(re.sub(r"\W", "_", label))
    return found


def test_the_reader_of_expressions_reads():
    found, grouped = asked(
        'histogram_quantile(0.99, sum by (a, le) (rate(x_bucket{b="1",c=~"2"}[$__rate_interval]))) > 0'
        " and on (d) y offset 5m / ignoring (g) group_left (h) max_over_time((sum(w))[1h:1m])"
    )
    assert found == {"x_bucket": {"b": "1", "c": "2"}, "y": {}, "w": {}}
    assert grouped == {"a", "le", "d", "g", "h"}
    assert asked("z == 1", "{{e}} f") == ({"z": {}}, {"e"})
    with pytest.raises(ValueError, match="parenthesis"):
        asked("sum by (a (z)")


async def test_every_metric_and_label_exists(tmp_path):
    logger = await envoy(tmp_path)
    assert "envoy_cluster_upstream_rq_completed" in logger
    known = {**ours(), **flux(), **FOREIGN, **logger}
    everywhere = TARGET | targets()
    for where, expression, legend in expressions():
        found, grouped = asked(expression, legend)
        assert found, f"{where}: no metric in {expression}"
        for name, labels in found.items():
            assert name in known, f"{where}: nothing exports {name}"
            missing = labels.keys() - known[name] - everywhere
            assert not missing, f"{where}: {name} has no label {missing}"
        shown = set().union(*(known[name] for name in found)) | everywhere
        assert grouped <= shown, f"{where}: no label {grouped - shown}"


def test_what_is_ours_is_what_the_services_say():
    assert {
        "driftloop_detector_score",
        "driftloop_detector_alarm",
        "driftloop_decision_events_total",
        "driftloop_analysis_waiting_responses",
    } <= set(ours())
    assert ours()["driftloop_decision_phase"] == {"phase"}


def started():
    """What our services show before anything has happened."""
    decision, detector = CollectorRegistry(), CollectorRegistry()
    loop = DecisionLoop(None, RetrainPolicy(), namespace="n", pipeline="p", session=None, webhook="", token="", broker="",
                kubernetes=None, registry=decision)  # fmt: skip
    DecisionDoor(
        loop,
        None,
        None,
        namespace="n",
        pipeline="p",
        on=frozenset(),
        token="",
        policy=RetrainPolicy(),
        data="",
        registry=decision,
        letters=DeadLetters(None, None, namespace="n", pipeline="p", registry=decision),
        labels=LabelDoor(None, namespace="n", pipeline="p", broker="", registry=decision),
    )
    names = DetectorStreams("n", "p", "drift", "r1")
    unjudged = UnjudgedWindows(
        None, names, detector, reference="r1", rule=WindowRule(10, 10), decoder=None
    )
    scorer = Detector(
        None,
        names,
        DetectorSettings("ks", window=10),
        SimpleNamespace(find_pending=lambda number: None),
        decoder=None,
        registry=detector,
        unjudged=unjudged,
    )
    kept = KeptEvents(None, names, detector, reference="r1")
    DetectorDoor(
        None,
        bool,
        names,
        registry=detector,
        unjudged=unjudged,
        kept=kept,
        find_window=scorer.open.build_record,
    )
    VerdictEmitter(None, names, None, "", detector)
    _build_quality(detector)
    PruneWatch(None, StoreLocation("n"), "p", decision)
    server = SimpleNamespace(client=SimpleNamespace(url="http://mlflow"))
    TrackingLoop(None, server, None, decision)
    InboxWatch(None, None, decision)
    tell_pages({}, decision)
    judge = AnalysisService(AnalysisSettings("p", "n", ""), None)._registry
    recording, recorder = RecorderStreams("n", "p"), CollectorRegistry()
    RecorderHandler(
        None, bool, recording, RecorderSettings(), registry=recorder, describe=lambda: {}
    )
    PartRecorder(None, recording, RecorderSettings(), recorder)
    Yielder(None, recorder)
    return {
        family.name: family
        for registry in (decision, detector, judge, recorder)
        for family in registry.collect()
    }


def test_counters_begin_with_0():
    """One that begins with its first event hides that one from `increase` and `rate`."""
    found = started()
    assert {
        f"{name}_total" if family.type == "counter" else name for name, family in found.items()
    } == set(ours())
    for name, label, values in (
        ("driftloop_decision_events", "kind", KINDS),
        ("driftloop_decision_fires", "result", FIRED),
        ("driftloop_decision_labels", "result", LABELLED),
        ("driftloop_decision_label_files", "result", ("read", "refused")),
        ("driftloop_decision_dead_letters_replayed", "result", REPLAYED),
        ("driftloop_detector_events", "result", RESULTS),
        ("driftloop_detector_rows", "result", ROWS),
        ("driftloop_detector_windows", "alarm", ALARMS),
        ("driftloop_detector_windows_not_judged", None, (None,)),
        ("driftloop_detector_events_given_up", None, (None,)),
        ("driftloop_detector_verdicts_sent", None, (None,)),
        ("driftloop_analysis_responses", "what", TAKEN),
        ("driftloop_recorder_events", "result", RECORDED),
        ("driftloop_recorder_held_events", None, (None,)),
        ("driftloop_tracking_sent", None, (None,)),
    ):
        counts = [one for one in found.pop(name).samples if one.name.endswith("_total")]
        assert {one.labels.get(label): one.value for one in counts} == dict.fromkeys(values, 0), (
            name
        )
    assert not [name for name, family in found.items() if family.type == "counter"]


def pods(name):
    """(labels, port names and numbers) of every pod that runs for long; Seldon's as its operator makes them."""
    for path, document in documents(tree(name)):
        if path.endswith(".deployment.yaml"):
            template = document["spec"]["template"]
            ports = [
                port for one in template["spec"]["containers"] for port in one.get("ports", [])
            ]
            yield (
                template["metadata"]["labels"],
                [(port["name"], port["containerPort"]) for port in ports],
            )
        elif path.endswith(".seldondeployment.yaml"):
            for predictor in document["spec"]["predictors"]:
                own = {"seldon-deployment-id": document["metadata"]["name"], **predictor["labels"]}
                yield (
                    own | {"app.kubernetes.io/managed-by": "seldon-core"},
                    [("metrics", 8000), ("metrics", 6000)],
                )


def monitors(name):
    """Every PodMonitor that sees a golden tree's pods."""
    platform = [yaml.safe_load(file.read_text()) for file in WATCHING.glob("*.podmonitor.yaml")]
    return platform + [
        document for path, document in documents(tree(name)) if path.endswith(".podmonitor.yaml")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_is_scraped_by_exactly_one(name):
    for labels, ports in pods(name):
        found = [one for one in monitors(name) if matches(one["spec"]["selector"], labels)]
        assert len(found) == 1, f"{labels}: {[one['metadata']['name'] for one in found]}"
        (endpoint,) = found[0]["spec"]["podMetricsEndpoints"]
        assert endpoint.get("port", endpoint.get("portNumber")) in {
            end for port in ports for end in port
        }
        if "seldon-deployment-id" not in labels:
            assert set(found[0]["spec"]["podTargetLabels"]) <= labels.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("observability")])
def test_a_pipeline_that_brings_its_own_is_left_alone_by_the_platform(name):
    own = {
        one["metadata"]["name"]
        for one in monitors(name)
        if one["metadata"]["namespace"] != "monitoring"
    }
    assert {name_.rpartition("-")[2] for name_ in own} == {"services", "model"}
    for labels, _ in pods(name):
        (found,) = (one for one in monitors(name) if matches(one["spec"]["selector"], labels))
        assert found["metadata"]["name"] in own


def test_the_platform_alerts_on_what_the_platform_scrapes():
    """So a pipeline with alerts of its own raises each of them once."""
    (platform,) = (rule for rule in rules() if rule["metadata"]["namespace"] == "monitoring")
    jobs = {f"monitoring/{file.name.split('.')[0]}" for file in WATCHING.glob("*.podmonitor.yaml")}
    for one in platform["spec"]["groups"][0]["rules"]:
        found, _ = asked(one["expr"])
        for name, labels in found.items():
            # kube-state-metrics is of the stack that the platform's cluster brings
            if not name.startswith(("argo_", "gotk_", "kube_")):
                assert labels.get("job") in jobs, f"{one['alert']}: {name} of any job"


def test_no_alert_stands_twice():
    for rule in rules():
        found = [
            (one["alert"], *sorted(one["labels"].items()))
            for g in rule["spec"]["groups"]
            for one in g["rules"]
        ]
        assert len(found) == len(set(found)), rule["metadata"]["name"]


def test_values_that_are_asked_for_are_values_that_are_said():
    said = {
        ("driftloop_decision_phase", "phase"): set(get_args(Phase)),
        ("driftloop_decision_outcome", "outcome"): set(get_args(Outcome)),
        ("driftloop_decision_events_total", "kind"): set(KINDS),
        ("driftloop_detector_windows_total", "alarm"): {"true", "false"},
        ("driftloop_detector_events_total", "result"): set(RESULTS),
    }
    met = set()
    for where, expression, _ in expressions():
        for name, labels in asked(expression)[0].items():
            for label, value in labels.items():
                if (name, label) in said:
                    met.add((name, label))
                    assert set(value.split("|")) <= said[name, label], where
    assert met == said.keys()


def test_the_guide_makes_the_secret_that_grafana_waits_for():
    (release,) = (d for d in yaml.safe_load_all(STACK.read_text()) if d["kind"] == "HelmRelease")
    admin = release["spec"]["values"]["grafana"]["admin"]
    keys = f"--from-literal={admin['userKey']}=admin --from-literal={admin['passwordKey']}="
    wanted = f"kubectl -n monitoring create secret generic {admin['existingSecret']} {keys}"
    assert wanted in (ROOT / "docs" / "guides" / "cluster.md").read_text()
