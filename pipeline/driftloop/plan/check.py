"""The references inside a spec: images, parameters, monitors, step names. Each one must lead
somewhere."""

from collections.abc import Iterable, Iterator
from math import prod

from driftloop.contract.alibi import ALIBI_CLASSES
from driftloop.contract.alibi import find_problems as find_setting_problems
from driftloop.contract.columns import EVERYTHING
from driftloop.contract.limits import DEFAULT_REQUEST_LIMIT
from driftloop.contract.names import PLATFORM_NAMESPACES
from driftloop.contract.platform import S3_BUCKET
from driftloop.contract.suggestions import suggest_closest
from driftloop.plan import images
from driftloop.plan.backends import backend_limits, can_rehearse, is_prepackaged
from driftloop.plan.captured import check_batches
from driftloop.plan.commands import check_commands
from driftloop.plan.effects import COUNTED, choose_effects
from driftloop.plan.environments import list_environments
from driftloop.plan.findings import SpecFinding, format_location, format_names
from driftloop.plan.security import check_security
from driftloop.plan.sources import check_sources
from driftloop.plan.trials import MOST, plan_trials
from driftloop.spec import Pipeline
from driftloop.spec.capture import Capture
from driftloop.spec.data import Data
from driftloop.spec.detector import AlibiDetect, Detector, Quality, Schema, UserFunction
from driftloop.spec.graph import Node, Released, walk_nodes
from driftloop.spec.resources import Resources
from driftloop.spec.serve import speaking
from driftloop.spec.values import written

GRAPH = ("spec", "serve", "graph")
NODES, DEPTH = 10, 5
"""Of a graph at most."""
TAKEN = ("model", "tfserving", "seldon-container-engine", "pods")
"""Names that a graph's own nodes can't have: those of the containers beside them, and of the
Service `…-pods`, since Seldon's operator names one after each node."""


def find_problems(pipeline: Pipeline) -> tuple[SpecFinding, ...]:
    """Everything in a valid spec that does not fit together."""
    parts = (
        _check_data,
        check_sources,
        _check_images,
        _check_pins,
        _check_steps,
        _check_search,
        check_commands,
        _check_gpus,
        _check_annotations,
        _check_volumes,
        check_security,
        _check_serving,
        _check_access,
        _check_rehearsal,
        _check_answers,
        _check_rollout,
        _check_approvals,
        _check_monitors,
        _check_column_uses,
        _check_effects,
        _check_schema,
        _check_functions,
        _check_classes,
        _check_retrain,
        check_batches,
        _check_names,
    )
    return tuple(finding for part in parts for finding in part(pipeline))


def _check_data(pipeline: Pipeline) -> Iterator[SpecFinding]:
    location = ("spec", "data", "uri")
    uri = pipeline.spec.data.uri
    if uri.removeprefix("s3://").partition("/")[0] == S3_BUCKET.example:
        yield SpecFinding(
            location,
            f"{format_location(location)} is `{uri}`, must be in a bucket of your own: "
            f"`{S3_BUCKET.example}` is the platform's, with its runs and models",
            f"for example `s3://{pipeline.metadata.name}-data/batches`",
        )


def _check_images(pipeline: Pipeline) -> Iterator[SpecFinding]:
    spec = pipeline.spec
    used: list[tuple[tuple[str | int, ...], str | None]] = [
        *(
            ((("spec", "data", "steps", i, "image")), step.image)
            for i, step in enumerate(spec.data.steps)
        ),
        (("spec", "train", "image"), spec.train.image),
        (("spec", "evaluate", "image"), spec.evaluate.image),
        (("spec", "serve", "image"), spec.serve.image),
        *(
            ((*GRAPH, *at, "image"), node.image)
            for at, node in (walk_nodes(spec.serve.graph) if spec.serve.graph is not None else ())
            if not isinstance(node, Released)
        ),
        *(
            (("spec", "monitors", name, "image"), each.image)
            for name, each in spec.monitors.items()
            if isinstance(each, UserFunction)
        ),
    ]
    for location, name in used:
        if name is not None and name not in spec.images:
            yield SpecFinding(location, *_describe_unknown(location, name, spec.images))
    refs: dict[str, str] = {}
    for name, image in spec.images.items():
        other = refs.setdefault(image.ref, name)
        if other != name and spec.images[other].context != image.context:
            yield SpecFinding(
                ("spec", "images", name, "ref"),
                f"spec.images.{name}.ref is `{image.ref}`, must not be that of `{other}` with another context",
                "give each folder's image its own name or tag",
            )


