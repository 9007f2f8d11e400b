"""Seeded faults: a valid rendered tree with one thing changed, in any place where it stands, is caught right there."""
# ruff: noqa: E501 - tables read better in one line per entry

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import driftloop.check
from driftloop.check import RULES
from tests.check.example import variant
from tests.check.trees import NAMES, places, tree

EXAMPLES = Path(driftloop.check.__file__).parent / "examples"

Made = Callable[[re.Match[str], str], str]


@dataclass(frozen=True)
class Fault:
    """Replace what `pattern` matches in files named like `files`; `{w}` in `new` is a word that stands nowhere else."""

    code: str
    files: str
    pattern: str
    new: str
    down: int = 0
    """How many lines below the match's first line the finding stands."""


FAULTS = (
    Fault("DL001", r".", r"^  name: \S+$", "\t{w}: 1"),
    Fault("DL005", r"service\.yaml$", r"^(  name: \S+)$", r"\1\n\1", down=1),
    Fault("DL006", r"workflowtemplate", r"value: '(\{\{[^'\n]+\}\})'$", r"value: \1"),
    Fault("DL007", r"(service|trigger|role)\.yaml$", r"^apiVersion: .*\nkind: .*$", "kind: Thing"),
    Fault("DL008", r"(service|trigger|role|workflowtemplate)\.yaml$", r"^metadata:\n  name: \S+$", "metadata:"),
    Fault("DL009", r"(workflows|monitors)/.*(service|trigger|template)\.yaml$", r"^metadata:\n  name: (\S+)$", r"metadata:\n  generateName: \1", down=1),
    Fault("DL101", r"^(?!.*kustomization).", r"^    (app\.kubernetes\.io/component): \S+$", r"    \1: 1.0"),
    Fault("DL102", r"(workflowtemplate|deployment)\.yaml$", r"^( +)- '(\d+)'$", r"\1- \2"),
    Fault("DL103", r"train\.workflowtemplate", r"value: schedule$", "value: true"),
    Fault("DL104", r"configmap\.yaml$", r"^data:$", "data:\n  {w}: 5", down=1),
    Fault("DL105", r"eventsource", r"port: '(\d+)'$", r"port: \1"),
    Fault("DL106", r"sensor\.yaml$", r"^        - \^.*$", "        - 5"),
    Fault("DL106", r"trigger\.yaml$", r"^      type: \S+$", "      type: 5"),
    Fault("DL107", r"seldondeployment", r"value: /mnt/models$", "value: 5"),
    Fault("DL111", r"^cluster/", r"^apiVersion: kustomize.toolkit.fluxcd.io/v1$", "apiVersion: kustomize.toolkit.fluxcd.io/v1beta2"),
    Fault("DL111", r"(trigger|broker)\.yaml$", r"^apiVersion: eventing.knative.dev/v1$", "apiVersion: eventing.knative.dev/v1beta1"),
    Fault("DL112", r"cronworkflow", r"^  schedules:\n  - '?([^'\n]*)'?$", r"  schedule: '\1'"),
    Fault("DL201", r"sensor\.yaml$", r"eventSourceName: \S+$", "eventSourceName: {w}"),
    Fault("DL202", r"sensor\.yaml$", r"eventName: \S+$", "eventName: {w}"),
    Fault("DL203", r"sensor\.yaml$", r"(workflowTemplateRef:\n +name): \S+$", r"\1: {w}", down=1),
    Fault("DL203", r"train\.workflowtemplate", r'("workflowTemplateRef": \{\n +"name"): "\S+"$', r'\1: "{w}"', down=1),
    Fault("DL205", r"sensor\.yaml$", r"conditions: \S+$", "conditions: {w}"),
    Fault("DL205", r"sensor\.yaml$", r"dependencyName: \S+$", "dependencyName: {w}"),
    Fault("DL206", r"sensor\.yaml$", r"dest: spec.arguments.parameters.\d.value$", "dest: spec.arguments.parameters.7.value"),
    Fault("DL207", r"sensor\.yaml$", r"eventBusName: \S+(?=(\n.*)*?\n  - name: decided\n)", "eventBusName: {w}"),
    Fault("DL208", r"eventsource", r"eventBusName: \S+$", "eventBusName: {w}"),
    Fault("DL211", r"trigger\.yaml$", r"^  broker: \S+$", "  broker: {w}"),
    Fault("DL212", r"trigger\.yaml$", r"^(      kind: Service\n      name): \S+$", r"\1: {w}", down=1),
    Fault("DL212", r"trigger\.yaml$", r"^(        kind: Service\n        name): \S+$", r"\1: {w}", down=1),
    Fault("DL213", r"monitors/.*/(drift|outlier)\.trigger\.yaml$", r"^  filter:\n    attributes:\n(      .*\n)+", "  filter: {{}}\n"),
    Fault("DL214", r"^monitors/(canary|shadow)/.*trigger\.yaml$", r"^      (inferenceservicename|endpoint): \S+$", r"      \1: {w}"),
    Fault("DL215", r"(drift|outlier|judge)\.trigger\.yaml$", r"^      type: (io\.seldon\S+)$", r"      type: \1{w}"),
    Fault("DL216", r"(seldondeployment|deployment)\.yaml$", r"(knative-eventing.svc.cluster.local/[^/\n]+)/\S+$", r"\1/{w}"),
    Fault("DL217", r"decision\.deployment\.yaml$", r"(- http://[a-z-]+\.[a-z-]+\.svc\.cluster\.local:12000)/\S+$", r"\1/{w}"),
    Fault("DL217", r"decision\.deployment\.yaml$", r"(- http://[a-z-]+\.[a-z-]+\.svc\.cluster\.local):12000", r"\1:12001"),
    Fault("DL217", r"decision\.deployment\.yaml$", r"- http://[a-z-]+-retrain\.", "- http://{w}."),
    Fault("DL301", r"workflowtemplate", r"^  entrypoint: \S+$", "  entrypoint: {w}"),
    Fault("DL302", r"workflowtemplate", r"^        template: \S+$", "        template: {w}"),
    Fault("DL303", r"cronworkflow", r"(workflowTemplateRef:\n +name): \S+$", r"\1: {w}", down=1),
    Fault("DL304", r"workflowtemplate", r"depends: [\w-]+\.(\w+)", r"depends: {w}.\1"),
    Fault("DL304", r"workflowtemplate", r"depends: ([\w-]+)\.\w+", r"depends: \1.{w}"),
    Fault("DL305", r"train\.workflowtemplate", r"^(        template: .*\n(?:        .*\n)*?)          (parameters|artifacts):\n          - name: \S+$", r"\1          \2:\n          - name: {w}"),
    Fault("DL306", r"workflowtemplate", r"^  - name: (split|pick|gate|promote|finish)$", "  - name: {first}"),
    Fault("DL307", r"workflowtemplate", r"onExit: \S+$", "onExit: {w}"),
    Fault("DL308", r"train\.workflowtemplate", r"^        path: /work/out/trial/metadata\.yaml$", "        path: /work/out/trial/metadata.yml"),
    Fault("DL311", r"workflowtemplate", r"\{\{inputs\.(parameters|artifacts)\.[\w-]+", r"{{{{inputs.\1.{w}"),
    Fault("DL312", r"workflowtemplate", r"\{\{tasks\.[\w-]+", "{{{{tasks.{w}"),
    Fault("DL313", r"workflowtemplate", r"\{\{tasks\.([\w-]+)\.outputs\.(parameters|artifacts)\.[\w-]+", r"{{{{tasks.\1.outputs.\2.{w}"),
    Fault("DL314", r"workflowtemplate", r"\{\{workflow\.name", "{{{{workflow.{w}"),
    Fault("DL315", r"workflowtemplate", r"\{\{workflow\.parameters\.[\w-]+", "{{{{workflow.parameters.{w}"),
    Fault("DL328", r"train\.workflowtemplate", r"^( +)withItems:$", r"\1withParam: '[1]'\n\1withItems:"),
    Fault("DL329", r"workflowtemplate", r"^(  - name: [\w-]+|      - name: [\w-]+(?=\n        template:))$", r"\1.{w}"),
    Fault("DL330", r"workflowtemplate", r"action: (create|get)$", "action: {w}"),
    Fault("DL331", r"workflowtemplate", r"retryPolicy: \S+$", "retryPolicy: {w}"),
    Fault("DL332", r"train\.workflowtemplate", r"^( +path: )/work/in/split/heldout(\n +- name: production\n +path: /work/in/production)$", r"\1/work/in/production\2", down=2),
    Fault("DL333", r"train\.workflowtemplate", r"^(      - name: \w+\n)        path: /\S+$", r"\1        mode: 420"),
    Fault("DL334", r"workflowtemplate", r"^(      - name: [\w-]+\n)        template: \S+$", r"\1        when: '1 == 1'"),
    Fault("DL401", r"seldondeployment", r"traffic: 10$", "traffic: 20"),
    Fault("DL402", r"^deployments/digits/.*seldondeployment", r"^  - name: (r\w+)$", r"  - name: \1\n    shadow: true", down=1),
    Fault("DL404", r"seldondeployment", r"^(    graph:\n      name): \S+(\n      type: \w+\n      modelUri)", r"\1: {w}\2", down=1),
    Fault("DL404", r"^deployments/graph/.*seldondeployment", r"^( +- name): \S+(\n +type: COMBINER)$", r"\1: {w}\2"),
    Fault("DL405", r"seldondeployment", r"^      type: MODEL\n      modelUri: \S+$", "      implementation: SKLEARN_SERVER"),
    Fault("DL406", r"seldondeployment", r"mode: \S+$", "mode: {w}"),
    Fault("DL407", r"seldondeployment", r"protocol: \S+$", "protocol: {w}"),
    Fault("DL501", r"virtualservice", r"host: [\w-]+", "host: {w}"),
    Fault("DL501", r"mirror\.virtualservice", r"host: ([\w-]+)-r\w+", r"host: \1-{w}"),
    Fault("DL501", r"traffic\.virtualservice", r"number: 8000$", "number: 8001"),
    Fault("DL502", r"traffic\.virtualservice", r"^( +)(host: \S+)$", r"\1\2\n\1subset: {w}", down=1),
    Fault("DL504", r"deployments/plain/.*virtualservice", r"weight: 10$", "weight: 20"),
    Fault("DL511", r"monitors/.*service\.yaml$", r"^  selector:\n    app.kubernetes.io/name: \S+$", "  selector:\n    app.kubernetes.io/name: {w}"),
    Fault("DL512", r"monitors/(?!autoscale-seldon/judge-r).*service\.yaml$", r"targetPort: \d+$", "targetPort: {w}"),
    Fault("DL521", r"(decision|judge|drift|webhook|model)\.authorizationpolicy", r"^    matchLabels:\n( +\S+): \S+$", r"    matchLabels:\n\1: {w}"),
    Fault("DL522", r"(decision|judge|drift|outlier)\.authorizationpolicy", r"^  rules:\n(?:.*\n)+", ""),
    Fault("DL531", r"(services|model)\.podmonitor\.yaml$", r"^  selector:\n    matchLabels:\n(      [\w./-]+): \S+$", r"  selector:\n    matchLabels:\n\1: {w}"),
    Fault("DL532", r"/observability/(services|model)\.podmonitor\.yaml$", r"^  - port: \S+$", "  - port: {w}"),
    Fault("DL532", r"/observability-seldon/services\.podmonitor\.yaml$", r"^  - port: \S+$", "  - port: {w}"),
    Fault("DL533", r"prometheusrule\.yaml$", r"^    - alert: \w+$", "    - alert: ''"),
    Fault("DL533", r"prometheusrule\.yaml$", r"^      expr: \w.*$", "      expr: 5.5"),
    Fault("DL533", r"prometheusrule\.yaml$", r"^    - alert: (\w+)$", r"    - alert: \1\n      record: {w}"),
    Fault("DL534", r"alerts\.prometheusrule\.yaml$", r"^(    - alert: PredictorDown\n(?:      .*\n)+)", r"\1\1", down=10),
    Fault("DL601", r"(workflowtemplate|deployment)\.yaml$", r"^( +)- name: (work|detector)\n(\1  mountPath)", r"\1- name: {w}\n\3"),
    Fault("DL602", r"deployments/plain/.*deployment\.yaml$", r"(configMap:\n +name): \S+-logger$", r"\1: {w}", down=1),
    Fault("DL604", r"(deployment|workflowtemplate|sensor)\.yaml$", r"serviceAccountName: \S+$", "serviceAccountName: {w}"),
    Fault("DL605", r"[a-z]\.deployment\.yaml$", r"^    matchLabels:\n      app.kubernetes.io/name: \S+$", "    matchLabels:\n      app.kubernetes.io/name: {w}", down=1),
    Fault("DL606", r"[a-z]\.deployment\.yaml$", r"^    spec:$", "    spec:\n      nodeSelector:\n        nvidia.com/gpu.present: 'true'", down=2),
    Fault("DL607", r"(deployment|workflowtemplate)\.yaml$", r"image: ([\w./-]+):\S+$", r"image: \1:latest"),
    Fault("DL611", r"workflows/.*(train|sensor)\.rolebinding\.yaml$", r"^  kind: Role\n  name: \S+$", "  kind: Role\n  name: {w}", down=1),
    Fault("DL612", r"workflows/.*rolebinding\.yaml$", r"^- kind: ServiceAccount\n  name: \S+$", "- kind: ServiceAccount\n  name: {w}", down=1),
    Fault("DL621", r"horizontalpodautoscaler", r"(kind: Deployment\n +name): \S+$", r"\1: {w}", down=1),
    Fault("DL622", r"^deployments/autoscale/.*deployment\.yaml$", r"^spec:$", "spec:\n  replicas: 3", down=1),
    Fault("DL623", r"poddisruptionbudget", r"^    matchLabels:\n      (\S+): \S+$", r"    matchLabels:\n      \1: {w}"),
    Fault("DL624", r"poddisruptionbudget", r"maxUnavailable: 1$", "maxUnavailable: 0"),
    Fault("DL624", r"^deployments/plain/.*poddisruptionbudget", r"maxUnavailable: 1$", "minAvailable: 2"),
    Fault("DL625", r"^deployments/(plain|autoscale)/.*poddisruptionbudget", r"^  selector:\n(    matchLabels:\n.*\n) +driftloop.*$", r"  selector:\n\1"),
    Fault("DL701", r"^cluster/", r"path: ./(\w+)/\S+$", r"path: ./\1/{w}"),
    Fault("DL711", r"kustomization\.yaml$", r"^- \S+\.yaml$", "- {w}.yaml"),
    Fault("DL801", r"default-broker\.configmap\.yaml$", r"^kind: ConfigMap(\n(?:.*\n)*?)data:$", r"kind: Secret\1data:"),
    Fault("DL804", r"^workflows/.*/train\.workflowtemplate", r"^  automountServiceAccountToken: false$", "  automountServiceAccountToken: true"),
    Fault("DL804", r"^workflows/.*/train\.workflowtemplate", r"^  automountServiceAccountToken: false\n", ""),
    Fault("DL804", r"^workflows/.*/train\.workflowtemplate", r"^  - name: train$", "  - name: train\n    automountServiceAccountToken: true"),
    Fault("DL802", r"eventsource", r"^      authSecret:\n        name: .*\n        key: .*\n", ""),
)  # fmt: skip

