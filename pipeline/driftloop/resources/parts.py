"""Parts that many objects share: labels, security contexts, environment, our services'
Deployments."""

import hashlib
from collections.abc import Iterable
from typing import assert_never

from driftloop.contract import platform
from driftloop.contract.accounts import NatsRole
from driftloop.contract.layout import LAYOUT_VARIABLE
from driftloop.contract.names import (
    COMPONENT_LABEL,
    EXTERNAL_ANNOTATION,
    NAME_LABEL,
    OWN_LABELS,
    SCRAPED_BY_LABEL,
    SERVICE_PORT,
    WORK,
    Names,
)
from driftloop.kube import apps, core
from driftloop.kube.base import LabelSelector, ObjectMeta
from driftloop.plan import Plan
from driftloop.release.record import Version
from driftloop.release.statement import SignedPart, state_version
from driftloop.resources import placing
from driftloop.spec.environment import (
    ConfigKey,
    Environment,
    SecretKey,
    WholeConfig,
    WholeSecret,
)
from driftloop.spec.pods import (
    NO_ACCOUNT_SETTINGS,
    NO_SETTINGS,
    AccountSettings,
    PodSettings,
)
from driftloop.spec.volumes import ClaimFolder, ConfigFiles, SecretFiles

USER = 8888
"""Who everything runs as; Seldon's operator gives its pods the same."""
S3 = platform.STORAGE_VARIABLES
STORAGE_KEYS = (platform.ACCESS_KEY.environment, platform.SECRET_KEY.environment)
"""Keys of the object store."""
GIT = platform.GIT_VARIABLES
CONSOLE = (platform.CONSOLE_URL.environment,)
SIGNING_KEYS = (platform.SIGNING_KEYS.environment,)
SIGNING = (*SIGNING_KEYS, platform.SIGNING_KEY.environment)
KUBERNETES = (platform.KUBERNETES_URL.environment,)
WEBHOOK = (platform.WEBHOOK_TOKEN.environment,)
TRACKING = platform.TRACKING_VARIABLES


def nats(*roles: NatsRole) -> tuple[str, ...]:
    """The settings of users of NATS, by key: several have the same variable."""
    return tuple(platform.NATS_ROLES[role].key for role in roles)


HARDENED = core.SecurityContext(
    allow_privilege_escalation=False,
    run_as_non_root=True,
    capabilities=core.Capabilities(drop=("ALL",)),
    seccomp_profile=core.SeccompProfile(),
)
"""A container under the restricted Pod Security Standard."""
REPLACED_WHEN_READY = apps.Strategy(
    type="RollingUpdate", rolling_update=apps.RollingUpdate(max_unavailable=0, max_surge=1)
)
"""A pod ends when its successor is ready."""
READ_ONLY = HARDENED.model_copy(update={"read_only_root_filesystem": True})
"""One that writes into its volumes only."""
POD = core.PodSecurityContext(
    run_as_non_root=True,
    run_as_user=USER,
    run_as_group=USER,
    fs_group=USER,
    seccomp_profile=core.SeccompProfile(),
)
"""A pod under the restricted Pod Security Standard."""


def object_labels(names: Names, component: str) -> dict[str, str]:
    """The labels that every object carries."""
    return {
        NAME_LABEL: names.pipeline,
        COMPONENT_LABEL: component,
        **OWN_LABELS,
    }


def scraping_labels(plan: Plan) -> dict[str, str]:
    """The label of pods that the pipeline's own PodMonitors scrape: the platform's leave them
    alone."""
    return {SCRAPED_BY_LABEL: "pipeline"} if plan.observability.prometheus is not None else {}


def object_meta(
    names: Names, name: str, component: str, *, annotations: dict[str, str] | None = None
) -> ObjectMeta:
    """Metadata of an object in the pipeline's namespace."""
    return ObjectMeta(
        name=name,
        namespace=names.namespace,
        labels=object_labels(names, component),
        annotations=annotations,
    )


