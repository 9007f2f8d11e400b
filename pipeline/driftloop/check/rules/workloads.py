"""DL6xx: what pods and rights refer to."""

import posixpath
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.flows import Flow, calls, flows, semaphores, templates_of
from driftloop.check.pods import containers, images, pods
from driftloop.check.world import (
    CLAIM,
    CONFIG_MAP,
    SECRET,
    SELDON,
    SENSOR,
    SERVICE_ACCOUNT,
    Kind,
    Object,
    World,
)
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_REFERENCES: dict[str, Kind] = {
    "secretKeyRef": SECRET, "configMapKeyRef": CONFIG_MAP, "secretRef": SECRET, "configMapRef": CONFIG_MAP,
    "authSecret": SECRET, "accessKeySecret": SECRET, "secretKeySecret": SECRET, "accessSecret": SECRET,
}  # fmt: skip
_JUDGED = ("argoproj.io", "apps", "batch", "machinelearning.seldon.io")


def _users(world: World) -> Iterator[Object]:
    for item in world.objects:
        if item.group in _JUDGED or item.type in (("", "Pod"), ("serving.knative.dev", "Service")):
            yield item


@rule(
    "DL601",
    "A container mounts a volume that its pod does not have",
    fix="declare the volume under `volumes`",
)
def volume(world: World) -> Iterator[RuleMatch]:
    """The API server refuses the pod: the Deployment makes none, the workflow's step ends in an
    error."""
    for pod in pods(world):
        names = {item.get("name").text for item in pod.spec.get("volumes").list} | pod.claims
        if pod.object.type[0] != "serving.knative.dev":
            yield from _mounts(pod.object, containers(pod.spec), names)
    lent = _lent(world)
    for flow in flows(world):
        if flow.reference:
            continue
        shared = _volumes(flow)
        shared |= lent.get(flow.object, set())
        for template in flow.every():
            names = shared | {item.get("name").text for item in template.get("volumes").list}
            inside = [
                template.get("container"),
                template.get("script"),
                *template.get("initContainers").list,
            ]
            inside += [
                *template.get("sidecars").list,
                *template.get("containerSet", "containers").list,
            ]
            if flow.object.kind in ("Workflow", "CronWorkflow") or flow.spec.get("entrypoint"):
                yield from _mounts(flow.object, inside, names)


def _volumes(flow: Flow) -> set[str]:
    """The volumes that a workflow gives each of its templates."""
    return {
        *(item.get("name").text for item in flow.spec.get("volumes").list),
        *(item.get("metadata", "name").text for item in flow.spec.get("volumeClaimTemplates").list),
        *(item.get("name").text for item in flow.spec.get("templateDefaults", "volumes").list),
    }


def _lent(world: World) -> dict[Object, set[str]]:
    """The volumes that templates get from the workflows that call them, by way of others too."""
    every = list(flows(world))
    volumes = {flow.object: _volumes(flow) for flow in every}
    uses = {flow.object: _used(world, flow) for flow in every}
    lent: dict[Object, set[str]] = {}
    for flow in every:
        left, seen = [flow.object], {flow.object}
        while left:
            for owner in uses.get(left.pop(), set()) - seen:
                seen.add(owner)
                left.append(owner)
                lent.setdefault(owner, set()).update(volumes[flow.object])
    return lent


def _used(world: World, flow: Flow) -> set[Object]:
    """The objects whose templates a workflow runs."""
    references = [flow.reference] if flow.reference else []
    references += [
        call.node.get("templateRef")
        for template in flow.every()
        for call in calls(template)
        if call.node.get("templateRef")
    ]
    return {
        target.object
        for reference in references
        for target in templates_of(world, reference, flow.object) or ()
    }


def _mounts(
    one: Object, inside: "Iterator[YamlNode] | list[YamlNode]", names: set[str]
) -> Iterator[RuleMatch]:
    for item in inside:
        for mount in item.get("volumeMounts").list:
            node = mount.get("name")
            if node.text and "{{" not in node.text and node.text not in names:
                yield one.at(
                    node,
                    f"no volume is named {node.shown}; {list_names(names, 'volumes')}",
                    fix=suggest_names(node.text, names),
                )


