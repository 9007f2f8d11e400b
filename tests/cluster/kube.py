"""What the cluster test asks of kubectl, and how it reaches services."""

import contextlib
import json
import os
import re
import socket
import subprocess
import time


class Kube:
    """A cluster by way of kubectl and KUBECONFIG."""

    def __init__(self):
        self._forwards = {}

    def run(self, *args, stdin=None, check=True):
        result = subprocess.run(
            ["kubectl", *args], input=stdin, capture_output=True, text=True, check=False
        )
        if check and result.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(args)}: {result.stderr.strip()}")
        return result.stdout

    def get(self, kind, name=None, namespace=None):
        """An object, None when there is none; a list of them without a name."""
        where = ("-n", namespace) if namespace else ()
        text = self.run(
            "get", kind, *((name, "--ignore-not-found") if name else ()), *where, "-o", "json"
        )
        if not text.strip():
            return None
        found = json.loads(text)
        return found if name else found["items"]

    def wait(self, what, condition, *, timeout=120, every=1.0):
        """Until `condition()` is true; its value. AssertionError says what was waited for, and the last value."""
        end = time.monotonic() + timeout
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not happen in {timeout} s; last seen: {found!r}")
            time.sleep(every)

    def ready(self, kind, name, namespace="flux-system"):
        """Whether its Ready condition is true for its newest generation."""
        found = self.get(kind, name, namespace)
        if found is None:
            return False
        status = found.get("status", {})
        if status.get("observedGeneration", -1) < found["metadata"]["generation"]:
            return False
        return any(
            c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
        )

    def state(self, kind, name, namespace="flux-system"):
        """Why it is not ready, in its own words."""
        found = self.get(kind, name, namespace) or {}
        return [
            f"{c['type']}={c['status']}: {c.get('message', '')}"
            for c in found.get("status", {}).get("conditions", [])
        ]

    def address(self, namespace, service, port):
        """`host:port` of a service from this machine: its cluster IP where that answers, else a port-forward."""
        ip = self.get("service", service, namespace)["spec"]["clusterIP"]
        with contextlib.suppress(OSError), socket.create_connection((ip, port), timeout=1):
            return f"{ip}:{port}"
        key = (namespace, service, port)
        known = self._forwards.get(key)
        if known is None or known[0].poll() is not None:
            process = subprocess.Popen(
                ["kubectl", "-n", namespace, "port-forward", f"service/{service}", f":{port}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found, f"port-forward to {service}.{namespace}: {line}"
            self._forwards[key] = known = (process, int(found[1]))
        return f"127.0.0.1:{known[1]}"

    @contextlib.contextmanager
    def proxy(self, *options):
        """The API server's address without TLS, while the `with` lasts."""
        process = subprocess.Popen(
            ["kubectl", "proxy", "--port=0", *options], stdout=subprocess.PIPE, text=True
        )
        try:
            yield "http://" + process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.wait()

    def close(self):
        for process, _ in self._forwards.values():
            process.terminate()
            process.wait()


def node_facing_address():
    """This machine's address as pods see it; CLUSTER_TEST_HOST where guessing fails (kind: its bridge's gateway)."""
    given = os.environ.get("CLUSTER_TEST_HOST")
    return (
        given
        or subprocess.run(
            ["hostname", "-I"], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
