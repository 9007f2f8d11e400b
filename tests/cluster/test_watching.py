"""Dashboard and alert rules ask for metrics and labels that exist, and somebody scrapes each of them."""

import ast
import json
import re
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.resources.test_logger import ask, standing

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
    # kubernetes/kube-state-metrics docs/metrics/workload/pod-metrics.md, on by default
    "kube_pod_container_status_restarts_total": {"namespace", "pod", "container", "uid"},
    "up": set(),
}  # fmt: skip
"""What programs of others export: name -> labels, with where it was read."""


def ours():
    """Name -> labels of what detector, decision and judge export, as Prometheus reads them."""
    found = {}
    for file in (ROOT / "pipeline" / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in ("Counter", "Gauge") and node.args and isinstance(node.args[0], ast.Constant):
                name = node.args[0].value + ("_total" if node.func.id == "Counter" else "")
                found[name] = set(ast.literal_eval(node.args[2])) if len(node.args) > 2 else set()
            assert node.func.id not in ("Histogram", "Summary"), f"{file} exports a kind that this test does not know"
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
        async with place.http.get(place.url + "/prometheus", timeout=aiohttp.ClientTimeout(5)) as answer:
            lines = (await answer.text()).splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#") and line:
            name, _, labels = line.partition(" ")[0].partition("{")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def expressions():
    """(where, PromQL) of dashboard, its variables, and rules."""
    dashboard = json.loads((WATCHING / "driftloop.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target.get("legendFormat", "")
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], re.fullmatch(r"label_values\((.*), \w+\)", variable["query"])[1], ""
    rule = yaml.safe_load((WATCHING / "driftloop.prometheusrule.yaml").read_text())
    for group in rule["spec"]["groups"]:
        for one in group["rules"]:
            yield one["alert"], one["expr"], ""


SPOKEN = {"by", "on", "and", "or", "unless", "without", "ignoring", "bool", "group_left", "group_right", "offset"}


def read(expression, legend=""):
    """(metric -> labels asked of it, labels that it is summed by or shown with) of a PromQL text."""
    grouped = set(re.findall(r"\{\{(\w+)\}\}", legend))
    for clause in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        grouped |= {label.strip() for label in clause.split(",")}
    text = re.sub(r"\b(?:by|on)\s*\([^)]*\)", " ", expression)
    asked = {}
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text):
        asked.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    text = re.sub(r"\{[^}]*\}", "{}", text)
    text = re.sub(r"\[[^\]]*\]|\"[^\"]*\"", " ", text)
    for name, follows in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\(?)", text):
        if not follows and name not in SPOKEN:
            asked.setdefault(name, set())
    return asked, grouped


def targets():
    """Labels that the PodMonitors copy from pods."""
    found = set()
    for file in WATCHING.glob("*.podmonitor.yaml"):
        for label in yaml.safe_load(file.read_text())["spec"].get("podTargetLabels", []):
            found.add(re.sub(r"\W", "_", label))
    return found


def test_the_reader_of_expressions_reads():
    asked, grouped = read(
        'histogram_quantile(0.99, sum by (a, le) (rate(x_bucket{b="1",c=~"2"}[5m]))) > 0 and on (d) y'
    )
    assert asked == {"x_bucket": {"b", "c"}, "y": set()}
    assert grouped == {"a", "le", "d"}
    assert read("z == 1", "{{e}} f") == ({"z": set()}, {"e"})


async def test_every_metric_and_label_exists(tmp_path):
    logger = await envoy(tmp_path)
    assert "envoy_cluster_upstream_rq_total" in logger
    known = {**ours(), **flux(), **FOREIGN, **logger}
    everywhere = TARGET | targets()
    for where, expression, legend in expressions():
        asked, grouped = read(expression, legend)
        assert asked, f"{where}: no metric in {expression}"
        for name, labels in asked.items():
            assert name in known, f"{where}: nothing exports {name}"
            assert labels <= known[name] | everywhere, (
                f"{where}: {name} has no label {labels - known[name] - everywhere}"
            )
        shown = set().union(*(known[name] for name in asked)) | everywhere
        assert grouped <= shown, f"{where}: no label {grouped - shown}"


def test_what_is_ours_is_what_the_services_say():
    assert {"detector_score", "detector_alarm", "decision_events_total", "driftloop_judge_waiting"} <= set(ours())
    assert ours()["decision_phase"] == {"phase"}


@pytest.mark.parametrize("file", sorted(WATCHING.glob("*.podmonitor.yaml")), ids=lambda file: file.stem)
def test_copied_labels_are_on_the_pods(file):
    monitor = yaml.safe_load(file.read_text())["spec"]
    if "managed-by: driftloop" not in file.read_text():
        return
    golden = ROOT / "tests" / "golden" / "plain-shadow" / "expected"
    released = ROOT / "tests" / "golden" / "digits-released" / "expected"
    pods = [
        yaml.safe_load(path.read_text())["spec"]["template"]["metadata"]["labels"]
        for root in (golden, released)
        for path in root.rglob("*.deployment.yaml")
    ]
    component = monitor["selector"]["matchLabels"].get("app.kubernetes.io/component")
    mine = [
        labels for labels in pods if (labels["app.kubernetes.io/component"] == "serving") == (component == "serving")
    ]
    assert mine
    assert all(set(monitor["podTargetLabels"]) <= set(labels) for labels in mine)