@rule(
    "DL602",
    "A ConfigMap, Secret or claim is not there",
    fix="commit it, or say who makes it: annotation `driftloop.dev/external: Secret/NAME`",
)
def mounted(world: World) -> Iterator[RuleMatch]:
    """The pod waits for ever: `CreateContainerConfigError` or `FailedMount`."""
    for user in _users(world):
        for key, node in user.spec.mappings():
            kind = _REFERENCES.get(key)
            if kind is not None and node.get("name"):
                yield from _missing(
                    world, user, kind, node.get("name"), optional=node.get("optional").value is True
                )
        for _, node in user.spec.mappings():
            for item in node.get("volumes").list:
                optional = any(
                    item.get(kind, "optional").value is True for kind in ("configMap", "secret")
                )
                yield from _missing(
                    world, user, CONFIG_MAP, item.get("configMap", "name"), optional=optional
                )
                yield from _missing(
                    world, user, SECRET, item.get("secret", "secretName"), optional=optional
                )
                name = item.get("persistentVolumeClaim", "claimName")
                yield from _missing(world, user, CLAIM, name, optional=False)


def _missing(
    world: World, one: Object, kind: Kind, name: YamlNode, *, optional: bool
) -> Iterator[RuleMatch]:
    if optional or not name.text or world.target(kind, name.text, one, made=kind != CLAIM) != ():
        return
    names = [other.name for other in world.of(kind) if other.namespace == one.namespace]
    yield one.at(
        name,
        f"no {kind[1]} {name.shown} in namespace `{one.namespace}`",
        fix=suggest_names(name.text, names),
    )


@rule("DL603", "A key is not in its ConfigMap or Secret", fix="use one of its keys, or add it")
def keys(world: World) -> Iterator[RuleMatch]:
    """The container waits for ever: `CreateContainerConfigError: couldn't find key`."""
    limits = {id(reference) for _, reference in semaphores(world)}
    for user in _users(world):
        for key, node in user.spec.mappings():
            kind = _REFERENCES.get(key)
            name, key_node = node.get("name").text, node.get("key")
            if (
                kind is None
                or id(node) in limits
                or not key_node.text
                or "{{" in key_node.text
                or node.get("optional").value is True
            ):
                continue
            targets = world.named(kind, name, user.namespace)
            has = {
                member
                for other in targets
                for field in ("data", "binaryData", "stringData")
                for member in other.node.get(field).map
            }
            if targets and has and key_node.text not in has:
                yield user.at(
                    key_node,
                    f"{targets[0].subject} has no key {key_node.shown}; {list_names(has, 'keys')}",
                    fix=suggest_names(key_node.text, has),
                )


@rule(
    "DL604",
    "A ServiceAccount is not there",
    fix="commit the ServiceAccount, in the namespace of the pods",
)
def service_account(world: World) -> Iterator[RuleMatch]:
    """No pod is made: `serviceaccount … not found`."""
    for user in _users(world):
        seen: set[str] = set()
        for _, node in user.spec.mappings():
            name = node.get("serviceAccountName")
            if (
                name.text
                and name.text not in seen
                and world.target(SERVICE_ACCOUNT, name.text, user) == ()
            ):
                seen.add(name.text)
                names = [
                    other.name
                    for other in world.of(SERVICE_ACCOUNT)
                    if other.namespace == user.namespace
                ]
                yield user.at(
                    name,
                    f"no ServiceAccount {name.shown} in namespace `{user.namespace}`",
                    fix=suggest_names(name.text, names),
                )