LINES: dict[str, Callable[[str, int], int]] = {
    # reported on the other side of what is changed
    "DL207": lambda text, _: _line_of(text, r"^    eventSourceName:"),
    "DL522": lambda text, _: _line_of(text, r"^spec:"),
    "DL801": lambda text, _: _line_of(text, r"^data:"),
    "DL804": lambda text, _: _line_of(text, r"^  - name: train$"),
    "DL802": lambda text, _: _line_of(text, r"^    retrain:"),
}


def _line_of(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    assert found
    return text.count("\n", 0, found.start()) + 1


@cache
def _sites(fault: Fault) -> tuple[tuple[str, str, int], ...]:
    """(tree, path, index of the match) wherever the fault can be made."""
    return tuple(
        (name, path, index)
        for name in NAMES
        for path, text in tree(name).items()
        if re.search(fault.files, path) and not path.endswith(("/pipeline.yaml", "/release.yaml"))
        for index, _ in enumerate(re.finditer(fault.pattern, text, re.MULTILINE))
    )


def _name(fault: Fault) -> str:
    return f"{fault.code}-{FAULTS.index(fault)}"


@pytest.mark.parametrize("fault", FAULTS, ids=_name)
def test_a_seeded_fault_is_caught_at_its_line(fault: Fault) -> None:
    sites = _sites(fault)
    assert sites, "no golden tree holds what the fault changes"

    @settings(max_examples=2, deadline=None, database=None)
    @given(st.sampled_from(sites), st.from_regex(r"[a-z]{4,8}zq", fullmatch=True))
    def caught(site: tuple[str, str, int], word: str) -> None:
        name, path, index = site
        files: dict[str, str | bytes] = dict(tree(name))
        text = tree(name)[path]
        match = list(re.finditer(fault.pattern, text, re.MULTILINE))[index]
        first = re.search(r"^  templates:\n  - name: (\S+)", text, re.MULTILINE)
        new = fault.new.replace("{w}", word).replace("{first}", first[1] if first else "")
        new = match.expand(new.replace("{{", "{").replace("}}", "}"))
        changed = text[: match.start()] + new + text[match.end() :]
        assert changed != text
        files[path] = changed
        line = text.count("\n", 0, match.start()) + 1 + fault.down
        line = LINES.get(fault.code, lambda _, same: same)(changed, line)
        found = places(files)
        assert (fault.code, path, line) in found, sorted(found)

    caught()


def test_every_rule_that_a_rendered_tree_can_break_is_seeded() -> None:
    """The others need objects that no tree holds; test_any_fault_is_found_beside_a_whole_tree has every rule."""
    seeded = {fault.code for fault in FAULTS}
    assert len(seeded) >= 60
    assert seeded <= {rule.code for rule in RULES}


@pytest.mark.parametrize(
    "code", sorted(file.stem for file in EXAMPLES.glob("*.yaml") if not file.stem.startswith("DL9"))
)
def test_any_fault_is_found_beside_a_whole_tree(code: str) -> None:
    """A fault of somebody else's file, in a repository that holds a rendered tree too: found once, and nothing of ours."""
    bad = variant((EXAMPLES / f"{code}.yaml").read_text(), "bad")
    files: dict[str, str | bytes] = {
        **tree("canary"),
        **{f"other/{path}": text for path, text in bad.files.items()},
    }
    found = {one for one in places(files) if one[0] == code}
    if code == "DL701":  # paths count from the repository's root
        return
    assert found == {(code, f"other/{path}", line) for path, line in bad.expected}
