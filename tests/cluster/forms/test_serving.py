"""What scales and protects model servers does on real controllers what it says; the server itself is a stand-in."""

import json

import yaml
from cluster.forms.place import IMAGE, N

from tests.golden.trees import tree

DEPLOYMENTS = {
    path.rpartition("/")[2]: text
    for path, text in tree("autoscale").items()
    if path.startswith("deployments/autoscale/")
}


def rendered(kind, release):
    document = yaml.safe_load(DEPLOYMENTS[f"{release}.{kind}.yaml"])
    document["metadata"]["namespace"] = N
    return document


def test_an_autoscaler_keeps_the_least_and_a_budget_lets_one_pod_go_at_a_time(here):
    release = min(file.split(".")[0] for file in DEPLOYMENTS if file.endswith(".deployment.yaml"))
    deployment = rendered("deployment", release)
    pod = deployment["spec"]["template"]["spec"]
    for key in ("serviceAccountName", "initContainers", "volumes"):
        pod.pop(key, None)
    pod["containers"] = [{"name": "model", "image": IMAGE, "command": ["sleep", "3600"]}]
    # one that stops needs this long; the second eviction must come meanwhile
    pod["terminationGracePeriodSeconds"] = 20
    here.apply(
        deployment,
        rendered("horizontalpodautoscaler", release),
        rendered("poddisruptionbudget", release),
    )
    name = deployment["metadata"]["name"]
    try:
        least = rendered("horizontalpodautoscaler", release)["spec"]["minReplicas"]
        assert least == 2
        here.kube.wait(
            "the autoscaler brings it to its least",
            lambda: (
                (here.kube.get("deployment", name, N)["status"].get("readyReplicas") or 0) == least
            ),
            timeout=120,
        )
        here.kube.wait(
            "the budget counts them",
            lambda: (
                (here.kube.get("pdb", name, N).get("status") or {}).get("disruptionsAllowed") == 1
            ),
            timeout=60,
        )
        labels = ",".join(
            f"{k}={v}" for k, v in deployment["spec"]["selector"]["matchLabels"].items()
        )
        first, second = here.kube.run("-n", N, "get", "pods", "-l", labels, "-o", "name").split()
        assert evicted(here, first) == ""
        assert "disruption budget" in evicted(here, second)
    finally:
        here.kube.run(
            "-n",
            N,
            "delete",
            f"deployment/{name}",
            f"hpa/{name}",
            f"pdb/{name}",
            "--grace-period=1",
        )


def evicted(here, pod):
    """What the API server says against evicting a pod; empty when it does it."""
    name = pod.removeprefix("pod/")
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": N},
    }
    file = here.folder / f"{name}.json"
    file.write_text(json.dumps(body))
    path = f"/api/v1/namespaces/{N}/pods/{name}/eviction"
    try:
        here.kube.run("create", "--raw", path, "-f", str(file))
    except AssertionError as error:
        return str(error)
    return ""
