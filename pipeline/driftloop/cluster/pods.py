"""Pods that crash, with their last words, pods whose files are not those of their release, pods
that no node has room for, with the sum, and pods that lack their image or a Secret."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import ClusterError, Reader, TextReader, items
from driftloop.contract.integrity import find_mismatch

PODS = "/api/v1/pods"
LAST_LINES = 6
"""Lines of a crashed container that are quoted."""

_UNPULLED = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ImageInspectError",
    "ErrImageNeverPull",
)
"""What the kubelet says of a container whose image it does not get."""
_UNMADE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
"""What it says of one that it can't make, such as for want of a Secret."""

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
        if find_altered(pod) is not None:
            continue
        for container in _list_containers(pod):
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


def altered(reader: Reader) -> Findings:
    """Pods that don't start since their model or detector is not the one of the release."""
    for pod in items(reader, PODS) or []:
        if (mismatch := find_altered(pod)) is not None:
            home, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            yield DoctorFinding(
                Level.WRONG,
                f"Pod {home}/{name} refuses its files: {mismatch}",
                "somebody changed them after the release: find out who can write there, then restore the objects, "
                "or go back to a release that is whole with `driftloop rollback`",
            )


def find_altered(pod: Json) -> str | None:
    """Return the last words of a container that refused a model or detector since its digest is
    not the one of the release; None when none did, or it has started meanwhile."""
    for container in _list_containers(pod):
        state = container.get("state") or {}
        if container.get("ready") or (state.get("terminated") or {}).get("exitCode") == 0:
            continue
        for ended in (state, container.get("lastState") or {}):
            words = (ended.get("terminated") or {}).get("message") or ""
            if (mismatch := find_mismatch(words)) is not None:
                return mismatch
    return None


def _list_containers(pod: Json) -> tuple[Json, ...]:
    status = pod.get("status", {})
    return (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    )


def placements(reader: Reader) -> Findings:
    """Pods that the scheduler finds no node for."""
    for text in describe_unplaced(reader, items(reader, PODS) or []):
        yield DoctorFinding(
            Level.WRONG,
            text,
            "add a node, or lower what the pipeline's containers request (`resources` in the spec)",
        )


def starts(reader: Reader) -> Findings:
    """Containers that the kubelet can't start: it does not get their image, or a Secret is missing."""
    for pod in items(reader, PODS) or []:
        for unstarted in _list_unstarted(pod):
            yield DoctorFinding(
                Level.WRONG,
                unstarted.text,
                "push the image, or name the Secret that its registry wants in `imagePullSecrets` of the spec"
                if unstarted.unpulled
                else f"`kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}` has all of it",
            )


@dataclass(frozen=True)
class _Unstarted:
    """A container that the kubelet can't start."""

    text: str
    unpulled: bool
    """Its image is what is missing."""


def describe_unstarted(pods: Iterable[Json]) -> Iterator[str]:
    """Yield a line for each container that the kubelet can't start, with its reason."""
    for pod in pods:
        yield from (unstarted.text for unstarted in _list_unstarted(pod))


def _list_unstarted(pod: Json) -> Iterator[_Unstarted]:
    for container in _list_containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        unpulled = reason in _UNPULLED
        if not unpulled and reason not in _UNMADE:
            continue
        about = pod["metadata"]
        image = container.get("image") or "its image"
        what = f"does not get {image}" if unpulled else "can't be started"
        yield _Unstarted(
            f"container {container['name']} of Pod {about['namespace']}/{about['name']} {what}: "
            f"{waiting.get('message') or reason}",
            unpulled,
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
    """Return a line for each of the pods of this prefix that can't be placed, with the scheduler's
    words and what the pod requests, that can't be started, or that refuses its files."""
    lines: list[str] = []
    for pod in pods:
        if not str(pod["metadata"]["name"]).startswith(prefix):
            continue
        if (reason := _find_reason(pod)) is not None:
            lines.append(_describe_request(pod, reason))
        lines += describe_unstarted((pod,))
        if (mismatch := find_altered(pod)) is not None:
            lines.append(f"Pod {pod['metadata']['name']} refuses its files: {mismatch}")
    return tuple(lines)


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
