"""Workflows with real processes, a real nats-server and a real S3 server."""

# ruff: noqa: E501 - tables of cases, one line each

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import nats
import pytest
from support import processes
from support.commands import type_command
from support.processes import PATIENCE, is_alive

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.approvals import Hold, list_approvals, list_holds
from driftloop.contract.runs import RunStep
from driftloop.local.argo.store import BUCKET, STREAM, Change, OvertakenError, Workflows
from driftloop.local.argo_workflows.collector import Collector
from driftloop.operations.runs.run_workflows import WorkflowFacts
from driftloop.operations.watching.why import describe_holds
from driftloop.resources.workflows.retries import AWAY
from tests.local import argo_world
from tests.local.argo_world import Json, World, artifact, container, out_parameter, spec, until

SCRIPTS = {
    # writes each NAME=TEXT of its arguments as an output parameter
    "say": """
import pathlib, sys
for word in sys.argv[1:]:
    name, _, text = word.partition("=")
    file = pathlib.Path("/WORK/out/parameters".replace("/WORK", __import__("os").environ["WORK"])) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\\n")
    print(name, text)
""",
    # concatenates what is in one folder into a file of another
    "join": """
import pathlib, sys
source, target, name = sys.argv[1:]
pathlib.Path(target).mkdir(parents=True, exist_ok=True)
texts = [file.read_text() for file in sorted(pathlib.Path(source).rglob("*")) if file.is_file()]
(pathlib.Path(target) / name).write_text("+".join(texts) + "!")
""",
    "write": """
import pathlib, sys
target = pathlib.Path(sys.argv[1])
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(sys.argv[2])
""",
    "fail": """
import sys
print("about to fail")
print("error: " + sys.argv[1], file=sys.stderr)
print("hint: try less", file=sys.stderr)
sys.exit(3)
""",
    "resume": """
import pathlib, sys
found, kept = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
tries = int((found / "tries").read_text()) if found.is_dir() else 0
print(tries)
kept.mkdir(parents=True)
(kept / "tries").write_text(str(tries + 1))
sys.exit(0 if tries == 2 else 1)
""",
    "hang": """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(os.environ["ARGO_PROGRESS_FILE"]).write_text("3/12")
print("pids", os.getpid(), child.pid, flush=True)
time.sleep(600)
""",
    "count": """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / str(time.time_ns())).touch()
time.sleep(float(sys.argv[2]))
""",
    "hold": """
import pathlib, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / f"{name}.begins").write_text(str(time.time_ns()))
while not (folder / "go").exists():
    time.sleep(0.02)
(folder / f"{name}.ends").write_text(str(time.time_ns()))
""",
    "flaky": """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
tries = len(file.read_text()) if file.exists() else 0
file.write_text("x" * (tries + 1))
sys.exit(0 if tries + 1 >= int(sys.argv[2]) else 1)
""",
    "environment": """
import json, os, sys
print(json.dumps({name: os.environ.get(name) for name in sys.argv[1:]}))
""",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("argo"))
    made.image(**SCRIPTS)
    try:
        made.start()
        yield made
    finally:
        made.close()


def say(name: str, *words: str, outputs: tuple[str, ...] = (), **more: object) -> Json:
    return {
        "name": name,
        "container": container("say.py", *words, env=[{"name": "WORK", "value": "/work"}]),
        "outputs": {"parameters": [out_parameter(output) for output in outputs]},
        **more,
    }


def test_a_dag_passes_parameters_and_folders(world: World) -> None:
    main = {
        "name": "main",
        "dag": {
            "tasks": [
                {"name": "first", "template": "first"},
                {
                    "name": "second",
                    "template": "second",
                    "depends": "first.Succeeded",
                    "arguments": {
                        "parameters": [
                            {"name": "text", "value": "{{tasks.first.outputs.parameters.word}}"}
                        ],
                        "artifacts": [
                            {"name": "data", "from": "{{tasks.first.outputs.artifacts.data}}"}
                        ],
                    },
                },
            ]
        },
    }
    first = {
        "name": "first",
        "container": container(
            "-c",
            "import pathlib,os;r=pathlib.Path('/work/out');"
            "[p.mkdir(parents=True) for p in (r/'data'/'deep', r/'parameters') if not p.exists()];"
            "(r/'data'/'a').write_text('A');(r/'data'/'deep'/'b').write_text('B');"
            "(r/'parameters'/'word').write_text('hello world\\n')",
        ),
        "outputs": {
            "parameters": [out_parameter("word")],
            "artifacts": [artifact("data", "runs/{{workflow.name}}/data")],
        },
    }
    second = {
        "name": "second",
        "inputs": {"parameters": [{"name": "text"}], "artifacts": [artifact("data", side="in")]},
        "container": container(
            "join.py", "/work/in/data", "/work/out/joined", "{{inputs.parameters.text}}"
        ),
        "outputs": {"artifacts": [artifact("joined", "runs/{{workflow.name}}/joined")]},
    }
    world.submit(spec(main, first, second), name="passes")
    done = world.finished("passes")
    assert done["status"]["phase"] == "Succeeded", done["status"]
    assert world.text("runs/passes/joined/hello world") == "A+B!"
    node = world.node(done, "first")
    assert node["outputs"]["parameters"] == [{"name": "word", "value": "hello world"}]
    assert node["outputs"]["exitCode"] == "0"
    assert node["type"] == "Pod"
    assert node["boundaryID"] == "passes"
    assert done["status"]["nodes"]["passes"]["type"] == "DAG"
    assert done["status"]["nodes"]["passes"]["children"] == [node["id"]]
    assert done["status"]["progress"] == "2/2"
    assert not (world.state.work / "steps" / "digits.passes").exists()


