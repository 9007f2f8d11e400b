"""Each form that workflows are rendered in does on Argo's own controller what it says."""

import itertools
import json
import time

import pytest
from cluster.forms.place import BATCHES, N, pods, seconds

RETRIED = {
    "data": {"steps": [{"name": "try", "run": "forms:fail", "retries": {"limit": 2, "wait": "3s"}}]}
}


def template(objects, name):
    return objects["WorkflowTemplate", f"{name}-train"]


def test_a_step_that_fails_is_tried_again_with_growing_waits(here):
    objects = here.render("retried", **RETRIED)
    rows = here.put("retried/rows", **{"a.csv": "x\n1\n"})
    here.run(template(objects, "retried"), "data-try", name="retried", artifacts={"data": rows})
    status = here.ended("retried")
    assert status["phase"] == "Failed"
    tries = pods(status)
    assert [node["phase"] for node in tries] == ["Failed"] * 3
    waits = [
        seconds(b["startedAt"]) - seconds(a["finishedAt"]) for a, b in itertools.pairwise(tries)
    ]
    assert waits[0] >= 3
    assert waits[1] >= 6
    assert all(node["outputs"]["exitCode"] == "1" for node in tries)


def test_a_step_that_was_not_told_to_is_not_tried_again(here):
    objects = here.render("once", data={"steps": [{"name": "try", "run": "forms:fail"}]})
    rows = here.put("once/rows", **{"a.csv": "x\n1\n"})
    here.run(template(objects, "once"), "data-try", name="once", artifacts={"data": rows})
    status = here.ended("once")
    assert (status["phase"], len(pods(status))) == ("Failed", 1)


def test_a_trial_goes_on_from_its_checkpoint(here):
    objects = here.render(
        "resumed", train={"checkpoint": True, "retries": {"limit": 3, "wait": "1s"}}
    )
    rows = here.put("resumed/rows", **{"a.csv": "x\n1\n"})
    name = here.run(
        template(objects, "resumed"),
        "train",
        name="resumed",
        artifacts={"train": rows},
        trial=0,
        parameters='{"dies": true}',
    )
    status = here.ended(name)
    assert [node["phase"] for node in pods(status)] == ["Failed", "Failed", "Succeeded"]
    assert [node["outputs"]["exitCode"] for node in pods(status)] == ["1", "137", "0"]
    assert here.text(f"runs/{name}/checkpoints/0/epoch") == "2"
    assert "resumed: true" in here.text(f"runs/{name}/trials/0/metadata.yaml")
    outputs = {p["name"]: p["value"] for p in pods(status)[-1]["outputs"]["parameters"]}
    assert json.loads(outputs["metrics"]) == {"first": 2}


def test_a_trial_over_the_same_data_is_taken_from_the_cache(here):
    objects = here.render("cached", train={"cache": "10m", "checkpoint": True})
    rows = here.put("cached/rows", **{"a.csv": "x\n1\n"})

    here.kube.run("-n", "argo", "delete", "configmap", f"cache.{N}.cached", "--ignore-not-found")

    def train(name, digest):
        here.run(
            template(objects, "cached"),
            "train",
            name=name,
            artifacts={"train": rows},
            trial=0,
            parameters='{"dies": false}',
            digest=digest,
            key="k" * 32,
        )
        status = here.ended(name)
        assert status["phase"] == "Succeeded", [
            node.get("message") for node in status["nodes"].values()
        ]
        homes = {
            p["value"]
            for node in status["nodes"].values()
            for p in node.get("outputs", {}).get("parameters", ())
            if p["name"] == "home"
        }
        return len(pods_that_ran(status)), homes

    assert train("cached-1", "d1") == (1, {"runs/cached-1/trials/0"})
    assert train("cached-2", "d1") == (0, {"runs/cached-1/trials/0"}), (
        "the first run's model, and no pod"
    )
    assert train("cached-3", "d2") == (1, {"runs/cached-3/trials/0"}), "other data"
    kept = here.kube.get("configmap", f"cache.{N}.cached", "argo")
    assert kept["metadata"]["labels"] == {"workflows.argoproj.io/configmap-type": "Cache"}
    assert len(kept["data"]) == 2
    here.kube.run("-n", "argo", "delete", "configmap", f"cache.{N}.cached")


def pods_that_ran(status):
    return [n for n in pods(status) if not n.get("memoizationStatus", {}).get("hit")]


def test_a_mutex_keeps_two_runs_apart(here):
    objects = here.render("locked", data={"steps": [{"name": "nap", "run": "forms:nap"}]})
    whole = json.loads(json.dumps(template(objects, "locked")))
    (loop,) = (t for t in whole["spec"]["templates"] if t["name"] == "loop")
    # the lock as rendered, around one step of the user's instead of all of them
    key = here.put("locked/rows", **{"a.csv": "x\n1\n"})
    data = [{"name": "data", "s3": {"key": key}}]
    loop["dag"]["tasks"] = [
        {"name": "nap", "template": "data-nap", "arguments": {"artifacts": data}}
    ]
    runs = ("locked-1", "locked-2")
    for name in runs:
        here.run(whole, "loop", name=name)

    def waits():
        nodes = [
            n
            for name in runs
            for n in here.workflow(name).get("status", {}).get("nodes", {}).values()
        ]
        return any("Waiting for" in n.get("message", "") for n in nodes)

    here.kube.wait("one of them waits for the other", waits, timeout=60)
    first, second = sorted(
        (pods(here.ended(name))[0] for name in runs), key=lambda n: n["startedAt"]
    )
    assert first["phase"] == second["phase"] == "Succeeded"
    assert seconds(second["startedAt"]) >= seconds(first["finishedAt"])


