"""The clusters of a cluster repository, and the one that a command is for."""

import re
from collections.abc import Callable, Mapping

from driftloop.contract import trees
from driftloop.contract.layout import CLUSTER, PLATFORM_FILE, Layout
from driftloop.errors import GitError
from driftloop.git.repository import Tree
from driftloop.platform import PlatformFile, default_platform, find_platforms, parse_platform

_FLUX_FOLDER = re.compile(r"(.+)/flux-system/[^/]+\.yaml")
_CLUSTERS_FOLDER = re.compile(rf"((?:{trees.CLUSTER}|clusters)/([^/]+))/.+")


class SeveralClustersError(GitError):
    """A repository has several clusters, and none is named."""

    def __init__(self, clusters: tuple[str, ...]) -> None:
        listed = ", ".join(clusters)
        super().__init__(
            f"the cluster repository has several clusters: {listed}",
            hint="name it: `--cluster NAME` of commit, plan, render and secrets, `--on NAME` of others",
        )
        self.clusters = clusters


def choose_layout(cluster: str | None, branch: str | None) -> Callable[[Tree], Layout]:
    """Return what finds the layout of a cluster in a repository; without a name, of the only one that it has. `branch`
    is refused when Flux follows another one; None: it is not meant to be applied yet."""

    def find(tree: Tree) -> Layout:
        platform = choose_platform(tree, cluster)
        if not platform.layout.is_declared:
            return platform.layout
        follows = platform.spec.branch
        if branch not in (None, follows):
            raise GitError(
                f"{platform.path}: {platform.layout.follower} follows branch `{follows}` on cluster `{platform.cluster}`, this is "
                f"`{branch}`",
                hint=f"`--branch {follows}` writes where {platform.layout.follower} looks",
            )
        return platform.layout

    return find


def choose_platform(tree: Mapping[str, str], cluster: str | None) -> PlatformFile:
    """Return the platform of a cluster by its name, or of the only one that a repository has. GitError lists what is
    there when it has no such cluster, or several and none is named."""
    declared = {each.cluster: each for each in find_platforms(tree)}
    undeclared = () if declared else _list_undeclared(tree)
    known = sorted((*declared, *undeclared))
    if cluster is None:
        if len(known) > 1 and CLUSTER not in known:
            raise SeveralClustersError(tuple(known))
        cluster = CLUSTER if CLUSTER in known or not known else known[0]
        if not known:
            _refuse_foreign(tree, cluster)
    if cluster in declared:
        _check_followed(tree, declared[cluster])
        return declared[cluster]
    if known and cluster not in known:
        raise GitError(
            f"the cluster repository has no cluster `{cluster}`, it has: {', '.join(known)}",
            hint=f"a {PLATFORM_FILE} whose `metadata.name` is `{cluster}` adds it"
            if declared
            else f"`{trees.CLUSTER}/{cluster}/` would be a new one: make that folder, or write a {PLATFORM_FILE} that says "
            "where Flux reads",
        )
    if not known:
        _refuse_foreign(tree, cluster)
    return default_platform(cluster)


def read_platform(tree: Mapping[str, str], layout: Layout | None, cluster: str) -> PlatformFile:
    """Return the platform of a cluster as a commit has it, from a tree that its layout places."""
    text = None if layout is None or not layout.is_declared else tree.get(PLATFORM_FILE)
    if layout is None or text is None:
        if layout is not None and layout.is_declared:
            raise GitError(
                f"{layout.place(PLATFORM_FILE)} does not exist",
                hint="`git revert` the commit that removed it",
            )
        return default_platform(cluster)
    return parse_platform(text, path=layout.place(PLATFORM_FILE))


def platform_of(platform: PlatformFile, cluster: str) -> PlatformFile:
    """Return the platform of one of the clusters that share a tree; one with a platform file shares it with none."""
    return platform if platform.cluster == cluster else default_platform(cluster)


def _list_undeclared(tree: Mapping[str, str]) -> tuple[str, ...]:
    """Return the clusters of a repository without platform files: folders below `cluster/`."""
    found = (trees.cluster_of(path) for path in tree if path.count("/") > 1)
    return tuple(sorted({each for each in found if each and each not in trees.SHARED_FOLDERS}))


def _check_followed(tree: Mapping[str, str], platform: PlatformFile) -> None:
    """Raise GitError when Flux reads folders of the repository, and neither that of a platform file nor one above it,
    and nothing in them leads there. A repository without folders of Flux, or a folder with files, may be read by one
    that is set up elsewhere. Argo CD has its folders in Applications of the cluster, where `doctor` looks at them."""
    if platform.layout.follows == "argocd":
        return
    own = platform.layout.path
    folders = _list_followed(tree)
    if not folders or any(f"{own}/".startswith(f"{folder}/") for folder in folders):
        return
    if any(path.startswith(f"{own}/") for path in tree):
        return
    leads = re.compile(rf"path: *[\"']?(\./)?{re.escape(own)}/?[\"']? *$", re.MULTILINE)
    inside = tuple(f"{folder}/" for folder in folders)
    if any(leads.search(tree[path]) for path in tree if path.startswith(inside)):
        return
    raise GitError(
        f"{platform.path}: spec.path is `{own}`, which Flux does not read; it reads: {', '.join(folders)}",
        hint="name one of these, a folder below one, or one that a Flux Kustomization in them has as its `path`; where a Flux "
        f"that is set up elsewhere reads it, put a file there, such as {own}/.gitkeep",
    )


def _list_followed(tree: Mapping[str, str]) -> list[str]:
    """Return the folders that `flux bootstrap` was given."""
    return sorted({match[1] for path in tree if (match := _FLUX_FOLDER.fullmatch(path))})


def _refuse_foreign(tree: Mapping[str, str], cluster: str) -> None:
    """Raise GitError for a repository that Flux reads elsewhere: files below `cluster/` would never be seen."""
    folders = _list_followed(tree) or sorted(
        {match[1] for path in tree if (match := _CLUSTERS_FOLDER.fullmatch(path))}
    )
    if not folders:
        return
    names = {folder.rpartition("/")[2]: folder for folder in folders}
    path = names.get(cluster, folders[0])
    name = path.rpartition("/")[2]
    raise GitError(
        f"Flux reads other folders of the cluster repository than `{trees.CLUSTER}/{cluster}`: {', '.join(folders)}",
        hint=f"tell driftloop of one: write driftloop/{name}/{PLATFORM_FILE} with\n"
        f"apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {{name: {name}}}\nspec: {{path: {path}}}",
    )
