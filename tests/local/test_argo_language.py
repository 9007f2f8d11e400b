"""The little languages in Argo's strings, held against straightforward readings of them."""

import contextlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kube.events import Filters, SensorTrigger
from driftloop.local.argo import jsonpaths
from driftloop.local.argo.expressions import ExpressionError, evaluate, parse, when
from driftloop.local.argo.nodes import Node, Phase, node_id
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo.times import duration
from driftloop.local.argo_events.triggers import fill_resource, passes_filters
from driftloop.local.argo_workflows import tags
from driftloop.local.argo_workflows.cron import list_times
from driftloop.local.argo_workflows.dag import plan_dag
from driftloop.local.argo_workflows.merge import merge_template
from driftloop.local.argo_workflows.model import CronSpec, Task
from driftloop.local.ground.mounts import replace_mounts

PHASES: tuple[Phase, ...] = ("Succeeded", "Failed", "Error", "Skipped", "Omitted")
FACTS = {"a": "x", "b": "y", "c": "x y"}


def conditions() -> st.SearchStrategy[tuple[str, str]]:
    """An expression, and the same in Python."""
    names = st.sampled_from(tuple(FACTS))
    texts = st.sampled_from(("x", "y", "x y", ""))
    compared = st.tuples(names, st.sampled_from(("==", "!=")), texts).map(
        lambda p: (f'{p[0]} {p[1]} "{p[2]}"', f"{p[0]} {p[1]} {p[2]!r}")
    )
    contained = st.tuples(names, texts).map(
        lambda p: (f'{p[0]} contains "{p[1]}"', f"{p[1]!r} in {p[0]}")
    )
    listed = st.tuples(names, texts, texts).map(
        lambda p: (f'{p[0]} in ["{p[1]}", "{p[2]}"]', f"{p[0]} in [{p[1]!r}, {p[2]!r}]")
    )

    def grow(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
        negated = inner.map(lambda one: (f"!({one[0]})", f"(not ({one[1]}))"))
        grouped = inner.map(lambda one: (f"({one[0]})", f"({one[1]})"))
        joined = st.tuples(inner, st.sampled_from((("&&", "and"), ("||", "or"))), inner).map(
            lambda p: (f"{p[0][0]} {p[1][0]} {p[2][0]}", f"{p[0][1]} {p[1][1]} {p[2][1]}")
        )
        return negated | grouped | joined

    return st.recursive(compared | contained | listed, grow, max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(condition=conditions())
def test_an_expression_means_what_python_says(condition: tuple[str, str]) -> None:
    text, python = condition
    assert evaluate(parse(text), lambda parts: FACTS[parts[0]]) == eval(python, dict(FACTS))


@settings(max_examples=100, deadline=None)
@given(text=st.text('ab&|!().[]" ', max_size=12))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        assert parse(text) is not None


@pytest.mark.parametrize(
    ("phases", "whole"),
    [
        ({"a": "Succeeded", "b": "Succeeded", "c": "Succeeded"}, "Succeeded"),
        ({"a": "Failed", "b": "Omitted", "c": "Omitted"}, "Failed"),
        ({"a": "Failed", "b": "Succeeded", "c": "Omitted"}, "Succeeded"),
        ({"a": "Succeeded", "b": "Skipped", "c": "Omitted"}, "Succeeded"),
        ({"a": "Failed", "b": "Error", "c": "Omitted"}, "Error"),
        ({"a": "Succeeded", "b": "Succeeded", "c": "Failed"}, "Failed"),
    ],
)
def test_a_dag_ends_as_its_last_tasks_do(phases: dict[str, Phase], whole: str) -> None:
    chain = plan_dag(
        [
            Task(name="a", template="t"),
            Task(name="b", template="t", depends="a.Succeeded"),
            Task(name="c", template="t", depends="b.Succeeded"),
        ]
    )
    nodes = {name: Node(name, name, name, "Pod", "t", "", phase) for name, phase in phases.items()}
    assert chain.phase(nodes) == whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"true" == "true"', True),
        ('"true" == "false"', False),
        ('"a b" == "a b"', True),
        ("'it\\'s' == \"it's\"", True),
        ('!("1" == "2") || "x" != "x"', True),
        ("true == true", None),
        ('"true" == true', None),
        ("1 < 2", None),
        ("true", None),
        ('"yes"', None),
        ("", None),
        ('"1" ==', None),
    ],
)
def test_when(text: str, value: bool | None) -> None:
    if value is None:
        with pytest.raises(ExpressionError):
            when(text)
    else:
        assert when(text) is value


