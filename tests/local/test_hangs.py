"""A model server that hangs: the real seldon-core microservice, whose worker is killed under load."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from driftloop.local.kubelet import images
from tests.local.conftest import Git, Start, Up, eventually, kustomization

ROOT = Path(__file__).parents[2]
REF = "example.org/same:1"
MODEL = """
class Same:
    def predict(self, X, names=None, meta=None):
        return X
"""
REQUEST = b'{"data": {"ndarray": [[1]]}}'

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def envs() -> Path:
    """Environments kept between runs: seldon-core is installed once."""
    folder = ROOT / ".driftloop" / "envs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def deployed() -> dict[str, Any]:
    """A SeldonDeployment as somebody writes one who says nothing of probes and timeouts."""
    container = {
        "name": "model",
        "image": REF,
        "command": ["seldon-core-microservice"],
        "args": ["Same", "--service-type", "MODEL"],
        "env": [{"name": "GRPC_WORKERS", "value": "0"}],
    }
    predictor = {
        "name": "r1",
        "graph": {"name": "model", "type": "MODEL"},
        "componentSpecs": [{"spec": {"containers": [container]}}],
    }
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "model", "namespace": "shop"},
        "spec": {"protocol": "seldon", "predictors": [predictor]},
    }


def ask(up: Up, *, timeout: float) -> int:
    """Status of a prediction; 0 when none came in time."""
    request = urllib.request.Request(
        up.url("/seldon/shop/model/api/v1.0/predictions"),
        REQUEST,
        {"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def worker_of(up: Up) -> psutil.Process:
    """Gunicorn's worker of the model: the youngest child of the microservice without children."""
    (pid,) = (item["pid"] for item in up.status()["processes"] if item["name"] == "shop/model-r1")
    children = psutil.Process(pid).children()
    return max(
        (child for child in children if not child.children()), key=psutil.Process.create_time
    )


@pytest.fixture
def served(tmp_path: Path, start: Start, envs: Path, git: Git) -> Up:
    up = start()
    folder = tmp_path / "same"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    installed = ROOT / "examples" / "digits" / "server" / "requirements.txt"
    (folder / "requirements.txt").write_text(installed.read_text())
    (folder / "Same.py").write_text(MODEL)
    images.register_image(up.state, REF, folder, envs=envs, say=lambda _: None)
    up.wait_up()
    files = {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop", "infra-configs")
        ],
        "deployments/shop/model.yaml": deployed(),
    }
    up.wait_applied(git.commit(files, "Serve a model"))
    return up


def test_a_server_that_hangs_after_its_worker_was_killed_is_started_again(served: Up) -> None:
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            ask(served, timeout=3)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            os.kill(worker_of(served).pid, signal.SIGKILL)
            time.sleep(2)
            if not any(ask(served, timeout=2) == 200 for _ in range(3)):
                break
        else:
            pytest.fail("no kill of 40 has left the lock locked")
        eventually(lambda: ask(served, timeout=2) == 200, what="an answer")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    timeline = (served.state.root / "timeline.jsonl").read_text()
    assert "shop/model-r1 does not answer any more" in timeline


def test_a_frozen_worker_is_found_without_a_request(served: Up) -> None:
    os.kill(worker_of(served).pid, signal.SIGSTOP)
    eventually(lambda: ask(served, timeout=1) == 200, what="an answer")


def test_a_request_that_nobody_answers_gets_an_answer(served: Up, git: Git) -> None:
    quick = deployed()
    quick["spec"]["predictors"][0]["annotations"] = {"seldon.io/rest-timeout": "2000"}
    served.wait_applied(git.commit({"deployments/shop/model.yaml": quick}, "Answer in 2 s"))
    os.kill(worker_of(served).pid, signal.SIGSTOP)
    assert ask(served, timeout=30) == 504


@pytest.mark.parametrize("part", ["nats", "s3", "envoy", "broker", "argo"])
def test_a_frozen_part_is_named_and_started_again(start: Start, part: str) -> None:
    up = start().wait_up()

    def pid() -> int:
        return next(
            (item["pid"] or 0 for item in up.status().get("processes", ()) if item["name"] == part),
            0,
        )

    frozen = pid()
    os.kill(frozen, signal.SIGSTOP)
    eventually(lambda: pid() not in (0, frozen), what=f"another {part}")
    assert f"{part} does not answer any more" in (up.state.root / "timeline.jsonl").read_text()


def test_predictions_that_are_not_logged_are_told(served: Up, git: Git) -> None:
    """There is no Broker: everything is answered, and nothing is seen."""
    logged = deployed()
    (predictor,) = logged["spec"]["predictors"]
    url = "http://broker-ingress.knative-eventing.svc.cluster.local/shop/default"
    predictor["graph"]["logger"] = {"mode": "all", "url": url}
    served.wait_applied(git.commit({"deployments/shop/model.yaml": logged}, "Log requests"))
    assert ask(served, timeout=30) == 200
    eventually(lambda: any("not logged" in line for line in served.status()["blind"]))
    (line,) = served.status()["blind"]
    assert line.startswith("since 20")
    assert "shop/model-r1 answers" in line
    shown = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", "status", "--state", str(served.state.root)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"blind    {line}" in shown
    assert '"kind": "blind"' in (served.state.root / "timeline.jsonl").read_text()
