"""A small instance with every door: a broker with subscribers, our own services, a webhook and a route."""

import json
import re
from pathlib import Path
from typing import Any

from driftloop.contract.accounts import NatsRole
from driftloop.contract.platform import NATS_ROLES
from driftloop.kube.events import EventSourceSpec
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import images
from driftloop.plan import images as refs
from tests.local.conftest import deployment, kustomization, service

NAMESPACE = PIPELINE = "digits"
WORKERS = 64
"""Events that a Trigger's dispatcher delivers at the same time."""

SUBSCRIBER = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen, now, most, lock = [], 0, 0, threading.Lock()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        global now, most
        if not self.read_body():
            return
        if self.headers.get("ce-good"):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(float(self.headers.get("ce-slow") or 0))
            with lock:
                now -= 1
                seen.append(self.headers["ce-id"])
        self.answer(b"{}" if self.path.endswith("/predict") else b"")
    def do_GET(self):
        if not self.read_body():
            return
        self.answer(json.dumps({"seen": seen, "most": most}).encode())
    def read_body(self):
        # what is left of a body would be taken for the next request of the connection
        if self.headers.defects:
            # the parser has lost the headers behind such a name, the body's length among them
            self.send_error(400)
            return False
        if "chunked" not in (self.headers.get("transfer-encoding") or "").lower():
            self.rfile.read(int(self.headers.get("content-length") or 0))
            return True
        while size := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
            self.rfile.read(size + 2)
        while self.rfile.readline().strip():
            pass
        return True
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

class Server(ThreadingHTTPServer):
    request_queue_size = 1024

Server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
FAULT = re.compile(r"Traceback \(most recent|never retrieved|Unhandled|panic:")
REF = "example.org/subscriber:1"
_BUS = {
    "jetstreamExotic": {"url": "nats://nats.driftloop-system", "streamConfig": "maxMsgs: 1000\n"}
}


def register_subscriber(state: StateFolder, folder: Path, envs: Path) -> None:
    """Register the image of the subscriber."""
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM python:3.11-slim\n")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "subscriber.py").write_text(SUBSCRIBER)
    images.register_image(state, REF, folder, envs=envs, say=lambda _: None)


def build_files() -> dict[str, Any]:
    """The tree that is committed."""
    route = {
        "match": [{"uri": {"prefix": "/seldon/digits/model/"}}],
        "rewrite": {"uri": "/"},
        "route": [
            {"destination": {"host": "sub.digits.svc.cluster.local", "port": {"number": 80}}}
        ],
    }
    objects = [
        _subscriber(),
        _program("decision", NatsRole.DECISION, "driftloop-decision", *_decision_arguments()),
        _program("judge", NatsRole.JUDGE, "driftloop-judge"),
        *(service(name, namespace=NAMESPACE, port=80) for name in ("sub", "decision", "judge")),
        _object("eventing.knative.dev/v1", "Broker", "default", {}),
        _trigger("everything", "sub", {}),
        _trigger("alarms", "decision", {"type": "dev.driftloop.drift"}),
        _trigger("ends", "decision", {"type": "dev.driftloop.run.finished"}),
        _trigger("answers", "judge", {"type": "io.seldon.serving.inference.response"}),
        _object("argoproj.io/v1alpha1", "EventBus", "default", _BUS),
        _event_source(),
        _object(
            "networking.istio.io/v1",
            "VirtualService",
            "model",
            {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], "http": [route]},
        ),
    ]
    return {
        "cluster/dev/pipelines/digits.yaml": [
            kustomization("digits-deployments", "deployments/digits", "infra-configs")
        ],
        "deployments/digits/all.yaml": objects,
    }


def list_faults(state: StateFolder, output: str) -> list[str]:
    """Lines of the logs, and of what `up` printed, that tell of an exception nobody caught."""
    texts = {file.name: file.read_text(errors="replace") for file in state.logs.rglob("*.log")}
    return [
        f"{name}: {line}"
        for name, text in {**texts, "up": output}.items()
        for line in text.splitlines()
        if FAULT.search(line)
    ]


def _object(version: str, kind: str, name: str, spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _trigger(name: str, subscriber: str, attributes: dict[str, str]) -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": "Service", "name": subscriber, "namespace": NAMESPACE}
    delivery = {"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT0.1S", "timeout": "PT10S"}
    sink = {"ref": {**reference, "name": "decision"}, "uri": "/deadletter"}
    filtered = {"filter": {"attributes": attributes}} if attributes else {}
    spec = {
        "broker": "default",
        "subscriber": {"ref": reference},
        "delivery": {**delivery, "deadLetterSink": sink},
        **filtered,
    }
    return _object("eventing.knative.dev/v1", "Trigger", name, spec)


def _event_source() -> dict[str, Any]:
    secret = {"name": "driftloop-platform", "key": "webhook-token"}
    hook = {"port": "12000", "endpoint": "/retrain", "method": "POST", "authSecret": secret}
    spec = {"eventBusName": "default", "replicas": 1, "webhook": {"retrain": hook}}
    EventSourceSpec.model_validate(spec)
    return _object("argoproj.io/v1alpha1", "EventSource", "digits-retrain", spec)


def _subscriber() -> dict[str, Any]:
    made = deployment("sub", namespace=NAMESPACE, ref=REF)
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["python", "subscriber.py"]
    return made


def _program(name: str, role: NatsRole, command: str, *arguments: str) -> dict[str, Any]:
    made = deployment(name, namespace=NAMESPACE, ref=refs.DRIFTLOOP)
    container = made["spec"]["template"]["spec"]["containers"][0]
    who = ["--namespace", NAMESPACE, "--pipeline", PIPELINE, "--port", "8080"]
    container |= {
        "command": [command],
        "args": [*who, *arguments],
        "env": [
            _setting("NATS_URL", NATS_ROLES[role].key),
            _setting("NATS_READER_URL", NATS_ROLES[NatsRole.READER].key),
            {"name": "DRIFTLOOP_WEBHOOK_TOKEN", "value": "t"},
        ],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
    }
    return made


def _setting(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "driftloop-platform", "key": key}}}


def _decision_arguments() -> tuple[str, ...]:
    policy = {"consecutive": 2, "cooldown": 600, "on": ["drift"]}
    return (
        *("--policy", json.dumps(policy)),
        *("--webhook", "http://127.0.0.1:1/retrain"),
        *("--broker", "http://127.0.0.1:1/digits/default"),
    )
