"""Impact of a new spec on a pipeline: settings, objects, effects on what runs, and surprises."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.limits import read_route_limit
from driftloop.contract.names import COMPONENT_LABEL, ON_NEW_DATA, RELEASE_LABEL
from driftloop.contract.trees import KUSTOMIZATION, RELEASE, SPEC, release_path, spec_path
from driftloop.errors import RenderError
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.render import PatchedValue, patch_tree
from driftloop.render.diff import compare_trees
from driftloop.resources.workflows.fitting import FIT
from driftloop.spec import InvalidSpec, load_spec
from driftloop.text.load import load_documents

_OWN = ("decision", "judge", "recorder")
"""Deployments below monitors/ that are not detectors."""

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace, name."""


@dataclass(frozen=True)
class SettingChange:
    """One value of the spec, defaults filled in; None where it is absent."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ObjectChange:
    """One object that is added, changed or removed."""

    change: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class ImpactSurprise:
    """An effect that an edit of the spec seldom intends; `--allow` takes its `code`."""

    code: str
    what: str
    why: str


@dataclass(frozen=True)
class SpecImpact:
    """Settings, objects, effects and surprises of a change. Empty exactly when no file changes."""

    settings: tuple[SettingChange, ...] = ()
    resources: tuple[ObjectChange, ...] = ()
    effects: tuple[str, ...] = ()
    surprises: tuple[ImpactSurprise, ...] = ()
    patches: tuple[PatchedValue, ...] = ()
    """What the new spec's patches change of the objects that it renders to."""


SURPRISES: Mapping[str, str] = {
    "predictor-removed": "a predictor that answers requests goes away",
    "detector-removed": "a detector of the production version goes away",
    "rollout-left": "a rollout is run by steps of another version, which can't end it any more",
    "jetstream-full": "the platform's JetStream has no room for the streams",
}
"""Descriptions of surprises by code."""


class SurpriseError(RenderError):
    """A change has a surprise that is not allowed."""


def assess_impact(old: Mapping[str, str], new: Mapping[str, str], *, pipeline: str) -> SpecImpact:
    """Return the impact of replacing the files `old` of a pipeline with `new`. Releases and the
    new spec are valid.

    Settings are not compared with an old spec that this version can't load.
    """
    if old == new:
        return SpecImpact()
    earlier, patched = patch_tree(old).files, patch_tree(new)
    # objects in unchanged files are the same on both sides
    changed = {change.path for change in compare_trees(earlier, patched.files)}
    before, after = (
        _parse_objects({path: files[path] for path in files if path in changed})
        for files in (earlier, patched.files)
    )
    release = _read_release(old, pipeline)
    resources = tuple(_compare_objects(before, after))
    effects = tuple(_describe_effects(before, after, release)) if old else (_NEW,)
    return SpecImpact(
        tuple(_compare_specs(old, new, pipeline)),
        resources,
        effects or (_NONE if not resources else _ASIDE,),
        tuple(_find_surprises(before, after, release)),
        patched.values,
    )


def refuse_surprises(impact: SpecImpact, allowed: frozenset[str] = frozenset()) -> None:
    """Raise SurpriseError for the surprises that are not allowed."""
    left = [surprise for surprise in impact.surprises if surprise.code not in allowed]
    if left:
        raise SurpriseError(
            "; ".join(f"{surprise.what}: {surprise.why}" for surprise in left),
            hint="to allow it: "
            + " ".join(f"--allow {code}" for code in sorted({s.code for s in left})),
        )


OWN_IMAGE = "driftloop"
"""Last part of the name of the image that steps run."""
ROLLOUT = "-release"
"""End of the name of the WorkflowTemplate of rollouts."""
_NEW = "the pipeline is new: predictions are answered once its first run has released a version"
_NONE = "no object changes"
_ASIDE = "no run, model server or detector changes"


def _parse_objects(files: Mapping[str, str]) -> dict[Key, Json]:
    objects: dict[Key, Json] = {}
    for path, text in files.items():
        if path.rpartition("/")[2] in (SPEC, RELEASE, KUSTOMIZATION):
            continue
        for document in load_documents(text, path, error=RenderError):
            if isinstance(document, dict) and "kind" in document:
                about = document.get("metadata") or {}
                key = (
                    str(document["kind"]),
                    str(about.get("namespace", "")),
                    str(about.get("name", "")),
                )
                objects[key] = document
    return objects