@settings(max_examples=100, deadline=None)
@given(
    scope=st.dictionaries(
        st.from_regex(r"\A[a-z]{1,4}(\.[a-z-]{1,4})?\Z"),
        st.text("ab{}= \n\"'", max_size=10),
        max_size=4,
    ),
    between=st.lists(st.text("xy }\n", max_size=5), min_size=6, max_size=6),
)
def test_a_value_is_put_in_as_it_is_and_never_looked_at_again(
    scope: dict[str, str], between: list[str]
) -> None:
    text, expected = between[0], between[0]
    for (tag, value), gap in zip(scope.items(), between[1:], strict=False):
        text += f"{{{{ {tag} }}}}{gap}"
        expected += value + gap
    assert tags.fill_text(text, scope) == expected
    document = {"a": [text, 1, None, {"b": text}], "c": True}
    assert tags.fill(document, scope) == {"a": [expected, 1, None, {"b": expected}], "c": True}


def test_tags_that_can_not_be_filled_in() -> None:
    with pytest.raises(
        tags.UnresolvedTagError, match=r"failed to resolve \{\{tasks.a.outputs.parameters.x\}\}"
    ):
        tags.fill_text("x {{tasks.a.outputs.parameters.x}}", {})
    for tag in ("workflow.uid", "=inputs.parameters.x", "item", "tasks.a.status", "pod.name"):
        with pytest.raises(NotUnderstoodError, match=r"`\{\{.*\}\}` is not supported"):
            tags.require_supported({"a": [f"x {{{{{tag}}}}}"]}, "WorkflowTemplate n/t")
    tags.require_supported(
        ["{{ inputs.parameters.my-x }}", 1, "{{tasks.a.outputs.parameters}}"], "x"
    )


def test_mount_paths_are_replaced_only_where_they_are_paths(tmp_path: Any) -> None:
    mounts = {"/work": tmp_path}
    for text, expected in {
        "/work": "P",
        "/work/in/x": "P/in/x",
        "--out=/work/out": "--out=P/out",
        '{"a":"/work/x","b":["/work"]}': '{"a":"P/x","b":["P"]}',
        "/work:/work/lib": "P:P/lib",
        "s3://bucket/work/x": "s3://bucket/work/x",
        "/workshop": "/workshop",
        "/home/work/x": "/home/work/x",
        "/work.d": "/work.d",
    }.items():
        assert replace_mounts(text, mounts) == expected.replace("P", str(tmp_path)), text


def test_folders_below_a_path_that_is_a_mount_are_placed_once():
    """A state folder may be in /work, as the volume of a step is."""
    mounts = {"/rehearsal": Path("/work/state/rehearsal"), "/work": Path("/work/state/work")}
    for order in (mounts, dict(reversed(mounts.items()))):
        assert replace_mounts("/rehearsal/candidate", order) == "/work/state/rehearsal/candidate"
        assert (
            replace_mounts("/work/in /rehearsal", order)
            == "/work/state/work/in /work/state/rehearsal"
        )


@settings(max_examples=60, deadline=None)
@given(
    document=st.recursive(
        st.none() | st.integers(),
        lambda inner: st.dictionaries(st.sampled_from("ab.c"), inner) | st.lists(inner),
    ),
    path=st.lists(st.sampled_from(("a", "b", "c", "0", "1")), min_size=1, max_size=4),
)
def test_what_is_put_is_found(document: Any, path: list[str]) -> None:
    before = json.dumps(document)
    try:
        changed = jsonpaths.put(document, ".".join(path), "new")
    except jsonpaths.PathError:
        return
    assert jsonpaths.get(changed, ".".join(path)) == (True, "new")
    assert json.dumps(document) == before


def test_paths_with_dots_and_headers() -> None:
    event = {"header": {"X-Id": ["7"]}, "body": {"a.b": {"c": 1}}}
    assert jsonpaths.get(event, "header.X-Id.0") == (True, "7")
    assert jsonpaths.get(event, "body.a\\.b.c") == (True, 1)
    assert jsonpaths.get(event, "body.a.b") == (False, None)


@pytest.mark.parametrize(
    ("data", "body", "passed"),
    [
        ({"type": "string", "value": ["mnist"]}, "xmnist2", True),
        ({"type": "string", "value": ["^mnist$"]}, "xmnist2", False),
        ({"type": "string", "value": ["^a$", "^b$"]}, "b", True),
        ({"type": "string", "value": ["1"]}, 1, False),
    ],
)
def test_data_filters(data: dict[str, Any], body: Any, passed: bool) -> None:
    filters = Filters.model_validate({"data": [{"path": "body.x", **data}]})
    assert passes_filters(filters, {"body": {"x": body}}) is passed
    assert passes_filters(filters, {"body": {}}) is False


