"""The container of a monitor's function, beside its detector and beside the step that fits it.

It has the user's image, the variables that the spec gives it, and nothing else: no variable of the platform, no
token, none of the detector's folders. What it shares with the detector is the pod's loopback, where it listens.
"""

import json

from driftloop.contract.documents import to_json
from driftloop.contract.functions import FUNCTION_PORT, FUNCTION_URL
from driftloop.contract.names import WORK
from driftloop.kube import core
from driftloop.plan import Monitor
from driftloop.resources import parts, securing
from driftloop.spec.detector import UserFunction
from driftloop.spec.values import memory_bytes

NAME = "function"
"""Of the container, its port and its volume."""
FOLDER = "/function"
"""Where a step that fits sees its volume."""


def build_containers(monitor: Monitor) -> tuple[core.Container, ...]:
    """Return the container of the function; none for a detector of ours."""
    detector = monitor.detector
    if not isinstance(detector, UserFunction) or monitor.settings.function is None:
        return ()
    memory = memory_bytes(detector.resources.memory)
    return (
        core.Container(
            name=NAME,
            image=monitor.function_image or "",
            command=("driftloop-train", "monitor"),
            args=(
                *("--settings", json.dumps(to_json(monitor.settings.function))),
                *("--port", str(FUNCTION_PORT), "--memory", str(memory)),
            ),
            env=(*parts.working_environment(), *parts.own_environment(detector.environment)),
            env_from=parts.own_sources(detector.environment),
            ports=(core.ContainerPort(name=NAME, container_port=FUNCTION_PORT),),
            resources=parts.small_resources(detector.resources.cpu, detector.resources.memory),
            volume_mounts=(
                core.VolumeMount(name=NAME, mount_path=WORK),
                *parts.own_mounts(detector.environment),
            ),
            security_context=securing.give_rights(parts.READ_ONLY, detector.pod),
        ),
    )


def own_volumes(monitor: Monitor) -> tuple[core.Volume, ...]:
    """Return the volumes that the spec gives the function."""
    detector = monitor.detector
    return parts.own_volumes(detector.environment) if isinstance(detector, UserFunction) else ()


def function_options(monitor: Monitor) -> tuple[str, ...]:
    """Return the options by which a detector finds it."""
    return ("--function", FUNCTION_URL) if monitor.function_image is not None else ()


def shared_folders(monitor: Monitor) -> tuple[core.VolumeMount, ...]:
    """Return the volumes that a step which fits has for it."""
    if monitor.function_image is None:
        return ()
    return (core.VolumeMount(name=NAME, mount_path=FOLDER),)