def dag(*tasks: Json, name: str = "main", **more: object) -> Json:
    return {"name": name, "dag": {"tasks": list(tasks)}, **more}


def task(name: str, template: str | None = None, **more: object) -> Json:
    return {"name": name, "template": template or name, **more}


def given(**values: str) -> Json:
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def phases(workflow: Json) -> dict[str, str]:
    return {node["displayName"]: node["phase"] for node in workflow["status"]["nodes"].values()}


def test_depends_and_when(world: World) -> None:
    world.submit(
        spec(
            dag(
                task("ask"),
                task("no", "echo", depends="ask.Succeeded", when='"{{tasks.ask.outputs.parameters.go}}" == "yes"', arguments=given(x="1")),
                task("yes", "echo", depends="ask.Succeeded", when='"{{tasks.ask.outputs.parameters.go}}" == "no"', arguments=given(x="2")),
                task("last", "echo", depends="ask.Succeeded && yes.Succeeded", arguments=given(x="{{tasks.yes.outputs.parameters.said}}")),
                task("never", "echo", depends="yes.Succeeded && no.Succeeded", arguments=given(x="4")),
            ),
            say("ask", "go=no", outputs=("go",)),
            say("echo", "said={{inputs.parameters.x}}", outputs=("said",), inputs={"parameters": [{"name": "x"}]}),
        ),
        name="depends",
    )  # fmt: skip
    done = world.finished("depends")
    assert phases(done) == {
        "depends": "Succeeded", "ask": "Succeeded", "no": "Skipped", "yes": "Succeeded", "last": "Succeeded",
        "never": "Omitted",
    }  # fmt: skip
    assert world.node(done, "no")["message"] == 'when \'"no" == "yes"\' evaluated false'
    assert world.node(done, "last")["outputs"]["parameters"] == [{"name": "said", "value": "2"}]


def test_an_unhandled_failure_fails_the_workflow_and_the_exit_handler_hears_of_it(
    world: World,
) -> None:
    world.submit(
        spec(
            dag(
                task("fine", "ok"), task("broken"), task("after", "ok", depends="broken.Succeeded")
            ),
            say("ok", "a=b"),
            {"name": "broken", "container": container("fail.py", "no")},
            say(
                "finish",
                "status={{workflow.status}}",
                outputs=("status",),
            ),
            onExit="finish",
        ),
        name="fails",
    )
    done = world.finished("fails")
    assert done["status"]["phase"] == "Failed"
    assert done["status"]["message"] == "broken: Error (exit code 3): error: no (try less)"
    assert phases(done) | {"finish": ""} == {
        "fails": "Failed", "fine": "Succeeded", "broken": "Failed", "after": "Omitted", "fails.onExit": "Succeeded",
        "finish": "",
    }  # fmt: skip
    assert world.node(done, "fails.onExit")["outputs"]["parameters"] == [
        {"name": "status", "value": "Failed"}
    ]
    assert "about to fail" in world.log("fails", "broken")


def test_an_exit_handler_that_fails_fails_the_workflow(world: World) -> None:
    world.submit(
        spec(
            dag(task("fine", "ok")),
            say("ok", "a=b"),
            {"name": "broken", "container": container("fail.py", "no")},
            onExit="broken",
        ),
        name="exit-fails",
    )
    done = world.finished("exit-fails")
    assert (done["status"]["phase"], done["status"]["message"]) == (
        "Failed",
        "exit handler: Error (exit code 3): error: no (try less)",
    )