def _check_pins(pipeline: Pipeline) -> Iterator[SpecFinding]:
    refs = [ref for ref in images.list_images(pipeline) if "@" not in ref]
    for ref in pipeline.spec.pins:
        if ref not in refs:
            yield SpecFinding(
                ("spec", "pins", ref),
                f"spec.pins holds `{ref}`, must hold images that the tree names by a tag: {format_names(refs)}",
                "`driftloop render --pin` writes the pins anew; without the registries, take the line out",
                key=True,
            )


def _check_steps(pipeline: Pipeline) -> Iterator[SpecFinding]:
    first: dict[str, int] = {}
    for index, step in enumerate(pipeline.spec.data.steps):
        earlier = first.setdefault(step.name, index)
        if earlier != index:
            yield SpecFinding(
                ("spec", "data", "steps", index, "name"),
                f"spec.data.steps[{index}].name is `{step.name}`, must not be that of spec.data.steps[{earlier}]",
            )


def _check_search(pipeline: Pipeline) -> Iterator[SpecFinding]:
    train = pipeline.spec.train
    if train.search is None:
        return
    search = train.search
    combinations = prod(len(values) for values in search.over.values())
    if search.random is None and combinations > MOST:
        yield SpecFinding(
            ("spec", "train", "search", "over"),
            f"spec.train.search.over has {combinations} combinations, must have at most {MOST}",
            "draw some of them: `random: {trials: 20}`",
        )
    if search.random is not None and (drawn := len(plan_trials(train))) < search.random.trials:
        yield SpecFinding(
            ("spec", "train", "search", "random", "trials"),
            f"spec.train.search.random.trials is {search.random.trials}, must be at most {drawn}: there are no more "
            "different trials",
        )
    between = search.random.between if search.random is not None else {}
    for name, where in (
        *((n, ("over",)) for n in search.over),
        *((n, ("random", "between")) for n in between),
    ):
        if name not in train.parameters:
            location = ("spec", "train", "search", *where, name)
            message, hint = _describe_unknown(
                location, name, train.parameters, of="the parameters under spec.train.parameters"
            )
            yield SpecFinding(
                location,
                message,
                hint or "a parameter that is searched needs a default there",
                key=True,
            )


def _check_gpus(pipeline: Pipeline) -> Iterator[SpecFinding]:
    spec = pipeline.spec
    asking: list[tuple[tuple[str | int, ...], Resources]] = [
        *((("spec", "data", "steps", i), step.resources) for i, step in enumerate(spec.data.steps)),
        (("spec", "train"), spec.train.resources),
        (("spec", "evaluate"), spec.evaluate.resources),
        *_list_served_resources(pipeline),
    ]
    for at, resources in asking:
        name = resources.gpu_profile
        if name is not None and name != "default" and name not in spec.gpus:
            location = (*at, "resources", "gpuProfile")
            message, hint = _describe_unknown(
                location, name, {"default", *spec.gpus}, of="the GPU profiles under spec.gpus"
            )
            yield SpecFinding(location, message, hint)
    served = [
        (at, part.gpu_profile or "default")
        for at, part in _list_served_resources(pipeline)
        if part.gpu
    ]
    for at, name in served:
        if name != served[0][1]:
            yield SpecFinding(
                (*at, "resources"),
                f"{format_location((*at, 'resources'))} asks for a GPU of profile `{name}`, must be of `{served[0][1]}` as "
                f"{format_location(served[0][0])} asks for: all of a graph is one pod, on one node",
            )