def platform_environment(plan: Plan | None, *keys: str) -> tuple[core.EnvVar, ...]:
    """Variables taken one by one from the ConfigMap and Secret `driftloop-platform`, by name or
    by the setting's key; who reads git is told where its cluster's files are, too, and a pod with
    an identity of its own at the object store needs no key of it. None: a cluster without a platform file."""
    if plan is None:
        return tuple(_platform_variable(key) for key in keys)
    ground = plan.ground
    keyless = ground.spec.object_store.credentials == "workload-identity"
    taken = (key for key in keys if not (keyless and key in STORAGE_KEYS))
    layout = {}
    if ground.layout.is_declared and platform.GIT_URL.environment in keys:
        layout = {LAYOUT_VARIABLE: ground.layout.text}
    return (*(_platform_variable(key) for key in taken), *plain_environment(**layout))


def _platform_variable(key: str) -> core.EnvVar:
    setting = platform.BY_KEY.get(key) or platform.BY_ENVIRONMENT[key]
    name, key = setting.home, setting.key
    optional = True if setting.optional else None
    selector = core.OptionalKeySelector(name=name, key=key, optional=optional)
    match setting.kind:
        case "ConfigMap":
            source = core.EnvVarSource(config_map_key_ref=selector)
        case "Secret":
            source = core.EnvVarSource(secret_key_ref=selector)
        case _:
            assert_never(setting.kind)
    return core.EnvVar(name=setting.environment, value_from=source)


def plain_environment(**values: str) -> tuple[core.EnvVar, ...]:
    """Variables with values written out."""
    return tuple(core.EnvVar(name=name, value=value) for name, value in values.items())


def working_environment() -> tuple[core.EnvVar, ...]:
    """Variables that send what a program of ours writes by itself into its work folder."""
    return plain_environment(HOME=WORK, TMPDIR=WORK)


def own_environment(environment: Environment) -> tuple[core.EnvVar, ...]:
    """Variables that a spec gives a container of a person's code, in its order: one may name those before it."""
    return tuple(_own_variable(name, value) for name, value in environment.env.items())


def _own_variable(name: str, value: str | SecretKey | ConfigKey) -> core.EnvVar:
    match value:
        case str():
            return core.EnvVar(name=name, value=value)
        case SecretKey():
            selector = core.OptionalKeySelector(name=value.secret, key=value.key)
            source = core.EnvVarSource(secret_key_ref=selector)
        case ConfigKey():
            selector = core.OptionalKeySelector(name=value.config, key=value.key)
            source = core.EnvVarSource(config_map_key_ref=selector)
        case _:
            assert_never(value)
    return core.EnvVar(name=name, value_from=source)


def own_sources(environment: Environment) -> tuple[core.EnvFromSource, ...] | None:
    """Secrets and ConfigMaps of which every key is a variable of that container; None without any."""
    return tuple(map(_own_source, environment.env_from)) or None


def _own_source(source: WholeSecret | WholeConfig) -> core.EnvFromSource:
    match source:
        case WholeSecret():
            return core.EnvFromSource(secret_ref=core.LocalReference(name=source.secret))
        case WholeConfig():
            return core.EnvFromSource(config_map_ref=core.LocalReference(name=source.config))
        case _:
            assert_never(source)


def own_volumes(*environments: Environment) -> tuple[core.Volume, ...]:
    """The volumes that a spec gives containers of one pod, each once."""
    found = {
        volume.name: volume
        for environment in environments
        for volume in map(_own_volume, environment.volumes)
    }
    return tuple(found.values())


def own_mounts(environment: Environment) -> tuple[core.VolumeMount, ...]:
    """Where a container has its volumes."""
    return tuple(
        core.VolumeMount(
            name=_own_volume(volume).name,
            mount_path=volume.mount_path,
            read_only=None if isinstance(volume, ClaimFolder) and not volume.read_only else True,
        )
        for volume in environment.volumes
    )


def _own_volume(volume: SecretFiles | ConfigFiles | ClaimFolder) -> core.Volume:
    match volume:
        case SecretFiles(secret=name):
            source = core.SecretVolume(secret_name=name)
            return core.Volume(name=_name_volume("secret", name), secret=source)
        case ConfigFiles(config=name):
            return core.Volume(
                name=_name_volume("config", name), config_map=core.ConfigMapVolume(name=name)
            )
        case ClaimFolder(pvc=name):
            return core.Volume(
                name=_name_volume("pvc", name),
                persistent_volume_claim=core.ClaimVolume(claim_name=name),
            )
        case _:
            assert_never(volume)


