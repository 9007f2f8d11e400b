"""What images are made of and what their containers may write: named by hash and digest, or told here by name."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.commands import type_command
from support.registry import Small, digest_of

from driftloop import __version__
from driftloop.local.kubelet.environments import read_requirements
from driftloop.operations.building import recipes
from tests.golden.trees import NAMES, documents, tree

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "pipeline" / "driftloop" / "images"
STARTERS = ROOT / "pipeline" / "driftloop" / "operations" / "project" / "starter"
DOCKERFILES = sorted(
    file
    for folder in (IMAGES, STARTERS, ROOT / "examples")
    for file in folder.rglob("Dockerfile")
    if "__pycache__" not in file.parts
)
LOCKS = sorted(
    file.with_name("requirements.txt")
    for folder in (IMAGES, STARTERS, ROOT / "examples")
    for file in folder.rglob("requirements.in")
)

UNPINNED = {"python:3.11-slim", "docker.io/seldonio/seldon-core-executor:1.17.1"}
"""Bases that `images/bases.txt` has no digest of: its registry could not be asked where this was written."""

WRITABLE = {
    "a user's training code": "writes what it likes beside itself: checkpoints, caches, logs",
    "a server of Seldon's operator": "upstream's images write into their own folders, and their owners say where",
    "Argo Events' own": "its EventSources and Sensors are upstream's images",
    "a role whose spec says so": "`pod.security.readOnlyRootFilesystem: false`, for a program that writes beside itself",
}
"""Containers with a root that can be written, and why."""


def test_every_requirement_of_an_image_has_a_hash() -> None:
    assert len(LOCKS) == 15
    for file in LOCKS:
        requirements = read_requirements(file)
        assert requirements, file
        for requirement in requirements:
            assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+", requirement.name), requirement
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement.text), requirement


STARTED = """\
import importlib, importlib.abc, importlib.metadata, pkgutil, sys

owners, locked = importlib.metadata.packages_distributions(), set(sys.argv[1].split(","))
for package in [name for name in sys.modules if "." not in name and name in owners]:
    sys.modules.pop(package)


