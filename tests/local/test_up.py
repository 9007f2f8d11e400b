"""The platform turned for real: processes, Envoy, NATS, S3, a git repository; tiny servers stand for the models."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.processes import PATIENCE

from driftloop.contract.names import FLUX_APPLIED_ONCE
from driftloop.local.ground import leftovers
from driftloop.local.ground.state import StateFolder, free_port
from tests.local.conftest import (
    Git,
    Start,
    Up,
    deployment,
    eventually,
    get,
    kustomization,
    service,
    virtual_service,
)

BASE: dict[str, Any] = {
    "cluster/dev/pipelines/shop.yaml": [
        kustomization("shop-deployments", "deployments/shop", "infra-configs")
    ],
    "deployments/shop/a.yaml": [deployment("a"), service("a")],
    "deployments/shop/b.yaml": [deployment("b"), service("b")],
    "deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 100}),
}
MODEL = "/seldon/shop/model/predict"


def asked(up: Up, count: int, path: str = MODEL) -> Counter[str]:
    """Who answered `count` requests through the gateway; `error <status>` for the rest."""
    names: Counter[str] = Counter()
    for _ in range(count):
        status, answer = get(up.url(path))
        names[answer["name"] if status == 200 else f"error {status}"] += 1
    return names


def children(up: Up) -> dict[str, int]:
    """Process name -> pid."""
    return {
        process["name"]: process["pid"]
        for process in up.status().get("processes", ())
        if process["pid"]
    }


def test_weights_written_by_hand_in_git_move_the_traffic(start: Start, git: Git) -> None:
    sha = git.commit(BASE, "Add the shop")
    up = start().wait_up()
    up.wait_applied(sha)
    before = children(up)
    status, answer = get(up.url("/seldon/shop/model/api/v1.0/predictions"))
    assert (status, answer["name"], answer["path"]) == (200, "a", "/api/v1.0/predictions")
    assert asked(up, 20) == {"a": 20}

    up.wait_applied(
        git.commit(
            {"deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 50, "b": 50})}
        )
    )
    share = asked(up, 200)
    assert set(share) == {"a", "b"}
    assert 60 <= share["b"] <= 140, "a fair coin stays within six standard deviations"

    up.wait_applied(
        git.commit(
            {"deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 0, "b": 100})}
        )
    )
    assert asked(up, 20) == {"b": 20}
    git("revert", "--no-edit", "HEAD~1..HEAD")
    git("push", "-q", "origin", "main")
    up.wait_applied(git("rev-parse", "HEAD"))
    assert set(asked(up, 100)) == {"a", "b"}
    assert children(up) == before, "weights restart nothing"


def test_a_mirror_reaches_the_candidate_with_the_same_id_and_never_the_caller(
    start: Start, git: Git, tmp_path: Path
) -> None:
    record = tmp_path / "requests.jsonl"
    files = BASE | {
        "deployments/shop/a.yaml": [deployment("a", RECORD=str(record)), service("a")],
        "deployments/shop/b.yaml": [deployment("b", RECORD=str(record)), service("b")],
        "deployments/shop/traffic.virtualservice.yaml": virtual_service({"a": 100}, mirror="b"),
    }
    sha = git.commit(files)
    up = start().wait_up()
    up.wait_applied(sha)
    assert asked(up, 20) == {"a": 20}
    get(up.url(MODEL), {"x-request-id": "mine"})
    get(up.url(MODEL), {"seldon-puid": "theirs", "x-request-id": "other"})
    seen = eventually(
        lambda: (
            (lines := [json.loads(line) for line in record.read_text().splitlines()])
            and len(lines) >= 44
            and lines
        )
    )
    ids = {
        name: [one["headers"]["seldon-puid"] for one in seen if one["name"] == name]
        for name in ("a", "b")
    }
    assert len(set(ids["a"])) == 22
    assert sorted(ids["a"]) == sorted(ids["b"])
    assert {"mine", "theirs"} <= set(ids["a"])


def test_services_are_found_by_name_through_the_proxy(start: Start, git: Git) -> None:
    up = start().wait_up()
    up.wait_applied(git.commit(BASE))
    proxy = f"http://127.0.0.1:{up.ports['proxy']}"
    for host in ("b.shop.svc.cluster.local", "b.shop.svc", "b.shop"):
        status, answer = get(f"http://{host}:8000/hello", proxy=proxy)
        assert (status, answer["name"], answer["path"]) == (200, "b", "/hello")
    assert get("http://nobody.shop.svc.cluster.local:8000/", proxy=proxy)[0] == 502
    assert get("http://b.shop.svc:8001/", proxy=proxy)[0] == 502
    outside = get(f"http://localhost.localdomain:{up.ports['api']}/status", proxy=proxy)
    assert outside[0] in (200, 503), (
        "looked up like any other name; not every machine knows this one"
    )
    assert get(f"http://127.0.0.1:{up.ports['api']}/status", proxy=proxy)[1]["tip"]
    environment = get("http://b.shop:8000/", proxy=proxy)[1]["env"]
    assert environment["HTTP_PROXY"] == proxy
    assert "127.0.0.1" in environment["NO_PROXY"]
    addresses = json.loads(up.state.addresses.read_text())
    assert addresses["b.shop.svc.cluster.local:8000"].startswith("127.0.0.1:")
    assert "broker-ingress.knative-eventing.svc.cluster.local:80" in addresses


def test_a_new_version_takes_over_without_a_failed_request(start: Start, git: Git) -> None:
    # answers take a tenth of what a replica without a route is left to end them
    first = {"deployments/shop/a.yaml": [deployment("a", SLOW="0.1"), service("a")]}
    sha = git.commit({**BASE, **first})
    up = start().wait_up()
    up.wait_applied(sha)
    stop = threading.Event()
    results: Counter[str] = Counter()

    def load() -> None:
        while not stop.is_set():
            results.update(asked(up, 1, "/seldon/shop/model/slow"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        # the same Deployment changes, then it is replaced by another one that did not exist, in one commit
        changed = deployment("a", VERSION="2", SLOW="0.1")
        up.wait_applied(git.commit({"deployments/shop/a.yaml": [changed, service("a")]}))
        up.wait_applied(
            git.commit(
                {
                    "deployments/shop/a.yaml": None,
                    "deployments/shop/c.yaml": [deployment("c", SLOW="0.1"), service("c")],
                    "deployments/shop/traffic.virtualservice.yaml": virtual_service({"c": 100}),
                }
            )
        )
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(results) == {"a", "c"}, results
    eventually(lambda: "shop/a" not in children(up), what="the old pod is stopped")
    assert asked(up, 5) == {"c": 5}


def test_killed_children_come_back(start: Start, git: Git) -> None:
    up = start().wait_up()
    up.wait_applied(git.commit(BASE))
    before = children(up)
    assert {"nats", "s3", "envoy", "broker", "argo", "shop/a", "shop/b"} <= set(before)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: (
            len(now := children(up)) == len(before)
            and not set(now.values()) & set(before.values())
            and all(process["phase"] == "ready" for process in up.status()["processes"])
        ),
        what="all are ready again",
    )
    assert asked(up, 5) == {"a": 5}
    killed = [
        entry
        for line in up.state.timeline.open()
        if (entry := json.loads(line))["kind"] == "process"
    ]
    assert {entry["what"].split()[0] for entry in killed} >= set(before)
    assert all("SIGKILL" in entry["what"] for entry in killed)


def test_a_killed_up_is_cleaned_up_and_continued(
    start: Start, git: Git, state: StateFolder
) -> None:
    sha = git.commit(BASE)
    up = start().wait_up()
    up.wait_applied(sha)
    gateway = up.ports["gateway"]
    up.process.kill()
    up.process.wait()
    (state.run / "up").unlink()
    again = start().wait_up()
    assert again.ports["gateway"] == gateway
    eventually(lambda: asked(again, 1) == {"a": 1}, what="the release answers again")
    assert again.status()["applied"] == sha


def test_control_c_leaves_nothing_and_says_so(start: Start, git: Git, state: StateFolder) -> None:
    up = start().wait_up()
    up.wait_applied(git.commit(BASE))
    pids = list(children(up).values())
    assert up.stop(signal.SIGINT) == 130
    assert leftovers.find_leftovers(state) == []
    assert not any(psutil.pid_exists(pid) for pid in pids)
    text = up.log.read_text()
    assert "stopping nats" in text
    assert text.index("stopping argo") < text.index("stopping nats") < text.index("stopped")


def test_a_deleted_state_folder_is_an_error_and_stops_everything(
    start: Start, git: Git, state: StateFolder
) -> None:
    up = start().wait_up()
    up.wait_applied(git.commit(BASE))
    pids = list(children(up).values())
    # everything at once, as if `rm -r` were quicker than those who write there
    state.root.rename(state.root.parent / "gone")
    assert up.process.wait(PATIENCE) == 1
    assert f"error: {state.root} was deleted while it was in use" in up.log.read_text()
    assert "Traceback" not in up.log.read_text()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_second_up_says_what_runs_already(start: Start, git: Git, state: StateFolder) -> None:
    git.commit(BASE)
    up = start().wait_up()
    command = [sys.executable, "-m", "driftloop.cli", "up", "--state", str(state.root)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert f"already running in {state.root} by process {up.process.pid}" in second.stderr
    assert up.process.poll() is None


def test_refused_commits_leave_everything_running(start: Start, git: Git, tmp_path: Path) -> None:
    sha = git.commit(BASE)
    up = start().wait_up()
    up.wait_applied(sha)
    before = children(up)
    good = deployment("a")

    def variant(**container: Any) -> dict[str, Any]:
        changed = yaml.safe_load(yaml.safe_dump(good))
        changed["spec"]["template"]["spec"]["containers"][0].update(container)
        changed["metadata"]["name"] = "x"
        return changed  # type: ignore[no-any-return]

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop"}}
    nowhere = virtual_service({"a": 100}) | {
        "spec": {"http": [{"fault": {}, "route": [{"destination": {"host": "a"}}]}]}
    }
    for content, words in (
        ("a: [1\n", "deployments/shop/x.yaml:2:1: not YAML"),
        (secret, "deployments/shop/x.yaml: Secret does not run here"),
        (job, "deployments/shop/x.yaml: batch/Job does not run here"),
        (variant(image="example.org/unknown:1"), "`example.org/unknown:1` is not registered"),
        (variant(command=["nothing-of-that-name"]), "has no program `nothing-of-that-name`"),
        (variant(tty=True), "`container.tty` is not supported"),
        (nowhere | {"metadata": {"name": "x", "namespace": "shop"}}, "`spec.http[].fault` is not supported"),
    ):  # fmt: skip
        git.commit({"deployments/shop/x.yaml": content})
        refused = eventually(
            lambda words=words: words in (up.status().get("refused") or "") and up.status(),
            what=words,
        )
        assert refused["applied"] == sha
        assert children(up) == before
    assert asked(up, 5) == {"a": 5}
    name = "shop-deployments"
    url = f"http://127.0.0.1:{up.ports['api']}/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/"
    found = get(url + name)[1]
    assert found["status"]["lastAppliedRevision"] == f"main@sha1:{sha}"
    assert found["status"]["conditions"][0]["status"] == "False"
    # the folder vanishes while its Kustomization stays: Flux reports it and prunes nothing
    git("rm", "-q", "-r", "deployments/shop")
    git("commit", "-q", "-m", "Lose the folder")
    git("push", "-q", "origin", "main")
    eventually(lambda: "path deployments/shop does not exist" in (up.status().get("refused") or ""))
    assert children(up) == before
    # and without its Kustomization it is pruned
    last = git.commit(
        {"cluster/dev/pipelines/shop.yaml": None, "cluster/dev/README.md": "Nothing here.\n"}
    )
    up.wait_applied(last)
    eventually(
        lambda: not any(name.startswith("shop/") for name in children(up)), what="pods are gone"
    )
    assert get(up.url(MODEL))[0] == 404
    assert get(url + name)[0] == 404


def ask_gateway(up: Up, path: str) -> tuple[int, str | None]:
    """Status and Retry-After of a GET."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(up.url(path), timeout=30) as answer:
            return answer.status, answer.headers["retry-after"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["retry-after"]
    except OSError:
        return 0, None


def test_a_model_that_is_not_ready_is_not_absent(start: Start, git: Git) -> None:
    """A client that gets 404 gives up; one that gets 503 comes again."""
    up = start()
    first = eventually(
        lambda: up.ports.get("gateway") and (found := ask_gateway(up, MODEL))[0] and found,
        what="the gateway",
    )
    assert first == (503, "5")
    up.wait_up()
    late = deployment("a")
    late["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] = "/late"
    container = late["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["sh", "-c", "sleep 4; exec python echo.py --port $PORT"]
    container["args"] = []
    container["env"].append({"name": "PORT", "value": "8080"})
    files = {**BASE, "deployments/shop/a.yaml": [late, service("a")]}
    sha = git.commit(files)
    eventually(lambda: up.status().get("tip") == sha)
    statuses = set()
    while up.status().get("applied") != sha:
        statuses.add(ask_gateway(up, MODEL))
        time.sleep(0.1)
    assert (503, "5") in statuses
    assert {status for status, _ in statuses} <= {200, 503}
    assert ask_gateway(up, "/nothing/here") == (404, None)
    # the server behind the route is gone for a moment
    os.kill(children(up)["shop/a"], signal.SIGKILL)
    assert ask_gateway(up, MODEL) in ((503, "5"), (200, None))


def test_a_pipeline_without_a_release_is_not_absent(start: Start, git: Git) -> None:
    up = start().wait_up()
    unready = virtual_service({"a": 100})
    (route,) = unready["spec"]["http"]
    del route["route"], route["rewrite"]
    route["directResponse"] = {"status": 503, "body": {"string": "shop has no release yet\n"}}
    files = {**BASE, "deployments/shop/traffic.virtualservice.yaml": unready}
    up.wait_applied(git.commit(files))
    assert ask_gateway(up, MODEL) == (503, "5")


def test_a_suspended_kustomization_stays_as_it_is(start: Start, git: Git) -> None:
    up = start().wait_up()
    up.wait_applied(git.commit(BASE))
    suspended = kustomization("shop-deployments", "deployments/shop")
    suspended["spec"]["suspend"] = True
    changes = {
        "cluster/dev/pipelines/shop.yaml": suspended,
        "deployments/shop/a.yaml": [deployment("a", V="2"), service("a")],
    }
    before = children(up)
    up.wait_applied(git.commit(changes))
    assert children(up) == before
    assert up.status()["waiting"] == []
    suspended["spec"]["suspend"] = False
    up.wait_applied(git.commit({"cluster/dev/pipelines/shop.yaml": suspended}))
    assert get(up.url(MODEL))[1]["env"]["V"] == "2"


def test_one_broken_pipeline_does_not_stop_another(start: Start, git: Git) -> None:
    broken = BASE | {
        "cluster/dev/pipelines/other.yaml": [
            kustomization("other-workflows", "workflows/other"),
            kustomization("other-deployments", "deployments/other", "other-workflows"),
        ],
        "workflows/other/bad.yaml": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j"},
        },
        "deployments/other/d.yaml": deployment("d", namespace="other"),
    }
    git.commit(broken)
    up = start().wait_up()
    eventually(lambda: asked(up, 1) == {"a": 1}, what="the good pipeline answers")
    assert "other/d" not in children(up), "it depends on the broken one"
    up.wait_applied(
        git.commit(
            {
                "workflows/other/bad.yaml": None,
                "workflows/other/kustomization.yaml": {"resources": []},
            }
        )
    )
    assert "other/d" in children(up)


def test_a_dependency_that_was_applied_once_holds_no_later_commit_up(
    start: Start, git: Git
) -> None:
    last = kustomization("last", "last", "shop-deployments")
    last["spec"]["dependsOn"][0]["readyExpr"] = FLUX_APPLIED_ONCE
    files = BASE | {
        "cluster/dev/pipelines/last.yaml": last,
        "last/d.yaml": deployment("d", namespace="last"),
    }
    up = start().wait_up()
    up.wait_applied(git.commit(files))
    crashing = deployment("a")
    crashing["spec"]["template"]["spec"]["containers"][0]["command"] = [
        "python",
        "-c",
        "raise SystemExit(3)",
    ]
    second = git.commit(
        {
            "deployments/shop/a.yaml": [crashing, service("a")],
            "last/d.yaml": deployment("d", namespace="last", V="2"),
        }
    )
    url = (
        f"http://127.0.0.1:{up.ports['api']}/apis/kustomize.toolkit.fluxcd.io/v1"
        "/namespaces/flux-system/kustomizations"
    )
    eventually(
        lambda: (
            get(f"{url}/last")[1]["status"]["lastAppliedRevision"] == f"main@sha1:{second}"
            and get(f"{url}/shop-deployments")[1]["status"]["conditions"][0]["status"] == "False"
        ),
        what="the later part is applied while the earlier one is not ready",
    )


def test_a_pod_that_does_not_come_up_keeps_the_old_one(start: Start, git: Git) -> None:
    sha = git.commit(BASE)
    up = start().wait_up()
    up.wait_applied(sha)
    crashing = deployment("a")
    crashing["spec"]["template"]["spec"]["containers"][0]["command"] = [
        "python",
        "-c",
        "raise SystemExit(3)",
    ]
    git.commit({"deployments/shop/a.yaml": [crashing, service("a")]})
    eventually(
        lambda: any("exit code 3" in (one["lastExit"] or "") for one in up.status()["processes"])
    )
    assert asked(up, 10) == {"a": 10}
    api = f"http://127.0.0.1:{up.ports['api']}/apis"
    status = get(f"{api}/apps/v1/namespaces/shop/deployments/a")[1]["status"]
    assert (status["readyReplicas"], status["conditions"][0]["status"]) == (1, "False")
    kustomization_url = f"{api}/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/shop-deployments"
    assert get(kustomization_url)[1]["status"]["lastAppliedRevision"] == f"main@sha1:{sha}"
    assert "shop/a is not ready" in get(kustomization_url)[1]["status"]["conditions"][0]["message"]
    git("revert", "--no-edit", "HEAD")
    git("push", "-q", "origin", "main")
    up.wait_applied(git("rev-parse", "HEAD"))
    eventually(
        lambda: all(one["phase"] == "ready" for one in up.status()["processes"]),
        what="the bad pod is gone",
    )


def test_replicas_init_containers_and_recreate(start: Start, git: Git) -> None:
    item = deployment("a")
    pod = item["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "model", "emptyDir": {}}]
    mount = [{"name": "model", "mountPath": "/mnt/models"}]
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('fetched')"
    fetch = {
        "name": "fetch",
        "image": pod["containers"][0]["image"],
        "command": ["python", "-c", write],
    }
    pod["initContainers"] = [fetch | {"args": ["/mnt/models/model.bin"], "volumeMounts": mount}]
    pod["containers"][0] |= {"volumeMounts": mount}
    pod["containers"][0]["env"].append({"name": "MODEL", "value": "/mnt/models/model.bin"})
    item["spec"] |= {"replicas": 2, "strategy": {"type": "Recreate"}}
    files = BASE | {"deployments/shop/a.yaml": [item, service("a")]}
    up = start().wait_up()
    up.wait_applied(git.commit(files))
    models = {get(up.url(MODEL))[1]["env"]["MODEL"] for _ in range(20)}
    assert len(models) == 2, "each replica has its own folder, and both answer"
    assert {Path(model).read_text() for model in models} == {"fetched"}
    item["spec"]["replicas"] = 1
    up.wait_applied(git.commit({"deployments/shop/a.yaml": [item, service("a")]}))
    eventually(lambda: [one["name"] for one in up.status()["processes"]].count("shop/a") == 1)
    item["spec"]["template"]["spec"]["containers"][0]["env"].append(
        {"name": "VERSION", "value": "2"}
    )
    up.wait_applied(git.commit({"deployments/shop/a.yaml": [item, service("a")]}))
    assert get(up.url(MODEL))[1]["env"]["VERSION"] == "2"
    eventually(lambda: not any(Path(model).exists() for model in models), what="they are deleted")


def test_an_autoscaled_model_runs_its_minimum(start: Start, git: Git) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
            "minReplicas": 2,
            "maxReplicas": 5,
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    up = start().wait_up()
    up.wait_applied(git.commit(BASE | {"deployments/shop/scaling.yaml": [scaler, budget]}))
    names = [process["name"] for process in up.status()["processes"]]
    assert (names.count("shop/a"), names.count("shop/b")) == (2, 1)


def test_a_server_that_hangs_is_killed_and_started_again(start: Start, git: Git) -> None:
    item = deployment("a")
    code = (
        "import http.server, os, pathlib, sys, time\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        mark = pathlib.Path(os.environ['WORK'], 'hung')\n"
        "        if self.path == '/live' and mark.exists(): mark.unlink(); time.sleep(3600)\n"
        "        if self.path == '/hang': mark.touch()\n"
        "        self.send_response(200); self.send_header('content-length', '2'); self.end_headers()\n"
        "        self.wfile.write(b'{}')\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[-1])), H).serve_forever()\n"
    )
    pod = item["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "work", "emptyDir": {}}]
    pod["containers"][0] |= {
        "command": ["python", "-c", code],
        "env": [{"name": "WORK", "value": "/work"}],
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        "livenessProbe": {
            "httpGet": {"path": "/live", "port": 8080},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
    }
    up = start().wait_up()
    up.wait_applied(git.commit(BASE | {"deployments/shop/a.yaml": [item, service("a")]}))
    assert get(up.url("/seldon/shop/model/hang"))[0] == 200
    eventually(
        lambda: any(one["restarts"] for one in up.status()["processes"]), what="it is killed"
    )
    eventually(lambda: get(up.url("/seldon/shop/model/x"))[0] == 200, what="it answers again")
    assert "does not answer any more" in up.state.timeline.read_text()


@pytest.mark.parametrize("part", ["gateway"])
def test_a_chosen_port_in_use_is_an_error(start: Start, state: StateFolder, part: str) -> None:
    import socket

    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        up = start("--gateway-port", str(port))
        assert up.process.wait(PATIENCE) == 1
    assert f"port {port} (for {part}) is in use by process {os.getpid()}" in up.log.read_text()