def _name_volume(kind: str, name: str) -> str:
    """A name within 63 letters without dots; one that had to change ends with a digest."""
    short = name.replace(".", "-")[:40].rstrip("-")
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{kind}-{name}" if short == name else f"{kind}-{short}-{digest}"


def name_external(
    containers: Iterable[core.Container], volumes: Iterable[core.Volume] = ()
) -> dict[str, str] | None:
    """The annotation that names the objects of others that containers and volumes need; None without any."""
    names: set[str] = set()
    for volume in volumes:
        if volume.secret is not None:
            names.add(f"Secret/{volume.secret.secret_name}")
        elif volume.persistent_volume_claim is not None:
            names.add(f"PersistentVolumeClaim/{volume.persistent_volume_claim.claim_name}")
        elif volume.config_map is not None:
            names.add(f"ConfigMap/{volume.config_map.name}")
    for container in containers:
        for source in container.env_from or ():
            names |= _name_objects(source.secret_ref, source.config_map_ref)
        for variable in container.env or ():
            given = variable.value_from or core.EnvVarSource()
            names |= _name_objects(given.secret_key_ref, given.config_map_key_ref)
    return {EXTERNAL_ANNOTATION: ", ".join(sorted(names))} if names else None


def _name_objects(
    secret: core.LocalReference | core.KeySelector | None,
    config: core.LocalReference | core.KeySelector | None,
) -> set[str]:
    pairs = (("Secret", secret), ("ConfigMap", config))
    return {
        f"{kind}/{each.name}"
        for kind, each in pairs
        if each is not None and each.name not in platform.OBJECTS
    }


def small_resources(cpu: str, memory: str, *, limit: str | None = None) -> core.ContainerResources:
    """Requests, and a memory limit; no limit on the processor, which would only slow it down."""
    return core.ContainerResources(
        requests={"cpu": cpu, "memory": memory}, limits={"memory": limit or memory}
    )


def fetch_container(
    plan: Plan | None,
    name: str,
    *,
    image: str,
    uri: str,
    path: str,
    volume: str,
    digest: str | None = None,
    signed: tuple[str, ...] = (),
) -> core.Container:
    """An init container that copies a folder of the object store to `path`, and checks its
    digest when there is one, and the signature when `signed` has its options."""
    checked = ("--digest", digest) if digest is not None else ()
    return core.Container(
        name=name,
        image=image,
        command=("driftloop", "step", "fetch"),
        args=("--uri", uri, *checked, *signed, "--out", path),
        env=platform_environment(plan, *S3, *(SIGNING_KEYS if signed else ())),
        resources=small_resources("50m", "128Mi", limit="256Mi"),
        volume_mounts=(core.VolumeMount(name=volume, mount_path=path),),
        termination_message_policy="FallbackToLogsOnError",
        security_context=READ_ONLY,
    )


def signed_options(plan: Plan, version: Version, part: str) -> tuple[str, ...]:
    """Options of a fetch that checks a release's signature; none where the spec asks for none, or
    the release has none. `part` is the model or a monitor."""
    if plan.signatures is None or version.signature is None:
        return ()
    names = plan.names
    statement = state_version(names.namespace, names.pipeline, version)
    place = SignedPart(names.namespace, names.pipeline, version.id, part)
    return (
        *("--statement", statement.text, "--signature", version.signature),
        *("--part", place.text),
    )


def service_account(
    plan: Plan,
    name: str,
    component: str,
    *,
    token: bool = False,
    stores: bool = True,
    own: AccountSettings = NO_ACCOUNT_SETTINGS,
) -> core.ServiceAccount:
    """A ServiceAccount; `token` says whether its pods talk to the API server, and `stores` whether they use the
    object store, Argo's containers beside a step included. What the spec says stands over what the platform does."""
    identity = plan.ground.spec.object_store.service_account_annotations if stores else {}
    annotations = {**identity, **plan.pods.service_account.annotations, **own.annotations}
    return core.ServiceAccount(
        metadata=object_meta(plan.names, name, component, annotations=annotations or None),
        image_pull_secrets=pull_secrets(plan),
        automount_service_account_token=token,
    )


def pull_secrets(plan: Plan) -> tuple[core.LocalReference, ...] | None:
    """The Secrets that a ServiceAccount's pods pull their images with; None without one."""
    return tuple(core.LocalReference(name=name) for name in plan.image_pull_secrets) or None


