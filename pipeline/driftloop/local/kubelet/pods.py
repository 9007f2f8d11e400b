"""A Deployment's pods as processes: environment resolved, volumes as folders, container ports as
free ports.

`plan` is done once per commit and refuses what has no local meaning; `place` gives one replica its
ports and folders, and says which programs it is.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.ground import kinds
from driftloop.local.ground.expansion import expand_references
from driftloop.local.ground.mounts import replace_mounts
from driftloop.local.kubelet.images import LocalImage
from driftloop.local.kubelet.ports import localize_variable, localize_word, require_told
from driftloop.local.kubelet.process import HttpProbe, LivenessCheck, Probe, ProcessSpec, TcpProbe
from driftloop.local.kubelet.values import (
    ConfigValues,
    find_claim_folder,
    read_volume_files,
    resolve_environment,
    write_files,
)
from driftloop.text.load import load_mapping

ENVOY_IMAGES = ("docker.io/envoyproxy/envoy", "envoyproxy/envoy")

DEPLOYMENT = frozenset({"replicas", "selector", "template", "strategy"})
POD = frozenset(
    {
        "containers", "initContainers", "volumes", "serviceAccountName", "securityContext",
        "terminationGracePeriodSeconds", "automountServiceAccountToken", "enableServiceLinks", "nodeSelector",
        "tolerations", "affinity", "priorityClassName", "runtimeClassName",
    }
)  # fmt: skip
CONTAINER = frozenset(
    {
        "name", "image", "command", "args", "env", "envFrom", "ports", "volumeMounts", "readinessProbe", "livenessProbe",
        "startupProbe", "resources", "securityContext", "lifecycle", "terminationMessagePolicy",
    }
)  # fmt: skip
MOUNT = frozenset({"name", "mountPath", "readOnly"})
PORT = frozenset({"name", "containerPort"})
READINESS = frozenset({"httpGet", "tcpSocket", "periodSeconds", "timeoutSeconds"})
LIVENESS = READINESS | {
    "initialDelaySeconds",
    "failureThreshold",
    "terminationGracePeriodSeconds",
}
STARTUP = frozenset({"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"})
"""Accepted, and not followed: nothing is killed here before it was ready once."""
HTTP_GET = frozenset({"path", "port"})
TCP_SOCKET = frozenset({"port"})

Images = Callable[[str], LocalImage]
"""Resolves a ref; LocalError when it is not registered."""


@dataclass(frozen=True)
class PlannedContainer:
    """One container, its references resolved; ports and mount paths are still the pod's own."""

    name: str
    image: LocalImage
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[tuple[str, str], ...]
    """(mount path, volume), longest path first."""
    probe: Mapping[str, Any] | None
    liveness: Mapping[str, Any] | None


@dataclass(frozen=True)
class PlannedPod:
    """Planned pod of a Deployment, the same for every replica."""

    namespace: str
    deployment: str
    replicas: int
    recreate: bool
    """True when the old replica is stopped before the new one starts."""
    labels: Mapping[str, str]
    init: tuple[PlannedContainer, ...]
    containers: tuple[PlannedContainer, ...]
    files: Mapping[str, Mapping[str, str]]
    """Volume -> file -> content, of ConfigMap and Secret volumes."""
    claims: Mapping[str, Path]
    """Volume -> the folder of this machine that stands for its claim."""
    ports: tuple[int, ...]
    named_ports: Mapping[str, int]
    logger: Mapping[str, Any] | None
    """The bootstrap of a logging Envoy sidecar, which is merged into the one Envoy."""
    logger_port: int | None
    """The container port of that sidecar."""
    grace: float
    digest: str
    """Changes when a replica would run anything else."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name) of the Deployment."""
        return (self.namespace, self.deployment)


