"""Every image that a cluster pulls: of driftloop, of pipelines, and of what the platform is made of."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftloop import __version__
from driftloop.errors import RenderError, SpecError
from driftloop.operations.building.copying import split_ref
from driftloop.operations.building.places import name_whole
from driftloop.operations.ground.files import read_spec
from driftloop.operations.platform.layout import CHECKOUT, PACKAGED
from driftloop.operations.platform.thirdparty import (
    VERSIONS,
    Component,
    ThirdPartyImage,
    list_components,
    list_console_images,
)
from driftloop.plan.images import (
    DRIFTLOOP,
    ENVOY,
    MONITOR,
    REGISTRY,
    list_images,
    mirror_image,
    pin_image,
    place_own_image,
)
from driftloop.platform import PlatformFile
from driftloop.platform.model import Images
from driftloop.text.load import load_documents, load_mapping

FLUX_FILE = "flux-system/gotk-components.yaml"
KNATIVE = "cluster/infrastructure/knative/kustomization.yaml"
_OURS = (DRIFTLOOP, MONITOR, ENVOY)
_REF = re.compile(r"[a-z0-9.-]+\.[a-z0-9-]+(?::\d+)?/[a-z0-9._/-]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class AskedImage:
    """One image, and who asks for it."""

    ref: str
    target: str
    """Name that the cluster pulls it by."""
    askers: tuple[str, ...]
    when: str | None = None
    is_foreign: bool = False
    """Nothing that driftloop renders asks for it."""
    untold: str | None = None
    """Where its name stands, if the mirror's is to be written there by hand."""
    file: str | None = None
    """Release file of upstream's that has its digest, if it is not known."""

    @property
    def is_moved(self) -> bool:
        """True when it has a second name."""
        return self.ref != self.target

    @property
    def digest(self) -> str | None:
        """Its digest, where it is known."""
        return self.ref.partition("@")[2] or None


@dataclass(frozen=True)
class ImageList:
    """What a cluster pulls, and what could not be looked at."""

    images: tuple[AskedImage, ...]
    unknown: tuple[str, ...]
    """Components at other versions than those whose images are known."""


def list_asked(
    folder: Path,
    platform: PlatformFile,
    profile: str,
    *,
    specs: Sequence[Path],
    manifests: Mapping[str, str],
    registries: Images,
) -> ImageList:
    """Return the images of a cluster, each once, under the names that `registries` gives them.

    `manifests` are texts of Kubernetes objects by the name of their file; what they ask for is in the list, too, and
    digests that upstream's release files alone have come from there.
    """
    versions = _read_versions(folder)
    components = list_components(profile)
    differing = {
        component.name: said
        for component in components
        if (said := _compare(component, versions)) is not None
    }
    named = {name: tuple(_find_refs(text, name)) for name, text in manifests.items()}
    found = [
        *(AskedImage(ref, place_own_image(ref, registries), ("driftloop",)) for ref in _OURS),
        *_list_specs(specs, registries),
        *_list_flux(folder / platform.layout.path / FLUX_FILE, registries),
    ]
    for component in components:
        if component.name not in differing:
            found += [_ask(each, named, registries) for each in component.images]
    found += [_ask(each, named, registries) for each in list_console_images(versions)]
    known = {split_ref(each.ref)[0] for each in found}
    for name, refs in named.items():
        for ref in refs:
            if split_ref(ref)[0] not in known:
                untold = "its manifest, which is yours"
                found.append(AskedImage(ref, mirror_image(ref, registries), (name,), untold=untold))
    unknown = tuple(f"{name} {said}" for name, said in differing.items())
    return ImageList(tuple(_join(found)), unknown)


def mirror_all(images: Sequence[AskedImage], place: str) -> dict[str, str]:
    """Return mirrors below one place for the registries of images: each by the name of its host."""
    hosts = sorted({each.ref.partition("/")[0] for each in images})
    return {host: f"{place}/{host.replace(':', '-')}" for host in hosts}