def service_endpoint(plan: Plan, name: str, component: str) -> core.KubernetesService:
    """The Service before one of our Deployments: port 80 for events, 8080 for everyone who names
    a port.

    A pod has its address there from its first moment to its last: while it does not listen it refuses
    connections, which are tried again. Between "no endpoint" and "an endpoint" kube-proxy may let one
    leave the node, and whatever answers outside may say 404, at which Knative's channel drops an event.
    """
    return core.KubernetesService(
        metadata=object_meta(plan.names, name, component),
        spec=core.ServiceSpec(
            selector=object_labels(plan.names, component),
            ports=(
                core.ServicePort(name="http", port=80, target_port=SERVICE_PORT),
                core.ServicePort(name="http-direct", port=SERVICE_PORT, target_port=SERVICE_PORT),
            ),
            publish_not_ready_addresses=True,
        ),
    )


def service_deployment(
    plan: Plan,
    name: str,
    component: str,
    *,
    image: str,
    command: str,
    args: tuple[str, ...],
    env: tuple[core.EnvVar, ...],
    resources: core.ContainerResources,
    init: tuple[core.Container, ...] = (),
    mounts: tuple[core.VolumeMount, ...] = (),
    beside: tuple[core.Container, ...] = (),
    token: bool = False,
    settings: PodSettings = NO_SETTINGS,
    security: core.PodSecurityContext = POD,
    own: tuple[core.Volume, ...] = (),
    overlaps: bool = False,
) -> apps.Deployment:
    """One replica of a service of ours, listening on 8080, ready when /healthz says so.

    One that `overlaps` takes events until its successor does: what both do at once they do under
    compare-and-set. Others end before their successor begins, and so does one with a claim, which may
    be for one pod at a time.
    """
    overlaps = overlaps and all(volume.persistent_volume_claim is None for volume in own)
    external, placed = name_external(beside, own), placing.settle(plan, settings)
    theirs = {volume.name for volume in own}
    others = (mount.name for each in beside for mount in each.volume_mounts or ())
    names = ("work", *(mount.name for mount in mounts), *others)
    empty = (name for name in names if name not in theirs)
    volumes = (
        *(core.Volume(name=volume, empty_dir=core.EmptyDir()) for volume in empty),
        *own,
    )
    labels = object_labels(plan.names, component)
    ready = core.HTTPGet(path="/healthz", port=SERVICE_PORT)
    return apps.Deployment(
        metadata=object_meta(plan.names, name, component, annotations=external),
        spec=apps.DeploymentSpec(
            replicas=1,
            selector=LabelSelector(match_labels=labels),
            strategy=REPLACED_WHEN_READY if overlaps else apps.Strategy(type="Recreate"),
            template=core.PodTemplate(
                metadata=placing.mark(placed, {**labels, **scraping_labels(plan)}),
                spec=core.PodSpec(
                    node_selector=placing.select_nodes(placed),
                    tolerations=placing.tolerate_taints(placed),
                    affinity=placing.dump_affinity(placed),
                    priority_class_name=placed.priority_class_name,
                    service_account_name=name,
                    automount_service_account_token=token,
                    enable_service_links=False,
                    security_context=security,
                    init_containers=init or None,
                    containers=(
                        core.Container(
                            name=component,
                            image=image,
                            command=(command,),
                            args=args,
                            env=(*working_environment(), *env),
                            ports=(core.ContainerPort(name="http", container_port=SERVICE_PORT),),
                            resources=resources,
                            volume_mounts=(core.VolumeMount(name="work", mount_path=WORK), *mounts),
                            readiness_probe=core.Probe(
                                http_get=ready, period_seconds=2, timeout_seconds=2
                            ),
                            # not the health, which is bad while NATS is away: no restart mends that
                            liveness_probe=core.Probe(
                                http_get=ready.model_copy(update={"path": "/metrics"}),
                                initial_delay_seconds=60,
                                period_seconds=5,
                                timeout_seconds=10,
                                failure_threshold=2,
                                termination_grace_period_seconds=5,
                            ),
                            termination_message_policy="FallbackToLogsOnError",
                            security_context=READ_ONLY,
                        ),
                        *beside,
                    ),
                    volumes=volumes,
                ),
            ),
        ),
    )
