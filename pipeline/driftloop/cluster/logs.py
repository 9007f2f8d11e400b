"""What containers of a pipeline's pods have printed, read through the API server."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftloop.cluster.reader import ClusterError, TextReader, items
from driftloop.contract.names import NAME_LABEL, WORKFLOW_LABEL
from driftloop.errors import LocalError


@dataclass(frozen=True)
class PodLog:
    """The last lines of one container."""

    key: str
    """POD/CONTAINER."""
    lines: tuple[str, ...]


def read_pod_logs(reader: TextReader, namespace: str, name: str, last: int) -> Iterator[PodLog]:
    """Yield the logs of the pods of a pipeline, of a run, or whose names begin with a name; LocalError where there is
    none."""
    pods = items(reader, f"/api/v1/namespaces/{namespace}/pods") or []
    chosen = [
        pod
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(NAME_LABEL) == name
        or (pod["metadata"].get("labels") or {}).get(WORKFLOW_LABEL) == name
        or pod["metadata"]["name"].startswith(name)
    ]
    if not chosen:
        listed = ", ".join(sorted(pod["metadata"]["name"] for pod in pods)) or "none"
        raise LocalError(
            f"namespace `{namespace}` has no pod of `{name}`, it has: {listed}",
            hint="name a pipeline, a run or the beginning of a pod's name, and its namespace with -n",
        )
    for pod in sorted(chosen, key=lambda pod: str(pod["metadata"]["name"])):
        for container in pod["spec"]["containers"]:
            key = f"{pod['metadata']['name']}/{container['name']}"
            path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log"
            try:
                text = reader.text(f"{path}?container={container['name']}&tailLines={last}") or ""
            except ClusterError as error:
                # 400 of a container that has not started: the others are told all the same
                text = f"(not there: {error.message})"
            yield PodLog(key, tuple(text.splitlines()))