def _read_release(files: Mapping[str, str], pipeline: str) -> Release | None:
    path = release_path(pipeline)
    return record.load_release(files[path], path=path) if path in files else None


def _compare_specs(
    old: Mapping[str, str], new: Mapping[str, str], pipeline: str
) -> Iterator[SettingChange]:
    path = spec_path(pipeline)
    if path in old and path in new:
        try:
            before = load_spec(old[path], path=path).spec
        except InvalidSpec:
            return
        after = load_spec(new[path], path=path).spec
        yield from _compare_values(
            *(spec.model_dump(mode="json", by_alias=True) for spec in (before, after)), path=""
        )


def _compare_values(old: Any, new: Any, *, path: str) -> Iterator[SettingChange]:
    """Yield every value that differs, by its dotted path; a list is one value, unless its
    entries have names."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compare_values(
                old.get(key), new.get(key), path=f"{path}.{key}" if path else str(key)
            )
    elif _has_names(old) and _has_names(new):
        before, after = ({item["name"]: item for item in items} for items in (old, new))
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _compare_values(before.get(name), after.get(name), path=f"{path}[{name}]")
    elif old != new:
        yield SettingChange(path, old, new)


def _has_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )


def _compare_objects(
    before: Mapping[Key, Json], after: Mapping[Key, Json]
) -> Iterator[ObjectChange]:
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield ObjectChange(
                "added" if key not in before else "removed" if key not in after else "changed", *key
            )


def _describe_effects(
    before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None
) -> Iterator[str]:
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    templates = {name for kind, _, name in changed if kind == "WorkflowTemplate"}
    if any(not name.endswith(ROLLOUT) for name in templates):
        yield "the next training run uses the new steps; a current run keeps its own"
    if any(name.endswith(ROLLOUT) for name in templates):
        yield "the next rollout uses the new steps; a current rollout keeps its own"
    for key in sorted(key for key in changed if key[0] == "CronWorkflow"):
        yield _describe_schedule(before.get(key), after.get(key))
    if any(kind in ("EventSource", "Sensor") for kind, _, _ in changed):
        yield "the webhook restarts; requests sent meanwhile are retried"
    yield from _describe_serving(_find_served(before), _find_served(after), release)
    yield from _describe_protocol(before, after)
    yield from _describe_limit(before, after)
    yield from _describe_login(before, after)
    yield from _describe_scaling(before, after, release)
    yield from _describe_detectors(_find_detectors(before), _find_detectors(after))
    if release is not None and release.production is not None:
        yield from _describe_fits(before, after)
    for component in _OWN:
        if any(
            key in before and _read_component(after.get(key, {})) == component
            for key in changed
            if key[0] == "Deployment"
        ):
            yield f"the {component} service restarts and continues where it was"
    yield from _describe_recorder(before, after)
    for kind, _, name in sorted(changed & before.keys() & after.keys()):
        if kind == "ServiceAccount":
            yield f"pods of the account {name} that start from now on have its new settings"
    if any(kind in ("Broker", "Trigger") for kind, _, _ in changed):
        yield "the routes of events change"


def _describe_recorder(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    earlier, later = (
        any(
            key[0] == "Deployment" and _read_component(item) == "recorder"
            for key, item in each.items()
        )
        for each in (before, after)
    )
    if later and not earlier:
        yield "the traffic is recorded from now on"
    elif earlier and not later:
        yield "the traffic is not recorded any longer; what was recorded stays"


def _find_served(objects: Mapping[Key, Json]) -> dict[str, tuple[str, Json]]:
    """Return the kind of object that serves each release id, and what its pods are made from."""
    served: dict[str, tuple[str, Json]] = {}
    for (kind, _, _), document in objects.items():
        if kind == "SeldonDeployment":
            for predictor in document["spec"]["predictors"]:
                pods = {
                    k: value for k, value in predictor.items() if k not in ("traffic", "replicas")
                }
                pods["componentSpecs"] = [
                    _drop_key(part, "hpaSpec") for part in predictor["componentSpecs"]
                ]
                pods["protocol"] = document["spec"]["protocol"]
                served[predictor["name"]] = (kind, pods)
        elif kind == "Deployment" and _read_component(document) == "serving":
            id = document["metadata"]["labels"][RELEASE_LABEL]
            served[id] = (kind, _drop_key(document["spec"], "replicas"))
    return served


def _describe_protocol(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    old, new = (
        [
            document["spec"]["protocol"]
            for (kind, _, _), document in objects.items()
            if kind == "SeldonDeployment"
        ]
        for objects in (before, after)
    )
    if old and new and old != new:
        yield (
            f"requests and answers use protocol `{new[0]}` at another path: clients have to change as well"
        )


def _describe_limit(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    """Yield what changes of the largest request that the gateway takes."""
    for key in sorted(before.keys() & after.keys()):
        if key[0] != "VirtualService":
            continue
        old, new = (
            [read_route_limit(route.get("name")) for route in objects[key]["spec"]["http"][:1]]
            for objects in (before, after)
        )
        if old != new:
            yield (
                f"the gateway takes requests of up to {new[0] >> 20} MiB, before {old[0] >> 20} "
                "MiB; others get 413"
            )


def _describe_login(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    """Yield what changes of who may ask at the gateway."""
    old, new = (
        {key: item for key, item in each.items() if _is_login(key)} for each in (before, after)
    )
    if new and not old:
        yield "callers must log in: the gateway refuses predictions without a login from now on"
    elif old and not new:
        yield "everybody who reaches the gateway may ask the model from now on"
    elif old != new:
        yield "who may ask the model at the gateway changes"


def _is_login(key: Key) -> bool:
    """Return True for an object of the gateway's login."""
    kind, _, name = key
    return kind in ("RequestAuthentication", "AuthorizationPolicy") and name.endswith("-access")


