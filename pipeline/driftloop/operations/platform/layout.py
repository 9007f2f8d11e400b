"""The files below `cluster/` that come with the package: the platform, as Flux applies it."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from driftloop.contract import trees
from driftloop.errors import RenderError
from driftloop.operations.platform.thirdparty import tell_mirrors
from driftloop.plan.images import REGISTRY
from driftloop.platform.model import Images
from driftloop.text.dump import dump_yaml

PACKAGED = Path(__file__).resolve().parent / "files"
CHECKOUT = Path(__file__).resolve().parents[4]
"""A wheel carries the files beside this module; a checkout has them at its root."""

PROFILES = ("lite", "standard")
SHARED = (trees.INFRASTRUCTURE, f"{trees.CLUSTER}/optional")
"""Folders that all clusters of a repository share."""
EXAMPLE = f"{trees.CLUSTER}/dev"
"""The cluster whose files each new one is made from."""
OF_CLUSTER = ("infrastructure.yaml", "flux-system/")
"""Its files that are not a pipeline's."""
STAGES = f"{EXAMPLE}/infrastructure.yaml"
"""Its Flux Kustomizations."""
_DOCUMENT = "---\n"
_MIRRORS = "# mirrors of this cluster's platform file, for what the charts and manifests pull\n"
IMAGES = (f"newName: {REGISTRY}/", f"registry: {REGISTRY},")
"""Where these files name the registry of the platform's own images."""

_CLUSTER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PATH = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*(/[A-Za-z0-9][-A-Za-z0-9_.]*)*")
_REGISTRY = re.compile(
    r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
)


@dataclass(frozen=True)
class PlatformSettings:
    """What differs between the platforms of two repositories."""

    clusters: Mapping[str, str]
    """Folder below `cluster/` -> profile of its infrastructure."""
    registry: str | None = None
    """Where the platform's own images are; None for ghcr.io/driftloop."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Cluster -> folder that Flux reads, of those that are not below `cluster/`."""
    images: Mapping[str, Images] = field(default_factory=dict)
    """Cluster -> registries that its platform file says it pulls from."""

    def place(self, cluster: str) -> str:
        """Return the folder that Flux reads for a cluster."""
        return self.paths.get(cluster, f"{trees.CLUSTER}/{cluster}")


def check_cluster(name: str) -> str:
    """Return the name of a cluster's folder; RenderError when it can't be one."""
    if name in trees.SHARED_FOLDERS or not _CLUSTER.fullmatch(name):
        raise RenderError(
            f"--cluster is `{name}`, must be lower-case letters, digits and hyphens, and none of: {', '.join(trees.SHARED_FOLDERS)}"
        )
    return name


def check_path(text: str) -> str:
    """Return the folder that Flux reads for a cluster; RenderError when it can't be one."""
    path = text.removeprefix("./").rstrip("/")
    shared = path.startswith(f"{trees.CLUSTER}/") or path == trees.CLUSTER
    if shared or not _PATH.fullmatch(path):
        raise RenderError(
            f"--path is `{text}`, must be a folder of the repository such as clusters/staging, and none below `{trees.CLUSTER}/`",
            hint=f"without --path it is `{trees.CLUSTER}/NAME`",
        )
    return path


def check_registry(text: str) -> str:
    """Return a registry and path that images are below; RenderError when it can't be one."""
    if not _REGISTRY.fullmatch(text):
        raise RenderError(
            f"--registry is `{text}`, must be a host and a path in lower case, such as ghcr.io/acme"
        )
    return text


def write_layout(settings: PlatformSettings) -> dict[str, str]:
    """Return the files of a platform as this version writes them, path -> text."""
    texts: dict[str, str] = {}
    for path, text in _read_files().items():
        if path.startswith(f"{EXAMPLE}/"):
            for cluster, profile in settings.clusters.items():
                filled = text.replace("/profiles/lite/", f"/profiles/{profile}/")
                if path == STAGES and (images := settings.images.get(cluster)) is not None:
                    filled = _add_mirrors(filled, profile, images)
                texts[f"{settings.place(cluster)}{path.removeprefix(EXAMPLE)}"] = filled
        elif path == trees.SOURCE_IGNORE and settings.paths:
            # it would hide from Flux what else the clusters of such a repository have
            continue
        elif settings.registry is not None:
            texts[path] = _move_images(text, settings.registry)
        else:
            texts[path] = text
    return texts


def _move_images(text: str, registry: str) -> str:
    """Return a file that takes the platform's own images from another registry."""
    for named in IMAGES:
        text = text.replace(named, named.replace(REGISTRY, registry))
    return text


def _add_mirrors(text: str, profile: str, images: Images) -> str:
    """Return the stages of a cluster with patches by which its images are pulled from mirrors."""
    stages = text.split(_DOCUMENT)
    for index, stage in enumerate(stages):
        (name,) = re.findall(r"^metadata: \{name: ([a-z-]+),", stage, re.MULTILINE)
        if patches := tell_mirrors(profile, name, images):
            block = f"{_MIRRORS}{dump_yaml({'patches': list(patches)})}"
            stages[index] = f"{stage}{textwrap.indent(block, '  ')}"
    return _DOCUMENT.join(stages)


@cache
def _read_files() -> Mapping[str, str]:
    root = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    return {
        file.relative_to(root).as_posix(): file.read_bytes().decode() for file in _list_files(root)
    }


def _list_files(root: Path) -> Iterator[Path]:
    yield root / trees.SOURCE_IGNORE
    for folder in SHARED:
        yield from sorted(file for file in (root / folder).rglob("*") if file.is_file())
    for name in OF_CLUSTER:
        place = root / EXAMPLE / name
        yield from [place] if place.is_file() else sorted(place.iterdir())
