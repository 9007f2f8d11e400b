"""DL62x: autoscalers and disruption budgets, and the pods they are about."""

import posixpath
from collections import defaultdict
from collections.abc import Iterator

from driftloop.check.finding import Found, Severity, rule
from driftloop.check.pods import Pod, fits, made_labels, pods, unknown_pods
from driftloop.check.world import SELDON, Kind, Object, World
from driftloop.text.node import Node
from driftloop.text.words import near

_AUTOSCALER = ("autoscaling", "HorizontalPodAutoscaler")
_BUDGET = ("policy", "PodDisruptionBudget")
_SCALED: tuple[Kind, ...] = (("apps", "Deployment"), ("apps", "StatefulSet"), ("argoproj.io", "Rollout"))
_PATCHES = ("patches", "patchesStrategicMerge", "patchesJson6902", "replicas", "components")


def _target(one: Object) -> tuple[Kind, Node]:
    reference = one.spec.get("scaleTargetRef")
    group = reference.get("apiVersion").text.rpartition("/")[0]
    return (group, reference.get("kind").text), reference.get("name")


@rule(
    "DL621",
    "An autoscaler's target is not there",
    fix="name the Deployment that it should scale, in its own namespace",
)
def scale_target(world: World) -> Iterator[Found]:
    """The autoscaler says `FailedGetScale` for ever, and the pods stay as many as they are under any load."""
    for one in world.of(_AUTOSCALER):
        kind, name = _target(one)
        if kind not in _SCALED or world.target(kind, name.text, one) != () or unknown_pods(world, one.namespace):
            continue
        if any(name.text.startswith((f"{other.name}-", "seldon-")) for other in world.of(SELDON)):
            continue
        names = [other.name for other in world.of(kind) if other.namespace == one.namespace]
        yield one.at(name, f"no {kind[1]} {name.shown} in namespace `{one.namespace}`", fix=near(name.text, names))


@rule(
    "DL622",
    "A number of pods is written where an autoscaler decides",
    severity=Severity.WARNING,
    fix="leave `replicas` out, and let the autoscaler's `minReplicas` say it",
)
def scaled_replicas(world: World) -> Iterator[Found]:
    """Every apply, and with Flux every interval, sets the written number again: pods that the load needs are taken
    away, until the autoscaler brings them back."""
    if _patched(world):
        return
    for one in world.of(_AUTOSCALER):
        kind, name = _target(one)
        least, most = one.spec.get("minReplicas").value or 1, one.spec.get("maxReplicas").value
        for other in world.named(kind, name.text, one.namespace) if kind in _SCALED and name.text else ():
            node = other.spec.get("replicas")
            # 0 switches the autoscaler off
            if isinstance(node.value, int) and node.value != 0 and not least == most == node.value:
                yield other.at(node, f"{node.shown} replicas, and {one.subject} scales it")


def _patched(world: World) -> bool:
    """Whether something may take a field away before it is applied."""
    built = [*world.kustomizations.values()]
    built += [one.spec for one in world.objects if one.kind == "Kustomization" and one.spec]
    return any(node.get(field) for node in built for field in _PATCHES)


@rule(
    "DL623", "A disruption budget selects no pod", fix="let the selector be labels of the pods, and all of them on one"
)
def budget_selector(world: World) -> Iterator[Found]:
    """It protects nothing: a drain takes all pods of the workload that was meant at the same time."""
    known = list(pods(world))
    for one in world.of(_BUDGET):
        labels = one.spec.get("selector", "matchLabels")
        if not labels.map or not world.whole(one.namespace) or unknown_pods(world, one.namespace):
            continue
        wanted = {key: node.text for key, node in labels.map.items()}
        if any(pod.object.namespace in (one.namespace, "") and fits(wanted, _labels(pod)) for pod in known):
            continue
        if not any(fits(wanted, found) for found in made_labels(world, one.namespace)):
            shown = ", ".join(f"{key}: {value}" for key, value in wanted.items())
            yield one.at(labels, f"no pod of namespace `{one.namespace}` has the labels {shown}")


@rule(
    "DL624",
    "A disruption budget allows no eviction",
    severity=Severity.WARNING,
    fix="write `maxUnavailable: 1`, which lets one pod go at a time",
)
def no_eviction(world: World) -> Iterator[Found]:
    """A node with such a pod can't be drained: upgrades of the cluster wait for ever, or delete the pod by force."""
    known = list(pods(world))
    for one in world.of(_BUDGET):
        missing, least = one.spec.get("maxUnavailable"), one.spec.get("minAvailable")
        if missing and missing.value is not False and missing.value in (0, "0%"):
            yield one.at(missing, f"no pod may be missing: `maxUnavailable: {missing.source}`")
        elif least.value == "100%":
            yield one.at(least, "no pod may be missing: `minAvailable: 100%`")
        elif isinstance(least.value, int) and least.value > 0:
            there = _fixed(world, one, known)
            if there is not None and least.value >= there:
                yield one.at(least, f"{least.shown} pods must stay, and there are {there}")


def _fixed(world: World, budget: Object, known: list[Pod]) -> int | None:
    """How many pods a budget selects; None where that is not written, or may change."""
    if not world.whole(budget.namespace) or unknown_pods(world, budget.namespace) or _patched(world):
        return None
    scaled = {(kind, name.text) for kind, name in map(_target, world.of(_AUTOSCALER))}
    total = 0
    for pod in _selected(budget, known):
        number, own = pod.object.spec.get("replicas").value, (pod.object.type, pod.object.name)
        if pod.object.type not in _SCALED or not isinstance(number, int) or own in scaled:
            return None
        total += number
    return total or None


@rule(
    "DL625",
    "A pod has two disruption budgets",
    fix="keep one budget for a pod; instead of several `pdbSpec`, write budgets that also select `seldon-app`",
)
def two_budgets(world: World) -> Iterator[Found]:
    """The API server refuses to evict a pod that two budgets select, whatever they allow: no node with such a pod can
    be drained. The budgets that Seldon's operator makes of `pdbSpec` select the pods of all predictors."""
    known = list(pods(world))
    owners: dict[Pod, list[Object]] = defaultdict(list)
    for one in world.of(_BUDGET):
        for pod in _selected(one, known):
            owners[pod].append(one)
    told: set[Object] = set()
    for pod, budgets in owners.items():
        for one in budgets:
            # of two folders only one may be applied, of two objects with one name only one is there
            here = posixpath.dirname(one.path)
            others = [other for other in budgets if other.name != one.name and posixpath.dirname(other.path) == here]
            if others and one not in told:
                told.add(one)
                yield one.at(
                    one.spec.get("selector"), f"{others[0].subject} also selects the pods of {pod.object.subject}"
                )
    for one in world.of(SELDON):
        found = [
            component.get("pdbSpec")
            for predictor in one.spec.get("predictors").list
            for component in predictor.get("componentSpecs").list
            if component.get("pdbSpec")
        ]
        for node in found[1:]:
            yield one.at(node, f"{len(found)} `pdbSpec`, and each selects all pods of {one.subject}")


def _selected(budget: Object, known: list[Pod]) -> list[Pod]:
    """The pods of the set that a budget surely selects."""
    selector = budget.spec.get("selector")
    wanted = {key: node.text for key, node in selector.get("matchLabels").map.items()}
    if not wanted or selector.get("matchExpressions"):
        return []
    return [pod for pod in known if pod.object.namespace == budget.namespace and fits(wanted, _labels(pod))]


def _labels(pod: Pod) -> dict[str, str | None]:
    return {key: node.text for key, node in pod.labels.map.items()}
