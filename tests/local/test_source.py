"""Reading a commit as Flux does, and refusing by name."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.errors import LocalError
from driftloop.local.flux import source
from driftloop.local.ground import kinds
from driftloop.local.ground.addresses import BRANCH
from tests.golden.trees import write_tree
from tests.local.conftest import deployment, kustomization

CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "n"},
    "data": {"a": "b"},
}


def tree(folder: Path, files: Mapping[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        objects = content if isinstance(content, list) else [content]
        path.write_text(content if isinstance(content, str) else yaml.safe_dump_all(objects))
    return folder


def test_order_follows_depends_on_and_lists_are_followed(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "cluster/dev/pipelines/p.yaml": [
                kustomization("a-monitors", "monitors/p", "b-deployments"),
                kustomization("b-deployments", "deployments/p", "c-workflows"),
                kustomization("c-workflows", "workflows/p", "infra-configs"),
            ],
            "cluster/dev/infrastructure.yaml": kustomization(
                "infra-configs", "cluster/infrastructure/configs"
            ),
            "workflows/p/kustomization.yaml": {"resources": ["one.yaml", "sub"]},
            "workflows/p/one.yaml": CONFIG,
            "workflows/p/pipeline.yaml": "not: [listed, not, read",
            "workflows/p/sub/kustomization.yaml": {"resources": ["two.yaml"]},
            "workflows/p/sub/two.yaml": CONFIG | {"metadata": {"name": "two", "namespace": "n"}},
            "deployments/p/d.yaml": deployment("d"),
            "monitors/p/np.yaml": {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "n"},
            },
        },
    )
    entries = source.read_kustomizations(root, "dev")
    assert [entry.kustomization.name for entry in entries] == [
        "infra-configs",
        "c-workflows",
        "b-deployments",
        "a-monitors",
    ]
    by_name = {entry.kustomization.name: entry for entry in entries}
    assert [item["metadata"]["name"] for item in by_name["c-workflows"].objects] == ["c", "two"]
    assert by_name["a-monitors"].objects == ()
    assert by_name["a-monitors"].notes == (
        "NetworkPolicy has no effect here: everything listens on the loopback address only",
    )


def test_patches_are_applied_as_kustomize_does_and_told(tmp_path: Path) -> None:
    patches = [
        {"target": {"kind": "ConfigMap", "name": "c"}, "patch": "- {op: add, path: /data/z, value: y}"},
        {"target": {"kind": "ConfigMap", "labelSelector": "a=b"}, "patch": "- {op: remove, path: /data}"},
        {"target": {"kind": "ConfigMap"}, "patch": "{kind: ConfigMap, metadata: {name: any}, data: {a: null}}"},
    ]  # fmt: skip
    listing: dict[str, Any] = {"resources": ["one.yaml"], "patches": patches}

    def read() -> source.ReadKustomization:
        files = {
            "cluster/dev/pipelines/p.yaml": kustomization("w", "workflows/p"),
            "workflows/p/kustomization.yaml": listing,
            "workflows/p/one.yaml": CONFIG,
        }
        (entry,) = source.read_kustomizations(tree(tmp_path, files), "dev")
        return entry

    entry = read()
    assert [item["data"] for item in entry.objects] == [{"z": "y"}]
    assert entry.notes == ("patches of workflows/p/kustomization.yaml are applied: 3",)
    for target, words in (
        (
            {"kind": "ConfigMap", "name": "c.*"},
            "target `c.*` is not supported by the local runtime",
        ),
        (
            {"kind": "ConfigMap", "namespace": "n"},
            "`target.namespace` is not supported by the local",
        ),
    ):
        patches[0]["target"] = target
        assert words in str(read().error)
    patches[0] = {"target": {"kind": "ConfigMap"}, "patch": "- {op: remove, path: /data/x}"}
    assert "workflows/p/one.yaml: a patch of kustomization.yaml: `op: remove` of `/data/x`" in str(
        read().error
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "cluster/dev does not exist"),
        (
            {"cluster/dev/x.yaml": deployment("d")},
            "cluster/dev/x.yaml: Deployment among the cluster's Kustomizations",
        ),
        (
            {"cluster/dev/x.yaml": kustomization("a", "x", "b")},
            "a depends on b, which does not exist",
        ),
        (
            {"cluster/dev/x.yaml": [kustomization("a", "x", "b"), kustomization("b", "x", "a")]},
            "in a circle: a -> b -> a",
        ),
        (
            {"cluster/dev/x.yaml": [kustomization("a", "x"), kustomization("a", "y")]},
            "Kustomization a is also in cluster/dev/x.yaml",
        ),
        (
            {"cluster/dev/x.yaml": {"kind": "Kustomization"}},
            "Kustomization among the cluster's Kustomizations",
        ),
        (
            {
                "cluster/dev/x.yaml": {
                    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                    "kind": "Kustomization",
                }
            },
            "an object has the wrong shape",
        ),
    ],
)
def test_a_broken_cluster_folder_refuses_the_commit(
    tmp_path: Path, files: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(LocalError, match=words):
        source.read_kustomizations(tree(tmp_path, files), "dev")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (os.mkdir, "a folder"),
        (lambda file: file.symlink_to("nothing"), "a link to nothing"),
    ],
)
def test_what_is_no_plain_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    root = tree(tmp_path, {"cluster/dev/x.yaml": kustomization("a", "x")})
    make(root / "cluster" / "dev" / "y.yaml")
    with pytest.raises(LocalError, match=f"cluster/dev/y.yaml is {kind}, must be a regular file"):
        source.read_kustomizations(root, "dev")


@pytest.mark.parametrize(
    ("dependency", "words"),
    [
        ({"name": "b", "readyExpr": "true"}, r"`spec.dependsOn\[\].readyExpr` `true` is not understood"),
        ({"name": "b", "namespace": "n"}, r"`spec.dependsOn\[\].namespace` is not understood"),
    ],
)  # fmt: skip
def test_a_dependency_that_no_stand_in_follows_is_refused(
    tmp_path: Path, dependency: dict[str, str], words: str
) -> None:
    item = kustomization("a", "x")
    item["spec"]["dependsOn"] = [dependency]
    with pytest.raises(LocalError, match=f"Kustomization a: {words}"):
        source.read_kustomizations(tree(tmp_path, {"cluster/dev/x.yaml": item}), "dev")


@pytest.mark.parametrize(
    "field", ["patches", "postBuild", "images", "targetNamespace", "namePrefix"]
)
def test_kustomization_fields_without_local_meaning_are_refused(tmp_path: Path, field: str) -> None:
    item = kustomization("a", "x")
    item["spec"][field] = {}
    with pytest.raises(
        LocalError, match=f"Kustomization a: `spec.{field}` is not supported by the local runtime"
    ):
        source.read_kustomizations(tree(tmp_path, {"cluster/dev/x.yaml": item}), "dev")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "path p does not exist"),
        ({"p/a.yaml": "a: 1\na: 2\n"}, "p/a.yaml:2:1: `a` appears twice, first in line 1"),
        ({"p/a.yaml": "- 1\n"}, "p/a.yaml: a document is not an object"),
        ({"p/a.yaml": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}}, "ConfigMap without metadata.name"),
        ({"p/a.yaml": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}}},
         "p/a.yaml: argoproj.io/Workflow does not run here"),
        ({"p/a.yaml": {"apiVersion": "acme.io/v1", "kind": "Rocket", "metadata": {"name": "w"}}}, "acme.io/Rocket"),
        ({"p/a.yaml": {"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "w"}}},
         "apps/Deployment has version v1beta1, must be one of: v1"),
        (
            {"p/kustomization.yaml": {"resources": ["gone.yaml"]}},
            "p/kustomization.yaml: resource gone.yaml does not exist",
        ),
        ({"p/kustomization.yaml": {"resources": ["../../../etc/passwd"]}}, "does not exist"),
        (
            {"p/kustomization.yaml": {"images": []}},
            "p/kustomization.yaml: `images` is not supported by the local runtime",
        ),
        ({"p/a.yaml": "\x00"}, "p/a.yaml"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_that_kustomizations_error(
    tmp_path: Path, files: Mapping[str, Any], words: str
) -> None:
    good = {
        "cluster/dev/x.yaml": [kustomization("a", "p"), kustomization("b", "q")],
        "q/c.yaml": CONFIG,
    }
    a, b = source.read_kustomizations(tree(tmp_path, good | files), "dev")
    assert a.error is not None
    assert words in str(a.error)
    assert b.error is None
    assert len(b.objects) == 1


def test_an_image_by_digest_is_told_of_once(tmp_path: Path) -> None:
    pinned = deployment("a")
    pinned["spec"]["template"]["spec"]["containers"][0]["image"] += "@sha256:" + "a" * 64
    by_digest = deployment("b")
    by_digest["spec"]["template"]["spec"]["containers"][0]["image"] = (
        "example.org/echo@sha256:" + "a" * 64
    )
    root = tree(
        tmp_path,
        {
            "cluster/dev/pipelines/p.yaml": kustomization("p", "workflows/p"),
            "workflows/p/all.yaml": [
                pinned,
                pinned | {"metadata": {"name": "c", "namespace": "shop"}},
                by_digest,
            ],
        },
    )
    (found,) = source.read_kustomizations(root, "dev")
    assert found.notes == (source.BY_TAG,)


def test_two_kustomizations_must_not_hold_one_object(tmp_path: Path) -> None:
    files = {
        "cluster/dev/x.yaml": [kustomization("a", "p"), kustomization("b", "q")],
        "p/c.yaml": CONFIG,
        "q/c.yaml": CONFIG,
    }
    a, b = source.read_kustomizations(tree(tmp_path, files), "dev")
    assert a.error is None
    assert "ConfigMap n/c also belongs to Kustomization a" in str(b.error)


def test_the_three_lists_do_not_overlap_and_are_all_explained() -> None:
    lists = (kinds.ACTS_ON, kinds.ACCEPTS, kinds.REFUSES)
    assert sum(map(len, lists)) == len({key for table in lists for key in table})
    text = kinds.explain_kinds()
    for table in lists:
        for (_, kind), why in table.items():
            assert kind in text
            assert why in text


@pytest.mark.parametrize("name", ["observability", "observability-seldon"])
def test_what_a_pipeline_is_watched_by_has_no_effect_and_says_so(name: str, tmp_path: Path) -> None:
    folder = write_tree(name, tmp_path)
    found = next(
        one
        for one in source.read_kustomizations(folder, "dev")
        if one.kustomization.name == f"{name}-monitors"
    )
    assert found.error is None
    notes = [
        note
        for note in found.notes
        if "Prometheus does not run" in note or "Grafana does not run" in note
    ]
    assert [note.split(" ")[0] for note in notes] == ["PodMonitor", "PrometheusRule", "ConfigMap"]
    kept = {item["kind"] for item in found.objects}
    assert kept.isdisjoint({"PodMonitor", "PrometheusRule"})
    assert [item["metadata"]["name"] for item in found.objects if item["kind"] == "ConfigMap"] == [
        "default-broker"
    ]


@pytest.mark.parametrize(
    ("target", "refused"),
    [("a.yaml", False), ("sub/../a.yaml", False), ("../../a.yaml", True), ("/etc/hosts", True)],
)
def test_links_of_a_commit_stay_inside(tmp_path: Path, target: str, refused: bool) -> None:
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    tree(work, {"x/a.yaml": CONFIG, "x/sub/b.yaml": CONFIG})
    (work / "x" / "link.yaml").symlink_to(target)
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (
        ["git", "init", "-q", "-b", BRANCH, str(work)],
        [*git, "add", "."],
        [*git, "commit", "-qm", "x"],
        ["git", "clone", "-q", "--bare", str(work), str(bare)],
    ):
        subprocess.run(command, check=True)
    repository = source.ClusterRepository(bare, BRANCH, tmp_path / "trees")
    tip = repository.read_tip()
    assert tip is not None
    if refused:
        with pytest.raises(LocalError, match=f"is a link to `{target}`"):
            repository.check_out_tree(tip)
    else:
        folder = repository.check_out_tree(tip)
        assert yaml.safe_load((folder / "x" / "link.yaml").read_text()) == CONFIG
