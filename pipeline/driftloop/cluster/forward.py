"""A Service inside a cluster, reached from this machine by `kubectl port-forward` with the rights
of the person."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from driftloop.cluster.reader import ClusterError, is_in_pod
from driftloop.contract.names import CLUSTER_DOMAIN

_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextlib.contextmanager
def reach_url(
    url: str, *, kubeconfig: Path | None = None, context: str | None = None
) -> Iterator[str]:
    """Yield an URL that leads from this machine to `url`: itself, unless it names a Service inside
    the cluster, which is forwarded while the `with` lasts. In a pod nothing needs forwarding."""
    parts = urlsplit(url)
    service, _, rest = (parts.hostname or "").partition(".")
    namespace, _, domain = rest.partition(".")
    inside = kubeconfig is None and context is None and is_in_pod()
    if inside or domain not in ("svc", CLUSTER_DOMAIN):
        yield url
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    command = [
        *_find_kubectl(),
        *(("--kubeconfig", str(kubeconfig)) if kubeconfig is not None else ()),
        *(("--context", context) if context is not None else ()),
        *("-n", namespace, "port-forward", f"service/{service}", f":{port}"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            port = _read_port(process, f"{namespace}/{service}")
            yield f"{parts.scheme}://127.0.0.1:{port}{parts.path}"
        finally:
            process.terminate()


def _find_kubectl() -> tuple[str]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ClusterError(
            "kubectl is not installed", hint="it forwards the port of a Service to this machine"
        )
    return (kubectl,)


def _read_port(process: subprocess.Popen[str], service: str) -> int:
    line = process.stdout.readline() if process.stdout is not None else ""
    match = _LISTENS.search(line)
    if match is None:
        process.wait(10)
        words = process.stderr.read().strip() if process.stderr is not None else ""
        raise ClusterError(
            f"Service {service} can't be forwarded: {words or line.strip() or 'no reason told'}",
            hint=f"the rights of `kubectl port-forward` are needed: `create` on pods/portforward in "
            f"namespace {service.partition('/')[0]}",
        )
    return int(match[1])
