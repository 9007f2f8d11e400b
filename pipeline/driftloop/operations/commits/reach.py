"""Files that Flux or Argo CD does not come to: a commit of them would look like success, and nothing would happen."""

import posixpath
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from driftloop.contract import trees
from driftloop.contract.layout import FollowerKind, Layout, default_layout
from driftloop.errors import RenderError
from driftloop.text.load import load_documents

_FOLLOWING: dict[FollowerKind, str] = {
    "flux": "a Flux Kustomization",
    "argocd": "an Application with `directory.recurse`",
}
_LISTS = (trees.KUSTOMIZATION, "kustomization.yml", "Kustomization")


def check_reached(tree: Mapping[str, str], layout: Layout | None, cluster: str, name: str) -> None:
    """Raise RenderError when Flux or Argo CD does not come to the files of a pipeline: a kustomization.yaml of the folder
    that it reads does not list them, or `.sourceignore`, which only Flux reads, leaves them out. `tree` has the names that
    the layout gives."""
    layout = layout or default_layout(cluster)
    _check_listed(tree, layout, trees.cluster_paths(layout.cluster, name))
    if trees.SOURCE_IGNORE in tree and layout.follows == "flux":
        paths = (*trees.cluster_paths(layout.cluster, name), trees.spec_path(name))
        hidden = _list_ignored(tree[trees.SOURCE_IGNORE], map(layout.place, paths))
        if hidden:
            raise RenderError(
                f"{trees.SOURCE_IGNORE} leaves out {', '.join(hidden)}: Flux would not see what is committed there",
                hint=f"let them through, such as `!/{hidden[0].partition('/')[0]}` at the end of {trees.SOURCE_IGNORE}",
            )


def _check_listed(tree: Mapping[str, str], layout: Layout, paths: tuple[str, ...]) -> None:
    home = f"{trees.CLUSTER}/{layout.cluster}"
    listing = next((f"{home}/{name}" for name in _LISTS if f"{home}/{name}" in tree), None)
    if listing is None:
        return
    reached = set(_list_files(tree, listing))
    missing = [path for path in paths if path not in reached]
    if missing:
        entries = ", ".join(path.removeprefix(f"{home}/") for path in missing)
        raise RenderError(
            f"{layout.place(listing)} does not list {entries}: {layout.follower} reads what it lists, and nothing else of "
            f"{layout.path}",
            hint=f"add them to its `resources`; or give driftloop a folder that {layout.follower} reads whole: `spec.path` of the "
            f"platform file, such as {layout.path}/driftloop, with {_FOLLOWING[layout.follows]} of that path",
        )


def _list_files(tree: Mapping[str, str], listing: str) -> Iterator[str]:
    """Yield the paths that a kustomization.yaml reaches, those of folders in it included."""
    folder = posixpath.dirname(listing)
    for document in load_documents(tree[listing], listing):
        resources = document.get("resources") if isinstance(document, dict) else None
        for entry in resources or ():
            path = posixpath.normpath(posixpath.join(folder, str(entry)))
            inner = next((f"{path}/{name}" for name in _LISTS if f"{path}/{name}" in tree), None)
            if inner is None:
                yield path
            else:
                yield from _list_files(tree, inner)


def _list_ignored(rules: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that rules as in .gitignore leave out, by git's own reading of them."""
    with tempfile.TemporaryDirectory(prefix="driftloop-ignore-") as folder:
        (Path(folder) / ".gitignore").write_text(rules)
        git = ["git", "-C", folder]
        subprocess.run([*git, "init", "--quiet", "--template="], check=True, capture_output=True)
        done = subprocess.run(
            [*git, "check-ignore", "--no-index", "-z", "--stdin"],
            input="\0".join(paths),
            capture_output=True,
            text=True,
            check=False,
        )
    return [path for path in done.stdout.split("\0") if path]
