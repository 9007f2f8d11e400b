"""`driftloop platform images`: what a cluster pulls, listed, and copied between two registries."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.commands import type_command
from support.registry import BINARY, Pusher, distribution

from driftloop import __version__
from driftloop.plan.images import ENVOY

ROOT = Path(__file__).parents[2]
NATS = "docker.io/library/nats:2.14.2-alpine"
EXECUTOR = f"ghcr.io/driftloop/executor:{__version__}"
DISPATCHER = "gcr.io/knative-releases/knative.dev/eventing-natss/cmd/jetstream/dispatcher"


def write_platform(folder: Path, images: object) -> None:
    (folder / "platform.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "driftloop.dev/v1alpha1",
                "kind": "Platform",
                "metadata": {"name": "dev"},
                "spec": {"path": "cluster/dev", "images": images},
            }
        )
    )


def test_a_list_says_who_asks_for_an_image_and_where_it_is_pulled_from(tmp_path: Path) -> None:
    spec = ROOT / "tests" / "golden" / "digits" / "pipeline.yaml"
    said = type_command("platform", "images", "--spec", str(spec), folder=tmp_path)
    assert f"{NATS}  (nats)\n" in said.stdout
    assert f"{EXECUTOR}  (seldon-core-operator, when a pipeline has" in said.stdout
    assert "15 images that nothing of driftloop's asks for: --all lists them" in said.stderr
    words = ("platform", "images", "--mirror", "r.example/m", "--all", "-o", "json")
    said = type_command(*words, "--profile", "standard", folder=tmp_path)
    images = {each["image"]: each for each in json.loads(said.stdout)}
    assert images[NATS]["pulledAs"] == f"r.example/m/{NATS}"
    assert images[ENVOY]["askedBy"] == ["driftloop"]
    assert {"quay.io/prometheus/prometheus:v3.14.0-distroless", DISPATCHER} <= set(images)
    assert images[DISPATCHER]["byHand"].startswith("DISPATCHER_IMAGE")
    assert "docker.io: r.example/m/docker.io" in said.stderr


def test_a_release_file_has_the_digests_that_nobody_else_has(tmp_path: Path) -> None:
    words = ("platform", "images", "--mirror", "r.example/m")
    refused = type_command(*words, "--push", folder=tmp_path, code=1).stderr
    assert f"`{DISPATCHER}`: upstream names them by digest, in eventing-jsm.yaml alone" in refused
    assert "give it with `--manifest eventing-jsm.yaml`" in refused
    digest = f"sha256:{'a' * 64}"
    container = {"name": "x", "image": "acme/own:1", "env": [{"value": f"{DISPATCHER}@{digest}"}]}
    (tmp_path / "jsm.yaml").write_text(yaml.safe_dump({"spec": {"containers": [container]}}))
    said = type_command(*words, "--manifest", "jsm.yaml", "-o", "json", folder=tmp_path)
    images = {each["image"]: each for each in json.loads(said.stdout)}
    assert images[f"{DISPATCHER}@{digest}"]["digest"] == digest
    assert images["docker.io/acme/own:1"]["askedBy"] == ["jsm.yaml"]


def test_another_version_is_told_and_its_images_are_not_guessed(tmp_path: Path) -> None:
    type_command("platform", "init", folder=tmp_path)
    file = tmp_path / "cluster" / "infrastructure" / "versions" / "versions.yaml"
    file.write_text(file.read_text().replace("seaweedfs: 4.44.0", "seaweedfs: 4.50.0"))
    said = type_command("platform", "images", folder=tmp_path, code=1)
    assert "chrislusf/seaweedfs" not in said.stdout
    assert NATS in said.stdout
    assert "other versions are not known: seaweedfs 4.50.0 (4.44.0 is known)" in said.stderr


def test_mirrors_of_a_platform_file_are_told_to_charts_when_it_changes(tmp_path: Path) -> None:
    type_command("platform", "init", folder=tmp_path)
    stages = tmp_path / "cluster" / "dev" / "infrastructure.yaml"
    before = stages.read_text()
    stages.write_text(before.replace("timeout: 20m", "timeout: 30m"))
    write_platform(
        tmp_path, {"mirrors": {"quay.io": "r.example/quay", "docker.io/library": "r.example/hub"}}
    )
    said = type_command("platform", "diff", folder=tmp_path)
    assert "+            repository: r.example/quay/jetstack/cert-manager-controller" in said.stdout
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"),
    ):
        assert os.system(f"git -C {tmp_path} {' '.join(words)}") == 0
    type_command("platform", "upgrade", folder=tmp_path)
    text = stages.read_text()
    assert "timeout: 30m" in text
    patches = [
        patch["target"]["name"]
        for stage in yaml.safe_load_all(text)
        for patch in stage["spec"].get("patches", ())
    ]
    assert patches == ["cert-manager", "nats", "argo-workflows", "argo-events"]
    assert type_command("platform", "diff", folder=tmp_path).stdout == ""
    assert "0 errors" in type_command("validate", ".", folder=tmp_path).stderr


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Two registries; for skopeo the first one stands for Docker Hub."""
    folders = [tmp_path / name for name in ("theirs", "ours")]
    for folder in folders:
        folder.mkdir()
    with distribution(folders[0]) as theirs, distribution(folders[1]) as ours:
        settings = tmp_path / "home" / ".config" / "containers" / "registries.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text(
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{theirs}"\ninsecure = true\n'
            f'[[registry]]\nlocation = "{ours}"\ninsecure = true\n'
        )
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        yield theirs, ours


@pytest.mark.skipif(
    BINARY is None or shutil.which("skopeo") is None, reason="skopeo or a registry is not here"
)
def test_images_are_copied_with_their_digests_and_what_is_there_is_left(
    registries: tuple[str, str], tmp_path: Path
) -> None:
    theirs, ours = registries
    source = Pusher(theirs)
    digests = {NATS: source.index("library/nats", "2.14.2-alpine", "amd64", "arm64")}
    for ref in (
        ENVOY, "docker.io/bitnami/sealed-secrets-controller:0.36.1", "docker.io/natsio/nats-server-config-reloader:0.23.0",
        "docker.io/seldonio/seldon-core-operator:1.17.1", "docker.io/seldonio/rclone-storage-initializer:1.17.1",
    ):  # fmt: skip
        repository, _, tag = ref.removeprefix("docker.io/").partition(":")
        digests[ref] = source.image(repository, tag, ref)
    write_platform(tmp_path, {"mirrors": {"docker.io": f"{ours}/hub"}})
    words = ("platform", "images", "--push", "--tool", "skopeo", "-o", "json")
    said = type_command(*words, folder=tmp_path, code=1)
    weed = "docker.io/chrislusf/seaweedfs:4.44"
    assert f"error: `{weed}` is not to be had: " in said.stderr
    assert "hint: its registry must be reached from here, and have the tag" in said.stderr
    assert "1 image of" in said.stderr
    assert "the same command goes on with what is missing" in said.stderr
    images = {each["image"]: each for each in json.loads(said.stdout)}
    assert images[f"ghcr.io/driftloop/monitor:{__version__}"]["copied"] is None
    copied = {ref: each["digest"] for ref, each in images.items() if each["copied"]}
    assert copied == digests
    digests[weed] = source.image("chrislusf/seaweedfs", "4.44", weed)
    again = json.loads(type_command(*words, folder=tmp_path).stdout)
    assert {each["image"] for each in again if each["copied"]} == {weed}
    assert {
        each["image"]: each["digest"] for each in again if each["copied"] is not None
    } == digests
