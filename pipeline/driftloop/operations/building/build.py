"""Build images, push them, and tell what they became."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.operations.building.recipes import DOCKERFILE, ImageRecipe
from driftloop.operations.building.tools import BuildTool, BuiltImage
from driftloop.operations.building.wheel import make_wheel
from driftloop.operations.project.edited import EditedSpec, replace_ref

Report = Callable[[str], None]


@dataclass(frozen=True)
class BuildResult:
    """An image that was built, and pushed if that was asked for."""

    recipe: ImageRecipe
    image: BuiltImage | None
    """None for a program of a person's own, which can't be asked."""
    digest: str | None = None
    """Of what was pushed."""


def build_images(
    recipes: Sequence[ImageRecipe],
    tool: BuildTool,
    *,
    push: bool,
    sbom: Path | None,
    words: Sequence[str],
    report: Report,
) -> tuple[BuildResult, ...]:
    """Build each image in turn, and push them when all are built."""
    with tempfile.TemporaryDirectory(prefix="driftloop-build-") as made:
        folder = Path(made)
        wheel = make_wheel(folder) if any(recipe.copies_wheel for recipe in recipes) else None
        for number, recipe in enumerate(recipes):
            report(f"building {recipe.ref}")
            bill = recipe.write_bill(sbom) if sbom is not None else None
            place = folder / str(number)
            place.mkdir()
            dockerfile = place / DOCKERFILE
            if recipe.role is not None:
                recipe.stage(place, wheel)
            loose = recipe.write_dockerfile(dockerfile, sbom=bill)
            for base in loose:
                report(f"  {base} has no digest: built by its tag")
            context = place if recipe.role is not None else recipe.source
            tool.build_image(recipe.ref, context, dockerfile, words)
    if not tool.is_known:
        return tuple(BuildResult(recipe, None) for recipe in recipes)
    results = []
    for recipe in recipes:
        digest = None
        if push:
            report(f"pushing {recipe.ref}")
            digest = tool.push_image(recipe.ref)
        results.append(BuildResult(recipe, tool.inspect_image(recipe.ref), digest))
    return tuple(results)


def list_renamed(results: Iterable[BuildResult]) -> tuple[BuildResult, ...]:
    """Return the user's images that the spec calls by another name."""
    return tuple(each for each in results if each.recipe.is_renamed)


def write_refs(spec: Path, results: Iterable[BuildResult]) -> None:
    """Write the new names of a user's images into the spec, and nothing else.

    SpecError when one is not in the file as it is in the spec.
    """

    def rename(text: str) -> str:
        for result in list_renamed(results):
            text = replace_ref(text, result.recipe.named, result.recipe.ref, file=spec)
        return text

    EditedSpec.edit(spec, rename).write_file()
