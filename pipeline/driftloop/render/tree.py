"""Manifests -> Tree: path -> text, the same bytes for the same spec and release."""

from collections.abc import Iterable
from typing import Any

from driftloop.contract.integrity import describe_distrust
from driftloop.contract.trees import (
    KUSTOMIZATION,
    SPEC,
    TREES,
    generated_header,
    release_path,
    spec_path,
    tree_folder,
)
from driftloop.errors import RenderError
from driftloop.kube import kustomize
from driftloop.plan import Plan
from driftloop.plan import make_plan as planned
from driftloop.platform import PlatformFile
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.render.documents import build_document
from driftloop.render.matching import require_matches
from driftloop.render.patching import SpecPatchError, check_patches, write_patches
from driftloop.resources import Manifest, build_manifests
from driftloop.resources.serving.seldon import served_versions
from driftloop.spec import InvalidSpec, parse_spec
from driftloop.text.dump import dump_yaml

Tree = dict[str, str]
"""Path from the repository's root -> text, in the order of the manifests."""


def build_tree(found: Iterable[Manifest], plan: Plan, spec_text: str, release_text: str) -> Tree:
    """The files of a pipeline: its objects, a kustomization.yaml per folder, the spec and the
    release as they are."""
    name = plan.names.pipeline
    top = generated_header(plan.ground.layout.place(spec_path(name)))
    files: Tree = {}
    objects: dict[str, list[dict[str, Any]]] = {}
    for manifest in found:
        plain = build_document(manifest.object)
        objects.setdefault(manifest.path.rpartition("/")[0], []).append(plain)
        document = dump_yaml(plain)
        if manifest.path in files:
            files[manifest.path] += "---\n" + document
        else:
            files[manifest.path] = top + document
    for folder in (tree_folder(part, name) for part in TREES):
        members = tuple(path.rpartition("/")[2] for path in files if path.startswith(f"{folder}/"))
        here = objects.get(folder, [])
        check_patches(plan.patches, here)
        listed = kustomize.KustomizationFile(
            resources=members, patches=write_patches(plan.patches, here)
        )
        files[f"{folder}/{KUSTOMIZATION}"] = top + dump_yaml(listed.dump_object())
    files[spec_path(name)] = spec_text
    files[release_path(name)] = release_text
    return files


def render_tree(
    spec_text: str,
    release_text: str | None,
    *,
    path: str = SPEC,
    platform: PlatformFile | None = None,
    workflows: bool = True,
) -> Tree:
    """The whole tree of a pipeline from its two texts; `release_text` None means before the
    first release.

    Paths are those of a repository of a single cluster; `platform.layout` places them. `path` names
    the spec in errors; `workflows` False leaves out the WorkflowTemplates, since
    Hera takes half a second to import, and the Sensor that names them. InvalidSpec and
    ReleaseError say where; RenderError when spec and release do not belong together.
    """
    document = parse_spec(spec_text, path=path)
    plan = planned(document, platform=platform)
    names = plan.names
    if release_text is None:
        release = record.empty_release(names.pipeline, names.namespace)
        release_text = record.dump_release(release)
    else:
        place = plan.ground.layout.place(release_path(names.pipeline))
        release = record.load_release(release_text, path=place)
    _belongs(plan, release)
    require_signatures(plan, release)
    manifests = build_manifests(plan, release, workflows=workflows)
    try:
        if plan.patches and workflows:
            require_matches(plan, release, manifests)
        return build_tree(manifests, plan, spec_text, release_text)
    except SpecPatchError as error:
        at = ("spec", "patches", error.number, *error.at)
        message = f"spec.patches[{error.number}] on {error.message}"
        problem = document.source.problem(at, message, hint=error.hint)
        raise InvalidSpec([problem]) from error


def _belongs(plan: Plan, release: Release) -> None:
    names = plan.names
    if (release.name, release.namespace) != (names.pipeline, names.namespace):
        raise RenderError(
            f"release.yaml is of `{release.namespace}/{release.name}`, "
            f"the spec of `{names.namespace}/{names.pipeline}`",
            hint="a pipeline that moves or changes its name is a new one: `driftloop remove` the old one first",
        )


def require_signatures(plan: Plan, release: Release) -> None:
    """RenderError for a release that serves what has no signature, where the spec demands one; whose
    it is, each pod checks."""
    if plan.signatures != "require":
        return
    for version in served_versions(plan, release):
        if version.signature is None:
            pipeline = f"{release.namespace}/{release.name}"
            raise RenderError(
                f"{plan.ground.layout.place(release_path(release.name))}: "
                + describe_distrust(version.id, pipeline, "it has no signature")
                + ", and the spec says `signatures: require`",
                hint="`signatures: write` serves it until a run has made a release that is signed; if it had a signature "
                "before, somebody removed it: `git revert` that commit",
            )