def test_trigger_parameters() -> None:
    def parameter(dest: str, key: str, **more: Any) -> dict[str, Any]:
        return {
            "src": {"dependencyName": "d", "dataKey": key, **more.pop("src", {})},
            "dest": dest,
            **more,
        }

    resource = {"metadata": {"name": "x-"}, "spec": {"list": [{"value": "old"}]}}
    parameters = [
        parameter("metadata.name", "body.id", operation="append"),
        parameter("spec.list.0.value", "body.object"),
        parameter("spec.number", "body.number"),
    ]
    k8s = {"operation": "create", "source": {"resource": resource}, "parameters": parameters}
    trigger = SensorTrigger.model_validate(
        {"template": {"name": "t", "conditions": "d", "k8s": k8s}, "atLeastOnce": True}
    )
    made = fill_resource(trigger, {"body": {"id": "7", "object": {"a": 1}, "number": 3}})
    assert made == {
        "metadata": {"name": "x-7"},
        "spec": {"list": [{"value": '{"a": 1}'}], "number": "3"},
    }
    with pytest.raises(NotUnderstoodError, match=r"no `body.id` for metadata.name"):
        fill_resource(trigger, {"body": {}})


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def cron(*schedules: str, zone: str = "Europe/Berlin") -> CronSpec:
    return CronSpec(
        schedules=list(schedules), timezone=zone, concurrency_policy="Forbid", workflow_spec={}
    )


def test_the_times_of_a_schedule() -> None:
    due = list_times(cron("0 3 * * 1"), at("2026-01-01T00:00"), at("2026-01-13T12:00"))
    assert (due.latest, due.next) == (at("2026-01-12T03:00"), at("2026-01-19T03:00"))
    due = list_times(cron("0 3 * * 1"), at("2026-01-12T03:00"), at("2026-01-13T12:00"))
    assert due.latest is None
    due = list_times(cron("0 3 * * *", "30 * * * *"), 0, at("2026-01-13T03:10"))
    assert (due.latest, due.next) == (at("2026-01-13T03:00"), at("2026-01-13T03:30"))
    exact = at("2026-01-13T03:00")
    assert list_times(cron("0 3 * * *"), exact - 60, exact).latest == exact
    # summer time began on 29 March 2026: three in the morning came right after two
    due = list_times(cron("0 6 * * *"), 0, at("2026-03-29T12:00"))
    assert due.latest == at("2026-03-29T06:00")
    assert due.next - due.latest == 24 * 3600


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("0 3 * * 3-3", "2026-01-14T03:00"),
        ("0 3 */2 * 3", "2026-01-14T03:00"),
        ("0 3 1-31 * mon", "2026-01-14T03:00"),
        ("0 3 20 * sun", "2026-01-18T03:00"),
        ("0 3 20 feb *", "2026-02-20T03:00"),
        ("0 3 30 2 sun", "2026-02-01T03:00"),
        ("@daily", "2026-01-14T00:00"),
    ],
)
def test_a_schedule_is_due_when_argo_says_so(schedule: str, following: str) -> None:
    now = at("2026-01-13T12:00")
    assert list_times(cron(schedule), now, now).next == at(following)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_no_duration() -> None:
    with pytest.raises(NotUnderstoodError, match="`soon` is not a duration"):
        duration("soon")


def test_a_run_and_its_template_are_merged() -> None:
    template = {
        "spec": {
            "entrypoint": "main",
            "arguments": {
                "parameters": [
                    {"name": "a", "value": "1"},
                    {"name": "b", "value": "2"},
                ]
            },
            "templates": [{"name": "main", "container": {"image": "i", "command": ["c"]}}],
            "podGC": {"strategy": "OnPodCompletion"},
        }
    }
    run = {
        "metadata": {"name": "r", "namespace": "n"},
        "spec": {
            "workflowTemplateRef": {"name": "t"},
            "arguments": {"parameters": [{"name": "b", "value": "3"}]},
            "activeDeadlineSeconds": 5,
        },
    }
    spec = merge_template(
        run, lambda namespace, name: template if (namespace, name) == ("n", "t") else None
    )
    assert spec["arguments"]["parameters"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "3"},
    ]
    assert spec["activeDeadlineSeconds"] == 5
    assert "podGC" not in spec


def test_node_ids_are_argos() -> None:
    # the ids that Argo itself gives: the FNV-1a hash of the node's name, and the bare name for the root
    assert node_id("hello", "hello") == "hello"
    assert node_id("w", "a") == f"w-{0xE40C292C}"
