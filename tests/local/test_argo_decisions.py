"""What a Workflow does next, held against what Argo's documentation promises: no process, no store, any order."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.clients.s3 import StoreLocation
from driftloop.local.argo.expressions import ExpressionError
from driftloop.local.argo.nodes import ENDED, Node, Outputs, Phase, Site
from driftloop.local.argo_workflows import dag, lifecycle, loops, retries, tags, variables
from driftloop.local.argo_workflows.model import (
    Arguments,
    RetryStrategy,
    Task,
    Template,
    WorkflowSpec,
)
from driftloop.local.argo_workflows.variables import Call, View
from driftloop.resources.workflows import templates
from driftloop.resources.workflows.retries import AWAY, user_retries
from driftloop.spec.resources import Retries

PHASES: tuple[Phase, ...] = ("Succeeded", "Failed", "Error", "Skipped", "Omitted")


def node(name: str, phase: Phase = "Succeeded", **more: Any) -> Node:
    return Node(
        name, name, name, more.pop("type", "Pod"), more.pop("template", "t"), "", phase, **more
    )


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    """Tasks in any order, each waiting for some that come before it in another order."""
    names = [f"t{index}" for index in range(draw(st.integers(1, 7)))]
    tasks = []
    for index, name in enumerate(names):
        before = (
            draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3)) if index else []
        )
        tasks.append(
            Task(
                name=name,
                template="t",
                depends=" && ".join(f"{name}.Succeeded" for name in before) or None,
            )
        )
    return draw(st.permutations(tasks))


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), data=st.data())
def test_every_task_starts_once_after_all_it_waits_for(
    graph: list[Task], data: st.DataObject
) -> None:
    plan = dag.plan_dag(graph)
    started: list[str] = []
    running: list[str] = []
    ended: dict[str, Node] = {}
    while len(ended) < len(graph):
        for task in plan.startable(ended, started):
            assert plan.waits_for[task.name] <= set(ended)
            assert plan.ancestors(task.name) <= set(ended)
            started.append(task.name)
            running.append(task.name)
        assert running, "nothing runs, and not all is over"
        over = data.draw(st.sampled_from(running))
        running.remove(over)
        runs = plan.runs(over, ended)
        assert runs == all(ended[name].phase == "Succeeded" for name in plan.waits_for[over])
        ended[over] = node(over, data.draw(st.sampled_from(PHASES[:4])) if runs else "Omitted")
    assert sorted(started) == sorted(task.name for task in graph)
    assert not plan.startable(ended, started)
    # an `&&` of all a task waits for lets no failure go unnoticed
    bad = {found.phase for found in ended.values()} & {"Failed", "Error"}
    assert (plan.phase(ended) == "Succeeded") == (not bad)


@settings(deadline=None)
@given(
    limit=st.integers(0, 5),
    phases=st.lists(st.sampled_from(PHASES), min_size=1, max_size=8),
    seconds=st.integers(0, 30),
    factor=st.sampled_from(("1", "2", "1.5")),
    cap=st.none() | st.integers(0, 60),
)
def test_retries(
    limit: int, phases: list[Phase], seconds: int, factor: str, cap: int | None
) -> None:
    strategy = retry_strategy(
        limit=limit, backoff={"duration": f"{seconds}s", "factor": factor, "cap": cap}
    )
    last = -1.0
    for attempt, phase in enumerate(phases):
        match retries.after(strategy, node("n", phase), attempt=attempt):
            case retries.Again(wait):
                assert phase in ("Failed", "Error")
                assert attempt < limit
                assert wait >= last, "waits grow"
                assert wait <= (cap if cap is not None else wait)
                last = wait
            case retries.Over(why):
                assert (why == "") == (phase not in ("Failed", "Error"))
                return
    assert len(phases) <= limit


def retry_strategy(**fields: Any) -> RetryStrategy:
    waits = {"duration": "10s", "factor": "2"}
    return RetryStrategy.model_validate(
        {"limit": 2, "retryPolicy": "Always", "backoff": waits, **fields}
    )


def test_a_wait_beyond_all_numbers_is_the_cap() -> None:
    strategy = retry_strategy(
        limit=5000, backoff={"duration": "10s", "factor": "1000", "cap": "1m"}
    )
    assert retries.after(strategy, node("n", "Failed"), attempt=4000) == retries.Again(60.0)


@pytest.mark.parametrize(
    ("phase", "code", "message", "again"),
    [
        ("Error", None, "pod deleted", True),
        ("Failed", 1, "Error (exit code 1)", False),
        ("Failed", 137, "Error (exit code 137)", True),
        ("Failed", 143, "Pod was terminated in response to imminent node shutdown.", True),
        ("Failed", 137, "OOMKilled (exit code 137)", False),
        ("Failed", 143, "Pod was active on the node longer than the specified deadline", False),
        ("Failed", None, "", False),
        ("Succeeded", 0, "", False),
    ],
)
def test_only_a_step_that_went_away_is_tried_again(
    phase: Phase, code: int | None, message: str, again: bool
) -> None:
    strategy = retry_strategy(expression=AWAY)
    last = node("n", phase, message=message, outputs=Outputs(exit_code=code))
    found = retries.after(strategy, last, attempt=0)
    assert isinstance(found, retries.Again) == again
    if phase == "Failed" and not again:
        assert found == retries.Over("retryStrategy.expression evaluated to false")


@pytest.mark.parametrize(
    ("code", "message", "again", "resuming"),
    [
        (1, "Error (exit code 1)", True, True),
        (137, "Error (exit code 137)", True, True),
        (137, "OOMKilled (exit code 137)", False, False),
        (124, "Error (exit code 124)", False, True),
        (143, "Pod was active on the node longer than the specified deadline", False, True),
    ],
)
def test_a_users_step_is_tried_again_unless_another_try_would_end_alike(
    code: int, message: str, again: bool, resuming: bool
) -> None:
    for resumes, expected in ((False, again), (True, resuming)):
        rendered = templates.retry_strategy(
            user_retries(Retries(limit=2), resumes=resumes)
        ).model_dump(mode="json", by_alias=True)
        strategy = RetryStrategy.model_validate(rendered)
        last = node("n", "Failed", message=message, outputs=Outputs(exit_code=code))
        assert isinstance(retries.after(strategy, last, attempt=0), retries.Again) == expected
        assert retries.after(strategy, last, attempt=2) != retries.Again(120.0)


def test_a_retry_expression_sees_the_last_try_and_nothing_else() -> None:
    last = node("n", "Failed")

    def after(expression: str) -> retries.Again | retries.Over:
        return retries.after(retry_strategy(limit=1, expression=expression), last, attempt=0)

    assert after('lastRetry.status == "Failed" && lastRetry.exitCode == "-1"') == retries.Again(
        10.0
    )
    for wrong in (
        "lastRetry.exitcode == 1",
        "status",
        '"yes"',
        "lastRetry.duration",
        "lastRetry.status contains 1",
        '"1" in "2"',
    ):
        with pytest.raises(ExpressionError):
            after(wrong)


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None)
@given(items=st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=3), ITEMS), max_size=6))
def test_the_items_of_a_loop(items: list[dict[str, Any]]) -> None:
    labels = [loops.label(index, item) for index, item in enumerate(items)]
    assert len(set(labels)) == len(items)
    for item in items:
        seen = loops.scope(item)
        assert set(seen) == {f"item.{key}" for key in item}
        for key, value in item.items():
            text = seen[f"item.{key}"]
            assert text == value if isinstance(value, str) else json.loads(text) == value


@settings(deadline=None)
@given(
    phases=st.lists(st.sampled_from(PHASES), min_size=1, max_size=6),
    missing=st.sets(st.integers(0, 5)),
)
def test_a_loop_hands_on_what_its_good_items_gave_in_order(
    phases: list[Phase], missing: set[int]
) -> None:
    children = [
        node(
            f"a({index}:x)",
            phase,
            message="why",
            outputs=Outputs({} if index in missing else {"n": str(index)}),
        )
        for index, phase in enumerate(phases)
    ]
    phase, message, outputs = loops.outcome(children)
    good = [str(i) for i, found in enumerate(phases) if found == "Succeeded" and i not in missing]
    assert json.loads(outputs.parameters.get("n", "[]")) == good
    assert (phase == "Succeeded") == (not {"Failed", "Error"} & set(phases))
    assert bool(message) == (phase != "Succeeded")


@pytest.mark.parametrize("phase", [*ENDED, "Running", "Pending", ""])
@pytest.mark.parametrize("seconds", [None, 0, 60])
def test_a_workflow_lives_as_long_as_its_ttl_strategy_says(phase: str, seconds: int | None) -> None:
    stored = {} if seconds is None else {"ttlStrategy": {"secondsAfterCompletion": seconds}}
    status = {
        "phase": phase,
        "finishedAt": "2026-01-01T00:00:00Z",
        "storedWorkflowTemplateSpec": stored,
    }
    ended = datetime(2026, 1, 1, tzinfo=UTC)
    expected = (
        ended + timedelta(seconds=seconds) if phase in ENDED and seconds is not None else None
    )
    assert lifecycle.expiry({"spec": {}, "status": status}) == expected


def test_the_exit_handler() -> None:
    nodes = [
        node("a"),
        node("b", "Failed", message="exit code 3"),
        node("c", "Omitted", type="Skipped"),
    ]
    assert lifecycle.after_exit("Failed", "b: exit code 3", node("x")) == (
        "Failed",
        "b: exit code 3",
    )
    assert lifecycle.after_exit("Succeeded", "", node("x", "Error", message="no")) == (
        "Error",
        "exit handler: no",
    )
    assert lifecycle.progress(nodes) == "1/2"


@pytest.mark.parametrize(
    ("seconds", "age", "rest"), [(None, 5.0, None), (10, 4.0, 6.0), (10, 12.0, -2.0)]
)
def test_the_deadline(seconds: int | None, age: float, rest: float | None) -> None:
    assert lifecycle.remaining(WorkflowSpec(active_deadline_seconds=seconds), age) == rest


def located(key: str) -> StoreLocation:
    return StoreLocation("bucket", key)


def test_a_task_hands_on_what_it_left() -> None:
    outputs = Outputs({"x": "{{1}}"}, {"model": StoreLocation("bucket", "m")}, 0)
    nodes = {"a": node("a", outputs=outputs)}
    view = View(variables.of_tasks(nodes, {}), variables.artifacts(nodes))
    arguments = Arguments.model_validate(
        {
            "parameters": [{"name": "y", "value": "of {{tasks.a.outputs.parameters.x}}"}],
            "artifacts": [{"name": "in", "from": "{{tasks.a.outputs.artifacts.model}}"}],
        }
    )
    assert variables.bound(arguments, view) == Call(
        {"y": "of {{1}}"}, {"in": StoreLocation("bucket", "m")}
    )
    with pytest.raises(tags.UnresolvedTagError):
        variables.bound(arguments, View({}))


def test_inside_a_template() -> None:
    template = Template.model_validate(
        {
            "name": "t",
            "container": {"image": "i", "command": ["c"]},
            "inputs": {
                "parameters": [{"name": "a"}],
                "artifacts": [
                    {"name": "given", "path": "/work/in/given"},
                    {
                        "name": "own",
                        "path": "/work/in/own",
                        "s3": {"key": "{{inputs.parameters.a}}/own"},
                    },
                    {"name": "maybe", "path": "/work/in/maybe", "optional": True},
                ],
            },
        }
    )
    call = Call({"a": "{{x}}"}, {"given": StoreLocation("other", "g")})
    scope, places = variables.inside(template, call, {"workflow.name": "run"}, located)
    assert variables.inputs_of(template, scope) == {"a": "{{x}}"}
    assert places == {
        "given": StoreLocation("other", "g"),
        "own": StoreLocation("bucket", "{{x}}/own"),
    }
    assert scope == {"workflow.name": "run", "inputs.parameters.a": "{{x}}"}


def test_sites() -> None:
    site = Site("run.train", "train", "run")
    assert node_at(site.below("(0)")) == ("run.train(0)", "train(0)", "run")


def node_at(site: Site) -> tuple[str, str, str]:
    made = Node.at(site, workflow="run", type="Pod", template="t")
    assert made.site == site
    return made.name, made.display_name, made.boundary
