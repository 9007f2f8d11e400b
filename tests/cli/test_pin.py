"""`--pin`: what registries say goes into the spec, whole or not at all."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.registry import Small, digest_of

from driftloop import __version__
from driftloop.cli.lazy import run_group
from driftloop.cli.root import root
from driftloop.clients import registry
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL

Driftloop = Callable[..., tuple[int, str, str]]
OURS = f"driftloop/driftloop:{__version__}"


@pytest.fixture
def driftloop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Driftloop:
    monkeypatch.delenv("DRIFTLOOP_GIT_URL", raising=False)
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(registry, "PAUSES", (0.0,))

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["driftloop", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            run_group(root)
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def small() -> Iterator[Small]:
    content = {
        "acme/digits-trainer:1.0.0": b"trainer",
        "acme/digits-server:1.0.0": b"server",
        OURS: b"ours",
    }
    with Small(content).serving() as found:
        yield found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "project" / "pipeline.yaml"
    file.parent.mkdir()
    file.write_text("# ours\n" + MINIMAL)
    file.chmod(0o640)
    return file


def mirror(small: Small) -> tuple[str, str]:
    return "--mirror", f"ghcr.io=http://{small.host}"


def test_render_pins_the_spec_and_the_tree(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tree"
    code, _, said = driftloop("render", spec, "--into", out, "--pin", *mirror(small))
    assert code == 0, said
    assert load_spec(spec.read_text(), path="p").spec.pins == {
        "ghcr.io/acme/digits-trainer:1.0.0": digest_of(b"trainer"),
        "ghcr.io/acme/digits-server:1.0.0": digest_of(b"server"),
        f"ghcr.io/{OURS}": digest_of(b"ours"),
    }
    assert spec.read_text().startswith("# ours\n")
    assert spec.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in spec.parent.iterdir()] == ["pipeline.yaml"]
    assert (out / "workflows/digits/pipeline.yaml").read_text() == spec.read_text()
    train = (out / "workflows/digits/train.workflowtemplate.yaml").read_text()
    assert f"image: ghcr.io/acme/digits-trainer:1.0.0@{digest_of(b'trainer')}" in train
    assert f"asking {small.host} for the digests of 3 images" in said
    assert driftloop("render", "--into", out, "--check")[0] == 0, (
        "what is committed renders the same by itself"
    )
    code, _, said = driftloop("validate", spec)
    assert "pins      every image is named by its digest" in said


def test_a_tag_that_moved_is_said_and_a_pin_that_nothing_uses_goes(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    into = ("--into", tmp_path / "tree")
    driftloop("render", spec, *into, "--pin", *mirror(small))
    small.images["acme/digits-trainer:1.0.0"] = b"other"
    small.images["acme/digits-server:1.1.0"] = b"server"
    spec.write_text(
        spec.read_text().replace(
            "ref: ghcr.io/acme/digits-server:1.0", "ref: ghcr.io/acme/digits-server:1.1"
        )
    )
    code, _, said = driftloop("render", spec, *into)
    assert code == 1
    assert (
        "spec.pins holds `ghcr.io/acme/digits-server:1.0.0`, must hold images that the tree names by a tag"
        in said
    )
    code, out, _ = driftloop("plan", spec, *into, "--pin", "--output", "json", *mirror(small))
    assert (code, digest_of(b"other") in out) == (0, True)
    assert digest_of(b"other") not in spec.read_text(), "plan writes nothing"
    code, _, said = driftloop("render", spec, *into, "--pin", *mirror(small))
    assert code == 0
    was = digest_of(b"trainer")
    assert (
        f"`ghcr.io/acme/digits-trainer:1.0.0` has moved, its digest was {was}: the tag was pushed again"
        in said
    )
    assert (
        "removed the pin of `ghcr.io/acme/digits-server:1.0.0`, which is not used any more" in said
    )
    assert (
        list(load_spec(spec.read_text(), path="p").spec.pins)[1]
        == "ghcr.io/acme/digits-server:1.1.0"
    )


def test_one_image_that_is_not_there_leaves_everything_as_it_was(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    other = spec.with_name("other.yaml")
    other.write_text(
        MINIMAL.replace("{name: digits}", "{name: other}").replace("digits-server:1.0.0", "other:2")
    )
    before = spec.read_text(), other.read_text()
    code, _, said = driftloop(
        "render", spec, other, "--into", tmp_path / "tree", "--pin", *mirror(small)
    )
    assert code == 1
    assert f"image `ghcr.io/acme/other:2`: {small.host} has no tag `2` of `acme/other`" in said
    assert "hint: push the image first" in said
    assert (spec.read_text(), other.read_text()) == before
    assert not (tmp_path / "tree").exists()


def test_each_image_is_asked_for_once(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    other = spec.with_name("other.yaml")
    other.write_text(MINIMAL.replace("{name: digits}", "{name: other}"))
    assert (
        driftloop("render", spec, other, "--into", tmp_path / "tree", "--pin", *mirror(small))[0]
        == 0
    )
    assert len(small.seen) == 3
    assert (
        load_spec(other.read_text(), path="p").spec.pins
        == load_spec(spec.read_text(), path="p").spec.pins
    )


def test_a_spec_that_is_wrong_is_said_before_anybody_is_asked(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    spec.write_text(
        spec.read_text().replace("serve: {model: Digits}", "serve: {model: Digits, image: none}")
    )
    code, _, said = driftloop("render", spec, "--into", tmp_path / "tree", "--pin", *mirror(small))
    assert (code, small.seen) == (1, [])
    assert "spec.serve.image is `none`" in said


def test_commit_pins_and_commits(
    driftloop: Driftloop, small: Small, spec: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    code, commit, said = driftloop(
        "commit", spec, "--repository", repository, "--pin", *mirror(small)
    )
    assert code == 0, said
    show = [
        "git",
        f"--git-dir={repository}",
        "show",
        f"{commit.strip()}:workflows/digits/pipeline.yaml",
    ]
    shown = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    assert shown == spec.read_text()
    assert digest_of(b"ours") in shown


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--pin", "--check"), "give one of them"),
        (("--pin", "--mirror", "ghcr.io"), "is not HOST=URL"),
        (("--pin", "--mirror", "ghcr.io=ftp://x"), "is not HOST=URL"),
        (("--pin", "--mirror", "ghcr.io=https://"), "is not HOST=URL"),
        (("--pin", "--mirror", "ghcr.io=https://h:99999"), "is not HOST=URL"),
        (("--pin", "--mirror", "ghcr.io=https://[::1"), "is not HOST=URL"),
        (("--pin", "--mirror", "ghcr.io=https://user:secret@h"), "is not HOST=URL"),
    ],
)
def test_arguments_that_make_no_sense(
    driftloop: Driftloop, spec: Path, tmp_path: Path, args: tuple[str, ...], words: str
) -> None:
    code, _, said = driftloop("render", spec, "--into", tmp_path, *args)
    assert code == 2
    assert words in said