def _ask(
    image: ThirdPartyImage, named: Mapping[str, Sequence[str]], registries: Images
) -> AskedImage:
    ref = image.ref
    if image.file is not None:
        given = (each for refs in named.values() for each in refs)
        ref = next((each for each in given if split_ref(each)[0] == ref), ref)
    mirrored = mirror_image(ref, registries)
    own = ref.startswith(f"{REGISTRY}/")
    return AskedImage(
        ref,
        place_own_image(ref, registries) if own else mirrored,
        (image.component,),
        image.when,
        image.is_foreign,
        # the platform's files have the registry of driftloop's own images, and no mirror
        image.untold if mirrored != ref else None,
        image.file if "@" not in ref else None,
    )


def _list_specs(specs: Sequence[Path], registries: Images) -> Iterator[AskedImage]:
    for spec in specs:
        pipeline = read_spec(spec).pipeline
        for ref in list_images(pipeline):
            pinned = name_whole(pin_image(ref, pipeline.spec.pins))
            ours = ref.startswith(f"{REGISTRY}/") or ref == ENVOY
            target = (
                place_own_image(pinned, registries) if ours else mirror_image(pinned, registries)
            )
            yield AskedImage(pinned, target, (f"pipeline {pipeline.metadata.name}",))


def _list_flux(file: Path, registries: Images) -> Iterator[AskedImage]:
    """Flux's own, as `flux bootstrap` left them: its option `--registry` names another place."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return
    for ref in _find_refs(text, str(file)):
        yield AskedImage(
            ref, mirror_image(ref, registries), ("flux",), untold="`flux bootstrap --registry`"
        )


def _find_refs(text: str, source: str) -> Iterator[str]:
    """The images of containers in a text of objects, and every text in it that is one with a digest."""
    waiting: list[Any] = load_documents(text, source, error=RenderError)
    seen: dict[str, None] = {}
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            image = value.get("image")
            if isinstance(image, str) and image and "name" in value:
                seen[name_whole(image)] = None
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and _REF.fullmatch(value):
            seen[value] = None
    yield from sorted(seen)


def _join(found: Sequence[AskedImage]) -> Iterator[AskedImage]:
    """Each image once, with all who ask for it."""
    joined: dict[str, AskedImage] = {}
    for each in found:
        before = joined.get(each.ref)
        if before is None:
            joined[each.ref] = each
        else:
            askers = tuple(dict.fromkeys((*before.askers, *each.askers)))
            joined[each.ref] = replace(before, askers=askers, untold=before.untold or each.untold)
    yield from joined.values()


def _read_versions(folder: Path) -> dict[str, str]:
    """Return the versions of a repository, else those of this package."""
    here = (folder, PACKAGED, CHECKOUT)
    root = next(each for each in here if (each / VERSIONS).is_file())
    versions = load_mapping((root / VERSIONS).read_text("utf-8"), VERSIONS, error=RenderError)
    data = {key: str(value) for key, value in versions["data"].items()}
    files = re.findall(
        r"/([a-z-]+)/releases/download/([^/]+)/", (root / KNATIVE).read_text("utf-8")
    )
    return {"driftloop": __version__, **data, **dict(files)}


def _compare(component: Component, versions: Mapping[str, str]) -> str | None:
    """Return what differs from the versions whose images are known; None where nothing does."""
    for key, known in component.versions.items():
        if versions.get(key) != known:
            return f"{versions.get(key)} ({known} is known)"
    return None


def refuse_unknown_digests(images: Sequence[AskedImage]) -> None:
    """Raise SpecError for images whose digest upstream's release file has, and nobody else."""
    bare = [each for each in images if each.file is not None]
    if bare:
        raise SpecError(
            f"{', '.join(f'`{each.ref}`' for each in bare)}: upstream names them by digest, in {bare[0].file} alone",
            hint=f"download {bare[0].file} ({KNATIVE} has its address) and give it with `--manifest {bare[0].file}`",
        )
