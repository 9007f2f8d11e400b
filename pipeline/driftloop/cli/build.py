"""`driftloop build`."""

from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.contract.trees import SPEC
from driftloop.operations.building.build import (
    BuildResult,
    build_images,
    list_renamed,
    write_refs,
)
from driftloop.operations.building.places import ImagePlaces
from driftloop.operations.building.recipes import (
    PLATFORM_ROLES,
    ImageRecipe,
    list_platform_recipes,
    list_platform_roles,
    list_project_recipes,
)
from driftloop.operations.building.tools import find_tool
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.layout import check_registry

EXAMPLES = """\b
Examples:
  driftloop build
  driftloop build pipeline.yaml --push
  driftloop build --platform --registry registry.acme.example/loop --push
  driftloop build --platform --cluster prod --repository https://github.com/acme/cluster.git --push
  driftloop build --role driftloop --tool buildah -- --network host"""


@click.command(epilog=EXAMPLES)
@click.argument("spec", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.argument("words", metavar="[-- TOOL_ARGUMENT...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--platform",
    is_flag=True,
    help="Also build driftloop's own images that SPEC's pods run and its trainer starts from.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(PLATFORM_ROLES),
    help="Also build this one of driftloop's own images; repeatable.",
)
@click.option(
    "--registry",
    metavar="HOST/PATH",
    callback=lambda _context, _parameter, value: value and check_registry(value),
    help="Where the images belong: each keeps its name and tag, below HOST/PATH.",
)
@options.repository_place
@click.option(
    "--cluster",
    metavar="NAME",
    help="Give the images the names that this cluster pulls them by: `images` of its platform file in the cluster "
    "repository, in place of --registry.",
)
@click.option("--push", is_flag=True, help="Push the images, and tell their digests.")
@click.option("--write", is_flag=True, help="Write the names below --registry into SPEC.")
@click.option(
    "--tool",
    metavar="[docker|podman|buildah|PROGRAM]",
    help="What builds; a PROGRAM is called as PROGRAM NAME FOLDER -f DOCKERFILE.  [default: the first "
    "of the three that works]",
)
@click.option(
    "--sbom",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to leave each image's list of packages in (CycloneDX); its digest is a label.",
)
@options.output
def command(
    *,
    spec: Path | None,
    words: tuple[str, ...],
    platform: bool,
    roles: tuple[str, ...],
    registry: str | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    cluster: str | None,
    push: bool,
    write: bool,
    tool: str | None,
    sbom: Path | None,
    output: str,
) -> None:
    """Build the images of SPEC that have a `context`, by docker, podman or buildah.

    SPEC is pipeline.yaml by default, where there is one. Bases are taken by digest where it is
    known, and labels say what an image is. Driftloop's own images are built from this
    installation. After --push, `driftloop commit --pin` keeps the digests in the spec.
    """
    if spec is not None and str(spec).startswith("-"):
        spec, words = None, (str(spec), *words)
    if spec is None and Path(SPEC).is_file():
        spec = Path(SPEC)
    if write and (registry is None or spec is None):
        raise click.UsageError("--write needs --registry and a SPEC")
    if repository is not None and cluster is None:
        raise click.UsageError("--repository needs --cluster: the platform file of which one?")
    if registry is not None and cluster is not None:
        raise click.UsageError("--registry and --cluster both say where images belong: use one")
    places = ImagePlaces(registry)
    if cluster is not None:
        places = _find_places(repository, branch, state, cluster)
    recipes: list[ImageRecipe] = []
    if platform or roles:
        wanted = roles or list_platform_roles(spec)
        recipes += list_platform_recipes(wanted, places)
    if spec is not None:
        recipes += list_project_recipes(spec, places)
    if not recipes:
        raise click.UsageError(
            f"nothing to build: no image of {spec} has a `context`"
            if spec is not None
            else f"no {SPEC} here: name a SPEC, or use --platform"
        )
    chosen = find_tool(tool)
    if push and not chosen.is_known:
        raise click.UsageError(f"--push needs docker, podman or buildah, not {chosen.name}")
    results = build_images(
        recipes,
        chosen,
        push=push,
        sbom=sbom,
        words=words,
        report=options.print_progress,
    )
    if write and spec is not None:
        write_refs(spec, results)
    if output != "text":
        options.print_document([_to_json(each) for each in results], output)
        return
    for each in results:
        click.echo(_describe(each))
        if each.image is not None and each.image.runs_as_root:
            options.print_progress(
                f"note: {each.recipe.ref} runs as root, which a pipeline's namespace does not allow: "
                "end its Dockerfile with `USER 8888`"
            )
    for each in () if write else list_renamed(results):
        options.print_progress(
            f"note: {spec} calls it `{each.recipe.named}`: write images.{each.recipe.key}.ref "
            f"`{each.recipe.ref}`, or use --write"
        )
    if push and spec is not None:
        options.print_progress(
            f"next: `driftloop commit {spec} --pin` keeps the digests in the spec"
        )
    if push and places.cluster is not None:
        for name in places.cluster.spec.images.pull_secrets:
            options.print_progress(
                f"note: cluster `{cluster}` pulls with Secret `{name}` of each pipeline's namespace"
            )


def _find_places(
    repository: str | None, branch: str, state: StateChoice, cluster: str
) -> ImagePlaces:
    with target.open_repository(repository, branch, state, cluster) as opened:
        platform = opened.read_platform(opened.repository.tree(opened.repository.tip()))
    if platform.read is None:
        options.print_progress(
            f"note: cluster `{cluster}` has no platform file, so that it pulls all images by their own names"
        )
    return ImagePlaces(cluster=platform)


def _describe(result: BuildResult) -> str:
    ref = result.recipe.ref
    if result.digest is not None:
        ref = f"{ref}@{result.digest}"
    return ref if result.image is None else f"{ref}  {result.image.size / 1e6:.0f} MB"


def _to_json(result: BuildResult) -> dict[str, object]:
    image = result.image
    return {
        "ref": result.recipe.ref,
        "image": result.recipe.key,
        "role": result.recipe.role,
        "digest": result.digest,
        "bytes": None if image is None else image.size,
        "user": None if image is None else image.user,
    }
