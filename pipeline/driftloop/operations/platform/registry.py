"""The registry in the platform files of a repository: written for a new cluster, and changed in all of them."""

from pathlib import Path

from driftloop.contract.layout import PLATFORM_FILE
from driftloop.errors import RenderError, SpecError
from driftloop.operations.ground.files import FolderTree
from driftloop.operations.platform.layout import PlatformSettings
from driftloop.platform import PlatformFile, find_platforms, parse_platform
from driftloop.platform.model import Images
from driftloop.render import FileChange
from driftloop.text.dump import dump_yaml
from driftloop.text.layout import (
    end_line,
    find_line_end,
    find_newline,
    locate_mapping,
)

_HEAD = "# What driftloop knows of this cluster: docs/reference/platform.md has all that can stand here.\n"
_IMAGES, _REGISTRY = "images", "registry"


def make_platform_file(
    folder: Path, cluster: str, settings: PlatformSettings
) -> tuple[FileChange, ...]:
    """Return the platform file of a new cluster; none where the defaults do, or it has one.

    Where one cluster has a file, each needs one, with trees of its own; so does a cluster that
    Flux reads another folder for.
    """
    registry, is_moved = settings.registry, cluster in settings.paths
    found = find_platforms(FolderTree(folder))
    if any(each.cluster == cluster for each in found) or (
        registry is None and not found and not is_moved
    ):
        return ()
    here = f"driftloop/{cluster}/" if found or is_moved else ""
    images = {_IMAGES: {_REGISTRY: registry}} if registry is not None else {}
    document = {
        "apiVersion": "driftloop.dev/v1alpha1",
        "kind": "Platform",
        "metadata": {"name": cluster},
        "spec": {"path": settings.place(cluster), **images},
    }
    text = f"{_HEAD}{dump_yaml(document)}"
    path = f"{here}{PLATFORM_FILE}"
    parse_platform(text, path=path)
    if (folder / path).exists():
        raise RenderError(
            f"{folder / path} must not be overwritten: it is another cluster's, or no platform file",
            hint=f"move it, or write the platform file of `{cluster}` yourself:\n{text}",
        )
    return (FileChange(path, None, text),)


def move_registry(folder: Path, settings: PlatformSettings) -> tuple[FileChange, ...]:
    """Return what makes the registry that of the clusters' pipelines, too: `images.registry` of each platform file.

    RenderError when a cluster has none and shares the trees with others, or a file leaves no place for it.
    """
    registry, wanted = str(settings.registry), sorted(settings.clusters)
    found = {each.cluster: each for each in find_platforms(FolderTree(folder))}
    bare = [cluster for cluster in wanted if cluster not in found]
    if bare and len(wanted) > 1:
        raise RenderError(
            f"{', '.join(f'`{each}`' for each in bare)} of {len(wanted)} clusters: no platform file, so that pipelines there "
            f"would not take images from `{registry}`",
            hint="write one for each (docs/reference/platform.md), each in a folder of its own, such as "
            f"driftloop/{bare[0]}/{PLATFORM_FILE}, then try again",
        )
    if bare:
        return make_platform_file(folder, bare[0], settings)
    changes = (_change_registry(found[cluster], registry) for cluster in wanted)
    return tuple(change for change in changes if change.new != change.old)


def _change_registry(platform: PlatformFile, registry: str) -> FileChange:
    text = platform.text
    if platform.spec.images.registry != registry:
        text = _write_registry(text, registry)
        try:
            said = parse_platform(text, path=platform.path).spec.images.registry
        except SpecError:
            said = None
        if said != registry:
            raise RenderError(
                f"{platform.path}: no way to write `spec.images.registry` into this layout",
                hint=f"put it there yourself, `images: {{registry: {registry}}}` below `spec`, then try again",
            )
    return FileChange(platform.path, platform.text, text)


def _write_registry(text: str, registry: str) -> str:
    """Return the text with another registry, in the place of the one before or as a new entry; nothing else of it
    changes."""
    line, spec = f"{_REGISTRY}: {registry}", locate_mapping(text, "spec")
    if (images := locate_mapping(text, "spec", _IMAGES)) is not None and images.entries:
        for entry in images.entries:
            if entry.key == _REGISTRY:
                return text[: entry.value_start] + registry + text[entry.content_end :]
        first = images.entries[0]
        between = ", " if images.flow else f"{find_newline(text)}{' ' * first.column}"
        return text[: first.start] + line + between + text[first.start :]
    if spec is None or spec.flow or not spec.entries:
        return text
    last, newline = spec.entries[-1], find_newline(text)
    for entry in spec.entries:
        if entry.key == _IMAGES:
            return f"{text[: entry.value_start]}{{{line}}}{text[entry.content_end :]}"
    at = find_line_end(text, last.content_end)
    indent = " " * last.column
    block = f"{indent}{_IMAGES}:{newline}{indent}  {line}{newline}"
    return end_line(text[:at], newline) + block + text[at:]


def read_images(folder: Path) -> dict[str, Images]:
    """Return what the platform files of a repository say of registries, by cluster."""
    return {each.cluster: each.spec.images for each in find_platforms(FolderTree(folder))}
