"""A platform file: what it may say, where each problem of it stands, and which files a repository may have together."""

from collections.abc import Mapping

import pytest

from driftloop.errors import PipelineError
from driftloop.platform import default_platform, find_platforms, parse_platform
from driftloop.platform.model import PlatformSpec
from driftloop.spec import InvalidSpec

PATH = "driftloop/prod/platform.yaml"


def write_platform(spec: str, name: str = "prod") -> str:
    return (
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\n"
        f"metadata: {{name: {name}}}\nspec:\n{spec}"
    )


def test_a_file_that_names_its_folder_alone_has_the_defaults() -> None:
    found = parse_platform(write_platform("  path: ./clusters/prod/\n"), path=PATH)
    assert (found.layout.path, found.layout.root) == ("clusters/prod", "driftloop/prod")
    assert found.spec == PlatformSpec(path="clusters/prod")
    assert default_platform("dev").spec == PlatformSpec(path="cluster/dev")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("  paths: clusters/prod\n", ":5:3: spec.paths is not a known key, must be one of: `argocd`, `branch`, `flux`, `follows`"),
        ("  branch: main\n", ":4:1: spec.path is missing, must be given"),
        ("  path: ../prod\n", ":5:9: spec.path is `../prod`, must be a folder below the repository's root"),
        ("  path: .\n", ":5:9: spec.path is `.`, must be a folder below the repository's root"),
        ("  path: driftloop\n", ":5:9: spec.path is `driftloop`, must not hold the platform file: Flux would apply it"),
        ("  path: driftloop/prod/workflows/x\n", ":5:9: spec.path is `driftloop/prod/workflows/x`, must not be in"),
        ("  path: c/prod\n  images: {registry: 'https://acme'}\n",
         ":6:22: spec.images.registry is `https://acme`, must be a registry with folders in it"),
        ("  path: c/prod\n  flux: {sourceRef: {kind: Bucket}}\n",
         ":6:28: spec.flux.sourceRef.kind is `Bucket`, must be `GitRepository`"),
        ("  path: c/prod\n  follows: argo\n", ":6:12: spec.follows is `argo`, must be one of: `flux`, `argocd`"),
        ("  path: c/prod\n  follows: argocd\n", "spec.argocd is missing, must be given with `follows: argocd`"),
        ("  path: c/prod\n  argocd: {repository: 'https://git.acme.example/c.git'}\n",
         ":6:11: spec.argocd is a mapping, must be left out with `follows: flux`"),
        ("  path: c/prod\n  follows: argocd\n  argocd: {repository: 'https://git.acme.example/c.git'}\n  flux: {dependsOn: []}\n",
         ":8:9: spec.flux is a mapping, must be left out with `follows: argocd`"),
        ("  path: c/prod\n  follows: argocd\n  argocd: {repository: 'https://git.acme.example/c.git'}\n"
         "  notifications: {flux: everything}\n",
         ":8:25: spec.notifications.flux is `everything`, must be left out with `follows: argocd`"),
        ("  path: c/prod\n  argocd: {repository: 'https://eve:secret@git.acme.example/c.git'}\n",
         "must hold no password: Argo CD has its credentials in Secrets"),
        ("  path: c/prod\n  follows: argocd\n  argocd: {repository: 'https://git.acme.example/c.git'}\n"
         "  secrets: {type: sops}\n",
         "spec.secrets.type is `sops`, must be another one with `follows: argocd`"),
        ("  path: c/prod\n  argocd: {repository: ./cluster.git}\n", "must be the address of a git repository, such as"),
        ("  path: c/prod\n  objectStore: {serviceAccountAnnotations: {a/b: c}}\n",
         "must be left out with `credentials: keys`"),
    ],
)  # fmt: skip
def test_a_problem_says_where_it_stands_and_what_is_allowed(spec: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        parse_platform(write_platform(spec), path=PATH)
    assert f"{PATH}{message}" in error.value.message or message in error.value.message


FILES: tuple[tuple[Mapping[str, str], str], ...] = (
    (
        {"a/platform.yaml": write_platform("  path: c/a\n", "one"), "b/platform.yaml": write_platform("  path: c/b\n", "one")},
        "b/platform.yaml: cluster `one` is also that of a/platform.yaml",
    ),
    (
        {"a/platform.yaml": write_platform("  path: c/a\n", "one"), "b/platform.yaml": write_platform("  path: c/a\n", "two")},
        "b/platform.yaml: cluster `two` has the folder `c/a`, and so has `one` (a/platform.yaml)",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("tree", "message"), FILES)
def test_two_clusters_share_nothing(tree: Mapping[str, str], message: str) -> None:
    with pytest.raises(PipelineError) as error:
        find_platforms(tree)
    assert error.value.message == message


def test_a_file_of_another_kind_is_left_alone() -> None:
    assert find_platforms({"cluster/dev/platform.yaml": "kind: Kustomization\n"}) == ()
