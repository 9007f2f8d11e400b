"""DL4xx: what Seldon's admission webhook refuses, and models that are compared with themselves."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.world import SELDON, SERVICE, VIRTUAL_SERVICE, Object, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_PROTOCOLS = ("seldon", "tensorflow", "v2", "kfserving")
_TYPES = ("MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER", "UNKNOWN_TYPE")
_MODES = ("request", "response", "all")
_INSIDE = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
_NO_URI = (*_INSIDE, "UNKNOWN_IMPLEMENTATION", "HUGGINGFACE_SERVER")
_MODEL = re.compile(r"model|storage", re.IGNORECASE)
_NOT_TENSORFLOW = ("SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER")


def _predictors(one: Object) -> list[YamlNode]:
    return one.spec.get("predictors").list


def _shadow(predictor: YamlNode) -> bool:
    return predictor.get("shadow").value is True


def _graph(node: YamlNode) -> Iterator[YamlNode]:
    if node.map:
        yield node
        for child in node.get("children").list:
            yield from _graph(child)


def _percent(node: YamlNode) -> int:
    return node.value if isinstance(node.value, int) and not isinstance(node.value, bool) else 0


@rule(
    "DL401",
    "The traffic of a SeldonDeployment does not sum to 100",
    fix="let the predictors other than shadows sum to 100; a single one needs no `traffic`",
)
def traffic(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object: the old weights stay, and the rollout's
    commit has no effect."""
    for seldon in world.of(SELDON):
        live = [predictor for predictor in _predictors(seldon) if not _shadow(predictor)]
        weights = [_percent(predictor.get("traffic")) for predictor in live]
        if len(live) > 1 and sum(weights) != 100:
            at = next(
                (
                    predictor.get("traffic")
                    for predictor in reversed(live)
                    if predictor.get("traffic")
                ),
                seldon.spec.get("predictors"),
            )
            yield seldon.at(
                at,
                f"the traffic of {len(live)} predictors sums to {sum(weights)} ({', '.join(map(str, weights))})",
            )
        elif len(_predictors(seldon)) == len(live) == 1 and 0 < weights[0] < 100:
            yield seldon.at(
                live[0].get("traffic"), f"the only predictor gets {weights[0]} % of the traffic"
            )