def _describe_schedule(before: Json | None, after: Json | None) -> str:
    spec = (after or before or {}).get("spec", {})
    times = ", ".join(spec.get("schedules", ()))
    if spec.get("workflowSpec", {}).get("entrypoint") == ON_NEW_DATA:
        return (
            f"new data is looked for at {times} (UTC)"
            if after is not None
            else "new data does not start runs any more"
        )
    return (
        f"runs also start at {times} (UTC)"
        if after is not None
        else "no schedule starts runs any more"
    )


def _drop_key(document: Json, key: str) -> Json:
    return {name: value for name, value in document.items() if name != key}


def _find_scales(objects: Mapping[Key, Json]) -> dict[str, str]:
    """Return the number of pods of each release id, in words."""
    scales: dict[str, str] = {}
    for (kind, _, _), document in objects.items():
        if kind == "SeldonDeployment":
            for predictor in document["spec"]["predictors"]:
                scaled = [
                    part["hpaSpec"] for part in predictor["componentSpecs"] if "hpaSpec" in part
                ]
                fixed = f"{predictor.get('replicas', 1)} pods"
                scales[predictor["name"]] = (
                    _describe_autoscaling(scaled[0], "metricsv2") if scaled else fixed
                )
        elif (
            kind in ("Deployment", "HorizontalPodAutoscaler")
            and _read_component(document) == "serving"
        ):
            id, spec = document["metadata"]["labels"][RELEASE_LABEL], document["spec"]
            if kind == "HorizontalPodAutoscaler":
                scales[id] = _describe_autoscaling(spec, "metrics")
            elif "replicas" in spec:
                scales[id] = f"{spec['replicas']} pods"
    return scales


def _describe_autoscaling(scaled: Json, metrics: str) -> str:
    aim = scaled[metrics][0]["resource"]["target"]["averageUtilization"]
    return f"{scaled['minReplicas']} to {scaled['maxReplicas']} pods, with a target of {aim} % of their requested CPU"


def _describe_scaling(
    before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None
) -> Iterator[str]:
    old, new = _find_scales(before), _find_scales(after)
    for id in old:
        if id in new and old[id] != new[id]:
            yield f"{_name_role(id, release)} {id} runs with {new[id]}"


def _describe_serving(
    before: Mapping[str, tuple[str, Json]],
    after: Mapping[str, tuple[str, Json]],
    release: Release | None,
) -> Iterator[str]:
    for id in before:
        role = _name_role(id, release)
        if id not in after:
            yield f"{role} {id} goes away"
        elif before[id][0] != after[id][0]:
            yield f"{role} {id} is removed as {before[id][0]} and added as {after[id][0]}"
        elif before[id][1] != after[id][1]:
            yield f"{role} {id} gets new pods by a rolling update"
    for id in after:
        if id not in before:
            yield f"{_name_role(id, release)} {id} starts"


