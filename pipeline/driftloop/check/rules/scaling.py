"""DL62x: autoscalers and disruption budgets, and the pods they are about."""

import posixpath
from collections import defaultdict
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.pods import Pod, fits, made_labels, pods, unknown_pods
from driftloop.check.world import SELDON, Kind, Object, World
from driftloop.text.node import YamlNode
from driftloop.text.words import suggest_names

_AUTOSCALER = ("autoscaling", "HorizontalPodAutoscaler")
_BUDGET = ("policy", "PodDisruptionBudget")
_SCALED: tuple[Kind, ...] = (
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("argoproj.io", "Rollout"),
)
_PATCHES = ("patches", "patchesStrategicMerge", "patchesJson6902", "replicas", "components")


def _target(one: Object) -> tuple[Kind, YamlNode]:
    reference = one.spec.get("scaleTargetRef")
    group = reference.get("apiVersion").text.rpartition("/")[0]
    return (group, reference.get("kind").text), reference.get("name")


@rule(
    "DL621",
    "An autoscaler's target is not there",
    fix="name the Deployment that it should scale, in its own namespace",
)
def scale_target(world: World) -> Iterator[RuleMatch]:
    """The autoscaler says `FailedGetScale` for ever, and the pods stay as many as they are under
    any load."""
    for scaler in world.of(_AUTOSCALER):
        kind, name = _target(scaler)
        if (
            kind not in _SCALED
            or world.target(kind, name.text, scaler) != ()
            or unknown_pods(world, scaler.namespace)
        ):
            continue
        if any(name.text.startswith((f"{other.name}-", "seldon-")) for other in world.of(SELDON)):
            continue
        names = [other.name for other in world.of(kind) if other.namespace == scaler.namespace]
        yield scaler.at(
            name,
            f"no {kind[1]} {name.shown} in namespace `{scaler.namespace}`",
            fix=suggest_names(name.text, names),
        )


@rule(
    "DL622",
    "A number of pods is written where an autoscaler decides",
    severity=Severity.WARNING,
    fix="leave `replicas` out, and let the autoscaler's `minReplicas` say it",
)
def scaled_replicas(world: World) -> Iterator[RuleMatch]:
    """Every apply, and with Flux every interval, sets the written number again: pods that the
    load needs are taken away, until the autoscaler brings them back."""
    if _patched(world):
        return
    for scaler in world.of(_AUTOSCALER):
        kind, name = _target(scaler)
        least, most = (
            scaler.spec.get("minReplicas").value or 1,
            scaler.spec.get("maxReplicas").value,
        )
        for other in (
            world.named(kind, name.text, scaler.namespace) if kind in _SCALED and name.text else ()
        ):
            node = other.spec.get("replicas")
            # 0 switches the autoscaler off
            if isinstance(node.value, int) and node.value != 0 and not least == most == node.value:
                yield other.at(node, f"{node.shown} replicas, and {scaler.subject} scales it")


def _patched(world: World) -> bool:
    """Return True if something may take a field away before it is applied."""
    built = [*world.kustomizations.values()]
    built += [item.spec for item in world.objects if item.kind == "Kustomization" and item.spec]
    return any(node.get(field) for node in built for field in _PATCHES)


@rule(
    "DL623",
    "A disruption budget selects no pod",
    fix="let the selector be labels of the pods, and all of them on one",
)
def budget_selector(world: World) -> Iterator[RuleMatch]:
    """It protects nothing: a drain takes all pods of the workload that was meant at the same
    time."""
    all_pods = list(pods(world))
    for budget in world.of(_BUDGET):
        labels = budget.spec.get("selector", "matchLabels")
        if (
            not labels.map
            or not world.whole(budget.namespace)
            or unknown_pods(world, budget.namespace)
        ):
            continue
        selector = {key: node.text for key, node in labels.map.items()}
        if any(
            pod.object.namespace in (budget.namespace, "") and fits(selector, _labels(pod))
            for pod in all_pods
        ):
            continue
        if not any(
            fits(selector, own_labels) for own_labels in made_labels(world, budget.namespace)
        ):
            shown = ", ".join(f"{key}: {value}" for key, value in selector.items())
            yield budget.at(
                labels, f"no pod of namespace `{budget.namespace}` has the labels {shown}"
            )


@rule(
    "DL624",
    "A disruption budget allows no eviction",
    severity=Severity.WARNING,
    fix="write `maxUnavailable: 1`, which lets one pod go at a time",
)
def no_eviction(world: World) -> Iterator[RuleMatch]:
    """A node with such a pod can't be drained: upgrades of the cluster wait for ever, or delete
    the pod by force."""
    all_pods = list(pods(world))
    for budget in world.of(_BUDGET):
        missing, least = budget.spec.get("maxUnavailable"), budget.spec.get("minAvailable")
        if missing and missing.value is not False and missing.value in (0, "0%"):
            yield budget.at(missing, f"no pod may be missing: `maxUnavailable: {missing.source}`")
        elif least.value == "100%":
            yield budget.at(least, "no pod may be missing: `minAvailable: 100%`")
        elif isinstance(least.value, int) and least.value > 0:
            there = _fixed(world, budget, all_pods)
            if there is not None and least.value >= there:
                yield budget.at(least, f"{least.shown} pods must stay, and there are {there}")


def _fixed(world: World, budget: Object, known: list[Pod]) -> int | None:
    """Return the number of pods that a budget selects; None if it is not written or may change."""
    if (
        not world.whole(budget.namespace)
        or unknown_pods(world, budget.namespace)
        or _patched(world)
    ):
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
def two_budgets(world: World) -> Iterator[RuleMatch]:
    """The API server refuses to evict a pod that two budgets select, whatever they allow: no
    node with such a pod can be drained. The budgets that Seldon's operator makes of `pdbSpec`
    select the pods of all predictors."""
    all_pods = list(pods(world))
    owners: dict[Pod, list[Object]] = defaultdict(list)
    for budget in world.of(_BUDGET):
        for pod in _selected(budget, all_pods):
            owners[pod].append(budget)
    told: set[Object] = set()
    for pod, budgets in owners.items():
        for budget in budgets:
            # of two folders only one may be applied, of two objects with one name only one is there
            here = posixpath.dirname(budget.path)
            others = [
                other
                for other in budgets
                if other.name != budget.name and posixpath.dirname(other.path) == here
            ]
            if others and budget not in told:
                told.add(budget)
                yield budget.at(
                    budget.spec.get("selector"),
                    f"{others[0].subject} also selects the pods of {pod.object.subject}",
                )
    for budget in world.of(SELDON):
        shared = [
            component.get("pdbSpec")
            for predictor in budget.spec.get("predictors").list
            for component in predictor.get("componentSpecs").list
            if component.get("pdbSpec")
        ]
        for node in shared[1:]:
            yield budget.at(
                node, f"{len(shared)} `pdbSpec`, and each selects all pods of {budget.subject}"
            )


def _selected(budget: Object, known: list[Pod]) -> list[Pod]:
    """The pods of the set that a budget surely selects."""
    selector = budget.spec.get("selector")
    labels = {key: node.text for key, node in selector.get("matchLabels").map.items()}
    if not labels or selector.get("matchExpressions"):
        return []
    return [
        pod
        for pod in known
        if pod.object.namespace == budget.namespace and fits(labels, _labels(pod))
    ]


def _labels(pod: Pod) -> dict[str, str | None]:
    return {key: node.text for key, node in pod.labels.map.items()}