@rule(
    "DL605",
    "A workload's selector does not fit its own pods",
    fix="repeat the selector's labels in `template.metadata.labels`",
)
def own_selector(world: World) -> Iterator[RuleMatch]:
    """The API server refuses the object: `selector does not match template labels`."""
    for item in world.of(
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
    ):
        labels = item.spec.get("template", "metadata", "labels").map
        for name, node in item.spec.get("selector", "matchLabels").map.items():
            if name not in labels or labels[name].value != node.value:
                yield item.at(node, f"the pods have no label `{name}: {node.source}`")


@rule(
    "DL606",
    "A GPU is asked for by node selector only",
    fix='ask for it: `resources.limits."nvidia.com/gpu": 1`',
)
def gpu(world: World) -> Iterator[RuleMatch]:
    """The pod lands on the GPU node and sees no GPU: the device plugin hands one out only where
    limits ask for it."""
    for pod in pods(world):
        for node in _wanted(pod.spec.get("nodeSelector")):
            if not any(_has(item) for item in containers(pod.spec)):
                yield pod.object.at(
                    node, "the pods go to GPU nodes, but no container asks for a GPU"
                )
    for seldon in world.of(SELDON):
        for _, node in seldon.spec.mappings():
            if "containers" in node.map:
                for requirement in _wanted(node.get("nodeSelector")):
                    if not any(_has(item) for item in containers(node)):
                        yield seldon.at(
                            requirement, "the pods go to GPU nodes, but no container asks for a GPU"
                        )
    for flow in flows(world):
        for template in flow.every():
            inside = [
                template.get("container"),
                template.get("script"),
                *template.get("containerSet", "containers").list,
            ]
            for node in _wanted(template.get("nodeSelector")):
                if any(inside) and not any(_has(item) for item in inside):
                    yield flow.object.at(
                        node, "the pods go to GPU nodes, but no container asks for a GPU"
                    )


def _wanted(selector: YamlNode) -> Iterator[YamlNode]:
    for name, node in selector.map.items():
        parts = name.lower().replace("/", ".").replace("-", ".").replace("_", ".").split(".")
        if ("gpu" in parts or "accelerator" in parts or "nvidia" in parts) and node.value not in (
            False,
            "false",
            "none",
            "",
        ):
            yield node


def _has(container: YamlNode) -> bool:
    resources = (
        container.get("resources", "limits").map | container.get("resources", "requests").map
    )
    return bool(container.get("resources", "claims")) or any(
        "gpu" in name or name.startswith(("nvidia.com", "amd.com", "aws.amazon.com/neuron"))
        for name in resources
    )


@rule(
    "DL607",
    "An image has no tag, or a tag that moves",
    severity=Severity.WARNING,
    fix="name a version or a digest: `image: ghcr.io/acme/server:1.0.0`",
)
def image(world: World) -> Iterator[RuleMatch]:
    """The code that runs depends on the time of the pull: two replicas differ, a rollback does
    not bring the old code back, and git no longer says what runs."""
    pinned = {
        item.get("name").text
        for node in world.kustomizations.values()
        for item in node.get("images").list
    }
    for entry in world.written:
        if entry.host is not None:
            continue
        for node in images(entry):
            text = node.text
            if (
                not text
                or "{{" in text
                or "$" in text
                or "://" in text
                or text in ("auto", "ko")
                or "@" in text
            ):
                continue
            name, _, tag = (
                text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", "")
            )
            if name not in pinned and tag in ("", "latest"):
                yield entry.at(
                    node, f"image {node.shown} {'has the tag `latest`' if tag else 'has no tag'}"
                )


@rule(
    "DL611", "A binding's role is not there", fix="commit the Role, in the namespace of its binding"
)
def role(world: World) -> Iterator[RuleMatch]:
    """The binding grants nothing: whoever needs the right is answered `forbidden`, a Sensor at
    every event."""
    for item in world.of(
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ):
        reference = item.node.get("roleRef")
        kind = ("rbac.authorization.k8s.io", reference.get("kind").text)
        name = reference.get("name")
        if reference.get("kind").text == "Role" and world.target(kind, name.text, item) == ():
            names = [other.name for other in world.of(kind) if other.namespace == item.namespace]
            yield item.at(
                name,
                f"no Role {name.shown} in namespace `{item.namespace}`",
                fix=suggest_names(name.text, names),
            )