def test_a_search_in_a_nested_dag(world: World, tmp_path: Path) -> None:
    """Items side by side within `parallelism`, their outputs gathered, the winner's folder fetched by key."""
    items = [{"trial": str(n), "parameters": json.dumps({"rate": n / 10})} for n in range(4)]
    world.submit(
        spec(
            dag(task("loop")),
            dag(
                task(
                    "train",
                    withItems=items,
                    arguments=given(trial="{{item.trial}}", parameters="{{item.parameters}}"),
                ),
                task("pick", depends="train.Succeeded", arguments=given(trials="{{tasks.train.outputs.parameters}}")),
                task("use", depends="pick.Succeeded", arguments=given(trial="{{tasks.pick.outputs.parameters.best}}")),
                name="loop",
                parallelism=2,
            ),
            {
                "name": "train",
                "inputs": {"parameters": [{"name": "trial"}, {"name": "parameters"}]},
                "container": container(
                    "-c",
                    f"import pathlib,sys,time;busy=pathlib.Path('{tmp_path}');me=busy/sys.argv[1];me.touch();"
                    "n=len(list(busy.iterdir()));time.sleep(0.3);me.unlink();out=pathlib.Path('/work/out');"
                    "[(out/d).mkdir(exist_ok=True,parents=True) for d in ('model','parameters')];"
                    "(out/'model'/'m').write_text('model '+sys.argv[1]);"
                    "(out/'parameters'/'trial').write_text(sys.argv[1]);"
                    "(out/'parameters'/'metrics').write_text(sys.argv[2]+str(n))",
                    "{{inputs.parameters.trial}}",
                    "{{inputs.parameters.parameters}}",
                ),
                "outputs": {
                    "parameters": [out_parameter("trial"), out_parameter("metrics")],
                    "artifacts": [artifact("model", "runs/{{workflow.name}}/trials/{{inputs.parameters.trial}}/model")],
                },
            },
            say("pick", "best=2", "trials={{inputs.parameters.trials}}", outputs=("best", "trials"), inputs={"parameters": [{"name": "trials"}]}),
            {
                "name": "use",
                "inputs": {
                    "parameters": [{"name": "trial"}],
                    "artifacts": [
                        artifact("model", "runs/{{workflow.name}}/trials/{{inputs.parameters.trial}}/model", side="in")
                    ],
                },
                "container": container("join.py", "/work/in/model", "/work/out/x", "joined"),
                "outputs": {"artifacts": [artifact("x", "runs/{{workflow.name}}/x")]},
            },
        ),
        name="search",
    )  # fmt: skip
    done = world.finished("search")
    assert done["status"]["phase"] == "Succeeded", done["status"]["message"]
    assert world.text("runs/search/x/joined") == "model 2!"
    trials = json.loads(
        next(
            p["value"]
            for p in world.node(done, "pick")["outputs"]["parameters"]
            if p["name"] == "trials"
        )
    )
    assert [trial["trial"] for trial in trials] == ["0", "1", "2", "3"]
    assert trials[3]["metrics"].startswith('{"rate": 0.3}')
    assert {int(trial["metrics"][-1]) for trial in trials} <= {1, 2}
    group = world.node(done, "train")
    assert group["type"] == "TaskGroup"
    assert len(group["children"]) >= 4
    assert world.node(done, 'train(0:parameters:{"rate": 0.0},trial:0)')["phase"] == "Succeeded"


def again(**strategy: object) -> Json:
    return {"retryPolicy": "Always", "backoff": {"duration": "50ms", "factor": 2}, **strategy}


def test_a_failed_step_is_tried_again(world: World, tmp_path: Path) -> None:
    def flaky(name: str, needed: int, **strategy: object) -> Json:
        return {
            "name": name,
            "retryStrategy": again(**strategy),
            "container": container("flaky.py", str(tmp_path / name), str(needed)),
        }

    world.submit(
        spec(
            dag(task("enough"), task("short"), task("killed"), task("senseless")),
            flaky("enough", 3, limit=3),
            flaky("short", 9, limit="1"),
            {
                "name": "killed",
                "retryStrategy": again(limit=1, expression='lastRetry.exitCode in ["137"]'),
                "container": container("-c", "import os; os.kill(os.getpid(), 9)"),
            },
            flaky("senseless", 9, limit=5, expression="lastRetry.nothing"),
        ),
        name="retries",
    )
    done = world.finished("retries")
    enough = world.node(done, "enough")
    assert (enough["type"], enough["phase"]) == ("Retry", "Succeeded")
    assert [phases(done)[f"enough({n})"] for n in range(3)] == ["Failed", "Failed", "Succeeded"]
    assert world.node(done, "short")["message"].startswith(
        "No more retries left: Error (exit code 1)"
    )
    assert len((tmp_path / "short").read_text()) == 2
    assert [phases(done)[f"killed({n})"] for n in range(2)] == ["Failed", "Failed"]
    assert world.node(done, "killed")["message"].startswith(
        "No more retries left: Error (exit code 137)"
    )
    assert (world.node(done, "senseless")["phase"], len((tmp_path / "senseless").read_text())) == (
        "Error",
        1,
    )


def test_a_step_that_hangs_is_killed_with_all_it_started(world: World) -> None:
    world.submit(
        spec(
            dag(task("hang")),
            {"name": "hang", "container": container("hang.py"), "activeDeadlineSeconds": 5},
        ),
        name="hangs",
    )
    done = world.finished("hangs")
    assert world.node(done, "hang")["phase"] == "Failed"
    assert "longer than the specified deadline (5 s)" in world.node(done, "hang")["message"]
    _, main, child = world.log("hangs", "hang").split()
    until(lambda: not is_alive(int(main)) and not is_alive(int(child)), "both are gone")


def test_the_whole_workflow_has_a_deadline_and_still_says_goodbye(world: World) -> None:
    world.submit(
        spec(
            dag(task("hang")),
            {"name": "hang", "container": container("hang.py")},
            say("bye", "status={{workflow.status}}", outputs=("status",)),
            onExit="bye",
            activeDeadlineSeconds=4,
        ),
        name="late",
    )
    done = world.finished("late")
    assert done["status"]["phase"] == "Failed"
    assert "workflow exceeded its deadline (activeDeadlineSeconds: 4)" in done["status"]["message"]
    assert phases(done)["hang"] == "Failed"
    assert world.node(done, "late.onExit")["outputs"]["parameters"][0]["value"] == "Failed"


