"""A run that a person lets go on, and images of a registry that asks for a password."""

import json
import os
import subprocess
import sys
import uuid

import pytest
from cluster.forms.place import N
from cluster.live import KIT
from cluster.registry import HOST, pull_secret, serving_registry

ME = "admin"
"""Whom the API server takes the kit's kubeconfig for."""
SECRET = "acme-registry"
STEPS = [{"name": "label", "run": "forms:ask", "approve": True}, {"name": "check", "run": "forms:check"}]  # fmt: skip


@pytest.mark.skipif(KIT is None, reason="the kubeconfig may be of somebody who is not `admin`")
def test_a_run_waits_for_a_person_and_reads_what_they_put_in(here):
    objects = here.render("asked", data={"steps": STEPS}, approvers=[ME])
    whole = json.loads(json.dumps(objects["WorkflowTemplate", "asked-train"]))
    (loop,) = (t for t in whole["spec"]["templates"] if t["name"] == "loop")
    tasks = {task["name"]: task for task in loop["dag"]["tasks"]}
    rows = here.put("asked/rows", **{"a.csv": "x\n1\n"})
    given = {"artifacts": [{"name": "data", "s3": {"key": rows}}]}
    first = {"name": "data-label", "template": "data-label", "arguments": given}
    loop["dag"]["tasks"] = [first, tasks["approve-label"], tasks["data-check"]]
    name = here.run(whole, "loop", name="asked")

    def waits():
        nodes = here.workflow(name).get("status", {}).get("nodes", {}).values()
        return [n["displayName"] for n in nodes if n["type"] == "Suspend" and n["phase"] == "Running"]  # fmt: skip

    here.kube.wait("the run waits for a person", waits, timeout=120)
    folder = f"runs/{name}/steps/label"
    assert here.text(f"{folder}/unlabelled-a.csv") == "x\n1\n", "what is to be labelled"
    here.put(folder, **{"labels.csv": "x,y\n1,0\n"})
    here.kube.run("-n", "argo", "delete", "pod", "-l", "app=workflow-controller")
    refused = approve(here, "in a hurry", user="eve")
    print(refused.stderr.strip())
    assert refused.returncode == 1
    assert f"`eve` may not approve that the run goes on after data step label, must be one of: {ME}" in refused.stderr  # fmt: skip
    assert waits() == ["approve-label"]
    done = approve(here, "the labels are in")
    print(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    status = here.ended(name)
    assert status["phase"] == "Succeeded", status.get("message")
    assert here.text(f"runs/{name}/steps/check/labelled.csv") == "x,y\n1,0\n"
    (node,) = (n for n in status["nodes"].values() if n["type"] == "Suspend")
    given = {each["name"]: each["value"] for each in node["outputs"]["parameters"]}
    assert (given["who"], given["reason"]) == (ME, "the labels are in")
    assert "nothing of `asked` waits for a person" in approve(here, "again").stderr


@pytest.mark.skipif(KIT is None, reason="the registry behind the door is the kit's")
def test_images_of_a_registry_that_asks_for_a_password(here):
    image = {"ref": f"{HOST}/driftloop/test-forms:1"}
    objects = here.render(
        "private",
        images={"trainer": image, "server": image},
        imagePullSecrets=[SECRET],
        data={"steps": [{"name": "nap", "run": "forms:nap"}]},
    )
    rows = here.put("private/rows", **{"a.csv": "x\n1\n"})
    password = uuid.uuid4().hex
    with serving_registry("ci", password) as refused:
        name = here.run(
            objects["WorkflowTemplate", "private-train"],
            "data-nap",
            name="private",
            artifacts={"data": rows},
        )
        line = here.kube.wait(
            "doctor says which image the registry keeps back", find_unpulled, timeout=120, every=3
        )
        print(line)
        assert f"container main of Pod {N}/private-" in line
        assert f" does not get {image['ref']}: " in line
        assert refused, "the registry was asked"
        assert here.workflow(name)["status"]["phase"] == "Running", "the run waits for its image"
        here.apply(pull_secret(SECRET, N, "ci", password))
        status = here.ended(name, timeout=400)
    assert status["phase"] == "Succeeded", status.get("message")
    assert find_unpulled() is None


def find_unpulled():
    """What `driftloop doctor` says of an image that a pod does not get."""
    done = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", "doctor"],
        capture_output=True,
        text=True,
        check=False,
    )
    return next((line for line in done.stdout.splitlines() if "does not get" in line), None)


def approve(here, reason, *, user=ME):
    """`driftloop approve` as this user, who has every right, by whatever name."""
    given = () if user == ME else (f"--as={user}", "--as-group=system:masters")
    with here.kube.proxy(*given) as url:
        return subprocess.run(
            [sys.executable, "-m", "driftloop.cli", "approve", "asked", "--namespace", N, "--reason", reason],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DRIFTLOOP_KUBERNETES_URL": url},
        )  # fmt: skip
