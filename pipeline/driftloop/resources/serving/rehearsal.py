"""Model servers beside the step that rehearses a candidate: the user's image and command, with a
model that a step has fetched.

They hold no credentials and see nothing but their own model and the folder for their log. What a
server prints goes to a file, since a container of the same pod can't read another one's log, and
its exit code too, since Argo would fail the step for it.
"""

from driftloop.contract.names import MODEL_PORT, NODE, REHEARSAL, REHEARSED_EXIT, REHEARSED_LOG
from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.resources.serving import servers

VOLUME = "rehearsal"
_SERVE = (
    f'for file in {servers.MODEL_URI}/*; do [ -e "$file" ] || exit 0; done; '
    "trap 'kill $server; exit 0' TERM; "
    f'"$@" > "$0/{REHEARSED_LOG}" 2>&1 & server=$!; wait $server; echo $? > "$0/{REHEARSED_EXIT}"'
)
"""Without a model, as for production before the first release, there is nothing to serve. Argo ends a server that
stands beside a step, and a pod with one that does not exit with 0 then has failed for Kubernetes."""


def rehearsed_servers(plan: Plan) -> tuple[core.Container, ...]:
    """The candidate's server and production's; none without a rehearsal.

    With a GPU there is the candidate's alone: two in one pod would ask for twice as many.
    """
    if plan.rehearse is None:
        return ()
    names = (
        ("candidate",) if plan.gpu_profile(plan.serve.resources) else ("candidate", "production")
    )
    return tuple(_build_server(plan, name, number) for number, name in enumerate(names))


def _build_server(plan: Plan, name: str, number: int) -> core.Container:
    (server,) = servers.model_containers(plan)
    port, metrics_port = MODEL_PORT + number, servers.METRICS_PORT + number
    microservice = servers.Microservice(
        deployment=plan.names.pipeline,
        predictor=name,
        unit=NODE,
        image=server.image or "",
        port=port,
        metrics_port=metrics_port,
        parameters=servers.model_parameters(plan),
        labels={"version": name},
    )
    return server.model_copy(
        update={
            "name": name,
            "command": ("sh", "-c", _SERVE, REHEARSAL),
            "args": (*(server.command or ()), *(server.args or ())),
            "env": (*(server.env or ()), *microservice.environment()),
            "ports": (
                core.ContainerPort(name=name, container_port=port),
                core.ContainerPort(name=f"metrics-{number}", container_port=metrics_port),
            ),
            # the step waits by itself, and Argo would not
            "startup_probe": None,
            "liveness_probe": None,
            "volume_mounts": (
                *(
                    mount
                    for mount in server.volume_mounts or ()
                    if mount.mount_path != servers.TEMPORARY
                ),
                core.VolumeMount(
                    name=VOLUME, mount_path=servers.TEMPORARY, sub_path=f"{name}/temporary"
                ),
                core.VolumeMount(name=VOLUME, mount_path=REHEARSAL, sub_path=name),
                core.VolumeMount(
                    name=VOLUME,
                    mount_path=servers.MODEL_URI,
                    sub_path=f"{name}/model",
                    read_only=True,
                ),
            ),
        }
    )