def list_progress(workflow: Json) -> list[RunStep]:
    """Steps that say how far they are."""
    return [step for step in WorkflowFacts.of(workflow, "run").steps if step.progress is not None]


def test_a_workflow_that_is_stopped_ends_its_steps_and_still_says_goodbye(world: World) -> None:
    world.submit(
        spec(
            dag(task("hang"), task("after", "bye", depends="hang.Succeeded")),
            {"name": "hang", "container": container("hang.py")},
            say("bye", "status={{workflow.status}}", outputs=("status",)),
            onExit="bye",
        ),
        name="stopped",
    )
    log = world.state.logs / "stopped" / "hang.log"
    until(lambda: log.exists() and len(log.read_text().split()) == 3, "the step runs")
    (step,) = until(lambda: list_progress(world.workflows()["stopped"]), "it says how far it is")
    since = datetime.fromisoformat(step.started or "")
    assert step.describe_progress(since) == "3 of 12"
    assert step.describe_progress(since + timedelta(seconds=50)) == "3 of 12, about 2 min left"
    world.stop("stopped")
    done = world.finished("stopped")
    assert done["status"]["phase"] == "Failed"
    assert done["status"]["message"] == "workflow shutdown with strategy:  Stop"
    assert (done["spec"]["shutdown"], done["metadata"]["annotations"]) == ("Stop", {"by": "eve"})
    assert phases(done)["hang"] == "Failed"
    assert list_progress(done) == []
    assert world.node(done, "stopped.onExit")["outputs"]["parameters"][0]["value"] == "Failed"
    pids = world.log("stopped", "hang").split()[1:]
    until(lambda: not any(is_alive(int(pid)) for pid in pids), "its processes are gone")


def ask(name: str = "ask") -> Json:
    """A template that waits for a person."""
    supplied = [{"name": out, "valueFrom": {"supplied": {}}} for out in ("who", "when", "reason")]
    return {
        "name": name,
        "inputs": {"parameters": [{"name": "run"}, {"name": "asks"}]},
        "outputs": {"parameters": supplied},
        "suspend": {},
    }


ASKED = {"run": "{{workflow.name}}", "asks": "it goes on"}


def test_a_suspended_workflow_survives_its_runner_and_goes_on_with_what_a_person_says(
    world: World, tmp_path: Path
) -> None:
    git = tmp_path / "gitconfig"
    git.write_text("[user]\nname = ann\nemail = ann@example.org\n")
    who = "{{tasks.ask.outputs.parameters.who}}"
    world.submit(
        spec(
            dag(
                task("first", "say"),
                task("ask", arguments=given(**ASKED), depends="first.Succeeded"),
                task("after", arguments=given(who=who), depends="ask.Succeeded"),
            ),
            say("say", "x=1"),
            ask(),
            say("after", "who={{inputs.parameters.who}}", outputs=("who",))
            | {"inputs": {"parameters": [{"name": "who"}]}},
        ),
        name="asked",
        labels={"app.kubernetes.io/name": "digits"},
    )

    def held() -> Hold | None:
        return next(iter(list_holds(world.workflows()["asked"])), None)

    hold = until(held, "it waits for a person")
    assert (hold.run, hold.asks, hold.step, hold.approvers) == ("asked", "it goes on", "ask", ())
    world.kill("argo")
    world.start_argo()
    time.sleep(1)
    assert held() == hold
    with world.api() as url:
        (waits,) = describe_holds(
            world.state, {"DRIFTLOOP_KUBERNETES_URL": url}, "digits", "digits"
        )
        assert waits.startswith("asked waits since ")
        environment = {**os.environ, "DRIFTLOOP_KUBERNETES_URL": url, "GIT_CONFIG_GLOBAL": str(git)}
        type_command(
            *("approve", "digits", "--reason", "fine", "--namespace", "digits"),
            *("--state", str(world.state.root)),
            folder=tmp_path,
            environment=environment,
        )
    done = world.finished("asked")
    assert done["status"]["phase"] == "Succeeded"
    assert world.node(done, "after")["outputs"]["parameters"][0]["value"] == "ann"
    (approval,) = list_approvals(done)
    assert (approval.who, approval.reason, approval.asked) == ("ann", "fine", hold.since)
    with pytest.raises(OvertakenError, match="is not suspended"):
        world.end_suspended("asked", hold.node, "eve", "me too")


def test_an_approval_while_the_runner_is_away_counts(world: World) -> None:
    world.submit(spec(dag(task("ask", arguments=given(**ASKED))), ask()), name="approved-away")
    (hold,) = until(lambda: list_holds(world.workflows()["approved-away"]), "it waits")
    world.kill("argo")
    world.end_suspended("approved-away", hold.node, "ann", "fine")
    world.start_argo()
    done = world.finished("approved-away")
    assert done["status"]["phase"] == "Succeeded"
    assert [approval.who for approval in list_approvals(done)] == ["ann"]


