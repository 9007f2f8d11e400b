"""`driftloop render`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from driftloop.cli import options, pinning
from driftloop.errors import RenderError
from driftloop.operations.commits import remembered
from driftloop.operations.commits.render import (
    RenderedSpec,
    check_spec,
    choose_cluster,
    find_specs,
    render_spec,
)
from driftloop.platform import PlatformFile
from driftloop.text.words import count_noun

LISTED = 40
"""Files that a failed check lists at most."""

EXAMPLES = """\b
Examples:
  driftloop render pipeline.yaml --into ../cluster-repository
  driftloop render --into . --check
  driftloop render pipeline.yaml --into ../cluster-repository --pin"""


@click.command(epilog=EXAMPLES)
@click.argument("specs", metavar="[SPEC]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--into",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Working copy of the cluster repository.",
)
@options.cluster
@click.option(
    "--check", is_flag=True, help="Write nothing; exit code 1 when the folder differs from a spec."
)
@pinning.add_options
@options.output
def command(
    *,
    specs: tuple[Path, ...],
    folder: Path,
    cluster: str | None,
    check: bool,
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Render each SPEC into a folder: workflows/, deployments/, monitors/ and cluster/.

    Without SPEC, render every pipeline of the folder. An existing release.yaml is kept and
    rendered. Files without the generated header are never overwritten or removed. --check
    renders only what it has not seen before; its cache is ~/.cache/driftloop, or
    DRIFTLOOP_CACHE.

    With --pin, the `pins` of each spec are updated first to the digests that the registries
    return now (logins are read from Docker's config.json). Everything rendered from it then
    names its images by digest.
    """
    if pin and check:
        raise click.UsageError("--check writes nothing, --pin writes the spec: give one of them")
    places = _choose_places(specs, folder, cluster)
    specs = tuple(spec for spec, _ in places)
    if pin:
        pinning.write_pins(specs, mirrors)
    results: list[RenderedSpec] = []
    for spec, platform in places:
        result = (check_spec if check else render_spec)(spec, folder, platform=platform)
        results.append(result)
        if output != "text":
            options.print_document(_to_json(result, folder), output, one_of_several=True)
        elif not check:
            count = Counter(kind for kind, _ in result.changes)
            click.echo(
                f"{result.name}: {count_noun(result.files, 'file')} in {folder} "
                f"({count['added']} added, {count['changed']} changed, {count['removed']} removed)",
                err=True,
            )
    remembered.prune_cache()
    if check:
        _report_differences(results, folder, quiet=output != "text")


def _choose_places(
    specs: Sequence[Path], folder: Path, cluster: str | None
) -> Sequence[tuple[Path, PlatformFile]]:
    """Return each spec with its cluster; without specs all pipelines of the folder, of all its clusters unless one is
    named."""
    if specs:
        platform = choose_cluster(folder, cluster)
        return tuple((spec, platform) for spec in specs)
    return find_specs(folder, cluster)


def _to_json(result: RenderedSpec, folder: Path) -> dict[str, object]:
    changes = [{"path": path, "change": kind} for kind, path in result.changes]
    return {
        "pipeline": result.name,
        "folder": str(folder),
        "files": result.files,
        "changes": changes,
    }


def _report_differences(results: Sequence[RenderedSpec], folder: Path, *, quiet: bool) -> None:
    """Raise RenderError for what differs; print a line for each pipeline when nothing does."""
    differing = [result for result in results if result.changes]
    if not differing:
        for result in () if quiet else results:
            click.echo(
                f"{result.name}: {count_noun(result.files, 'file')} in {folder} match {result.spec}",
                err=True,
            )
        return
    lines = [f"  {kind:8} {path}" for result in differing for kind, path in result.changes]
    more = f"\n  and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    specs = " ".join(str(result.spec) for result in differing[:5]) + (
        " …" if len(differing) > 5 else ""
    )
    raise RenderError(
        f"{folder} differs from {specs} in {count_noun(len(lines), 'file')}:\n"
        + "\n".join(lines[:LISTED])
        + more,
        hint=f"`driftloop render {specs} --into {folder}` writes them; `driftloop plan` shows the difference",
    )
