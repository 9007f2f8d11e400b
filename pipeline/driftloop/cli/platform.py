"""`driftloop platform`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import click

from driftloop import __version__
from driftloop.cli import options, platform_images, terminal
from driftloop.cli.lazy import SuggestingGroup
from driftloop.errors import RenderError
from driftloop.operations.platform.layout import (
    PROFILES,
    check_cluster,
    check_path,
    check_registry,
)
from driftloop.operations.platform.repository import (
    Conflict,
    PlatformChange,
    Resolution,
    check_committed,
    plan_platform,
    plan_upgrade,
)
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop platform init ../cluster-repository
  driftloop platform diff ../cluster-repository
  driftloop platform upgrade ../cluster-repository --dry-run"""
INIT_EXAMPLES = """\b
Examples:
  driftloop platform init
  driftloop platform init --cluster prod --profile standard
  driftloop platform init --cluster staging --path clusters/staging
  driftloop platform init --registry registry.acme.example/driftloop
  driftloop platform init --adopt"""
DIFF_EXAMPLES = """\b
Examples:
  driftloop platform diff
  driftloop platform diff ../cluster-repository -o json"""
ARGOCD_EXAMPLES = """\b
Examples:
  driftloop platform argocd driftloop/prod/platform.yaml | kubectl apply -f -
  driftloop platform argocd driftloop/prod/platform.yaml --health >health.yaml
  kubectl -n argocd patch configmap argocd-cm --type merge --patch-file health.yaml"""
UPGRADE_EXAMPLES = """\b
Examples:
  driftloop platform upgrade --dry-run
  driftloop platform upgrade
  driftloop platform upgrade --conflicts markers"""

_folder = click.argument(
    "folder", metavar="[PATH]", default=".", type=click.Path(path_type=Path, file_okay=False)
)
_registry = click.option(
    "--registry",
    metavar="HOST/PATH",
    callback=lambda _context, _parameter, value: value and check_registry(value),
    help="Where the platform takes driftloop's own images from.  [default: ghcr.io/driftloop]",
)


@click.group("platform", cls=SuggestingGroup, epilog=EXAMPLES)
def command() -> None:
    """Write the platform's files, `cluster/`, into a cluster repository, and bring them to this
    version.

    PATH is the root of a working copy of the repository. `cluster/upstream.json` keeps what
    driftloop wrote there, so that changes of yours are known and kept.
    """


@command.command("init", epilog=INIT_EXAMPLES)
@_folder
@click.option(
    "--cluster",
    default="dev",
    show_default=True,
    callback=lambda _context, _parameter, value: check_cluster(value),
    help="Name of the cluster; its folder is cluster/NAME unless --path names another.",
)
@click.option(
    "--path",
    metavar="FOLDER",
    callback=lambda _context, _parameter, value: value and check_path(value),
    help="Folder of the repository that Flux reads for this cluster, such as clusters/staging.",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=PROFILES[0],
    show_default=True,
    help="`lite` fits on one node; `standard` has more replicas, Prometheus and Grafana.",
)
@_registry
@click.option(
    "--adopt",
    is_flag=True,
    help="Keep files that are there already, as your changes to what this version writes.",
)
@options.output
def init(
    *,
    folder: Path,
    cluster: str,
    path: str | None,
    profile: str,
    registry: str | None,
    adopt: bool,
    output: str,
) -> None:
    """Write the platform's files into the repository at PATH, or those of one more cluster.

    Files that are there already are never overwritten. What is written is committed by you. With
    --registry or --path, and for each cluster beside one that has it, a platform file
    (platform.yaml) is written, too: it says where Flux reads, and where pipelines take the images
    from that driftloop runs.
    """
    change = plan_platform(
        folder, cluster=cluster, profile=profile, registry=registry, adopt=adopt, path=path
    )
    change.write_files()
    if output != "text":
        options.print_document(_to_json(change, written=True), output)
        return
    options.print_progress(
        f"wrote {count_noun(len(change.changes), 'file')} into {folder} (driftloop {__version__})"
    )
    for file in change.platform_files:
        options.print_progress(f"wrote {folder / file.path}, yours to edit")
    for each in change.patched:
        options.print_progress(f"kept as it is, as your change: {folder / each}")
    where = "" if folder == Path() else f"-C {folder} "
    options.print_progress(
        f"\nnext: git {where}add -A && git {where}commit, push, then `flux bootstrap … --path={change.upstream.settings.place(cluster)}`"
    )


command.add_command(platform_images.command)