def test_a_suspended_workflow_can_be_stopped(world: World) -> None:
    world.submit(spec(dag(task("ask", arguments=given(**ASKED))), ask()), name="stopped-asked")
    until(lambda: list_holds(world.workflows()["stopped-asked"]), "it waits")
    world.stop("stopped-asked")
    done = world.finished("stopped-asked")
    assert done["status"]["phase"] == "Failed"
    assert (phases(done)["ask"], list_holds(done)) == ("Failed", ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostNetwork": True}, "`spec.hostNetwork` is not supported by the local runtime"),
        ({"entrypoint": "nothing"}, "entrypoint refers to template `nothing`, which does not exist"),
        ({"templates": [{"name": "main", "suspend": {"duration": "5m"}}]}, "`spec.templates.0.suspend.duration` is not supported"),
        ({"templates": [{"name": "main", "suspend": {}, "outputs": {"parameters": [out_parameter("a")]}}]}, "output `a` of template `main` must be supplied"),
        ({"templates": [{"name": "main", "script": {}}]}, "`spec.templates.0.script` is not supported"),
        ({"templates": [dag(task("a", "main", continueOn={}))]}, "`spec.templates.0.dag.tasks.0.continueOn` is not supported"),
        ({"templates": [dag(task("a", "main", depends="b.Succeeded"))]}, "task `a` depends on `b`, which does not exist"),
        ({"templates": [dag(task("a", "main", depends="a.Done"))]}, "`depends: a.Done` is not supported by the local runtime"),
        ({"templates": [dag(task("a", "main", depends="b.Succeeded"), task("b", "main", depends="a.Succeeded"))]}, "the tasks a, b wait for each other"),
        ({"templates": [dag(task("a", "main", depends="a &"))]}, "is not supported"),
        ({"volumes": [{"name": "x", "emptyDir": {}}]}, "`spec.volumes` is not supported"),
        ({"arguments": {"parameters": [{"name": "p"}]}}, "parameter `p` has no value"),
        ({"workflowTemplateRef": {"name": "gone"}}, "workflow template gone not found in namespace digits"),
        ({"synchronization": {"mutexes": []}}, "`spec.synchronization` is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(world: World, change: Json, said: str) -> None:
    name = f"refused-{abs(hash(said))}"
    world.submit({**spec(say("main", "a=b")), **change}, name=name)
    done = world.finished(name)
    assert done["status"]["phase"] == "Failed"
    assert done["status"]["message"].startswith("invalid spec: ")
    assert said in done["status"]["message"]
    assert "nodes" not in done["status"] or not done["status"]["nodes"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"container": container("say.py", image="example.com/other:1")}, "image `example.com/other:1` is not registered here"),
        ({"container": {**container("x"), "command": ["no-such-program"]}}, "has no program `no-such-program`"),
        ({"container": container("say.py", "{{inputs.parameters.gone}}")}, "failed to resolve {{inputs.parameters.gone}}"),
        ({"container": container("say.py"), "outputs": {"parameters": [out_parameter("x")]}}, "did not write /work/out/parameters/x"),
        ({"container": container("say.py"), "outputs": {"artifacts": [artifact("x", "k")]}}, "left nothing at /work/out/x"),
        ({"container": container("say.py"), "inputs": {"artifacts": [artifact("x", "none/of/it", side="in")]}}, "contains no objects"),
        ({"container": container("say.py"), "inputs": {"parameters": [{"name": "x"}]}}, "parameter `x` has no value"),
        (
            {"container": container("say.py", env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])},
            "secret `s` not found in namespace digits",
        ),
        (
            {"container": container("say.py"), "outputs": {"artifacts": [{**artifact("x", "k"), "path": "/tmp/x"}]}},
            "path /tmp/x is not in a mounted volume",
        ),
    ],
)  # fmt: skip
def test_a_step_that_can_not_run_says_why(world: World, template: Json, said: str) -> None:
    name = f"cannot-{abs(hash(said))}"
    world.submit(spec(dag(task("it")), {"name": "it", **template}), name=name)
    done = world.finished(name)
    assert done["status"]["phase"] == "Error"
    assert said in world.node(done, "it")["message"]


def test_what_a_step_sees(world: World) -> None:
    world.apply(
        {
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "digits"},
            "data": {"A": "1", "B": "2"},
        }
    )
    env = [
        {
            "name": "BUCKET",
            "valueFrom": {"configMapKeyRef": {"name": "driftloop-platform", "key": "s3-bucket"}},
        },
        {
            "name": "TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "driftloop-platform", "key": "webhook-token"}},
        },
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "A"}}},
        {"name": "BOTH", "value": "$(BUCKET)/{{workflow.name}} $(NONE)"},
        {"name": "PLACE", "value": "/work/x:/workshop"},
    ]
    names = [
        "BUCKET",
        "TOKEN",
        "BOTH",
        "PLACE",
        "A",
        "DRIFTLOOP_CHILD_OF",
        "HTTP_PROXY",
        "NO_PROXY",
    ]
    world.submit(
        spec(
            dag(task("see")),
            {
                "name": "see",
                "container": container(
                    "environment.py", *names, env=env
                ),
            },
        ),
        name="sees",
    )  # fmt: skip
    assert world.finished("sees")["status"]["phase"] == "Succeeded"
    seen = json.loads(world.log("sees", "see"))
    place = seen.pop("PLACE")
    assert place.endswith("/volumes/work/x:/workshop")
    assert place.startswith(str(world.state.work))
    assert seen == {
        "BUCKET": "driftloop", "TOKEN": argo_world.TOKEN, "A": "1",
        "BOTH": "driftloop/sees $(NONE)", "DRIFTLOOP_CHILD_OF": str(world.state.root),
        "HTTP_PROXY": f"http://127.0.0.1:{world.ports['proxy']}", "NO_PROXY": "127.0.0.1,localhost",
    }  # fmt: skip


