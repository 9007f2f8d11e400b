"""Events on their real way: a Trigger's filter lets through what is meant, and what nobody takes is a dead letter."""

import json
import time
from urllib.request import Request, urlopen

import pytest
from cluster.forms.place import IMAGE, N, release
from cluster.live import missing
from cluster.streams import REQUEST, RESPONSE

FIRST, SECOND = "r00000001", "r00000002"
SINK = """
import http.server, json
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        print(json.dumps([self.path, self.headers["ce-id"]]), flush=True)
        self.send_response(202 if self.path == "/deadletter" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("", 8080), Sink).serve_forever()
"""
"""A detector that takes nothing, and a decision service that takes dead letters; each tells what it is asked."""


@pytest.fixture(autouse=True, scope="module")
def _broker():
    reason = missing(
        ("triggers.eventing.knative.dev", "natsjetstreamchannels.messaging.knative.dev")
    )
    if reason is not None:
        pytest.skip(reason)


def test_a_filter_lets_through_what_is_meant_and_what_nobody_takes_is_a_dead_letter(here):
    text = release("heard", {FIRST: 100}, detectors="s3://driftloop/heard/detectors")
    objects = here.render("heard", release=text, monitors={"drift": {}})
    trigger = objects["Trigger", "heard-drift"]
    # as rendered it goes on for minutes
    trigger["spec"]["delivery"]["retry"] = 2
    services = objects["Service", "heard-drift"], objects["Service", "heard-decision"]
    broker = objects["ConfigMap", "default-broker"], objects["Broker", "default"]
    sinks = [sink(service) for service in services]
    try:
        here.apply(*services, *broker, trigger, *sinks)
        for kind, name in (("broker", "default"), ("trigger", "heard-drift")):
            here.kube.wait(
                f"{kind} {name} is ready ({here.kube.state(kind, name, N)})",
                lambda kind=kind, name=name: here.kube.ready(kind, name, N),
                timeout=120,
            )
        for one in sinks:
            pod = f"pod/{one['metadata']['name']}"
            here.kube.run("-n", N, "wait", "--for=condition=Ready", pod, "--timeout=120s")
        meant = {
            "type": REQUEST,
            "endpoint": FIRST,
            "inferenceservicename": "heard",
            "namespace": N,
        }
        post(here, "meant", meant)
        for other in (
            {"type": RESPONSE},
            {"endpoint": SECOND},
            {"inferenceservicename": "other"},
            {"namespace": "x"},
        ):
            post(here, "other", {**meant, **other})
        here.kube.wait("a dead letter", lambda: told(here, sinks[1]), timeout=120)
        time.sleep(5)
        assert told(here, sinks[0]) == [["/", "meant"]] * 3, (
            "one try and two more, and nothing else"
        )
        assert told(here, sinks[1]) == [["/deadletter", "meant"]]
    finally:
        for kind in ("trigger", "broker", "service", "pod"):
            here.kube.run(
                "-n", N, "delete", kind, "-l", "app.kubernetes.io/name=heard", "--grace-period=1"
            )


def sink(service):
    """A pod that the Service finds."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"sink-{service['metadata']['name']}",
            "labels": service["spec"]["selector"],
        },
        "spec": {
            "containers": [
                {
                    "name": "sink",
                    "image": IMAGE,
                    "command": ["python", "-c", SINK],
                    "ports": [{"containerPort": 8080}],
                }
            ]
        },
    }


def post(here, id, attributes):
    """An event into the Broker, which takes it."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": id,
        "ce-source": "http://forms",
        "Content-Type": "application/json",
    }
    headers |= {f"ce-{name}": value for name, value in attributes.items()}
    url = f"http://{here.kube.address('knative-eventing', 'broker-ingress', 80)}/{N}/default"
    with urlopen(Request(url, b"{}", headers), timeout=10) as answer:
        assert answer.status == 202


def told(here, pod):
    """What a sink was asked: [(path, event id)]."""
    return [
        json.loads(line)
        for line in here.kube.run("-n", N, "logs", pod["metadata"]["name"]).splitlines()
    ]
