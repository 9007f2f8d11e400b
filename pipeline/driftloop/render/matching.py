"""Whether the patches of a spec fit anything that is rendered of it."""

from collections.abc import Iterable, Sequence

from driftloop.contract.suggestions import suggest_closest
from driftloop.contract.trees import TREES, tree_folder
from driftloop.plan import Plan
from driftloop.plan.findings import format_names
from driftloop.release.record import Release
from driftloop.render.documents import build_document
from driftloop.render.patches import Object, ObjectPatch
from driftloop.render.patching import SpecPatchError, list_unmatched, read_patch
from driftloop.render.samples import sample_releases
from driftloop.resources import Manifest, build_manifests

MOST_NAMED = 30


def require_matches(plan: Plan, release: Release, manifests: Iterable[Manifest]) -> None:
    """SpecPatchError for a patch that fits no object of the pipeline in any phase of a release.

    An object that is named after a version does not count: the next one has another name.
    """
    ids = [
        version.id
        for version in (release.production, release.candidate, release.previous)
        if version
    ]
    objects = [
        document
        for document in list_patchable(plan, manifests)
        if not any(id in document["metadata"]["name"] for id in ids)
    ]
    if not (numbers := list(list_unmatched(plan.patches, objects))):
        return
    names = plan.names
    for sample in sample_releases(names.pipeline, names.namespace):
        objects += list_patchable(plan, build_manifests(plan, sample))
    unmatched = set(list_unmatched(plan.patches, objects))
    for number in numbers:
        if number in unmatched:
            message, hint = _explain(read_patch(plan.patches[number]), objects, ids)
            raise SpecPatchError(number, ("target",), message, hint)


def list_patchable(plan: Plan, manifests: Iterable[Manifest]) -> list[Object]:
    """Return the objects that kustomize builds: those of the three folders of a pipeline."""
    folders = tuple(f"{tree_folder(part, plan.names.pipeline)}/" for part in TREES)
    return [build_document(each.object) for each in manifests if each.path.startswith(folders)]


def _explain(
    patch: ObjectPatch, objects: Sequence[Object], ids: Sequence[str]
) -> tuple[str, str | None]:
    """Return why a patch fits nothing: what there is of its kind, or which kinds there are."""
    kinds = sorted({document["kind"] for document in objects})
    if patch.kind not in kinds:
        return (
            f"{patch.kind}: no object of this kind is rendered, must be one of: {format_names(kinds)}",
            suggest_closest(patch.kind, kinds, fold=True),
        )
    own = [document for document in objects if document["kind"] == patch.kind]
    names = sorted({document["metadata"]["name"] for document in own})
    if patch.name is not None and any(id in patch.name for id in ids):
        return (
            f"{patch.target}: it is named after a version, must fit the next one, too",
            "leave out `name`, or choose by `labels`",
        )
    if patch.name is not None and patch.name not in names:
        return (
            f"{patch.target}: no object of this name is rendered, must be one of: "
            f"{format_names(names[:MOST_NAMED])}",
            suggest_closest(patch.name, names),
        )
    labels = sorted(
        {
            f"{name}={value}"
            for document in own
            if patch.name in (None, document["metadata"]["name"])
            for name, value in (document["metadata"].get("labels") or {}).items()
        }
    )
    return (
        f"{patch.target}: no object has these labels, must be of: {format_names(labels[:MOST_NAMED])}",
        None,
    )