def read_min_replicas(objects: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """(namespace, name) of the Deployments that an autoscaler owns, and the pods it starts from."""
    return {
        (item["metadata"].get("namespace", "default"), item["spec"]["scaleTargetRef"]["name"]): int(
            item["spec"].get("minReplicas") or 1
        )
        for item in objects
        if kinds.object_kind(item) == ("autoscaling", "HorizontalPodAutoscaler")
        and item["spec"]["scaleTargetRef"]["kind"] == "Deployment"
    }


def plan_pod(
    deployment: Mapping[str, Any], values: ConfigValues, images: Images, *, least: int = 1
) -> PlannedPod:
    """Plan the replicas of a Deployment; LocalError names a field that is not understood.

    `least` is how many there are when the Deployment does not say.
    """
    where = kinds.format_object(deployment)
    metadata, spec = deployment["metadata"], deployment["spec"]
    namespace = metadata.get("namespace", "default")
    kinds.refuse_other_keys(where, "spec", spec, DEPLOYMENT)
    template = spec["template"]
    pod = template["spec"]
    kinds.refuse_other_keys(where, "spec.template.spec", pod, POD)
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or ()}
    claims = {
        name: claim
        for name, volume in volumes.items()
        if (claim := find_claim_folder(where, volume, values)) is not None
    }
    files = {
        name: content
        for name, volume in volumes.items()
        if (content := read_volume_files(where, namespace, volume, values)) is not None
    }
    sidecars = [item for item in pod["containers"] if _strip_tag(item["image"]) in ENVOY_IMAGES]
    if len(sidecars) > 1:
        raise LocalError(f"{where}: two Envoy containers", hint="a predictor's pod has one logger")
    mains = [item for item in pod["containers"] if item not in sidecars]

    def plan_container(item: Mapping[str, Any]) -> PlannedContainer:
        return _plan_container(
            f"{where}: container {item['name']}",
            item,
            namespace=namespace,
            volumes=volumes,
            values=values,
            images=images,
        )

    named: dict[str, int] = {}
    ports: set[int] = set()
    for item in mains:
        for port in item.get("ports") or ():
            kinds.refuse_other_keys(where, "ports[]", port, PORT)
            ports.add(int(port["containerPort"]))
            if "name" in port:
                named[port["name"]] = int(port["containerPort"])
        for kind, allowed in (
            ("readinessProbe", READINESS),
            ("livenessProbe", LIVENESS),
            ("startupProbe", STARTUP),
        ):
            if probe := item.get(kind):
                kinds.refuse_other_keys(where, kind, probe, allowed)
                ports.add(_probe_port(where, probe, named))
    init_containers = tuple(plan_container(item) for item in pod.get("initContainers") or ())
    containers = tuple(plan_container(item) for item in mains)
    for port in sorted(ports):
        require_told(where, port, ((item.argv, item.env) for item in containers))
    logger, logger_port = _read_sidecar(where, sidecars[0], files) if sidecars else (None, None)
    for item in sidecars:
        for port in item.get("ports") or ():
            if "name" in port:
                named[port["name"]] = int(port["containerPort"])
    digest = hashlib.sha256(
        json.dumps(
            [
                [
                    (
                        item.name,
                        item.image.digest,
                        item.argv,
                        sorted(item.env.items()),
                        item.mounts,
                        item.probe,
                        item.liveness,
                    )
                ]
                for item in (*init_containers, *containers)
            ]
            + [
                {
                    name: dict(content)
                    for name, content in files.items()
                    if _is_mounted(name, (*init_containers, *containers))
                }
            ]
            + [[name, str(claim)] for name, claim in sorted(claims.items())],
            sort_keys=True,
        ).encode()
    ).hexdigest()[:12]
    return PlannedPod(
        namespace=namespace,
        deployment=metadata["name"],
        replicas=int(spec.get("replicas", least)),
        recreate=(spec.get("strategy") or {}).get("type") == "Recreate",
        labels=labels,
        init=init_containers,
        containers=containers,
        files=files,
        claims=claims,
        ports=tuple(sorted(ports)),
        named_ports=named,
        logger=logger,
        logger_port=logger_port,
        grace=float(pod.get("terminationGracePeriodSeconds", 30)),
        digest=digest,
    )


def place_replica(
    pod: PlannedPod,
    *,
    folder: Path,
    logs: Path,
    ports: Mapping[int, int],
    environment: Mapping[str, str],
) -> tuple[tuple[ProcessSpec, ...], tuple[ProcessSpec, ...]]:
    """The programs of one replica, init containers and containers, in `folder`; writes its volumes'
    files.

    `ports` maps each container port to the free port that stands for it.
    """
    for volume, files in pod.files.items():
        write_files(folder / volume, files)

    def build_program(container: PlannedContainer, *, once: bool) -> ProcessSpec:
        folders = {
            path: pod.claims.get(volume, folder / volume) for path, volume in container.mounts
        }
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)

        argv = [localize_word(replace_mounts(word, folders), ports) for word in container.argv]
        env = {
            name: localize_variable(name, replace_mounts(value, folders), ports)
            for name, value in container.env.items()
        }
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        base = {**container.image.build_environment(), "HOME": str(home), **environment}
        name = (
            pod.deployment
            if len(pod.containers) == 1 and not once
            else f"{pod.deployment}.{container.name}"
        )
        return ProcessSpec(
            name=f"{pod.namespace}/{name}",
            argv=(container.image.find_program(argv[0]), *argv[1:]),
            log=logs / pod.namespace / f"{name}.log",
            cwd=container.image.app,
            env={**base, **env},
            probe=None if once else _build_probe(pod, container.probe, ports),
            liveness=None if once else _build_liveness(pod, container.liveness, ports),
            once=once,
            grace=min(pod.grace, 30.0),
        )

    return (
        tuple(build_program(container, once=True) for container in pod.init),
        tuple(build_program(container, once=False) for container in pod.containers),
    )