@command.command("diff", epilog=DIFF_EXAMPLES)
@_folder
@_registry
@options.output
def diff(*, folder: Path, registry: str | None, output: str) -> None:
    """Show what `upgrade` would change in the repository at PATH, as a unified diff.

    Conflicts are listed with file and line. Nothing is written.
    """
    change = plan_upgrade(folder, registry=registry)
    if output != "text":
        options.print_document(_to_json(change, written=False), output)
        return
    for each in (*change.changes, *change.platform_files):
        terminal.print_diff(each)
    _print_conflicts(change.conflicts)
    _print_summary(change)


@command.command("upgrade", epilog=UPGRADE_EXAMPLES)
@_folder
@_registry
@click.option(
    "--conflicts",
    "resolution",
    type=click.Choice(get_args(Resolution)),
    default="refuse",
    show_default=True,
    help="Lines that you and the new version both changed: write nothing, write both between "
    "markers, keep yours, or take the new ones.",
)
@click.option("--dry-run", is_flag=True, help="List what would change, and write nothing.")
@options.output
def upgrade(
    *, folder: Path, registry: str | None, resolution: Resolution, dry_run: bool, output: str
) -> None:
    """Bring the platform's files of the repository at PATH to this version.

    Each file is merged from three texts: what driftloop wrote before, yours, and the new one.
    Changes of yours are kept. Files with changes that are not committed are not touched. Another
    --registry is written into the platform files of the clusters, too.

    Exit code 1 when there are conflicts that are not resolved.
    """
    change = plan_upgrade(folder, registry=registry, resolution=resolution)
    if not change.refused:
        check_committed(change)
    written = not dry_run and not change.refused
    if written:
        change.write_files()
    if output != "text":
        options.print_document(_to_json(change, written=written), output)
    else:
        for each in (*change.changes, *change.platform_files):
            click.echo(f"{each.kind:8} {each.path}")
        _print_conflicts(change.conflicts)
        _print_summary(change)
    if change.refused:
        raise RenderError(
            f"{count_noun(len(change.refused), 'conflict')}, nothing was written",
            hint="`--conflicts markers` writes both sides into the files, `mine` keeps yours, `theirs` takes the new ones",
        )
    if any(conflict.resolved for conflict in change.conflicts) and resolution == "markers":
        raise RenderError(
            "there are conflicts between markers in the files above",
            hint="solve them, then commit; `git restore cluster` takes all of it back",
        )


def _print_conflicts(conflicts: Iterable[Conflict]) -> None:
    for conflict in conflicts:
        options.print_progress(f"conflict {conflict.place}: {conflict.reason}")


def _print_summary(change: PlatformChange) -> None:
    count = Counter(each.kind for each in (*change.changes, *change.platform_files))
    said = ", ".join(f"{count[kind]} {kind}" for kind in ("added", "changed", "removed"))
    yours = f"; {count_noun(len(change.patched), 'file')} with changes of yours"
    what = said if change.changes or change.platform_files else "nothing to change"
    options.print_progress(f"driftloop {change.before} -> {__version__}: {what}{yours}")


def _to_json(change: PlatformChange, *, written: bool) -> dict[str, object]:
    return {
        "folder": str(change.root),
        "before": change.before,
        "version": __version__,
        "written": written,
        "changes": [{"path": each.path, "change": each.kind} for each in change.changes],
        "patched": list(change.patched),
        "platformFiles": [
            {"path": each.path, "change": each.kind} for each in change.platform_files
        ],
        "conflicts": [
            {
                "path": each.path,
                "line": each.line,
                "reason": each.reason,
                "resolved": each.resolved,
            }
            for each in change.conflicts
        ],
    }


@command.command("argocd", epilog=ARGOCD_EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--health",
    is_flag=True,
    help="Print the patch of `argocd-cm` by which Argo CD knows the health of a pipeline's objects.",
)
def argocd(*, file: Path, health: bool) -> None:
    """Print the Application by which Argo CD follows the cluster of the platform file FILE, a path
    in the repository; or, with --health, what its ConfigMap `argocd-cm` lacks.
    """
    from driftloop.operations.ground.files import read_platform_file
    from driftloop.operations.platform.following import build_follower
    from driftloop.resources.argocd_health import list_health_settings
    from driftloop.text.dump import dump_yaml

    application = build_follower(read_platform_file(file))
    printed = {"data": list_health_settings()} if health else application.dump_object()
    click.echo(dump_yaml(printed), nl=False)
