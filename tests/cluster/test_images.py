"""`make images` in one call: every role and the digits example, with whatever builder is there."""

import fnmatch
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from driftloop import __version__
from driftloop.operations.building.recipes import list_platform_roles
from driftloop.plan import images
from driftloop.resources.serving.servers import DRAIN

ROOT = Path(__file__).parents[2]
EXECUTOR = f"ghcr.io/driftloop/executor:{__version__}"


@pytest.mark.parametrize("pipeline", ["digits", "alibi"])
def test_the_image_of_alibi_s_classes_is_built_where_a_monitor_names_one(pipeline):
    roles = list_platform_roles(ROOT / "tests" / "golden" / pipeline / "pipeline.yaml")
    assert "monitor" in roles
    assert ("alibi" in roles) == (pipeline == "alibi")


@pytest.mark.parametrize(("pipeline", "built"), [("digits", True), ("plain", False), (None, True)])
def test_seldon_s_executor_is_built_but_for_a_pipeline_without_its_operator(pipeline, built):
    spec = pipeline and ROOT / "tests" / "golden" / pipeline / "pipeline.yaml"
    assert ("executor" in list_platform_roles(spec)) == built


def test_the_executor_is_upstream_s_of_the_platform_s_version_and_answers_until_nobody_asks():
    text = (ROOT / "pipeline" / "driftloop" / "images" / "executor" / "Dockerfile").read_text()
    versions = ROOT / "cluster" / "infrastructure" / "versions" / "versions.yaml"
    version = yaml.safe_load(versions.read_text())["data"]["seldon-core"]
    assert f"FROM docker.io/seldonio/seldon-core-executor:{version}\n" in text
    assert f'ENTRYPOINT ["/executor", "--shutdown_delay", "{DRAIN}s"]' in text


def test_every_role_and_the_example_are_built_in_one_call(tmp_path):
    builder = tmp_path / "builder"
    builder.write_text(
        '#!/bin/sh\n[ -d "$2" ] && [ -f "$4" ] || exit 3\n'
        f'echo "$1 : $(ls "$2" | xargs) | $(sed -n "s/^COPY \\([^-].*\\) [^ ]*$/\\1/p" "$4" | xargs)" >> {tmp_path}/built\n'
    )
    builder.chmod(0o755)
    (line,) = re.findall(r"^images:.*\n\t@(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = subprocess.run(
        line.split(),
        cwd=ROOT,
        env={
            **os.environ,
            "IMAGE_BUILDER": str(builder),
            "SBOM_FOLDER": str(tmp_path / "sbom"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = dict(words.split(" ", 1) for words in (tmp_path / "built").read_text().splitlines())
    server = f"ghcr.io/driftloop/server:{__version__}"
    assert set(built) == {
        images.DRIFTLOOP, images.MONITOR, images.TRAINER, server, EXECUTOR,
        "ghcr.io/driftloop/digits-trainer:1.0.0", "ghcr.io/driftloop/digits-server:1.0.0",
    }  # fmt: skip
    assert len(list((tmp_path / "sbom").iterdir())) == len(built) - 1, (
        "the executor has no packages"
    )
    # what an image is made of is in the folder it is built from
    for ref, words in built.items():
        found, copied = words.split(" ", 1)[1].split(" | ")
        for source in copied.split():
            assert fnmatch.filter(found.split(), source) or source == ".", f"{ref} copies {source}"
