"""Whatever a file holds, the answer is findings, soon, and never a traceback."""
# ruff: noqa: E501 - tables read better in one line per entry

import time
import tracemalloc
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.check import Finding, check_files
from driftloop.text.read import MAX_BYTES, MAX_DEPTH, ReadRules, read

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def only(content: str | bytes) -> Finding:
    (found,) = check_files({"a.yaml": content})
    return found


def place(found: Finding) -> tuple[str, int, int]:
    return found.code, found.line, found.column


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (laughs(30), ("DL004", 6, 5)),
        (OBJECT + "data: &a {b: *a}\n", ("DL004", 4, 14)),
        (OBJECT + "data: " + "[" * 100_000, ("DL004", 4, 7 + MAX_DEPTH - 1)),
        (OBJECT + "data: " + "{a: " * 100_000, ("DL004", 4, 7 + 4 * (MAX_DEPTH - 1))),
        ("- " * 100_000 + "x", ("DL004", 1, 1 + 2 * MAX_DEPTH)),
        ("x" * (MAX_BYTES + 1), ("DL003", 1, 1)),
        (b"a: \xff\xfe\n", ("DL002", 1, 4)),
        (OBJECT.encode("utf-16"), ("DL002", 1, 1)),
        (OBJECT + "data:\n\ta: b\n", ("DL001", 5, 1)),
        (OBJECT + "data: *nothing\n", ("DL001", 4, 7)),
        (OBJECT + "data: {a: 'b\n", ("DL001", 5, 1)),
        (OBJECT + "data: {a: b, a: c}\n", ("DL005", 4, 14)),
        (OBJECT + "data: {[1]: b}\n", ("DL006", 4, 8)),
        (OBJECT + "data: {? {a: b} : c}\n", ("DL006", 4, 10)),
        ("a: \x00\n", ("DL001", 1, 4)),
        ("a: \ud800\n", ("DL002", 1, 4)),
    ],
    ids=[
        "laughs", "own alias", "deep list", "deep mapping", "deep dashes", "large", "latin 1", "utf-16", "tab",
        "no anchor", "open quote", "duplicate", "list as key", "mapping as key", "nul", "half a pair",
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_finding(
    content: str | bytes, expected: tuple[str, int, int]
) -> None:
    assert place(only(content)) == expected


def test_ten_megabytes_cost_little() -> None:
    content = (OBJECT + "data: {a: b}\n---\n") * 200_000
    assert len(content) > 10_000_000
    tracemalloc.start()
    began = time.process_time()
    assert only(content).code == "DL003"
    assert time.process_time() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_values_are_counted_with_their_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "driftloop.check.world.read", partial(read, rules=ReadRules(max_values=1000))
    )
    assert check_files({"a.yaml": "a: [" + "1, " * 900 + "1]\n"}) == ()
    assert only("a: [" + "1, " * 1000 + "1]\n").code == "DL004"
    assert only("a: &a [" + "1, " * 600 + "1]\nb: *a\n").code == "DL004"


@pytest.mark.parametrize(
    "content",
    [
        "", "---\n---\n", "null\n", "- 1\n", "just words\n", "%YAML 1.1\n---\na: b\n", "!!python/object:os.system {}\n",
        "a: !custom [1]\n", "\ufeff" + OBJECT, "kind: [1]\napiVersion: {a: b}\n", "kind: 1\napiVersion: 2\n",
        "apiVersion: v1\nkind: List\nitems: 5\n", "apiVersion: v1\nkind: List\nitems: [1, {apiVersion: v1, kind: List, items: []}]\n",
        "a: &x 1\nb: *x\nc: {<<: {d: 1}, e: 2}\n", "a: 0x\nb: 1__2\nc: .inf\nd: -.nan\ne: 0b\nf: 9" + "9" * 5000 + "\n",
    ],
    ids=repr,
)  # fmt: skip
def test_an_odd_file_is_no_fault(content: str) -> None:
    assert [one for one in check_files({"a.yaml": content}) if one.code != "DL008"] == []


_KINDS = st.sampled_from(
    [
        "argoproj.io/v1alpha1/Workflow", "argoproj.io/v1alpha1/WorkflowTemplate", "argoproj.io/v1alpha1/CronWorkflow",
        "argoproj.io/v1alpha1/Sensor", "argoproj.io/v1alpha1/EventSource", "eventing.knative.dev/v1/Trigger",
        "eventing.knative.dev/v1/Broker", "machinelearning.seldon.io/v1/SeldonDeployment", "networking.istio.io/v1/VirtualService",
        "networking.istio.io/v1/DestinationRule", "networking.istio.io/v1/Gateway", "v1/Service", "v1/Pod", "v1/Secret",
        "v1/ConfigMap", "v1/List", "apps/v1/Deployment", "rbac.authorization.k8s.io/v1/RoleBinding",
        "kustomize.toolkit.fluxcd.io/v1/Kustomization", "helm.toolkit.fluxcd.io/v2/HelmRelease",
        "kustomize.config.k8s.io/v1beta1/Kustomization", "v1/Namespace", "bitnami.com/v1alpha1/SealedSecret",
    ]
)  # fmt: skip
_WORDS = st.sampled_from(
    [
        "spec", "metadata", "name", "namespace", "template", "templates", "dag", "tasks", "steps", "arguments", "parameters",
        "artifacts", "value", "inputs", "outputs", "containers", "image", "env", "args", "volumes", "volumeMounts", "selector",
        "matchLabels", "labels", "predictors", "graph", "children", "componentSpecs", "logger", "traffic", "shadow", "http",
        "route", "destination", "host", "weight", "mirror", "dependencies", "triggers", "k8s", "source", "resource", "dest",
        "src", "subscriber", "ref", "filter", "attributes", "type", "webhook", "resources", "path", "dependsOn", "sourceRef",
        "workflowSpec", "workflowTemplateRef", "entrypoint", "onExit", "depends", "manifest", "roleRef", "subjects", "data",
        "hooks", "inline", "spec", "spec", "items", "ports", "targetPort", "nodeSelector", "patches", "hosts", "delivery",
    ]
)  # fmt: skip
_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 200), st.floats(allow_nan=False), st.text(max_size=8), _WORDS,
        st.sampled_from(["{{inputs.parameters.a}}", "{{tasks.a.outputs.parameters.b}}", "{{workflow.parameters.x}}", "a", "*", "{{", "http://a.b.svc:80/c", "a && b"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_WORDS, inner, max_size=6)),
    max_leaves=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_KINDS, st.dictionaries(_WORDS, _VALUES, max_size=8)), max_size=4))
def test_no_shape_of_an_object_is_a_traceback(objects: list[tuple[str, dict[str, object]]]) -> None:
    import json

    documents = [
        {
            **body,
            "apiVersion": kind.rpartition("/")[0],
            "kind": kind.rpartition("/")[2],
            "metadata": body.get("metadata", {"name": "a"}),
        }
        for kind, body in objects
    ]
    text = "---\n".join(json.dumps(document) + "\n" for document in documents)
    for one in check_files(
        {"a.yaml": text, "kustomization.yaml": text, "b/kustomization.yaml": text}, complete=True
    ):
        assert one.line >= 1
        assert one.column >= 1


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200),
        st.text("{}[]&*!|>-: \n\t'\"#%a1?,", max_size=60),
    )
)
def test_no_text_is_a_traceback(content: str | bytes) -> None:
    reading = read(content)
    assert reading.documents or reading.problems or not check_files({"a.yaml": content})
