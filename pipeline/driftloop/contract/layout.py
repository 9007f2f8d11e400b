"""Places of one cluster's files in the cluster repository.

All rooms name files as a repository of a single cluster has them: `workflows/P/…`, `cluster/C/…`. A layout
says where these stand in a repository that somebody else has laid out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from driftloop.contract import trees
from driftloop.contract.documents import document_key, from_json, is_text, parse_json, to_json
from driftloop.contract.names import FLUX_NAMESPACE

LAYOUT_VARIABLE = "DRIFTLOOP_LAYOUT"
"""Environment variable that carries a declared layout into pods, as JSON."""
CLUSTER = "dev"
"""Name of the cluster of those who name none."""
PLATFORM_FILE = "platform.yaml"
"""Name of a platform file; its folder holds the trees of its cluster."""
FollowerKind = Literal["flux", "argocd"]
"""What follows a cluster repository and applies it. A member more is a case more of each `match` on it, and of those on
`PlatformSpec.follower`."""
_OWN_FOLDERS = ("pipelines/", f"{trees.ACCESS}/")


def name_follower(kind: FollowerKind) -> str:
    """Return the name of what follows a repository, as messages have it."""
    match kind:
        case "flux":
            return "Flux"
        case "argocd":
            return "Argo CD"
        case _:
            assert_never(kind)


@dataclass(frozen=True)
class Layout:
    """Where the files of one cluster stand in the cluster repository."""

    cluster: str = document_key("cluster", "the name of a cluster", is_text)
    path: str = document_key("path", "a folder of the repository", is_text)
    """Folder that Flux or Argo CD reads first, with its objects of all pipelines."""
    root: str = document_key("root", "a folder of the repository", lambda value: True, default="")
    """Folder of the trees; empty for the repository's own."""
    flux_namespace: str = document_key(
        "fluxNamespace", "the name of a namespace", is_text, default=FLUX_NAMESPACE
    )
    """Namespace of the pipelines' Flux Kustomizations."""
    argocd_namespace: str | None = document_key(
        "argocdNamespace", "the name of a namespace", is_text, default=None, omits_none=True
    )
    """Namespace of the pipelines' Applications; None where Flux follows the repository."""
    is_declared: bool = True
    """False for that of a cluster without a platform file."""

    @property
    def text(self) -> str:
        """The layout as the environment variable has it."""
        return json.dumps(to_json(self))

    @property
    def follows(self) -> FollowerKind:
        """What follows the repository."""
        return "flux" if self.argocd_namespace is None else "argocd"

    @property
    def follower_namespace(self) -> str:
        """Namespace of the objects by which the repository is applied."""
        return self.argocd_namespace or self.flux_namespace

    @property
    def follower(self) -> str:
        """Name of what follows the repository, as messages have it."""
        return name_follower(self.follows)

    def place(self, path: str) -> str:
        """Return where a file stands in the repository."""
        for own, there in self._folders:
            if path.startswith(own):
                return f"{there}{path.removeprefix(own)}"
        return f"{self._root}{path}" if path == PLATFORM_FILE else path

    def find(self, path: str) -> str | None:
        """Return what a file of the repository is called here; None for one of another cluster."""
        for own, there in self._folders:
            if path.startswith(there):
                return f"{own}{path.removeprefix(there)}"
        if path == f"{self._root}{PLATFORM_FILE}":
            return PLATFORM_FILE
        return path if self.place(path) == path and not self._is_foreign(path) else None

    def _is_foreign(self, path: str) -> bool:
        """Return True for the files of pipelines of a cluster beside this one."""
        _, _, rest = path.removeprefix(f"{trees.CLUSTER}/").partition("/")
        return (
            self.is_declared
            and path.startswith(f"{trees.CLUSTER}/")
            and rest.startswith(_OWN_FOLDERS)
        )

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the repository with the cluster's files; empty where they are no cluster's alone."""
        return tuple(there for _, there in self._folders) if self.is_declared else ()

    @property
    def _root(self) -> str:
        return f"{self.root}/" if self.root else ""

    @property
    def _folders(self) -> tuple[tuple[str, str], ...]:
        """Folder here -> folder in the repository, in the order in which they are looked for."""
        platform = f"{trees.platform_folder(self.cluster)}/"
        return (
            (platform, f"{self.root}/platform/" if self.root else platform),
            (f"{trees.CLUSTER}/{self.cluster}/", f"{self.path}/"),
            *((f"{tree}/", f"{self._root}{tree}/") for tree in trees.TREES),
        )


def default_layout(cluster: str) -> Layout:
    """Return the layout of a cluster without a platform file: the trees at the root."""
    return Layout(cluster, f"{trees.CLUSTER}/{cluster}", is_declared=False)


def read_layout(environment: Mapping[str, str]) -> Layout | None:
    """Return the layout that a pod was given; None where the cluster has no platform file."""
    text = environment.get(LAYOUT_VARIABLE)
    if not text:
        return None
    return from_json(Layout, parse_json(text, label=LAYOUT_VARIABLE), label=LAYOUT_VARIABLE)
