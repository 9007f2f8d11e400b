"""`driftloop platform images`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from driftloop.cli import options
from driftloop.errors import RegistryError, RenderError
from driftloop.operations.building.copying import COPIERS, CopiedImage, find_copier
from driftloop.operations.commits.clusters import choose_platform
from driftloop.operations.ground.files import FolderTree
from driftloop.operations.platform.images import (
    AskedImage,
    ImageList,
    list_asked,
    mirror_all,
    refuse_unknown_digests,
)
from driftloop.operations.platform.layout import PROFILES, check_registry
from driftloop.operations.platform.upstream import read_upstream
from driftloop.platform.model import Images
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop platform images
  driftloop platform images ../cluster-repository --cluster prod --spec pipeline.yaml
  driftloop platform images --mirror registry.acme.example/mirror --manifest eventing-jsm.yaml --push"""


@click.command("images", epilog=EXAMPLES)
@click.argument(
    "folder", metavar="[PATH]", default=".", type=click.Path(path_type=Path, file_okay=False)
)
@options.cluster
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    help="Profile of the infrastructure.  [default: that of the cluster at PATH, else lite]",
)
@click.option(
    "--spec",
    "specs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also list what the pipeline of this file runs; repeatable.",
)
@click.option(
    "--manifest",
    "manifests",
    multiple=True,
    type=click.File(encoding="utf-8"),
    help="Also list what a file of Kubernetes objects asks for, such as Knative's eventing-jsm.yaml, "
    "which alone has the digests of its images; - is standard input; repeatable.",
)
@click.option(
    "--mirror",
    metavar="HOST/PATH",
    callback=lambda _context, _parameter, value: value and check_registry(value),
    help="Name every image below HOST/PATH, in a folder for each registry, in place of the mirrors of the platform "
    "file.",
)
@click.option(
    "--push",
    is_flag=True,
    help="Copy the images to the names by which they are pulled, digests kept; what is there is left.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Also those that nothing of driftloop's asks for."
)
@click.option(
    "--tool",
    type=click.Choice(COPIERS),
    help="What copies.  [default: the first of the two that is here]",
)
@options.output
def command(
    *,
    folder: Path,
    cluster: str | None,
    profile: str | None,
    specs: tuple[Path, ...],
    manifests: tuple[TextIO, ...],
    mirror: str | None,
    push: bool,
    everything: bool,
    tool: str | None,
    output: str,
) -> None:
    """List every image that a cluster pulls, who asks for it, and where from; with --push, copy them.

    PATH is a working copy of the cluster repository; its platform file has the mirrors. A copy
    that was interrupted goes on where it was.

    Exit code 1 when an image can't be copied, or when versions at PATH are others than those whose
    images are known.
    """
    platform = choose_platform(FolderTree(folder), cluster)
    upstream = read_upstream(folder)
    if profile is None:
        profile = "lite" if upstream is None else upstream.clusters.get(platform.cluster, "lite")
    texts = {getattr(file, "name", "-"): file.read() for file in manifests}

    def list_named(registries: Images) -> ImageList:
        return list_asked(
            folder, platform, profile, specs=specs, manifests=texts, registries=registries
        )

    registries = platform.spec.images
    if mirror is not None:
        registries = Images(mirrors=mirror_all(list_named(Images()).images, mirror))
    listed = list_named(registries)
    images = [each for each in listed.images if everything or not each.is_foreign]
    copied: dict[str, CopiedImage] = {}
    failed = 0
    if push:
        copied, failed = _copy_images(images, tool)
    if output != "text":
        options.print_document([_to_json(each, copied) for each in images], output)
    else:
        for each in images:
            click.echo(_describe(each, copied))
    _print_rest(listed, images, registries, mirror)
    if failed:
        raise RegistryError(
            f"{count_noun(failed, 'image')} of {len(images)} not copied, the reasons are above",
            hint="the same command goes on with what is missing",
        )
    if listed.unknown and not manifests:
        raise RenderError(
            f"the images of other versions are not known: {', '.join(listed.unknown)}",
            hint="give what they render: `helm template … | driftloop platform images --manifest -`",
        )


def _copy_images(
    images: Sequence[AskedImage], tool: str | None
) -> tuple[dict[str, CopiedImage], int]:
    moved = [each for each in images if each.is_moved]
    if not moved:
        raise click.UsageError(
            "--push has nowhere to copy to: name a --mirror, or `images.mirrors` in the platform file"
        )
    refuse_unknown_digests(moved)
    chosen = find_copier(tool)
    copied: dict[str, CopiedImage] = {}
    failed = 0
    for number, each in enumerate(moved, 1):
        options.print_progress(f"[{number}/{len(moved)}] {each.ref}")
        try:
            copied[each.ref] = done = chosen.copy_image(each.ref, each.target)
        except RegistryError as error:
            failed += 1
            options.print_progress(f"  error: {error.message}")
            if error.hint is not None:
                options.print_progress(f"  hint: {error.hint}")
            continue
        options.print_progress(f"  {'copied' if done.copied else 'there already'}: {done.target}")
    return copied, failed


def _print_rest(
    listed: ImageList, images: Sequence[AskedImage], registries: Images, mirror: str | None
) -> None:
    if left := [each for each in listed.images if each not in images]:
        options.print_progress(
            f"note: {count_noun(len(left), 'image')} that nothing of driftloop's asks for: --all lists them"
        )
    for each in images:
        if each.is_moved and each.untold is not None:
            options.print_progress(f"note: {each.ref} keeps its name in {each.untold}")
    for component in listed.unknown:
        options.print_progress(f"note: not listed, at another version: {component}")
    if mirror is not None:
        said = ", ".join(f"{host}: {place}" for host, place in registries.mirrors.items())
        options.print_progress(
            f"next: `images: {{mirrors: {{{said}}}}}` in the platform file, then `driftloop platform upgrade`"
        )


def _describe(image: AskedImage, copied: dict[str, CopiedImage]) -> str:
    name = image.target
    if (done := copied.get(image.ref)) is not None and "@" not in name:
        name = f"{name}@{done.digest}"
    said = ", ".join(image.askers)
    source = f"  from {image.ref}" if image.is_moved else ""
    when = f", when {image.when}" if image.when is not None else ""
    return f"{name}{source}  ({said}{when})"


def _to_json(image: AskedImage, copied: dict[str, CopiedImage]) -> dict[str, object]:
    done = copied.get(image.ref)
    return {
        "image": image.ref,
        "pulledAs": image.target,
        "digest": image.digest if done is None else done.digest,
        "askedBy": list(image.askers),
        "when": image.when,
        "foreign": image.is_foreign,
        "byHand": image.untold if image.is_moved else None,
        "copied": None if done is None else done.copied,
    }
