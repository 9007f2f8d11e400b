"""The images of others that the platform asks for, and how each is told another name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from driftloop import __version__
from driftloop.contract.names import FLUX_NAMESPACE
from driftloop.errors import RenderError
from driftloop.operations.building.copying import split_ref
from driftloop.plan.images import mirror_image
from driftloop.platform.model import Images
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping
from driftloop.text.overlay import overlay_values

FILE = "images.yaml"
VERSIONS = "cluster/infrastructure/versions/versions.yaml"


@dataclass(frozen=True)
class ThirdPartyImage:
    """One image."""

    ref: str
    """Without a tag where only upstream's release file has its digest."""
    component: str
    """HelmRelease or Flux Kustomization that asks for it."""
    when: str | None = None
    """What must be there before it is pulled; None: it is from the start."""
    is_foreign: bool = False
    """Nothing that driftloop renders asks for it."""
    file: str | None = None
    """Release file of upstream's that has its digest."""
    untold: str | None = None
    """Where its name stands, if nothing that is rendered can change it."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of its HelmRelease."""
    patches: tuple[Mapping[str, Any], ...] = ()
    """Of its Flux Kustomization, as JSON patch."""
    is_kustomized: bool = False
    """True when its name alone is changed, by `images` of its Flux Kustomization."""


@dataclass(frozen=True)
class Component:
    """A HelmRelease or Flux Kustomization of others."""

    name: str
    stage: str
    """Flux Kustomization that applies it."""
    versions: Mapping[str, str]
    """Keys of cluster/infrastructure/versions, or of Knative's release files -> version."""
    images: tuple[ThirdPartyImage, ...]


def list_components(profile: str) -> tuple[Component, ...]:
    """Return what a profile installs of others."""
    return tuple(
        _read_component(name, each, profile)
        for name, each in _read_file()["components"].items()
        if profile in each.get("profiles", (profile,))
    )


def list_console_images(versions: Mapping[str, str]) -> tuple[ThirdPartyImage, ...]:
    """Return the images of the console's Deployments, at the versions of a repository."""
    return tuple(
        ThirdPartyImage(
            f"{each['ref']}:{versions[each['version']]}",
            "console",
            when=each["when"],
            untold=each.get("untold"),
        )
        for each in _read_file()["console"]
    )


def tell_mirrors(profile: str, stage: str, images: Images) -> tuple[dict[str, Any], ...]:
    """Return the patches of a stage's objects by which their images are pulled from mirrors: as a Flux Kustomization
    has them."""
    patches = []
    for component in list_components(profile):
        if component.stage != stage:
            continue
        moved = [(each, mirror_image(each.ref, images)) for each in component.images]
        moved = [(each, target) for each, target in moved if target != each.ref]
        values: dict[str, Any] = {}
        steps: list[Any] = []
        for image, target in moved:
            values = overlay_values(values, _fill(image.values, target))
            steps += _fill(image.patches, target)
        if kustomized := [_rename(each, target) for each, target in moved if each.is_kustomized]:
            steps.append({"op": "add", "path": "/spec/images", "value": kustomized})
        if values:
            patches.append(_patch_release(component.name, values))
        if steps:
            of = {"kind": "Kustomization", "name": component.name}
            patches.append({"target": of, "patch": dump_yaml(steps)})
    return tuple(patches)


def _patch_release(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    patch = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name, "namespace": FLUX_NAMESPACE},
        "spec": {"values": values},
    }
    return {"target": {"kind": "HelmRelease", "name": name}, "patch": dump_yaml(patch)}


def _rename(image: ThirdPartyImage, target: str) -> dict[str, str]:
    return {"name": split_ref(image.ref)[0], "newName": split_ref(target)[0]}


def _fill(value: Any, target: str) -> Any:
    """Return a value with the parts of an image's name in place of `{name}` and others."""
    if isinstance(value, Mapping):
        return {key: _fill(inner, target) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(inner, target) for inner in value]
    if not isinstance(value, str):
        return value
    name, _ = split_ref(target)
    host, _, path = name.partition("/")
    parts = {"name": name, "host": host, "path": path, "folder": name.rpartition("/")[0]}
    for key, text in {**parts, "ref": target}.items():
        value = value.replace(f"{{{key}}}", text)
    return value


def _read_component(name: str, entry: Mapping[str, Any], profile: str) -> Component:
    images = (each for each in entry["images"] if profile in each.get("profiles", (profile,)))
    return Component(
        name,
        entry["stage"],
        {key: str(value) for key, value in entry["version"].items()},
        tuple(_read_images(name, images)),
    )


def _read_images(component: str, entries: Iterator[Mapping[str, Any]]) -> Iterator[ThirdPartyImage]:
    for each in entries:
        yield ThirdPartyImage(
            f"{each['ref']}:{__version__}" if each.get("own", False) else each["ref"],
            component,
            when=each.get("when"),
            is_foreign=each.get("foreign", False),
            file=each.get("file"),
            untold=each.get("untold"),
            values=each.get("values", {}),
            patches=tuple(each.get("patches", ())),
            is_kustomized="image" in each,
        )


@cache
def _read_file() -> Mapping[str, Any]:
    return load_mapping(
        files(__package__).joinpath(FILE).read_text("utf-8"), FILE, error=RenderError
    )