def _find_detectors(objects: Mapping[Key, Json]) -> dict[str, Json]:
    """Return the Deployment of each detector."""
    return {
        _read_component(document): document["spec"]
        for (kind, _, _), document in objects.items()
        if kind == "Deployment" and _read_component(document) not in ("", "serving", *_OWN)
    }


def _describe_detectors(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"the {name} detector stops"
        elif name not in before:
            yield f"the {name} detector starts"
        elif before[name] != after[name]:
            yield f"the {name} detector restarts and continues where it was"


def _describe_fits(before: Mapping[Key, Json], after: Mapping[Key, Json]) -> Iterator[str]:
    """Name the monitors that production was not trained with."""
    detectors = _find_detectors(after)
    for name in sorted(_find_fits(after) - _find_fits(before)):
        if name not in detectors:
            yield (
                f"the {name} monitor is fitted by the next run and watches from its release on; without new data "
                "`driftloop trigger` fits it for production's model"
            )


def _find_fits(objects: Mapping[Key, Json]) -> set[str]:
    """Return the monitors that a run fits."""
    return {
        step["name"].removeprefix(FIT)
        for (kind, _, _), document in objects.items()
        if kind == "WorkflowTemplate"
        for step in document["spec"]["templates"]
        if step["name"].startswith(FIT) and "container" in step
    }


def _find_surprises(
    before: Mapping[Key, Json], after: Mapping[Key, Json], release: Release | None
) -> Iterator[ImpactSurprise]:
    old, new = _find_served(before), _find_served(after)
    for id, (kind, _) in old.items():
        share = release.weights.get(id, 0) if release is not None else 0
        if share and (id not in new or new[id][0] != kind):
            then = f"is replaced by a {new[id][0]}" if id in new else "is not replaced"
            why = (
                "requests fail until the new pods are routed to"
                if id in new
                else "its share of the requests fails"
            )
            yield ImpactSurprise(
                "predictor-removed",
                f"{id} answers {share} % of the requests as {kind} and {then}",
                why,
            )
    if release is not None and release.candidate is not None:
        yield from _find_left(before, after, release.candidate.id)
    production = release.production if release is not None else None
    if production is None:
        return
    left = _find_detectors(after)
    for name in sorted(_find_detectors(before)):
        if name not in left:
            change = f"the {name} detector of production {production.id} goes away"
            yield ImpactSurprise(
                "detector-removed", change, "its traffic is not monitored for that any more"
            )


def _find_left(
    before: Mapping[Key, Json], after: Mapping[Key, Json], candidate: str
) -> Iterator[ImpactSurprise]:
    """A Workflow keeps the steps that it began with, and these refuse to commit to what another version renders."""
    old, new = _list_step_versions(before), _list_step_versions(after)
    if old and new and old != new:
        yield ImpactSurprise(
            "rollout-left",
            f"the rollout of {candidate} is run by driftloop {', '.join(sorted(old))}, which can't end it once "
            f"{', '.join(sorted(new))} has rendered the files",
            "it stays in its stage until a person ends it by `driftloop promote` or `driftloop rollback`; wait until it has ended",
        )


def _list_step_versions(objects: Mapping[Key, Json]) -> set[str]:
    """Return the tags of driftloop's own image in the steps of rollouts."""
    images = {
        str(step["container"].get("image", "")).partition("@")[0]
        for (kind, _, name), document in objects.items()
        if kind == "WorkflowTemplate" and name.endswith(ROLLOUT)
        for step in document["spec"]["templates"]
        if "container" in step
    }
    named = (image.rpartition("/")[2].partition(":") for image in images)
    return {tag for name, _, tag in named if name == OWN_IMAGE and tag}


def _read_component(document: Json) -> str:
    return str(((document.get("metadata") or {}).get("labels") or {}).get(COMPONENT_LABEL, ""))


def _name_role(id: str, release: Release | None) -> str:
    if release is not None and release.production is not None and release.production.id == id:
        return "production"
    if release is not None and release.candidate is not None and release.candidate.id == id:
        return "candidate"
    return "release"
