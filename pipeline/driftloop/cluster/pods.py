"""Pods that crash, with their last words, and pods that no node has room for, with the sum."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import ClusterError, Reader, TextReader, items

PODS = "/api/v1/pods"
LAST_LINES = 6
"""Lines of a crashed container that are quoted."""

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class PodRequests:
    """CPU in thousandths of a core, memory in MiB."""

    cpu: int
    memory: int

    def __add__(self, other: "PodRequests") -> "PodRequests":
        return PodRequests(self.cpu + other.cpu, self.memory + other.memory)

    def __str__(self) -> str:
        return f"{self.cpu}m CPU and {self.memory}Mi"


def crashes(reader: TextReader) -> Findings:
    """Containers that end again and again, with the last lines they wrote."""
    for pod in items(reader, PODS) or []:
        status = pod.get("status", {})
        for container in (
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ):
            reason = ((container.get("state") or {}).get("waiting") or {}).get("reason")
            if reason != "CrashLoopBackOff":
                continue
            ended = (container.get("lastState") or {}).get("terminated") or {}
            name, home = pod["metadata"]["name"], pod["metadata"]["namespace"]
            what = (
                f"container {container['name']} of Pod {home}/{name} crashed "
                f"{container.get('restartCount', 0)} times (exit code {ended.get('exitCode')})"
            )
            words = _read_last_words(reader, home, name, container["name"])
            yield DoctorFinding(
                Level.WRONG,
                f"{what}: {words}" if words else what,
                f"`kubectl -n {home} logs {name} -c {container['name']} --previous` has all of it",
            )


def placements(reader: Reader) -> Findings:
    """Pods that the scheduler finds no node for."""
    for text in describe_unplaced(reader, items(reader, PODS) or []):
        yield DoctorFinding(
            Level.WRONG,
            text,
            "add a node, or lower what the pipeline's containers request (`resources` in the spec)",
        )


def describe_unplaced(reader: Reader, pods: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each of the pods that can't be placed: the scheduler's words, and what is
    requested of what the nodes have."""
    unplaced = [(pod, reason) for pod in pods if (reason := _find_reason(pod)) is not None]
    if not unplaced:
        return
    room = PodRequests(0, 0)
    for node in items(reader, "/api/v1/nodes") or []:
        offered = node.get("status", {}).get("allocatable") or {}
        room += _read_amounts(offered)
    placed = PodRequests(0, 0)
    for pod in items(reader, PODS) or []:
        if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") in (
            "Pending",
            "Running",
        ):
            placed += sum_requests(pod)
    for pod, reason in unplaced:
        yield (
            f"{_describe_request(pod, reason)}; of the nodes' {room} other pods request {placed}"
        )


def describe_waiting(pods: Iterable[Json], prefix: str) -> tuple[str, ...]:
    """Return a line for each of the pods of this prefix that can't be placed: the scheduler's
    words, and what the pod requests."""
    return tuple(
        _describe_request(pod, reason)
        for pod in pods
        if str(pod["metadata"]["name"]).startswith(prefix)
        and (reason := _find_reason(pod)) is not None
    )


def _describe_request(pod: Json, reason: str) -> str:
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return f"Pod {name} can't be placed: {reason} It requests {sum_requests(pod)}"


def sum_requests(pod: Json) -> PodRequests:
    """Return what a pod requests: its containers together, or its largest init container."""
    spec = pod["spec"]
    together = PodRequests(0, 0)
    for container in spec.get("containers") or ():
        together += _read_requests(container)
    first = [_read_requests(container) for container in spec.get("initContainers") or ()]
    return PodRequests(
        max(together.cpu, *(each.cpu for each in first), 0),
        max(together.memory, *(each.memory for each in first), 0),
    )


def _read_requests(container: Json) -> PodRequests:
    return _read_amounts((container.get("resources") or {}).get("requests") or {})


def _read_amounts(amounts: Json) -> PodRequests:
    cpu, memory = str(amounts.get("cpu", "0")), str(amounts.get("memory", "0"))
    thousandths = int(cpu[:-1]) if cpu.endswith("m") else round(float(cpu) * 1000)
    return PodRequests(thousandths, _read_bytes(memory) // 2**20)


def _read_bytes(text: str) -> int:
    for units in (_BINARY, _DECIMAL):
        for unit, size in units.items():
            if text.endswith(unit):
                return round(float(text.removesuffix(unit)) * size)
    return round(float(text))


def _find_reason(pod: Json) -> str | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            return str(condition.get("message") or condition.get("reason") or "no reason told")
    return None


def _read_last_words(reader: TextReader, namespace: str, pod: str, container: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    try:
        text = reader.text(f"{path}?container={container}&previous=true&tailLines={LAST_LINES}")
    except ClusterError as error:
        return f"its log can't be read: {error.message}"
    return " | ".join(filter(None, map(str.strip, (text or "").splitlines())))
