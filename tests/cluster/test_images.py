"""`make images` in one call: every role and the digits example, with whatever builder is there."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from driftloop import __version__
from driftloop.plan import images

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("monitor", ["{detector: ks}", "{alibi: {class: MMDDrift}}"])
def test_the_image_of_alibi_s_classes_is_built_where_a_monitor_names_one(tmp_path, monitor):
    builder = tmp_path / "builder"
    builder.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/built\n')
    builder.chmod(0o755)
    text = f"spec: {{images: {{}}, monitors: {{drift: {monitor}}}}}\n"
    (tmp_path / "pipeline.yaml").write_text(text)
    places = {"IMAGE_BUILDER": str(builder), "SBOM_FOLDER": str(tmp_path / "sbom")}
    command = ["scripts/images", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **places}, check=True, capture_output=True)
    built = (tmp_path / "built").read_text().splitlines()
    assert images.MONITOR in built
    assert (images.ALIBI in built) == ("alibi" in monitor)


def test_every_role_and_the_example_are_built_in_one_call(tmp_path):
    builder = tmp_path / "builder"
    builder.write_text(
        f'#!/bin/sh\n[ -d "$2" ] && [ -f "$4" ] || exit 3\necho "$1 $2 {tmp_path}/$$" >> {tmp_path}/built\n'
        f'cp "$4" {tmp_path}/$$\n'
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
        images.DRIFTLOOP, images.MONITOR, images.TRAINER, server,
        "ghcr.io/driftloop/digits-trainer:1.0.0", "ghcr.io/driftloop/digits-server:1.0.0",
    }  # fmt: skip
    # what a role's image needs is in the folder it is built from
    assert built[server].startswith("pipeline/driftloop/images/server ")
    assert len(list((tmp_path / "sbom").iterdir())) == len(built)
    for folder, dockerfile in (words.split() for words in built.values()):
        for source in re.findall(
            r"^COPY (?!--from)(\S+)", Path(dockerfile).read_text(), re.MULTILINE
        ):
            assert (ROOT / folder / source).exists(), (
                f"{dockerfile} copies {source}, which is not in {folder}"
            )