def test_a_template_and_the_run_that_refers_to_it(world: World) -> None:
    template = {
        "kind": "WorkflowTemplate",
        "metadata": {"name": "digits-train", "namespace": "digits"},
        "spec": spec(
            dag(task("echo", arguments=given(x="{{workflow.parameters.a}} {{workflow.parameters.b}}"))),
            say("echo", "said={{inputs.parameters.x}}", outputs=("said",), inputs={"parameters": [{"name": "x"}]}),
            arguments=given(a="1", b="2"),
            workflowMetadata={"labels": {"team": "blue"}},
            serviceAccountName="digits-train",
            ttlStrategy={"secondsAfterCompletion": 5},
            podGC={"strategy": "OnWorkflowCompletion"},
            securityContext={"runAsNonRoot": True},
        ),
    }  # fmt: skip
    world.apply(template)
    world.submit(
        {"workflowTemplateRef": {"name": "digits-train"}, "arguments": given(b="{{3}}")},
        name="refers",
    )
    done = world.finished("refers")
    assert done["status"]["phase"] == "Succeeded"
    assert world.node(done, "echo")["outputs"]["parameters"][0]["value"] == "1 {{3}}"
    assert done["metadata"]["labels"]["team"] == "blue"


def test_a_workflow_starts_another_once(world: World) -> None:
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "child-{{inputs.parameters.x}}"},
        "spec": spec(say("main", "a=b")),
    }
    create = {
        "name": "create",
        "inputs": {"parameters": [{"name": "x"}]},
        "resource": {"action": "create", "manifest": json.dumps(manifest)},
    }
    world.submit(spec(dag(task("create", arguments=given(x="7"))), create), name="parent")
    assert world.finished("parent")["status"]["phase"] == "Succeeded"
    assert world.finished("child-7")["status"]["phase"] == "Succeeded"
    world.submit(spec(dag(task("create", arguments=given(x="7"))), create), name="second-parent")
    done = world.finished("second-parent")
    assert done["status"]["phase"] == "Failed"
    assert '"child-7" already exists' in world.node(done, "create")["message"]


def test_a_mutex_of_a_dag_keeps_its_tasks_apart(world: World, tmp_path: Path) -> None:
    inner = {
        **dag(task("count")),
        "name": "inner",
        "synchronization": {"mutexes": [{"name": "inside"}]},
    }
    for name in ("three", "four"):
        holding = {"name": "count", "container": container("hold.py", str(tmp_path), name)}
        world.submit(spec(dag(task("inner")), inner, holding), name=f"mutex-{name}")

    def waits() -> bool:
        nodes = [
            n
            for w in world.workflows().values()
            for n in (w.get("status") or {}).get("nodes", {}).values()
        ]
        return any(
            "Waiting for digits/Mutex/inside lock" in (n.get("message") or "") for n in nodes
        )

    until(waits, "one of them waits")
    (tmp_path / "go").touch()
    for name in ("three", "four"):
        done = world.finished(f"mutex-{name}")
        assert done["status"]["phase"] == "Succeeded"
        assert not world.node(done, "inner").get("message")
    begins, ends = (
        sorted(int(file.read_text()) for file in tmp_path.glob(f"*.{what}"))
        for what in ("begins", "ends")
    )
    assert begins[0] < ends[0] < begins[1] < ends[1]


def test_a_later_try_finds_what_a_failed_one_left(world: World) -> None:
    kept = {"key": "kept/{{workflow.name}}"}
    world.submit(
        spec(
            dag(task("try")),
            {
                "name": "try",
                "retryStrategy": again(limit=3),
                "inputs": {
                    "artifacts": [
                        {"name": "kept", "path": "/work/in/kept", "s3": kept, "optional": True}
                    ]
                },
                "outputs": {
                    "artifacts": [
                        {
                            "name": "kept",
                            "path": "/work/out/kept",
                            "s3": kept,
                            "archive": {"none": {}},
                            "optional": True,
                        }
                    ]
                },
                "container": container("resume.py", "/work/in/kept", "/work/out/kept"),
            },
        ),
        name="resumes",
    )
    done = world.finished("resumes")
    assert done["status"]["phase"] == "Succeeded", done["status"]
    assert [world.log("resumes", f"try-{n}").split() for n in range(3)] == [["0"], ["1"], ["2"]]
    assert world.text("kept/resumes/tries") == "3"