class Image(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        own = {each.lower().replace("_", "-") for each in owners.get(name, ())}
        if own and not own & locked:
            raise ModuleNotFoundError(f"the image has no {name}")


sys.meta_path.insert(0, Image())
for module in sys.argv[2].split(","):
    importlib.import_module(module)
import driftloop.steps
for each in pkgutil.iter_modules(driftloop.steps.__path__):
    importlib.import_module(f"driftloop.steps.{each.name}")
"""
"""Imports what an image starts, as if nothing but its libraries were installed."""


def test_all_that_the_image_of_the_command_line_starts_finds_its_libraries() -> None:
    lock = read_requirements(IMAGES / "driftloop" / "requirements.txt")
    names = {_canonical(each.name.partition("==")[0]) for each in lock} | {"driftloop"}
    programs = (
        "driftloop.cli.root", "driftloop.cli.console", "driftloop.cli.rollback", "driftloop.cli.promote",
        "driftloop.services.decision.__main__",
        "driftloop.services.analysis.__main__", "driftloop.console.serving",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STARTED, ",".join(names), ",".join(programs)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


ENTRIES = {
    "driftloop": (
        "driftloop.cli.root", "driftloop.services.decision.__main__", "driftloop.services.analysis.__main__",
        *(f"driftloop.cli.{file.stem}" for file in (ROOT / "pipeline/driftloop/cli").glob("*.py")),
        *(f"driftloop.steps.{file.stem}" for file in (ROOT / "pipeline/driftloop/steps").glob("*.py")),
    ),
    "monitor": ("driftloop.services.detector.__main__", "driftloop.services.recorder.__main__"),
    "alibi": ("driftloop.services.detector.__main__",),
    "trainer": ("driftloop.services.trainer.__main__",),
}  # fmt: skip
MODULES = {
    "nats-py": "nats", "pyyaml": "yaml", "scikit-learn": "sklearn", "tensorflow-cpu": "tensorflow",
}  # fmt: skip
BY_OTHERS = {
    ("alibi", "numba"): "alibi-detect's own classes",
    ("alibi", "tensorflow-cpu"): "alibi-detect's own classes",
    ("alibi", "tensorflow-probability"): "alibi-detect's own classes",
}
"""Requirements that nothing of ours imports, and what does."""


@pytest.mark.parametrize("role", ENTRIES)
def test_an_image_has_no_library_that_its_role_does_not_import(role: str) -> None:
    imported = _imported_by(ENTRIES[role])
    for each in read_requirements(IMAGES / role / "requirements.in"):
        (name,) = re.findall(r"^[A-Za-z0-9._-]+", each.text)
        needed = MODULES.get(name, name).replace("-", "_") in imported
        assert needed != ((role, name) in BY_OTHERS), f"{role}: {name} is imported: {needed}"


def _imported_by(entries: Iterable[str]) -> set[str]:
    """Top-level names that modules of ours import, or name to be imported, from these on."""
    waiting, seen, found = [*entries], set[str](), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in _names_in(module):
            found.add(name.partition(".")[0])
            parts = name.split(".")
            if parts[0] == "driftloop":
                waiting += [".".join(parts[:end]) for end in range(2, len(parts) + 1)]
    return found


@cache
def _names_in(module: str) -> tuple[str, ...]:
    place = ROOT / "pipeline" / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = file.read_text() if file.is_file() else ""
    names = re.findall(r"^\s*import ([\w.]+)", text, re.MULTILINE)
    for found, those in re.findall(r"^\s*from ([\w.]+) import (\([^)]*\)|.*)", text, re.MULTILINE):
        names += [found, *(f"{found}.{each}" for each in re.findall(r"\w+", those))]
    # modules that are imported by their names
    return (*names, *re.findall(r"[\"']([a-z_]+\.[a-z_.]*)[{\"']", text))


def test_a_lock_has_all_that_is_asked_for_and_what_is_lifted() -> None:
    for file in LOCKS:
        locked = {
            _canonical(each.name.partition("==")[0]): each for each in read_requirements(file)
        }
        for source in (file.with_suffix(".in"), file.with_name("overrides.txt")):
            if source.exists():
                for each in read_requirements(source):
                    (name,) = re.findall(r"^[A-Za-z0-9._-]+", each.text)
                    # an override for no platform leaves a package out
                    wanted = "sys_platform == 'never'" not in each.text
                    assert (_canonical(name) in locked) == wanted, f"{file}: run scripts/lock"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: str(file.parent.relative_to(ROOT)))
def test_a_dockerfile_installs_nothing_without_hashes(file: Path) -> None:
    text = file.read_text().replace("\\\n", " ")
    installs = re.findall(r"pip (?:--python \S+ )?install [^&|\n]*", text)
    assert installs or not re.search("^(?:RUN|COPY|ADD) ", text, re.MULTILINE)
    for install in installs:
        # the package itself is the wheel of what runs here
        own = install.split()[-1] == "/tmp/*.whl" and "--no-index" in install
        assert "--no-deps" in install, install
        assert own or "--require-hashes" in install, install


def test_a_base_has_a_digest_or_is_told() -> None:
    pins = dict(
        [*line.split(), ""][:2]
        for line in (IMAGES / "bases.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert {ref for ref, digest in pins.items() if not digest} == UNPINNED
    for file in DOCKERFILES:
        for base in re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE):
            ours = base.startswith("ghcr.io/driftloop/")
            assert ours or "@sha256:" in base or base in pins, f"{file}: FROM {base}"


def test_bases_are_pinned_and_images_say_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, images = tmp_path / "scripts", tmp_path / "pipeline" / "driftloop" / "images"
    scripts.mkdir()
    (scripts / "images").write_text((ROOT / "scripts" / "images").read_text())
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    images.mkdir(parents=True)
    (images / "bases.txt").write_text((IMAGES / "bases.txt").read_text())
    (images / "server").symlink_to(IMAGES / "server")
    builder = tmp_path / "builder"
    builder.write_text(f'#!/bin/sh\ncp "$4" {tmp_path}/built\n')
    builder.chmod(0o755)
    monkeypatch.setattr(recipes, "ROLES", images)
    words = ("build", "--role", "server", "--tool", str(builder), "--sbom", "sbom")
    assert "python:3.11-slim has no digest" in type_command(*words, folder=tmp_path).stderr
    bases = {
        "library/python:3.11-slim": b"python",
        "seldonio/seldon-core-executor:1.17.1": b"executor",
    }
    with Small(bases).serving() as registry:
        subprocess.run(
            ["bash", str(scripts / "images"), "--pin", f"docker.io=http://{registry.host}"],
            env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
            check=True,
            capture_output=True,
        )
    assert "has no digest" not in type_command(*words, folder=tmp_path).stderr
    base, *_, label = [
        line for line in (tmp_path / "built").read_text().splitlines() if line[:1] not in "#"
    ]
    assert base == f"FROM python:3.11-slim@{digest_of(b'python')}"
    content = (tmp_path / "sbom" / f"server-{__version__}.cdx.json").read_bytes()
    labels = dict(re.findall(r'(\S+)="([^"]*)"', label))
    assert labels["dev.driftloop.sbom"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.base.digest"] == digest_of(b"python")
    bill = json.loads(content)
    assert bill["bomFormat"] == "CycloneDX"
    named = {part["name"]: part for part in bill["components"]}
    assert {"gunicorn", "werkzeug", "seldon-core"} <= set(named)
    assert named["gunicorn"]["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"


@cache
def containers() -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple(
        (f"{name}: {path}: {item['name']}", item)
        for name in NAMES
        for path, document in documents(tree(name))
        for item in _walk(document)
    )


def test_a_container_s_root_is_read_only_or_told() -> None:
    told, seen = set(), set()
    for where, item in containers():
        context = item.get("securityContext") or {}
        if context.get("readOnlyRootFilesystem"):
            _check_writes(where, item)
            seen.add(item["name"])
            continue
        kind = _kind_of_writer(item, context)
        assert kind is not None, f"{where} has a writable root"
        told.add(kind)
    assert told == set(WRITABLE)
    assert {"decision", "judge", "drift", "fetch", "model", "logger", "main", "candidate"} <= seen


def _check_writes(where: str, item: dict[str, Any]) -> None:
    """What sends a program's own files somewhere names a mounted folder."""
    mounts = [mount["mountPath"] for mount in item.get("volumeMounts") or ()]
    for variable in item.get("env") or ():
        if variable["name"] in ("HOME", "TMPDIR"):
            assert variable["value"] in mounts, f"{where}: {variable}"


def _kind_of_writer(item: dict[str, Any], context: dict[str, Any]) -> str | None:
    command = item.get("command") or []
    if item["name"] == "main" and command[:1] != ["driftloop"]:
        return "a user's training code"
    if "command" not in item and item["name"] in ("model", "tfserving"):
        return "a server of Seldon's operator"
    if item["name"] in ("eventsource", "sensor"):
        return "Argo Events' own"
    if context.get("readOnlyRootFilesystem") is False:
        return "a role whose spec says so"
    return None


def _walk(value: Any, key: str = "", name: str = "") -> Iterator[dict[str, Any]]:
    match value:
        case dict():
            own = str(value.get("name") or name)
            for inner, content in value.items():
                if inner == "container" and isinstance(content, dict):
                    kind = {"resources", "securityContext"}.issuperset(content)
                    yield {"name": "eventsource" if kind else "main", **content}
                elif inner in ("containers", "initContainers", "sidecars"):
                    yield from content
                else:
                    yield from _walk(content, inner, own)
        case list():
            for content in value:
                yield from _walk(content, key, name)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