@rule(
    "DL612",
    "A binding grants its role to no account",
    fix="name a ServiceAccount that is there, and its namespace",
)
def subject(world: World) -> Iterator[RuleMatch]:
    """The binding grants nothing: whoever needs the right is answered `forbidden`."""
    built = {path for folder in world.kustomizations for path in world.taken(folder)}
    built |= {path for path in world.paths if posixpath.dirname(path) in world.kustomizations}
    for entry in world.of(
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ):
        for item in entry.node.get("subjects").list:
            if item.get("kind").text != "ServiceAccount":
                continue
            where = item.get("namespace").text or entry.namespace
            name = item.get("name")
            if not where:
                if entry.kind != "ClusterRoleBinding" or entry.path in built:
                    continue  # a kustomization around it may say which
                yield entry.at(name, f"ServiceAccount {name.shown} has no namespace")
            elif world.target(SERVICE_ACCOUNT, name.text, entry, where) == ():
                if _is_of_flux(entry):
                    continue
                names = [
                    other.name for other in world.of(SERVICE_ACCOUNT) if other.namespace == where
                ]
                yield entry.at(
                    name,
                    f"no ServiceAccount {name.shown} in namespace `{where}`",
                    fix=suggest_names(name.text, names),
                )


def _is_of_flux(entry: Object) -> bool:
    """Return True for what `flux bootstrap` writes: it binds the accounts of all its components, also of those that are
    not installed."""
    return entry.node.get("metadata", "labels", "app.kubernetes.io/part-of").text == "flux"


@rule(
    "DL613",
    "A Sensor may not create what it starts",
    fix="grant its ServiceAccount `create` on that kind, by a Role and a RoleBinding",
)
def sensor_rights(world: World) -> Iterator[RuleMatch]:
    """Every event ends in `forbidden`: no run ever starts."""
    for sensor in world.of(SENSOR):
        name = sensor.spec.get("template", "serviceAccountName")
        for trigger in sensor.spec.get("triggers").list:
            source = trigger.get("template", "k8s", "source", "resource")
            operation = trigger.get("template", "k8s", "operation").text or "create"
            where = source.get("metadata", "namespace").text or sensor.namespace
            if (
                not source.map
                or operation != "create"
                or not world.whole(where)
                or not world.whole(sensor.namespace)
            ):
                continue
            group = source.get("apiVersion").text.rpartition("/")[0]
            resource = source.get("kind").text.lower() + "s"
            if not _may(
                world, (name.text or "default", sensor.namespace), where, (group, resource)
            ):
                at = name if name else sensor.spec.get("triggers")
                yield sensor.at(
                    at,
                    f"ServiceAccount `{name.text or 'default'}` may not create {resource} in namespace `{where}`",
                )


def _may(world: World, account: tuple[str, str], where: str, wanted: tuple[str, str]) -> bool:
    """Return True if a binding in the set grants `create`; a role that is not in the set is
    taken to grant it."""
    for binding in world.of(
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ):
        if binding.kind == "RoleBinding" and binding.namespace not in (where, ""):
            continue
        subjects = [
            (item.get("name").text, item.get("namespace").text or binding.namespace)
            for item in binding.node.get("subjects").list
        ]
        if account not in subjects:
            continue
        reference = binding.node.get("roleRef")
        roles = world.named(
            ("rbac.authorization.k8s.io", reference.get("kind").text),
            reference.get("name").text,
            where,
        )
        if not roles or any(
            _grants(item, *wanted) for role in roles for item in role.node.get("rules").list
        ):
            return True
    return False


def _grants(item: YamlNode, group: str, resource: str) -> bool:
    has = {
        field: {node.text for node in item.get(field).list}
        for field in ("apiGroups", "resources", "verbs")
    }
    return all(
        value in has[field] or "*" in has[field]
        for field, value in (("apiGroups", group), ("resources", resource), ("verbs", "create"))
    )