def test_a_step_gets_the_gpus_it_asks_for_or_is_refused_by_name(world: World) -> None:
    asked = {"limits": {"nvidia.com/gpu": "1"}}
    step = {"name": "step", "container": container("count.py", "/nowhere", "0", resources=asked)}
    step["retryStrategy"] = again(limit=2, expression=AWAY)
    world.submit(spec(dag(task("step")), step), name="gpu")
    done = world.finished("gpu")
    assert done["status"]["phase"] == "Failed"
    message = world.node(done, "step")["message"]
    assert "the step asks for 1 nvidia.com/gpu, this machine shows 0" in message
    assert sum(node["type"] == "Pod" for node in done["status"]["nodes"].values()) == 1, (
        "another try finds no more"
    )


def test_labels_of_a_run_come_from_its_parameters(world: World) -> None:
    world.submit(
        spec(
            say("main", "a=b"),
            arguments={"parameters": [{"name": "release", "value": "r1"}]},
            workflowMetadata={
                "labelsFrom": {
                    "driftloop.dev/release": {"expression": "workflow.parameters.release"}
                }
            },
        ),
        name="labelled",
    )
    assert world.finished("labelled")["metadata"]["labels"]["driftloop.dev/release"] == "r1"


def test_a_deleted_workflow_stops(world: World) -> None:
    world.submit(
        spec(dag(task("hang")), {"name": "hang", "container": container("hang.py")}), name="deleted"
    )
    log = world.state.logs / "deleted" / "hang.log"
    until(lambda: log.exists() and log.read_text().count(" ") == 2, "the step runs")
    pids = log.read_text().split()[1:]
    world.delete("deleted")
    until(lambda: not any(is_alive(int(pid)) for pid in pids), "its processes are gone")
    time.sleep(0.5)
    assert "deleted" not in world.workflows()


def interrupted(world: World, tmp_path: Path, name: str) -> Path:
    """A Workflow in its second step: the first wrote its mark, the second runs for two seconds."""
    marks = tmp_path / "marks"
    world.submit(
        spec(
            dag(
                task("first"),
                task("second", depends="first.Succeeded"),
                task("third", depends="second.Succeeded"),
            ),
            {"name": "first", "container": container("count.py", str(marks / "first"), "0")},
            {"name": "second", "container": container("count.py", str(marks / "second"), "2")},
            {"name": "third", "container": container("count.py", str(marks / "third"), "0")},
        ),
        name=name,
    )
    until((marks / "second").exists, "the second step runs")
    return marks


def counts(marks: Path) -> dict[str, int]:
    return {folder.name: len(list(folder.iterdir())) for folder in marks.iterdir()}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_runner_goes_on_where_it_was(world: World, tmp_path: Path, sent: int) -> None:
    name = f"interrupted-{int(sent)}"
    marks = interrupted(world, tmp_path, name)
    world.kill("argo", sent)
    until(
        lambda: (
            not any(
                str(marks).encode() in _read(file) for file in Path("/proc").glob("[0-9]*/cmdline")
            )
        ),
        "its steps are gone",
    )
    world.start_argo()
    assert world.finished(name)["status"]["phase"] == "Succeeded"
    assert counts(marks) == {"first": 1, "second": 2, "third": 1}


def test_a_killed_nats_is_waited_for(world: World, tmp_path: Path) -> None:
    marks = interrupted(world, tmp_path, "nats-killed")
    world.kill("nats")
    time.sleep(2.5)
    world.start_nats()
    assert world.finished("nats-killed")["status"]["phase"] == "Succeeded"
    assert counts(marks) == {"first": 1, "second": 1, "third": 1}
    world.submit(spec(say("main", "a=b")), name="after-nats")
    assert world.finished("after-nats")["status"]["phase"] == "Succeeded"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_many_steps_and_transfers_at_once(world: World) -> None:
    """Processes are started while other steps' folders travel: nothing may stand still."""
    world.submit(
        spec(
            dag(
                task(
                    "each",
                    withItems=[{"n": str(n)} for n in range(24)],
                    arguments=given(n="{{item.n}}"),
                ),
                parallelism=8,
            ),
            {
                "name": "each",
                "inputs": {"parameters": [{"name": "n"}]},
                "container": container(
                    "-c",
                    "import pathlib;f=pathlib.Path('/work/out/x');f.mkdir(parents=True);"
                    "[(f/str(i)).write_bytes(bytes(20000)) for i in range(15)]",
                ),
                "outputs": {"artifacts": [artifact("x", "many/{{inputs.parameters.n}}")]},
            },
        ),
        name="many",
    )
    done = world.finished("many")
    assert done["status"]["phase"] == "Succeeded", done["status"]["message"]
    assert len(list(world.store.list_objects(StoreLocation("driftloop", "many/")))) == 24 * 15