def _plan_container(
    where: str,
    item: Mapping[str, Any],
    *,
    namespace: str,
    volumes: Mapping[str, Any],
    values: ConfigValues,
    images: Images,
) -> PlannedContainer:
    kinds.refuse_other_keys(where, "container", item, CONTAINER)
    if not item.get("command"):
        raise LocalError(
            f"{where}: `command` is missing",
            hint="an image's own ENTRYPOINT is not read: set `command`",
        )
    env = resolve_environment(where, namespace, item, values)
    mounts = []
    for mount in item.get("volumeMounts") or ():
        if mount["name"] not in volumes:
            raise LocalError(
                f"{where}: volume {mount['name']} is not defined",
                hint=f"volumes: {', '.join(volumes) or 'none'}",
            )
        kinds.refuse_other_keys(where, "volumeMounts[]", mount, MOUNT)
        mounts.append((mount["mountPath"].rstrip("/"), mount["name"]))
    words = [*item["command"], *(item.get("args") or ())]
    image = images(item["image"])
    if "/" not in words[0]:
        image.find_program(words[0])
    return PlannedContainer(
        name=item["name"],
        image=image,
        argv=tuple(expand_references(str(word), env) for word in words),
        env=env,
        mounts=tuple(sorted(mounts, key=lambda mount: -len(mount[0]))),
        probe=item.get("readinessProbe"),
        liveness=item.get("livenessProbe"),
    )


def _read_sidecar(
    where: str, item: Mapping[str, Any], files: Mapping[str, Mapping[str, str]]
) -> tuple[Mapping[str, Any], int]:
    """The bootstrap that a logging Envoy container would start with, and the port it would listen
    on.
    """
    words = [*(item.get("command") or ()), *(item.get("args") or ())]
    try:
        path = words[words.index("-c") + 1]
    except (ValueError, IndexError):
        raise LocalError(
            f"{where}: the Envoy container names no file with -c", hint="see serve.backend"
        ) from None
    for mount in item.get("volumeMounts") or ():
        name = path.removeprefix(mount["mountPath"].rstrip("/") + "/")
        if name != path and name in files.get(mount["name"], {}):
            source = f"{where}: {path}"
            config = load_mapping(files[mount["name"]][name], source, error=LocalError)
            try:
                listener = config["static_resources"]["listeners"][0]
                return config, int(listener["address"]["socket_address"]["port_value"])
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise LocalError(
                    f"{source}: the first of static_resources.listeners has no socket_address with a port_value",
                    hint="see serve.backend",
                ) from error
    raise LocalError(
        f"{where}: the Envoy container's {path} is in no mounted ConfigMap",
        hint="see serve.backend",
    )


def _is_mounted(volume: str, containers: Iterable[PlannedContainer]) -> bool:
    return any(volume == name for container in containers for _, name in container.mounts)


def _probe_port(where: str, probe: Mapping[str, Any], named: Mapping[str, int]) -> int:
    for kind, allowed in (("httpGet", HTTP_GET), ("tcpSocket", TCP_SOCKET)):
        if kind in probe:
            kinds.refuse_other_keys(where, f"probe.{kind}", probe[kind], allowed)
            port = probe[kind]["port"]
            if isinstance(port, str) and port not in named:
                raise LocalError(
                    f"{where}: no container port is named {port}", hint="name it in `ports`"
                )
            return named[port] if isinstance(port, str) else int(port)
    raise LocalError(f"{where}: a probe has neither httpGet nor tcpSocket", hint="use one of them")


def _build_probe(
    pod: PlannedPod, probe: Mapping[str, Any] | None, ports: Mapping[int, int]
) -> Probe | None:
    if probe is None:
        return None
    port = ports[_probe_port(pod.deployment, probe, pod.named_ports)]
    timeout = max(2.0, float(probe.get("timeoutSeconds", 1)))
    return (
        HttpProbe(port, probe["httpGet"].get("path", "/"), timeout)
        if "httpGet" in probe
        else TcpProbe(port, timeout)
    )


def _build_liveness(
    pod: PlannedPod, probe: Mapping[str, Any] | None, ports: Mapping[int, int]
) -> LivenessCheck | None:
    built = _build_probe(pod, probe, ports)
    if probe is None or built is None:
        return None
    # a server on a busy laptop may answer later than a cluster would allow
    built = replace(built, timeout=max(10.0, built.timeout))
    return LivenessCheck(
        built, float(probe.get("periodSeconds", 10)), int(probe.get("failureThreshold", 3))
    )


def _strip_tag(ref: str) -> str:
    return ref.partition("@")[0].rpartition(":")[0]
