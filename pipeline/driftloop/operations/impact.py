"""Impact of a new spec on a pipeline: settings, objects, effects on what runs, and surprises."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from driftloop.contract.names import COMPONENT_LABEL, ON_NEW_DATA, RELEASE_LABEL
from driftloop.contract.trees import KUSTOMIZATION, RELEASE, SPEC, release_path, spec_path
from driftloop.errors import RenderError
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.render.diff import diff
from driftloop.spec import InvalidSpec, load

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OWN = ("decision", "judge")
"""Deployments below monitors/ that are not detectors."""

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace, name."""


@dataclass(frozen=True)
class Setting:
    """One value of the spec, defaults filled in; None where it is absent."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Resource:
    """One object that is added, changed or removed."""

    change: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Surprise:
    """An effect that an edit of the spec seldom intends; `--allow` takes its `code`."""

    code: str
    what: str
    why: str


@dataclass(frozen=True)
class Impact:
    """Settings, objects, effects and surprises of a change. Empty exactly when no file changes."""

    settings: tuple[Setting, ...] = ()
    resources: tuple[Resource, ...] = ()
    effects: tuple[str, ...] = ()
    surprises: tuple[Surprise, ...] = ()


SURPRISES: Mapping[str, str] = {
    "predictor-removed": "a predictor that answers requests goes away",
    "detector-removed": "a detector of the production version goes away",
}
"""Descriptions of surprises by code."""


class SurpriseError(RenderError):
    """A change has a surprise that is not allowed."""


def impact(old: Mapping[str, str], new: Mapping[str, str], *, pipeline: str) -> Impact:
    """Return the impact of replacing the files `old` of a pipeline with `new`. Releases and the
    new spec are valid.

    Settings are not compared with an old spec that this version can't load.
    """
    if old == new:
        return Impact()
    # objects in unchanged files are the same on both sides
    changed = {change.path for change in diff(old, new)}
    before, after = (_objects({path: files[path] for path in files if path in changed}) for files in (old, new))
    release = _release(old, pipeline)
    resources = tuple(_resources(before, after))
    effects = tuple(_effects(before, after, release)) if old else (_NEW,)
    return Impact(
        tuple(_settings(old, new, pipeline)),
        resources,
        effects or (_NONE if not resources else _ASIDE,),
        tuple(_surprises(before, after, release)),
    )


def refuse(impact: Impact, allowed: frozenset[str] = frozenset()) -> None:
    """Raise SurpriseError for the surprises that are not allowed."""
    left = [surprise for surprise in impact.surprises if surprise.code not in allowed]
    if left:
        raise SurpriseError(
            "; ".join(f"{surprise.what}: {surprise.why}" for surprise in left),
            hint="to allow it: " + " ".join(f"--allow {code}" for code in sorted({s.code for s in left})),
        )


_NEW = "the pipeline is new: predictions are answered once its first run has released a version"
_NONE = "no object changes"
_ASIDE = "no run, model server or detector changes"


def _objects(files: Mapping[str, str]) -> dict[Key, Json]:
    objects: dict[Key, Json] = {}
    for path, text in files.items():
        if path.rpartition("/")[2] in (SPEC, RELEASE, KUSTOMIZATION):
            continue
        for document in yaml.load_all(text, Loader=_LOADER):
            if isinstance(document, dict) and "kind" in document:
                about = document.get("metadata") or {}
                key = (str(document["kind"]), str(about.get("namespace", "")), str(about.get("name", "")))
                objects[key] = document
    return objects


def _release(files: Mapping[str, str], pipeline: str) -> Release | None:
    path = release_path(pipeline)
    return record.load(files[path], path=path) if path in files else None


def _settings(old: Mapping[str, str], new: Mapping[str, str], pipeline: str) -> Iterator[Setting]:
    path = spec_path(pipeline)
    if path in old and path in new:
        try:
            before = load(old[path], path=path).spec
        except InvalidSpec:
            return
        after = load(new[path], path=path).spec
        yield from _compared(*(spec.model_dump(mode="json", by_alias=True) for spec in (before, after)), path="")


def _compared(old: Any, new: Any, *, path: str) -> Iterator[Setting]:
    """Yield every value that differs, by its dotted path; a list is one value, unless its
    entries have names."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compared(old.get(key), new.get(key), path=f"{path}.{key}" if path else str(key))
    elif _named(old) and _named(new):
        before, after = ({item["name"]: item for item in items} for items in (old, new))
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _compared(before.get(name), after.get(name), path=f"{path}[{name}]")
    elif old != new:
        yield Setting(path, old, new)


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _resources(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[Resource]:
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield Resource("added" if key not in before else "removed" if key not in after else "changed", *key)


def _effects(before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None) -> Iterator[str]:
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    templates = {name for kind, _, name in changed if kind == "WorkflowTemplate"}
    if any(not name.endswith("-release") for name in templates):
        yield "the next training run uses the new steps; a current run keeps its own"
    if any(name.endswith("-release") for name in templates):
        yield "the next rollout uses the new steps; a current rollout keeps its own"
    for key in sorted(key for key in changed if key[0] == "CronWorkflow"):
        yield _scheduled(before.get(key), after.get(key))
    if any(kind in ("EventSource", "Sensor") for kind, _, _ in changed):
        yield "the webhook restarts; requests sent meanwhile are retried"
    yield from _serving(_served(before), _served(after), release)
    yield from _asked(before, after)
    yield from _scaling(before, after, release)
    yield from _detectors(_watching(before), _watching(after))
    for component in _OWN:
        if any(_component(after.get(key, {})) == component for key in changed if key[0] == "Deployment"):
            yield f"the {component} service restarts and continues where it was"
    if any(kind in ("Broker", "Trigger") for kind, _, _ in changed):
        yield "the routes of events change"


def _served(objects: Mapping[Key, Json]) -> dict[str, tuple[str, Json]]:
    """Return the kind of object that serves each release id, and what its pods are made from."""
    served: dict[str, tuple[str, Json]] = {}
    for (kind, _, _), document in objects.items():
        if kind == "SeldonDeployment":
            for predictor in document["spec"]["predictors"]:
                pods = {k: value for k, value in predictor.items() if k not in ("traffic", "shadow", "replicas")}
                pods["componentSpecs"] = [_without(part, "hpaSpec") for part in predictor["componentSpecs"]]
                pods["protocol"] = document["spec"]["protocol"]
                served[predictor["name"]] = (kind, pods)
        elif kind == "Deployment" and _component(document) == "serving":
            id = document["metadata"]["labels"][RELEASE_LABEL]
            served[id] = (kind, _without(document["spec"], "replicas"))
    return served


def _asked(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    old, new = (
        [document["spec"]["protocol"] for (kind, _, _), document in objects.items() if kind == "SeldonDeployment"]
        for objects in (before, after)
    )
    if old and new and old != new:
        yield (f"requests and answers use protocol `{new[0]}` at another path: clients have to change as well")


def _scheduled(before: Json | None, after: Json | None) -> str:
    spec = (after or before or {}).get("spec", {})
    times = ", ".join(spec.get("schedules", ()))
    if spec.get("workflowSpec", {}).get("entrypoint") == ON_NEW_DATA:
        return (
            f"new data is looked for at {times} (UTC)" if after is not None else "new data does not start runs any more"
        )
    return f"runs also start at {times} (UTC)" if after is not None else "no schedule starts runs any more"


def _without(document: Json, key: str) -> Json:
    return {name: value for name, value in document.items() if name != key}


def _scales(objects: Mapping[Key, Json]) -> dict[str, str]:
    """Return the number of pods of each release id, in words."""
    scales: dict[str, str] = {}
    for (kind, _, _), document in objects.items():
        if kind == "SeldonDeployment":
            for predictor in document["spec"]["predictors"]:
                scaled = [part["hpaSpec"] for part in predictor["componentSpecs"] if "hpaSpec" in part]
                fixed = f"{predictor.get('replicas', 1)} pods"
                scales[predictor["name"]] = _between(scaled[0], "metricsv2") if scaled else fixed
        elif kind in ("Deployment", "HorizontalPodAutoscaler") and _component(document) == "serving":
            id, spec = document["metadata"]["labels"][RELEASE_LABEL], document["spec"]
            if kind == "HorizontalPodAutoscaler":
                scales[id] = _between(spec, "metrics")
            elif "replicas" in spec:
                scales[id] = f"{spec['replicas']} pods"
    return scales


def _between(scaled: Json, metrics: str) -> str:
    aim = scaled[metrics][0]["resource"]["target"]["averageUtilization"]
    return f"{scaled['minReplicas']} to {scaled['maxReplicas']} pods, with a target of {aim} % of their requested CPU"


def _scaling(before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None) -> Iterator[str]:
    old, new = _scales(before), _scales(after)
    for id in old:
        if id in new and old[id] != new[id]:
            yield f"{_role(id, release)} {id} runs with {new[id]}"


def _serving(
    before: Mapping[str, tuple[str, Json]], after: Mapping[str, tuple[str, Json]], release: Release | None
) -> Iterator[str]:
    for id in before:
        role = _role(id, release)
        if id not in after:
            yield f"{role} {id} goes away"
        elif before[id][0] != after[id][0]:
            yield f"{role} {id} is removed as {before[id][0]} and added as {after[id][0]}"
        elif before[id][1] != after[id][1]:
            yield f"{role} {id} gets new pods by a rolling update"
    for id in after:
        if id not in before:
            yield f"{_role(id, release)} {id} starts"


def _watching(objects: Mapping[Key, Json]) -> dict[str, Json]:
    """Return the Deployment of each detector."""
    return {
        _component(document): document["spec"]
        for (kind, _, _), document in objects.items()
        if kind == "Deployment" and _component(document) not in ("", "serving", *_OWN)
    }


def _detectors(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"the {name} detector stops"
        elif name not in before:
            yield f"the {name} detector starts"
        elif before[name] != after[name]:
            yield f"the {name} detector restarts and continues where it was"


def _surprises(before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None) -> Iterator[Surprise]:
    old, new = _served(before), _served(after)
    for id, (kind, _) in old.items():
        share = release.weights.get(id, 0) if release is not None else 0
        if share and (id not in new or new[id][0] != kind):
            then = f"is replaced by a {new[id][0]}" if id in new else "is not replaced"
            why = "requests fail until the new pods are routed to" if id in new else "its share of the requests fails"
            yield Surprise("predictor-removed", f"{id} answers {share} % of the requests as {kind} and {then}", why)
    production = release.production if release is not None else None
    if production is None:
        return
    left = _watching(after)
    for name in sorted(_watching(before)):
        if name not in left:
            what = f"the {name} detector of production {production.id} goes away"
            yield Surprise("detector-removed", what, "its traffic is not monitored for that any more")


def _component(document: Json) -> str:
    return str(((document.get("metadata") or {}).get("labels") or {}).get(COMPONENT_LABEL, ""))


def _role(id: str, release: Release | None) -> str:
    if release is not None and release.production is not None and release.production.id == id:
        return "production"
    if release is not None and release.candidate is not None and release.candidate.id == id:
        return "candidate"
    return "release"