def test_a_workflow_is_deleted_when_its_time_is_over(world: World) -> None:
    brief = {"ttlStrategy": {"secondsAfterCompletion": 4}}
    steps = (say("main", "n=1", outputs=("n",)),)
    world.submit(spec(*steps, ttlStrategy={"secondsAfterCompletion": 3600}), "kept")
    world.submit(spec(*steps), "unlimited")
    for name in ("kept", "unlimited"):
        world.finished(name)
    world.submit(spec(*steps, **brief), "brief")
    world.finished("brief")
    assert (world.state.logs / "brief").is_dir()
    until(lambda: "brief" not in world.workflows(), "it is deleted")
    until(lambda: not (world.state.logs / "brief").exists(), "its logs are deleted")
    assert {"kept", "unlimited"} <= set(world.workflows())
    assert (world.state.logs / "kept").is_dir()

    # one whose time was over while nobody looked
    world.submit(spec(*steps, **brief), "unwatched")
    world.finished("unwatched")
    world.kill("argo")
    time.sleep(4.5)
    assert "unwatched" in world.workflows()
    world.start_argo()
    until(lambda: "unwatched" not in world.workflows(), "it is deleted")
    # and its name is free again
    world.submit(spec(*steps), "brief")
    assert world.finished("brief")["status"]["phase"] == "Succeeded"


def test_the_marker_of_a_deletion_goes_too(world: World) -> None:
    async def collected() -> tuple[list[str], list[str]]:
        client = await nats.connect(f"nats://127.0.0.1:{world.ports['nats']}")
        js = client.jetstream()
        workflows = await Workflows.open(js)
        collector = Collector(world.state, workflows, markers=0.2)

        async def subjects() -> list[str]:
            return sorted(
                (await js.stream_info(STREAM, subjects_filter="$KV.*.marked.>")).state.subjects
                or {}
            )

        running: asyncio.Task[None] | None = None
        try:
            for name in ("gone", "back"):
                manifest = {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "metadata": {"name": name},
                }
                await workflows.create(manifest, namespace="marked")
                # the runner writes, too: this one has no entrypoint
                while (found := await workflows.get("marked", name)) is not None:
                    with contextlib.suppress(OvertakenError):
                        await workflows.delete("marked", name, found[1])
                marker = await js.get_last_msg(STREAM, f"$KV.{BUCKET}.marked.{name}")
                collector.see(Change("marked", name, marker.seq or 0, None))
                if name == "back":
                    await workflows.create(manifest, namespace="marked")
            before = await subjects()
            running = asyncio.create_task(collector.run())

            async def is_collected() -> bool:
                return len(await subjects()) == 1

            await processes.until(is_collected)
            # what was made again would go now
            await asyncio.sleep(1)
            return before, await subjects()
        finally:
            if running is not None:
                running.cancel()
            await client.close()

    before, after = asyncio.run(collected())
    assert [subject.rpartition(".")[2] for subject in before] == ["back", "gone"]
    assert [subject.rpartition(".")[2] for subject in after] == ["back"]


def test_an_empty_folder_and_an_output_that_was_not_written(world: World) -> None:
    """As Argo 4.0 does with `archive: {none: {}}`: nothing is stored of an empty folder, and that is no failure."""
    maker = {
        "name": "maker",
        "container": container(
            "-c", "import pathlib; pathlib.Path('/work/out/empty').mkdir(parents=True)"
        ),
        "outputs": {
            "artifacts": [
                artifact("empty", "empty/empty"),
                {**artifact("maybe", "empty/maybe"), "optional": True},
            ]
        },
    }

    def taker(name: str, which: str, *, optional: bool) -> Json:
        return {
            "name": name,
            "inputs": {"artifacts": [{**artifact(which, side="in"), "optional": optional}]},
            "container": container("-c", f"import os; print(os.path.exists('/work/in/{which}'))"),
        }

    def passed(which: str) -> Json:
        return {
            "artifacts": [{"name": which, "from": f"{{{{tasks.maker.outputs.artifacts.{which}}}}}"}]
        }

    tasks = [
        task("maker"),
        task("careful", depends="maker.Succeeded", arguments=passed("empty")),
        task("careless", depends="maker.Succeeded", arguments=passed("empty")),
    ]
    world.submit(
        spec(
            dag(*tasks),
            maker,
            taker("careful", "empty", optional=True),
            taker("careless", "empty", optional=False),
        ),
        "empty",
    )
    done = world.finished("empty")
    assert [world.node(done, name)["phase"] for name in ("maker", "careful", "careless")] == [
        "Succeeded",
        "Succeeded",
        "Error",
    ]
    assert "contains no objects" in world.node(done, "careless")["message"]
    assert [one["name"] for one in world.node(done, "maker")["outputs"]["artifacts"]] == ["empty"]
    assert world.log("empty", "careful") == "False\n"


def test_a_transfer_does_not_keep_the_runner_from_ending(world: World) -> None:
    """The store takes the connection and says nothing, for as long as anybody waits."""
    world.kill("s3")
    with socket.create_server(("127.0.0.1", world.ports["s3"])) as silent:
        reader = {
            "name": "main",
            "inputs": {"artifacts": [artifact("in", "somewhere", side="in")]},
            "container": container("-c", "pass"),
        }
        world.submit(spec(reader), "waiting")
        silent.settimeout(PATIENCE)
        accepted, _ = silent.accept()
        began = time.monotonic()
        world.kill("argo", signal.SIGTERM)
        assert time.monotonic() - began < PATIENCE / 3
        accepted.close()
    world.start_s3()
    world.store.write_object(StoreLocation("driftloop", "somewhere/x"), b"x")
    world.start_argo()
    assert world.finished("waiting")["status"]["phase"] == "Succeeded"
