"""`driftloop render`: the Kubernetes objects of specs, written into a folder."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from driftloop.cli import pin as pinning
from driftloop.contract import trees
from driftloop.errors import RenderError
from driftloop.operations import files, remembered
from driftloop.render import Change, Tree, diff, owned, rendered

LISTED = 40
"""Files that a failed check names at most."""


@dataclass(frozen=True)
class Outcome:
    """One pipeline: its spec, how many files it has, and what differs."""

    name: str
    spec: Path
    files: int
    changes: tuple[tuple[str, str], ...] = ()
    """Kind and path; not the texts, which many pipelines would hold in memory."""

    @classmethod
    def of(cls, name: str, spec: Path, files: int, changes: Sequence[Change]) -> "Outcome":
        """What is left of changes once they are written or told."""
        return cls(name, spec, files, tuple((change.kind, change.path) for change in changes))


@click.command()
@click.argument("specs", metavar="[SPEC]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--into", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the tree."
)
@click.option("--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux reads first.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the folder differs from a spec.")
@pinning.options
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    *,
    specs: tuple[Path, ...],
    folder: Path,
    cluster: str,
    check: bool,
    pin: bool,
    mirrors: Mapping[str, str],
    output: str,
) -> None:
    """Write what each SPEC becomes into a folder: workflows/, deployments/, monitors/ and cluster/.

    Without SPEC, every pipeline that is in the folder. A release.yaml that is there is kept and rendered. Files written
    by hand are never overwritten or removed. A check renders only what it has not seen before (~/.cache/driftloop, or
    DRIFTLOOP_CACHE).

    With --pin, each spec's `pins` are written anew first: what every image's tag stands for now, as the registries say
    (logins: Docker's config.json). Everything rendered from it then names its images by digest.

    \b
    Examples:
      driftloop render pipeline.yaml --into ../cluster-repository
      driftloop render --into . --check
      driftloop render pipeline.yaml --into ../cluster-repository --pin
    """
    if pin and check:
        raise click.UsageError("--check writes nothing, --pin writes the spec: give one of them")
    specs = specs or tuple(_specs_in(folder))
    for pinned in pinning.asked(specs, mirrors) if pin else ():
        pinned.write()
    found: list[Outcome] = []
    for spec in specs:
        outcome = _checked(spec, folder, cluster) if check else _written(spec, folder, cluster)
        found.append(outcome)
        if output == "json":
            listed = [{"path": path, "change": kind} for kind, path in outcome.changes]
            said = {"pipeline": outcome.name, "folder": str(folder), "files": outcome.files, "changes": listed}
            click.echo(json.dumps(said))
        elif not check:
            count = Counter(kind for kind, _ in outcome.changes)
            click.echo(
                f"{outcome.name}: {outcome.files} files in {folder} "
                f"({count['added']} added, {count['changed']} changed, {count['removed']} removed)",
                err=True,
            )
    remembered.prune()
    if check:
        _judge(found, folder, said=output == "text")


def _specs_in(folder: Path) -> Sequence[Path]:
    found = sorted(folder.glob(trees.SPECS))
    if not found:
        raise RenderError(
            f"{folder} holds no pipeline: there is no {trees.SPECS}",
            hint="name a spec: `driftloop render pipeline.yaml --into FOLDER`",
        )
    return found


def _written(spec: Path, folder: Path, cluster: str) -> Outcome:
    name, text, existing = _read(spec, folder, cluster)
    new, changes = _rendered(spec, name, text, existing, cluster)
    files.write(changes, folder)
    return Outcome.of(name, spec, len(new), changes)


def _checked(spec: Path, folder: Path, cluster: str) -> Outcome:
    name, text, existing = _read(spec, folder, cluster)
    known = remembered.recalled(text, existing.get(trees.release_path(name), ""), cluster=cluster)
    if known is not None and remembered.digests(owned(existing, dict.fromkeys(known, ""), pipeline=name)) == known:
        return Outcome(name, spec, len(known))
    new, changes = _rendered(spec, name, text, existing, cluster)
    return Outcome.of(name, spec, len(new), changes)


def _read(spec: Path, folder: Path, cluster: str) -> tuple[str, str, Mapping[str, str]]:
    """The pipeline's name, the spec's text, and the pipeline's files in the folder."""
    text = files.spec_text(spec)
    name = remembered.pipeline_of(text) or files.spec(spec).pipeline.metadata.name
    return name, text, files.tree(folder, name, cluster)


def _rendered(
    spec: Path, name: str, text: str, existing: Mapping[str, str], cluster: str
) -> tuple[Tree, tuple[Change, ...]]:
    release = existing.get(trees.release_path(name))
    new = rendered(text, release, path=str(spec), cluster=cluster)
    # without a release the tree holds an empty one, which the next check finds
    remembered.remember(text, release or new[trees.release_path(name)], new, name=name, cluster=cluster)
    return new, diff(owned(existing, new, pipeline=name), new)


def _judge(found: Sequence[Outcome], folder: Path, *, said: bool) -> None:
    """RenderError for what differs; a line for each pipeline when nothing does."""
    differing = [outcome for outcome in found if outcome.changes]
    if not differing:
        for outcome in found if said else ():
            click.echo(
                f"{outcome.name}: {outcome.files} files in {folder} are what {outcome.spec} renders to", err=True
            )
        return
    lines = list(_named(differing))
    more = f"\n  and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    specs = " ".join(str(outcome.spec) for outcome in differing[:5]) + (" …" if len(differing) > 5 else "")
    raise RenderError(
        f"{folder} differs from {specs} in {len(lines)} files:\n" + "\n".join(lines[:LISTED]) + more,
        hint=f"`driftloop render {specs} --into {folder}` writes them; `driftloop plan` shows the difference",
    )


def _named(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        for kind, path in outcome.changes:
            yield f"  {kind:8} {path}"