def _check_annotations(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Seldon's executor drops all of its settings, the time of an answer among them, for one `=`."""
    spec = pipeline.spec
    if spec.serve.backend != "seldon":
        return
    for at, settings in ((("spec", "pods"), spec.pods), (("spec", "serve", "pod"), spec.serve.pod)):
        for name, value in settings.annotations.items():
            location = (*at, "annotations", name)
            if "=" in value:
                yield SpecFinding(
                    location,
                    f"{format_location(location)} is `{value}`, must not hold `=` with `backend: seldon`: its "
                    "executor would lose its own annotations",
                    "use `backend: plain`"
                    if at[1] == "serve"
                    else "give it to the roles that need it, or use `backend: plain`",
                )


def _check_volumes(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Two volumes at one path of a container: Kubernetes refuses the pod."""
    for place, environment in list_environments(pipeline):
        first: dict[str, int] = {}
        for index, volume in enumerate(environment.volumes):
            earlier = first.setdefault(volume.mount_path, index)
            if earlier != index:
                location = (*place, "volumes", index, "mountPath")
                yield SpecFinding(
                    location,
                    f"{format_location(location)} is `{volume.mount_path}`, must not be that of "
                    f"{format_location((*place, 'volumes', earlier))}",
                )


def _list_served_resources(pipeline: Pipeline) -> Iterator[tuple[tuple[str | int, ...], Resources]]:
    """Yield the resources of the containers of a version's pod."""
    serve = pipeline.spec.serve
    yield ("spec", "serve"), serve.resources
    for at, node in walk_nodes(serve.graph) if serve.graph is not None else ():
        if not isinstance(node, Released):
            yield (*GRAPH, *at), node.resources


def _check_serving(pipeline: Pipeline) -> Iterator[SpecFinding]:
    serve = pipeline.spec.serve
    limits = backend_limits(serve)
    if is_prepackaged(serve) and not limits.runs_prepackaged:
        yield SpecFinding(
            ("spec", "serve", "backend"),
            f"spec.serve.backend is `{serve.backend}`, must be `seldon` with `server: "
            f"{serve.server}`: only Seldon's operator brings that server along",
            "or load the model in a Python class of your own: `server: python`",
        )
    if serve.max_request_bytes != DEFAULT_REQUEST_LIMIT and not limits.names_routes:
        yield SpecFinding(
            ("spec", "serve", "maxRequestBytes"),
            f"spec.serve.maxRequestBytes is `{serve.max_request_bytes}`, must be "
            f"`{DEFAULT_REQUEST_LIMIT}` with `backend: {serve.backend}`: its operator writes the "
            "route, which has the platform's bound",
            "`backend: plain` writes a route with a bound of its own",
        )
    if serve.graph is None:
        return
    if not limits.runs_graphs:
        yield SpecFinding(
            ("spec", "serve", "backend"),
            f"spec.serve.backend is `{serve.backend}`, must be `seldon` with a graph: only Seldon's executor walks one",
            "or do it all in one Python class, without `graph`",
        )
    able = speaking("seldon")
    if serve.server not in able:
        yield SpecFinding(
            ("spec", "serve", "server"),
            f"spec.serve.server is `{serve.server}`, must speak `seldon` with a graph, as {format_names(able)} do: its "
            "nodes are Python classes, which speak nothing else",
        )
    elif serve.protocol != "seldon":
        yield SpecFinding(
            ("spec", "serve", "protocol"),
            f"spec.serve.protocol is `{serve.protocol}`, must be `seldon` with a graph: its nodes are Python classes, "
            "which speak nothing else",
        )
    yield from _check_graph(serve.graph)


def _check_access(pipeline: Pipeline) -> Iterator[SpecFinding]:
    access, serve = pipeline.spec.access, pipeline.spec.serve
    if access is not None and access.cors is not None and not backend_limits(serve).names_routes:
        yield SpecFinding(
            ("spec", "access", "cors"),
            f"spec.access.cors needs `backend: plain`: with `{serve.backend}` its operator writes the route",
            "`backend: plain` writes a route that browsers can be let in by; or serve the page from the gateway's host",
            key=True,
        )


def _check_rehearsal(pipeline: Pipeline) -> Iterator[SpecFinding]:
    spec = pipeline.spec
    chosen = "rehearse" in spec.model_fields_set and spec.rehearse is not None
    if chosen and not can_rehearse(spec.serve):
        server = "a graph" if spec.serve.graph is not None else f"`server: {spec.serve.server}`"
        yield SpecFinding(
            ("spec", "rehearse"),
            f"spec.rehearse can't start {server}",
            hint="only a model behind a class of your own can be rehearsed; write `rehearse: off`",
            key=True,
        )


def _check_answers(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """A monitor of answers is fitted on those of the rehearsal; nothing else has them."""
    spec = pipeline.spec
    if spec.rehearse is not None and can_rehearse(spec.serve):
        return
    hint = "leave out `rehearse: off`, or watch the requests: `on: request`"
    if not can_rehearse(spec.serve):
        server = "a graph" if spec.serve.graph is not None else f"`server: {spec.serve.server}`"
        hint = f"{server} can't be rehearsed, only a model behind a class of your own; watch the requests: `on: request`"
    for name, detector in spec.monitors.items():
        if detector.on != "request":
            location = ("spec", "monitors", name, "on")
            yield SpecFinding(
                location,
                f"{format_location(location)} is `{detector.on}`, must be `request` without a rehearsal: its "
                "reference is what the candidate's own server answers to held-out rows",
                hint,
            )


def _check_rollout(pipeline: Pipeline) -> Iterator[SpecFinding]:
    serve = pipeline.spec.serve
    limit, slowest = pipeline.spec.rollout.canary.p99, backend_limits(serve).slowest
    if limit is not None and slowest is not None and limit >= slowest:
        yield SpecFinding(
            ("spec", "rollout", "canary", "p99"),
            f"spec.rollout.canary.p99 is `{written(limit)}`, must be shorter than {written(slowest)} with "
            f"`backend: {serve.backend}`: it measures no further, so a candidate could never break it",
            "leave it out, or use `backend: plain`",
        )


def _check_approvals(pipeline: Pipeline) -> Iterator[SpecFinding]:
    spec = pipeline.spec
    if spec.rollout.promote == "manual" or any(step.approve for step in spec.data.steps):
        return
    for field, key in (("approvers", "approvers"), ("approve_within", "approveWithin")):
        if field in spec.model_fields_set:
            location = ("spec", key)
            yield SpecFinding(
                location,
                f"{format_location(location)} must be left out where nothing waits for a person",
                "set `rollout: {promote: manual}`, or `approve: true` on a data step",
                key=True,
            )


def _check_graph(root: Node) -> Iterator[SpecFinding]:
    graph_nodes = tuple(walk_nodes(root))
    released = [at for at, node in graph_nodes if isinstance(node, Released)]
    if len(released) != 1:
        yield SpecFinding(
            GRAPH,
            f"{format_location(GRAPH)} has {len(released)} nodes of type `released`, must have exactly one",
            "the model that the pipeline trains is written as `{type: released}`",
        )
    if isinstance(root, Released):
        yield SpecFinding(
            GRAPH,
            f"{format_location(GRAPH)} is the released model alone, must have a node above it",
            "leave `graph` out",
        )
    deepest = max(len(at) // 2 + 1 for at, _ in graph_nodes)
    if len(graph_nodes) > NODES or deepest > DEPTH:
        yield SpecFinding(
            GRAPH,
            f"{format_location(GRAPH)} has {len(graph_nodes)} nodes, {deepest} deep, must have at most {NODES}, {DEPTH} deep",
            "each node is a container in every pod of every version",
        )
    seen: dict[str, tuple[str | int, ...]] = dict.fromkeys(TAKEN, ())
    for at, node in graph_nodes:
        if isinstance(node, Released):
            continue
        if node.name in seen:
            place = (*GRAPH, *at, "name")
            earlier = seen[node.name]
            allowed = (
                f"must be none of {format_names(TAKEN)}: those names are taken"
                if node.name in TAKEN
                else f"must not be that of {format_location((*GRAPH, *earlier))}"
            )
            yield SpecFinding(place, f"{format_location(place)} is `{node.name}`, {allowed}")
        seen.setdefault(node.name, at)


def _check_monitors(pipeline: Pipeline) -> Iterator[SpecFinding]:
    data = pipeline.spec.data
    features = _list_features(data)
    for name, detector in pipeline.spec.monitors.items():
        location = ("spec", "monitors", name, "columns")
        columns = detector.columns.split(",") if detector.columns is not None else []
        for column in columns if detector.on == "request" else ():
            shown = f"{format_location(location)} names `{column}`"
            if column == data.target:
                yield SpecFinding(
                    location,
                    f"{shown}, must not: it is the target (`data.target`), which no request has",
                )
            elif features and column not in features:
                yield SpecFinding(
                    location,
                    f"{shown}, must be of `data.features`: {format_names(features)}",
                    suggest_closest(column, features, fold=True),
                )
            if data.columns.get(column) == "ignore":
                yield SpecFinding(location, f"{shown}, must not: `data.columns` ignores it")
        if len(set(columns)) < len(columns):
            yield SpecFinding(location, f"{format_location(location)} must name each column once")
        for column in _list_private_slices(pipeline.spec.capture, detector):
            place = ("spec", "monitors", name, "slices")
            yield SpecFinding(
                place,
                f"{format_location(place)} names `{column}`, must not: `capture` drops or hashes it, and the values of "
                "slices are told",
            )
        if isinstance(detector, Quality) and data.target in detector.slice_columns:
            place = ("spec", "monitors", name, "slices")
            yield SpecFinding(
                place,
                f"{format_location(place)} names `{data.target}`, must not: no request has the target",
            )


def _list_private_slices(capture: Capture | None, detector: Detector) -> tuple[str, ...]:
    if capture is None or not isinstance(detector, Quality):
        return ()
    return tuple(name for name in detector.slice_columns if name in capture.private)


def _list_features(data: Data) -> tuple[str, ...]:
    """Return the columns that `data.features` names; none for all of them."""
    return () if data.features == EVERYTHING else tuple(data.features.split(","))


def _check_column_uses(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Check the columns that `data.columns` names: those that the detectors may get."""
    data = pipeline.spec.data
    features = _list_features(data)
    for name, use in data.columns.items():
        location = ("spec", "data", "columns", name)
        shown = f"{format_location(location)} is `{use}`"
        if name == data.target:
            yield SpecFinding(
                location, f"{shown}, must not be there: `{name}` is the target (`data.target`)"
            )
        elif features and use == "ignore" and name in features:
            yield SpecFinding(location, f"{shown}, must not: `data.features` names the column")
        elif features and name not in features:
            yield SpecFinding(
                location,
                f"{shown}, must be of `data.features`: {format_names(features)}",
                suggest_closest(name, features, fold=True),
            )


def _check_functions(pipeline: Pipeline) -> Iterator[SpecFinding]:
    for name, detector in pipeline.spec.monitors.items():
        if isinstance(detector, UserFunction) and detector.resources.gpu:
            location = ("spec", "monitors", name, "resources", "gpu")
            yield SpecFinding(
                location,
                f"{format_location(location)} is {detector.resources.gpu}, must be left out: the function of a "
                "monitor gets no GPU",
            )


def _check_classes(pipeline: Pipeline) -> Iterator[SpecFinding]:
    for name, detector in pipeline.spec.monitors.items():
        if not isinstance(detector, AlibiDetect):
            continue
        known = ALIBI_CLASSES[detector.alibi.class_].settings
        for setting, problem in find_setting_problems(
            detector.alibi.class_, detector.alibi.settings
        ):
            location = ("spec", "monitors", name, "alibi", "settings", setting)
            hint = suggest_closest(setting, known) if setting not in known else None
            yield SpecFinding(
                location, f"{format_location(location)} {problem}", hint, key=setting not in known
            )


def _check_schema(pipeline: Pipeline) -> Iterator[SpecFinding]:
    for name, detector in pipeline.spec.monitors.items():
        if isinstance(detector, Schema) and detector.on == "response":
            location = ("spec", "monitors", name, "on")
            yield SpecFinding(
                location,
                f"{format_location(location)} is `response`, must be `request`: `schema` reads requests",
                "`tabular` watches answers",
            )


def _check_effects(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Look for alarms whose effect is said in two ways, or whose count has none."""
    spec = pipeline.spec
    effects = choose_effects(spec)
    for name, detector in spec.monitors.items():
        location = ("spec", "monitors", name)
        then = detector.then
        if then is not None and spec.retrain.on is not None:
            named = name in spec.retrain.on
            if named != (then == "retrain"):
                place = (*location, "then")
                yield SpecFinding(
                    place,
                    f"{format_location(place)} is `{then}`, and `retrain.on` "
                    f"{'names' if named else 'does not name'} it: must say the same",
                    f"{'take it out of' if named else 'name it in'} `retrain.on`, or leave one of the two out",
                )
        if detector.alarms is not None and effects[name] not in COUNTED:
            place = (*location, "alarms")
            yield SpecFinding(
                place,
                f"{format_location(place)} has no effect: alarms of `{name}` are told one by one, must "
                "start runs, halt the loop or go back to be counted",
                "add `then: retrain`, `then: halt` or `then: rollback`",
            )


def _check_retrain(pipeline: Pipeline) -> Iterator[SpecFinding]:
    spec = pipeline.spec
    seen: set[str] = set()
    for index, name in enumerate(spec.retrain.on or ()):
        location = ("spec", "retrain", "on", index)
        if name not in spec.monitors:
            message, hint = _describe_unknown(
                location, name, spec.monitors, of="the monitors under spec.monitors"
            )
            yield SpecFinding(
                location, message, hint or f"declare it: `monitors: {{{name}: {{}}}}`"
            )
        if name in seen:
            yield SpecFinding(
                location, f"{format_location(location)} is `{name}`, must appear once"
            )
        seen.add(name)


def _check_names(pipeline: Pipeline) -> Iterator[SpecFinding]:
    namespace = pipeline.metadata.namespace or pipeline.metadata.name
    if namespace in PLATFORM_NAMESPACES or namespace.startswith("kube-"):
        location = ("metadata", "namespace" if pipeline.metadata.namespace else "name")
        yield SpecFinding(
            location,
            f"{format_location(location)} is `{namespace}`, must not be a namespace of the platform",
            "set `metadata.namespace` to one of the pipeline's own",
        )


def _describe_unknown(
    location: tuple[str | int, ...],
    name: str,
    known: Iterable[str],
    *,
    of: str = "the images under spec.images",
) -> tuple[str, str | None]:
    names = sorted(known)
    listed = format_names(names) or "none is declared"
    message = f"{format_location(location)} is `{name}`, must be one of {of}: {listed}"
    return message, suggest_closest(name, names)
