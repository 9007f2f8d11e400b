"""`driftloop build`: images of a project and of the platform, by the tools that are here."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from support.commands import type_command
from support.registry import BINARY, distribution

from driftloop import __version__

SCRATCH = "FROM scratch\nCOPY requirements.txt /\nUSER 8888\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    type_command("init", "shop", folder=tmp_path)
    return tmp_path / "shop"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A builder that keeps what it was given."""
    file = tmp_path / "program"
    file.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\ncat "$4" >> {tmp_path}/said\n')
    file.chmod(0o755)
    return file


def test_images_keep_their_names_below_a_registry_and_start_from_what_is_there(
    project: Path, program: Path, tmp_path: Path
) -> None:
    words = ("build", "--registry", "ghcr.io/acme", "--tool", str(program))
    done = type_command(*words, "--", "--network", "host", folder=project)
    assert done.stdout.splitlines() == [
        "ghcr.io/acme/shop-trainer:1.0.0",
        "ghcr.io/acme/shop-server:1.0.0",
    ]
    assert (
        "write images.trainer.ref `ghcr.io/acme/shop-trainer:1.0.0`, or use --write" in done.stderr
    )
    said = (tmp_path / "said").read_text()
    assert f"FROM ghcr.io/acme/trainer:{__version__}\n" in said
    assert "Dockerfile --network host\n" in said
    assert 'org.opencontainers.image.version="1.0.0"' in said
    type_command(*words, "--write", folder=project)
    text = (project / "pipeline.yaml").read_text()
    assert "ref: ghcr.io/acme/shop-trainer:1.0.0" in text
    type_command("validate", "pipeline.yaml", folder=project)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A cluster repository whose cluster `prod` pulls by mirrors and from a registry."""
    folder = tmp_path / "fleet"
    (folder / "driftloop" / "prod").mkdir(parents=True)
    (folder / "driftloop" / "prod" / "platform.yaml").write_text(
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: prod}\n"
        "spec:\n  path: clusters/prod\n  images:\n    registry: r.acme.example/loop\n"
        "    mirrors: {registry.example: r.acme.example/acme, docker.io: r.acme.example/hub}\n"
        "    pullSecrets: [acme-registry]\n"
    )
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "change"]):
        subprocess.run(["git", "-C", folder, *author, *words], check=True)
    return folder


def test_images_get_the_names_that_a_cluster_pulls_them_by(
    project: Path, program: Path, fleet: Path, tmp_path: Path
) -> None:
    words = ("build", "--repository", str(fleet), "--cluster")
    said = type_command(*words, "prod", "--role", "server", "--tool", str(program), folder=project)
    assert said.stdout.splitlines() == [
        f"r.acme.example/loop/server:{__version__}",
        "r.acme.example/acme/shop-trainer:1.0.0",
        "r.acme.example/acme/shop-server:1.0.0",
    ]
    assert "or use --write" not in said.stderr
    text = (tmp_path / "said").read_text()
    assert "FROM r.acme.example/hub/library/python:3.11-slim" in text
    assert f"FROM r.acme.example/loop/trainer:{__version__}\n" in text
    assert 'base.name="python:3.11-slim"' in text
    refused = type_command(*words, "nowhere", folder=project, code=1).stderr
    assert "no cluster `nowhere`, it has: prod" in refused
    both = type_command(*words, "prod", "--registry", "ghcr.io/x", folder=project, code=2)
    assert "--registry and --cluster both say where images belong" in both.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--repository", "x"), 2, "--repository needs --cluster"),
        (("--tool", "nothing-like-it"), 1, "must be docker, podman, buildah, or the path"),
        (("--tool", "false"), 1, "ended with 1 on `registry.example/shop-trainer"),
        (("--tool", "true", "--push"), 2, "--push needs docker, podman or buildah, not true"),
        (("--write",), 2, "--write needs --registry and a SPEC"),
        (("--registry", "https://x"), 1, "must be a host and a path in lower case"),
    ],
)
def test_what_can_not_be_is_said(
    project: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in type_command("build", *words, folder=project, code=code).stderr


def test_without_a_tool_the_three_are_named(project: Path, tmp_path: Path) -> None:
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(git)
    environment = {**os.environ, "PATH": str(tmp_path / "bin")}
    said = type_command("build", folder=project, environment=environment, code=1).stderr
    assert "none of docker, podman and buildah works here" in said
    assert "nothing to build" not in said
    empty = type_command("build", folder=tmp_path, code=2).stderr
    assert "no pipeline.yaml here: name a SPEC, or use --platform" in empty


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry with a password, and a store of buildah's own that may reach it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"acme:{password}\n")
    for name, value in {
        "STORAGE_DRIVER": "vfs",
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }.items():
        monkeypatch.setenv(name, value)
    (folder / "auth.json").write_text("{}")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    with distribution(folder, users=folder / "htpasswd") as host:
        # not before: the registry takes it for a setting of its own
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(folder / "auth.json"))
        (folder / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
        )
        yield host


@pytest.mark.skipif(
    BINARY is None or shutil.which("buildah") is None, reason="buildah or a registry is not here"
)
def test_what_is_built_is_pushed_and_told_by_its_digest(project: Path, registry: str) -> None:
    for name in ("trainer", "server"):
        (project / name / "Dockerfile").write_text(SCRATCH)
    words = ("build", "--tool", "buildah", "--registry", f"{registry}/shop", "--push")
    said = type_command(*words, folder=project, code=1).stderr
    assert f"buildah can't push `{registry}/shop/shop-trainer:1.0.0`" in said
    assert f"hint: `buildah login {registry}` with an account that may push" in said
    subprocess.run(
        ["buildah", "login", "--tls-verify=false", "-u", "acme", "-p", "secret", registry],
        check=True,
        capture_output=True,
    )
    done = type_command(*words, "--write", "-o", "json", folder=project)
    trainer, server = json.loads(done.stdout)
    assert trainer["ref"] == f"{registry}/shop/shop-trainer:1.0.0"
    assert trainer["user"] == "8888"
    lock = (project / "trainer" / "requirements.txt").stat().st_size
    assert lock < trainer["bytes"] < lock + 10_000
    found = subprocess.run(
        ["buildah", "pull", "-q", f"{trainer['ref'].rpartition(':')[0]}@{trainer['digest']}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout
    (project / "server" / "Dockerfile").write_text(SCRATCH.replace("USER 8888\n", ""))
    done = type_command("build", "--tool", "buildah", folder=project)
    assert f"note: {server['ref']} runs as root" in done.stderr
