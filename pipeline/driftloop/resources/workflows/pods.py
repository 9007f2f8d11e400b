"""What pods of workflows ask for beside image and command: tries, GPUs, an earlier output, a lock. Hera's types."""

import json
from collections.abc import Mapping
from typing import Any

from hera.workflows import EmptyDirVolume, models
from hera.workflows import Resources as Asked

from driftloop.contract.names import WORK
from driftloop.plan import Plan
from driftloop.spec.resources import LONGEST_WAIT, GpuProfile, Resources, Retries

LOST = 2
"""Times a step is tried again whose pod went away."""

_LONGEST_WAIT = int(LONGEST_WAIT.total_seconds())

TIMEOUT = 124
"""Exit code of `driftloop-train` when the user's function took too long."""

_TIMELESS = '!(lastRetry.message contains "deadline")'
_FITTING = '!(lastRetry.message contains "OOMKilled")'

AWAY = f'lastRetry.status == "Error" || lastRetry.exitCode in ["137", "143"] && {_TIMELESS} && {_FITTING}'
"""Deleted pods are errors; what a node kills on its way down is a failure by signal, as are two that come again: no
time left, no memory left."""


def own_retries(limit: int) -> models.RetryStrategy:
    """A step of ours: whatever happened, so often; 0: only when its pod went away."""
    # no maxDuration: the pods of later tries inherit what is left of it as their deadline
    return models.RetryStrategy(
        limit=str(limit or LOST),
        retry_policy="Always",
        expression=None if limit else AWAY,
        backoff=models.Backoff(duration="10s", factor=models.IntOrString("2")),
    )


def retries(asked: Retries | None, *, resumes: bool = False) -> models.RetryStrategy:
    """A step of the user's: when its pod went away, and as the spec says when it failed by itself.

    `resumes`: a try goes on where the one before stopped, so one that ran out of time is worth another.
    """
    if asked is None:
        return own_retries(0)
    in_time = f'{_TIMELESS} && lastRetry.exitCode != "{TIMEOUT}"'
    expression = _FITTING if resumes else f"{in_time} && {_FITTING}"
    return models.RetryStrategy(
        limit=str(asked.limit),
        retry_policy="Always",
        expression=expression,
        backoff=models.Backoff(
            duration=f"{_first_wait(asked)}s", factor=models.IntOrString("2"), cap=f"{_LONGEST_WAIT}s"
        ),
    )


def waits(asked: Retries) -> tuple[int, ...]:
    """Seconds before each try after the first."""
    return tuple(min(_first_wait(asked) * 2**n, _LONGEST_WAIT) for n in range(asked.limit))


def _first_wait(asked: Retries) -> int:
    return int(asked.wait.total_seconds()) or 1


def memoize(plan: Plan, seconds: int | None, key: str) -> models.Memoize | None:
    """The output of an earlier node of this key, when it is at most `seconds` old."""
    if seconds is None:
        return None
    cache = models.Cache(config_map=models.LocalObjectReference(name=plan.names.cache))
    return models.Memoize(cache=cache, key=key, max_age=f"{seconds}s")


def mutex(name: str) -> models.Synchronization:
    """One holder at a time; the others wait."""
    return models.Synchronization(mutexes=[models.Mutex(name=name)])


def asked(resources: Resources, gpu: GpuProfile | None) -> Asked:
    """Requests and limits: memory is both, GPUs are whole."""
    return Asked(
        cpu_request=resources.cpu,
        memory_request=resources.memory,
        memory_limit=resources.memory,
        gpus=resources.gpu if gpu is not None else None,
        gpu_flag=gpu.resource if gpu is not None else None,
    )


def placed(gpu: GpuProfile | None) -> Mapping[str, Any]:
    """What a pod with a GPU has besides: the nodes it goes to, the taints it stands, its RuntimeClass."""
    if gpu is None:
        return {}
    tolerations = [models.Toleration(key=key, operator="Exists", effect="NoSchedule") for key in gpu.tolerations]
    return {
        "node_selector": dict(gpu.node_selector) or None,
        "tolerations": tolerations or None,
        # a template has no field for it
        "pod_spec_patch": json.dumps({"runtimeClassName": gpu.runtime_class}) if gpu.runtime_class else None,
    }


def volumes(gpu: GpuProfile | None) -> list[EmptyDirVolume]:
    """The folders of a step: its work, and shared memory beside a GPU."""
    work = EmptyDirVolume(name="work", mount_path=WORK)
    if gpu is None or gpu.shared_memory is None:
        return [work]
    size = models.Quantity(root=gpu.shared_memory)
    return [work, EmptyDirVolume(name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=size)]  # noqa: S108
