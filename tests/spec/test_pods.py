"""Where pods run and what they are marked with: a role's settings over those of all."""

from typing import Any

import pytest
import yaml

from driftloop.plan import make_plan
from driftloop.render import render_tree
from driftloop.spec import InvalidSpec, parse_spec
from tests.spec.specs import MINIMAL, changed

TRAIN = 'train: {run: "train:train"}'


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ("{labels: {app.kubernetes.io/name: x}}", "must be another name: Services, NetworkPolicies"),
        ("{labels: {driftloop.dev/reaches: git}}", "must be another name: driftloop's own begin so"),
        ("{annotations: {seldon.io/rest-timeout: x}}", "must be another name: Seldon's own begin so"),
        ("{annotations: {a: 'b=c'}}", "spec.pods.annotations.a is `b=c`, must not hold `=` with `backend: seldon`"),
        ("{tolerations: [{key: a, operator: In}]}", "operator is `In`, must be one of: `Equal`, `Exists`"),
        ("{tolerations: [{key: a, effect: NoRun}]}", "effect is `NoRun`, must be one of: `NoSchedule`"),
        ("{nodeSelecter: {a: b}}", "spec.pods.nodeSelecter is not a known key"),
        ("{affinity: {nodeAffinity: {required: {}}}}", "spec.pods.affinity.nodeAffinity.required is not a known key"),
        ("{priorityClassName: High}", "must be the name of a Kubernetes object"),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_with_its_place(pods: str, message: str) -> None:
    text = changed(f"  {TRAIN}", f"  pods: {pods}\n  {TRAIN}")
    with pytest.raises(InvalidSpec) as caught:
        make_plan(parse_spec(text, path="p.yaml"))
    assert caught.value.message.startswith("p.yaml:9:")
    assert message in caught.value.message


def test_an_account_belongs_to_train_not_to_its_steps() -> None:
    text = changed(
        'evaluate: {run: "evaluate:evaluate"}',
        'evaluate: {run: "evaluate:evaluate", pod: {serviceAccount: {annotations: {a: b}}}}',
    )
    with pytest.raises(InvalidSpec, match=r"evaluate\.pod\.serviceAccount is not a known key"):
        parse_spec(text, path="p.yaml")


def test_a_role_stands_over_all_and_its_gpu_over_both() -> None:
    tree = render_tree(
        changed(
            f"  {TRAIN}",
            "  pods: {labels: {team: a, cost: b}, nodeSelector: {pool: x, disk: y}, priorityClassName: low,\n"
            "    tolerations: [{key: t, operator: Exists}]}\n"
            '  train: {run: "train:train", resources: {gpu: 1}, pod: {labels: {cost: c}, nodeSelector: {pool: z},\n'
            "    tolerations: [{key: u, value: v, effect: NoExecute}]}}",
        ),
        None,
    )
    workflow = yaml.safe_load(tree["workflows/digits/train.workflowtemplate.yaml"])["spec"]
    assert workflow["nodeSelector"] == {"pool": "x", "disk": "y"}
    assert workflow["tolerations"] == [{"key": "t", "operator": "Exists"}]
    assert workflow["podPriorityClassName"] == "low"
    assert {"team": "a", "cost": "b"}.items() <= workflow["podMetadata"]["labels"].items()
    step = _find(workflow["templates"], "train")
    assert step["nodeSelector"] == {"pool": "z", "disk": "y", "nvidia.com/gpu.present": "true"}
    assert [each["key"] for each in step["tolerations"]] == ["u", "nvidia.com/gpu"]
    assert step["metadata"]["labels"] == {"cost": "c"}
    assert "nodeSelector" not in _find(workflow["templates"], "evaluate")
    for service in ("decision", "judge"):
        pod = yaml.safe_load(tree[f"monitors/digits/{service}.deployment.yaml"])["spec"]["template"]
        assert pod["spec"]["nodeSelector"] == {"pool": "x", "disk": "y"}
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "digits"
    for kind in ("sensor", "eventsource"):
        made = yaml.safe_load(tree[f"workflows/digits/retrain.{kind}.yaml"])["spec"]["template"]
        assert made["priorityClassName"] == "low"
        assert made["metadata"]["labels"] == {"team": "a", "cost": "b"}


def _find(templates: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in templates if each["name"] == name)


BASELINE = "`AUDIT_WRITE`, `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `KILL`, `MKNOD`, `NET_BIND_SERVICE`"


@pytest.mark.parametrize(
    ("backend", "security", "message"),
    [
        ("plain", "{runAsUser: 0}", "security.runAsUser is 0, must be at least 1: no pod of a pipeline runs as root"),
        ("plain", "{capabilities: {add: [CHOWN]}}",
         "security.capabilities.add[0] is `CHOWN`, must be one of: `NET_BIND_SERVICE`; the namespace keeps the Pod "
         "Security Standard `restricted` with `backend: plain`"),
        ("seldon", "{capabilities: {add: [CHOWN, SYS_ADMIN]}}",
         f"security.capabilities.add[1] is `SYS_ADMIN`, must be one of: {BASELINE}"),
        ("plain", "{capabilities: {drop: [ALL]}}", "capabilities.drop is not a known key"),
        ("plain", "{seccompProfile: {type: Unconfined}}",
         "seccompProfile.type is `Unconfined`, must be one of: `RuntimeDefault`, `Localhost`"),
        ("plain", "{seccompProfile: {type: Localhost}}", "must have `localhostProfile` with `type: Localhost`"),
        ("plain", "{readOnlyRootFilesystem: true}", "must be `false`, or left out: servers and monitors are read-only"),
        ("plain", "{privileged: true}", "security.privileged is not a known key"),
        ("plain", "{supplementalGroups: [-1]}", "supplementalGroups[0] is -1, must be at least 0"),
    ],
)  # fmt: skip
def test_rights_are_within_the_standard_of_the_namespace(
    backend: str, security: str, message: str
) -> None:
    text = changed(
        'run: "train:train"', f'run: "train:train", pod: {{security: {security}}}'
    ).replace("{model: Digits}", f"{{model: Digits, backend: {backend}}}")
    with pytest.raises(InvalidSpec) as caught:
        make_plan(parse_spec(text, path="p.yaml"))
    assert caught.value.message.startswith("p.yaml:9:")
    assert message in caught.value.message


def test_rights_belong_to_code_of_a_persons_own() -> None:
    for text, message in (
        (f"{MINIMAL}  pods: {{security: {{fsGroup: 1}}}}\n", "spec.pods.security is not a known key"),
        (
            f"{MINIMAL}  monitors: {{drift: {{pod: {{security: {{fsGroup: 1}}}}}}}}\n",
            "spec.monitors.drift.pod.security has no effect: no code of yours runs in `drift`",
        ),
    ):  # fmt: skip
        with pytest.raises(InvalidSpec) as caught:
            make_plan(parse_spec(text, path="p.yaml"))
        assert message in caught.value.message
