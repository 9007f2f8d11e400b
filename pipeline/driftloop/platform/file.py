"""A platform file by its path: read, found in a repository, checked against where it stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, assert_never

from driftloop.contract import trees
from driftloop.contract.layout import PLATFORM_FILE, Layout, default_layout, name_follower
from driftloop.errors import SpecError

if TYPE_CHECKING:
    from driftloop.platform.model import Platform, PlatformSpec
    from driftloop.spec.source import Location

_START = "the reference of the platform file has one to start from"


@dataclass(frozen=True)
class PlatformFile:
    """A platform file, or what holds without one."""

    path: str
    """Its path in the repository; empty without a file."""
    text: str
    layout: Layout
    """Where the cluster's files stand."""
    read: "Platform | None" = field(default=None, compare=False)
    """What a file says; None without one."""

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.layout.cluster

    @cached_property
    def spec(self) -> "PlatformSpec":
        """What the file says of the cluster; without one what holds then, for which the models are loaded when it is
        asked."""
        from driftloop.platform.model import PlatformSpec

        if self.read is not None:
            return self.read.spec
        # the path has the name of an option in it, and is not held to what a file may say
        return PlatformSpec.model_construct(path=self.layout.path)


def default_platform(cluster: str) -> PlatformFile:
    """Return what holds for a cluster without a platform file."""
    return PlatformFile("", "", default_layout(cluster))


def parse_platform(text: str, *, path: str, shown: str | None = None) -> PlatformFile:
    """Read a platform file; `path` is its path in the repository, and `shown` the one that messages have, if it is
    another. InvalidSpec lists every problem."""
    # they load the models of specs, which a repository without platform files needs none of
    from driftloop.platform.model import Platform
    from driftloop.spec.load import read_model
    from driftloop.spec.problem import InvalidSpec

    platform, source = read_model(text, Platform, path=shown or path, start=_START)
    root = path.rpartition("/")[0]
    problems = [
        source.problem(location, message, hint=hint)
        for location, message, hint in _find_problems(platform, root)
    ]
    if problems:
        raise InvalidSpec(problems)
    spec = platform.spec
    argocd = None if spec.argocd is None else spec.argocd.namespace
    layout = Layout(platform.metadata.name, spec.path, root, spec.flux.namespace, argocd)
    return PlatformFile(path, text, layout, platform)


def find_platforms(tree: Mapping[str, str]) -> tuple[PlatformFile, ...]:
    """Return the platform files of a repository, by the names of their clusters. SpecError for two of one cluster, or
    two clusters that would share files."""
    found = sorted(_list_files(tree), key=lambda each: each.cluster)
    refuse_shared(found)
    return tuple(found)


def refuse_shared(found: Sequence[PlatformFile]) -> None:
    """Raise SpecError for two platform files of one cluster, or of two that would share files."""
    for index, first in enumerate(found):
        for second in found[index + 1 :]:
            _refuse_shared(first, second)


def platform_schema() -> dict[str, Any]:
    """The JSON Schema of a platform file, for editors."""
    from driftloop.platform.model import Platform
    from driftloop.spec.load import build_schema

    return build_schema(Platform)


def _list_files(tree: Mapping[str, str]) -> Iterator[PlatformFile]:
    for path in tree:
        if path.rpartition("/")[2] == PLATFORM_FILE and is_platform(text := tree[path]):
            yield parse_platform(text, path=path)


def is_platform(text: str) -> bool:
    """Return True for the text of a platform file, whatever is wrong with it."""
    lines = {
        line.split("#")[0].replace('"', "").replace("'", "").strip() for line in text.splitlines()
    }
    return "kind: Platform" in lines


def _find_problems(platform: "Platform", root: str) -> Iterator[tuple["Location", str, str]]:
    spec = platform.spec
    follower = name_follower(spec.follows)
    yield from _find_follower_problems(spec)
    if f"{root}/".startswith(f"{spec.path}/"):
        yield (
            ("spec", "path"),
            f"spec.path is `{spec.path}`, must not hold the platform file: {follower} would apply it, and the trees "
            "beside it",
            f"keep the file outside of what {follower} reads, such as driftloop/{platform.metadata.name}/{PLATFORM_FILE}",
        )
    for tree in trees.TREES:
        folder = f"{root}/{tree}" if root else tree
        if spec.path == folder or spec.path.startswith(f"{folder}/"):
            yield (
                ("spec", "path"),
                f"spec.path is `{spec.path}`, must not be in `{folder}`, which is rendered",
                f"name the folder that {follower} reads for this cluster, such as clusters/prod",
            )
    store = spec.object_store
    if store.service_account_annotations and store.credentials == "keys":
        yield (
            ("spec", "objectStore", "serviceAccountAnnotations"),
            "spec.objectStore.serviceAccountAnnotations is a mapping, must be left out with `credentials: keys`",
            "`credentials: workload-identity` takes the access keys away and uses them",
        )


def _find_follower_problems(spec: "PlatformSpec") -> Iterator[tuple["Location", str, str]]:
    match spec.follows:
        case "flux":
            if spec.argocd is not None:
                yield (
                    ("spec", "argocd"),
                    "spec.argocd is a mapping, must be left out with `follows: flux`",
                    "`follows: argocd` lets Argo CD apply the pipelines",
                )
        case "argocd":
            if spec.argocd is None:
                yield (
                    ("spec", "argocd"),
                    "spec.argocd is missing, must be given with `follows: argocd`",
                    "argocd: {repository: https://git.acme.example/ml/cluster.git}",
                )
            if "flux" in spec.model_fields_set:
                yield (
                    ("spec", "flux"),
                    "spec.flux is a mapping, must be left out with `follows: argocd`",
                    "`argocd` says where Argo CD's objects are; its Applications are ordered by their waves",
                )
            if spec.secrets.type == "sops":
                yield (
                    ("spec", "secrets"),
                    "spec.secrets.type is `sops`, must be another one with `follows: argocd`",
                    "Flux decrypts while it applies, Argo CD does not: use `sealed-secrets`, `external-secrets` or `others`",
                )
            if "flux" in spec.notifications.model_fields_set:
                yield (
                    ("spec", "notifications", "flux"),
                    f"spec.notifications.flux is `{spec.notifications.flux}`, must be left out with `follows: argocd`",
                    "Argo CD tells of commits by its own notifications, which `argocd-notifications-cm` sets up",
                )
        case _:
            assert_never(spec.follows)


def _refuse_shared(first: PlatformFile, second: PlatformFile) -> None:
    if first.cluster == second.cluster:
        message = f"{second.path}: cluster `{first.cluster}` is also that of {first.path}"
        raise SpecError(
            message, hint="`metadata.name` is the name that `--cluster` takes: give each its own"
        )
    for name in ("root", "path"):
        if getattr(first.layout, name) == getattr(second.layout, name):
            shared = getattr(first.layout, name) or "the repository's root"
            raise SpecError(
                f"{second.path}: cluster `{second.cluster}` has the folder `{shared}`, and so has `{first.cluster}` "
                f"({first.path})",
                hint="each cluster has folders of its own: its releases go on by themselves",
            )