def test_runs_are_labelled_and_their_logs_are_kept(here):
    objects = here.render("logged", data={"steps": [{"name": "shm", "run": "forms:memory"}]})
    rows = here.put("logged/rows", **{"a.csv": "x\n1\n"})
    labelled = "0123456789ab"
    here.run(
        template(objects, "logged"),
        "data-shm",
        name="logged",
        artifacts={"data": rows},
        decision=labelled,
        cause="me",
    )
    status = here.ended("logged")
    assert status["phase"] == "Succeeded"
    assert here.workflow("logged")["metadata"]["labels"]["driftloop.dev/decision"] == labelled
    (pod,) = pods(status)
    (logs,) = (a for a in pod["outputs"]["artifacts"] if a["name"] == "main-logs")
    assert logs["s3"]["key"].startswith("runs/logged/logs/logged-")
    assert "shared memory: " in here.text(logs["s3"]["key"])


def test_the_clock_looks_for_new_data_and_trains_only_then(here):
    objects = here.render(
        "watched",
        train={"newData": "* * * * *"},
        data={"steps": [{"name": "nap", "run": "forms:nap"}]},
    )
    whole = json.loads(json.dumps(template(objects, "watched")))
    whole["spec"].pop("onExit")
    (main,) = (t for t in whole["spec"]["templates"] if t["name"] == "main")
    # the look and what it decides as rendered; behind it one step instead of a training run
    key = here.put("watched/rows", **{"a.csv": "x\n1\n"})
    main["dag"]["tasks"] = [
        {
            "name": "nap",
            "template": "data-nap",
            "arguments": {"artifacts": [{"name": "data", "s3": {"key": key}}]},
        }
    ]
    here.apply(whole, objects["CronWorkflow", "watched-data"])
    try:
        first = made_by(here, "watched-data", known=set())
        status = here.ended(first)
        assert {n["displayName"]: n["phase"] for n in status["nodes"].values() if n["type"] != "Retry"} == {
            first: "Succeeded", "look(0)": "Succeeded", "main": "Skipped",
        }  # fmt: skip
        here.put("watched/batches", BATCHES, **{"new.csv": "x\n1\n"})
        second = made_by(here, "watched-data", known={first})
        status = here.ended(second)
        assert status["phase"] == "Succeeded"
        assert "nap(0)" in {n["displayName"] for n in status["nodes"].values()}
    finally:
        here.kube.run("-n", N, "delete", "cronworkflow", "watched-data")


def made_by(here, cron, known):
    """The next Workflow of a CronWorkflow."""

    def found():
        made = {w["metadata"]["name"] for w in here.kube.get("workflow", namespace=N)}
        return sorted(name for name in made - known if name.startswith(f"{cron}-"))

    return here.kube.wait(f"{cron} starts a run", found, timeout=90)[0]


@pytest.fixture
def gpu_node(here):
    """A node that says it has a GPU, and a RuntimeClass: what a device plugin and NVIDIA's operator would set up."""
    (node, *_) = here.kube.get("node")
    name = node["metadata"]["name"]
    here.kube.run("label", "node", name, "nvidia.com/gpu.present=true", "--overwrite")
    capacity = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "1"}]
    here.kube.run(
        "patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(capacity)
    )
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia"},
        "handler": "runc",
    }
    here.apply(runtime)
    yield name
    here.kube.run("delete", "runtimeclass", "nvidia")
    here.kube.run("label", "node", name, "nvidia.com/gpu.present-")
    gone = [{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}]
    here.kube.run(
        "patch",
        "node",
        name,
        "--subresource=status",
        "--type=json",
        "-p",
        json.dumps(gone),
        check=False,
    )


def test_a_step_with_a_gpu_goes_to_a_node_that_has_one(here, gpu_node):
    objects = here.render(
        "accelerated",
        data={
            "steps": [
                {"name": "one", "run": "forms:memory", "resources": {"gpu": 1}},
                {"name": "two", "run": "forms:memory", "resources": {"gpu": 2}},
            ]
        },
    )
    rows = here.put("accelerated/rows", **{"a.csv": "x\n1\n"})
    whole = template(objects, "accelerated")
    here.run(whole, "data-one", name="accelerated-1", artifacts={"data": rows})
    status = here.ended("accelerated-1")
    assert status["phase"] == "Succeeded", status.get("message")
    (pod,) = pods(status)
    assert pod["hostNodeName"] == gpu_node
    assert f"shared memory: {1024**3}" in here.text(
        f"runs/accelerated-1/logs/{pod_name(pod)}/main.log"
    )

    here.run(whole, "data-two", name="accelerated-2", artifacts={"data": rows})

    def told():
        nodes = here.workflow("accelerated-2").get("status", {}).get("nodes", {}).values()
        return next(
            (n["message"] for n in nodes if "Insufficient nvidia.com/gpu" in n.get("message", "")),
            None,
        )

    assert here.kube.wait("the scheduler finds no two GPUs", told, timeout=60)
    time.sleep(1)
    (made,) = (
        p for p in here.kube.get("pod", namespace=N) if p["metadata"]["labels"].get(
            "workflows.argoproj.io/workflow") == "accelerated-2"
    )  # fmt: skip
    assert made["spec"]["runtimeClassName"] == "nvidia"
    assert made["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in made["spec"][
        "tolerations"
    ]
    here.kube.run("-n", N, "delete", "workflow", "accelerated-2")


def pod_name(node):
    """Argo names pods `<workflow>-<template>-<hash>`; the hash is the last part of the node's id."""
    workflow, _, number = node["id"].rpartition("-")
    return f"{workflow}-{node['templateName']}-{number}"