@rule(
    "DL402",
    "A shadow is alone, or is not the only one",
    fix="keep one predictor that answers, and at most one with `shadow: true`",
)
def shadow(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object: nobody would answer, or two would get the
    copies."""
    for seldon in world.of(SELDON):
        shadows = [predictor for predictor in _predictors(seldon) if _shadow(predictor)]
        if shadows and len(_predictors(seldon)) == 1:
            yield seldon.at(shadows[0].get("shadow"), "the only predictor is a shadow")
        for predictor in shadows[1:]:
            yield seldon.at(
                predictor.get("shadow"), f"{predictor.get('name').shown} is a second shadow"
            )
        for predictor in shadows:
            if not 0 <= _percent(predictor.get("traffic")) <= 100:
                yield seldon.at(
                    predictor.get("traffic"),
                    f"a shadow gets {_percent(predictor.get('traffic'))} % of the traffic",
                )


@rule(
    "DL403",
    "Two predictors have the same name, or none is defined",
    fix="give each predictor its own name",
)
def predictor_names(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object."""
    for seldon in world.of(SELDON):
        seen: set[str] = set()
        if not _predictors(seldon):
            yield seldon.at(seldon.spec.get("predictors"), "no predictor is defined")
        for predictor in _predictors(seldon):
            name = predictor.get("name")
            if name.text in seen:
                yield seldon.at(name, f"predictor {name.shown} is there already")
            seen.add(name.text)


@rule(
    "DL404",
    "A graph node has neither a container nor a server",
    fix="give a container the node's name, or the node an `implementation`",
)
def graph_node(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object: it finds the container of a node by its
    name."""
    for seldon in world.of(SELDON):
        for predictor in _predictors(seldon):
            names = {
                item.get("name").text
                for spec in predictor.get("componentSpecs").list
                for item in spec.get("spec", "containers").list
            }
            for node in _graph(predictor.get("graph")):
                implementation = node.get("implementation").text
                if (
                    implementation in ("", "UNKNOWN_IMPLEMENTATION")
                    and node.get("name").text not in names
                ):
                    yield seldon.at(
                        node.get("name"),
                        f"no container is named {node.get('name').shown}; {list_names(names, 'containers')}",
                        fix=suggest_names(node.get("name").text, names),
                    )


@rule("DL405", "A prepackaged server has no model", fix="give the node a `modelUri`")
def model_uri(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object: there is nothing to serve."""
    for seldon in world.of(SELDON):
        for predictor in _predictors(seldon):
            for node in _graph(predictor.get("graph")):
                implementation = node.get("implementation")
                if (
                    implementation.text
                    and implementation.text not in _NO_URI
                    and not node.get("modelUri")
                ):
                    yield seldon.at(implementation, f"{implementation.shown} has no `modelUri`")


@rule(
    "DL406",
    "A logger does not say what it logs",
    fix="give it `mode: request`, `response` or `all`",
)
def logger_mode(world: World) -> Iterator[RuleMatch]:
    """Without `mode` the webhook refuses the object; with one it does not know, the executor
    logs nothing: no detector sees a request."""
    for seldon in world.of(SELDON):
        for predictor in _predictors(seldon):
            for node in _graph(predictor.get("graph")):
                logger = node.get("logger")
                if logger.map and not logger.get("mode"):
                    yield seldon.at(logger, "the logger has no `mode`")
                elif logger.map and logger.get("mode").text not in _MODES:
                    mode = logger.get("mode")
                    yield seldon.at(
                        mode,
                        f"{mode.shown} is not a mode; {list_names(_MODES, 'modes')}",
                        fix=suggest_names(mode.text, _MODES),
                    )


@rule(
    "DL407",
    "A protocol or node type that Seldon does not know, or does not have for the server",
    fix="use `protocol: seldon`, `tensorflow` or `v2`, and a server that speaks it",
)
def protocol(world: World) -> Iterator[RuleMatch]:
    """Seldon's admission webhook refuses the object."""
    for seldon in world.of(SELDON):
        spoken = seldon.spec.get("protocol")
        if spoken.text and spoken.text not in _PROTOCOLS:
            yield seldon.at(
                spoken,
                f"protocol {spoken.shown} is unknown; {list_names(_PROTOCOLS, 'protocols')}",
                fix=suggest_names(spoken.text, _PROTOCOLS),
            )
        for predictor in _predictors(seldon):
            for node in _graph(predictor.get("graph")):
                kind, implementation = node.get("type"), node.get("implementation")
                if kind.text and kind.text not in _TYPES:
                    yield seldon.at(
                        kind,
                        f"type {kind.shown} is unknown; {list_names(_TYPES, 'types')}",
                        fix=suggest_names(kind.text, _TYPES),
                    )
                if spoken.text == "tensorflow" and implementation.text in _NOT_TENSORFLOW:
                    yield seldon.at(
                        implementation, f"{implementation.shown} does not speak `tensorflow`"
                    )


@rule(
    "DL411",
    "A shadow or candidate serves the same model as production",
    fix="give the candidate the model URI of its own run",
)
def same_model(world: World) -> Iterator[RuleMatch]:
    """The rollout compares the model with itself: agreement is perfect, the candidate is
    promoted, and nothing new is ever served."""
    for seldon in world.of(SELDON):
        seen: dict[tuple[object, ...], YamlNode] = {}
        for predictor in _predictors(seldon):
            identity = _identity(predictor)
            if identity is None:
                continue
            uri = _uri(predictor)
            if identity in seen:
                yield seldon.at(
                    uri,
                    f"predictor {predictor.get('name').shown} serves {uri.shown}, "
                    f"as {seen[identity].get('name').shown} does",
                )
            seen.setdefault(identity, predictor)


def _uri(predictor: YamlNode) -> YamlNode:
    """Return the node that names a predictor's model: in its graph, or in its containers."""
    for node in _graph(predictor.get("graph")):
        if node.get("modelUri").text:
            return node.get("modelUri")
        for item in node.get("parameters").list:
            if (
                item.get("name").text.lower() in ("model_uri", "modeluri")
                and "://" in item.get("value").text
            ):
                return item.get("value")
    for container in _containers(predictor):
        for item in container.get("env").list:
            if _MODEL.search(item.get("name").text) and _stored(item.get("value").text):
                return item.get("value")
        for text in container.get("args").texts():
            if _stored(text.text):
                return text
    return predictor.get("graph", "modelUri")


def _containers(predictor: YamlNode) -> Iterator[YamlNode]:
    for component in predictor.get("componentSpecs").list:
        for field in ("initContainers", "containers"):
            yield from component.get("spec", field).list


def _identity(predictor: YamlNode) -> tuple[object, ...] | None:
    """Return the identity of a predictor's model: the URIs of its models and its images; None
    when it names no model."""
    if not _uri(predictor):
        return None
    uris = [
        text.text.rstrip("/")
        for node in _graph(predictor.get("graph"))
        for text in (node.get("modelUri"), *node.get("parameters").texts())
        if "://" in text.text
    ]  # fmt: skip
    images = [item.get("image").text for item in _containers(predictor)]
    # where the graph names no model, all that the containers are told says which one it is
    told = (
        [text.text for item in _containers(predictor) for text in item.texts()] if not uris else []
    )
    graph = [node.get("implementation").text for node in _graph(predictor.get("graph"))]
    return tuple(uris), tuple(images), tuple(told), tuple(graph)


@rule(
    "DL412",
    "A route's copy or share of the traffic goes to the same model",
    fix="let the candidate's Deployment fetch its own run's model",
)
def same_deployment(world: World) -> Iterator[RuleMatch]:
    """The rollout compares the model with itself, and promotes what already runs."""
    for entry in world.of(VIRTUAL_SERVICE):
        for route in entry.spec.get("http").list:
            places = [item.get("destination") for item in route.get("route").list]
            mirror = route.get("mirror")
            for node in _asked(route):
                if mirror and (node.get("host").text, node.get("subset").text) == (
                    mirror.get("host").text,
                    mirror.get("subset").text,
                ):
                    yield entry.at(
                        mirror.get("host"),
                        f"requests to {mirror.get('host').shown} are copied to itself",
                    )
            seen: dict[tuple[str, ...], str] = {}
            for node in (*places, *([mirror] if mirror else [])):
                host = node.get("host").text
                models = _models(world, entry, host)
                if models is not None and seen.setdefault(models, host) != host:
                    yield entry.at(
                        node.get("host"),
                        f"{node.get('host').shown} serves {models[0]}, as `{seen[models]}` does",
                    )


def _asked(route: YamlNode) -> Iterator[YamlNode]:
    """Yield the destinations that get requests of their own: beside others, one without a weight
    gets none."""
    items = route.get("route").list
    for item in items:
        weight = item.get("weight")
        if (weight.value or 0) != 0 or (len(items) == 1 and not weight):
            yield item.get("destination")


def _models(world: World, one: Object, host: str) -> tuple[str, ...] | None:
    """The model URIs behind a host, from the Deployment its Service selects; None when they are
    not in the set."""
    name, _, rest = host.partition(".")
    namespace = rest.partition(".")[0] or one.namespace
    for service in world.named(SERVICE, name, namespace):
        selector = {key: node.value for key, node in service.spec.get("selector").map.items()}
        for other in world.of(("apps", "Deployment")):
            labels = {
                key: node.value
                for key, node in other.spec.get("template", "metadata", "labels").map.items()
            }
            if (
                other.namespace == service.namespace
                and selector
                and selector.items() <= labels.items()
            ):
                pod = other.spec.get("template", "spec")
                uris = [
                    text.text
                    for item in pod.get("initContainers").list
                    for text in item.get("args").texts()
                    if _stored(text.text)
                ]
                return tuple(uris) or None
    return None


def _stored(text: str) -> bool:
    return text.startswith(("s3://", "gs://", "az://", "pvc://")) and "/" in text[6:]
