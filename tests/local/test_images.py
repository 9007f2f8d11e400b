"""Images as environments: built once, immutable refs, errors that name the line."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from driftloop import __version__
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import environments, images, roles
from driftloop.plan import images as refs
from tests.local.conftest import REF

ROOT = Path(__file__).parents[2]


def quiet(_: str) -> None:
    """Takes progress and drops it."""


def test_a_ref_resolves_to_environment_and_snapshot(state: StateFolder, context: Path) -> None:
    image = images.resolve_image(state, REF)
    (context / "echo.py").write_text("changed = True\n")
    assert "HTTPServer" in (image.app / "echo.py").read_text(), (
        "the snapshot does not follow the folder"
    )
    environ = image.build_environment()
    code = "import sys, os; print(sys.prefix); print(os.path.exists('echo.py'))"
    command = [image.find_program("python"), "-c", code]
    lines = subprocess.run(
        command, env=environ, cwd=image.app, capture_output=True, text=True, check=True
    ).stdout
    assert lines.split() == [str(image.env), "True"]


def test_a_ref_is_immutable(state: StateFolder, context: Path, envs: Path) -> None:
    images.register_image(state, REF, context, envs=envs, say=quiet)
    (context / "echo.py").write_text("changed = True\n")
    with pytest.raises(LocalError, match="already registered with other content") as caught:
        images.register_image(state, REF, context, envs=envs, say=quiet)
    assert (
        caught.value.hint
        == "a ref never changes its content: write `example.org/echo:2` in the spec, or let --bump do it"
    )
    other = images.register_image(state, "example.org/echo:2", context, envs=envs, say=quiet)
    assert other.env == images.resolve_image(state, REF).env, (
        "the same requirements share an environment"
    )
    (context / "echo.py").write_text("changed = 2\n")
    with pytest.raises(LocalError) as caught:
        images.register_image(state, REF, context, envs=envs, say=quiet)
    assert "`example.org/echo:3`" in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "following"),
    [
        ("ghcr.io/acme/digits:1.0.0", "ghcr.io/acme/digits:1.0.1"),
        ("localhost:5000/digits:v9", "localhost:5000/digits:v10"),
        ("digits:1.0.0-rc1", "digits:1.0.0-rc2"),
        ("digits:dev", "digits:dev-2"),
        ("localhost:5000/digits@sha256:" + "0" * 64, "localhost:5000/digits:1"),
    ],
)
def test_the_tag_after_a_ref(ref: str, following: str) -> None:
    assert images._next_tag(ref) == following


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"ref": ', "the image is not JSON: "),
        (b"\xff", "is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[]", "the image is `[]`, must be a JSON object"),
        (b'{"ref": "example.org/echo:1"}', "the image has no key `digest`, must be a digest"),
        (b'{"ref": 3}', "the image: `ref` is `3`, must be an image ref"),
    ],
)
def test_a_damaged_record_is_named_with_its_file(
    state: StateFolder, context: Path, envs: Path, content: bytes, message: str
) -> None:
    (record,) = (file for file in state.images.glob("*/image.json") if REF in file.read_text())
    record.write_bytes(content)
    for read in (
        lambda: images.resolve_image(state, REF),
        lambda: images.list_registered(state),
        lambda: images.refresh_image(state),
        lambda: images.register_image(state, REF, context, envs=envs, say=quiet),
    ):
        with pytest.raises(LocalError) as caught:
            read()
        assert str(record) in caught.value.message
        assert message in caught.value.message
        assert caught.value.hint == images.DAMAGED
    record.unlink()
    images.register_image(state, REF, context, envs=envs, say=quiet)
    assert images.resolve_image(state, REF).ref == REF


def test_an_unregistered_ref_names_the_registered_ones(state: StateFolder) -> None:
    with pytest.raises(
        LocalError, match=f"`example.org/other:1` is not registered here; registered: {REF}"
    ):
        images.resolve_image(state, "example.org/other:1")


def test_a_missing_program_is_named(state: StateFolder) -> None:
    with pytest.raises(LocalError, match="has no program `seldon-core-microservice`"):
        images.resolve_image(state, REF).find_program("seldon-core-microservice")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "Dockerfile").unlink(), "has no Dockerfile"),
        (lambda folder: (folder / "requirements.txt").unlink(), "has no requirements.txt"),
        (
            lambda folder: (folder / "Dockerfile").write_text("RUN true\n"),
            "Dockerfile:1: RUN comes before any FROM",
        ),
        (lambda folder: (folder / "Dockerfile").write_text("# nothing\n"), "has no FROM line"),
        (
            lambda folder: (folder / "Dockerfile").write_text("FORM x\n"),
            "Dockerfile:1: `FORM` is not an instruction",
        ),
        (
            lambda folder: (folder / "Dockerfile").write_bytes(b"\x8c\xff"),
            "Dockerfile is not UTF-8 text",
        ),
        (
            lambda folder: (folder / "requirements.txt").write_text("# x\n-e .\n"),
            r"requirements.txt:2: `-e \.` can't be",
        ),
    ],
)
def test_a_broken_folder_says_what_is_missing(
    state: StateFolder, context: Path, envs: Path, change, words: str
) -> None:  # type: ignore[no-untyped-def]
    change(context)
    with pytest.raises(LocalError, match=words):
        images.register_image(state, "example.org/broken:1", context, envs=envs, say=quiet)
    assert [image.ref for image in images.list_registered(state)] == [REF]


def test_a_missing_folder_is_named(state: StateFolder, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"folder .*nowhere does not exist"):
        images.register_image(state, "example.org/none:1", tmp_path / "nowhere", say=quiet)


def test_a_missing_requirement_names_its_line_and_uvs_words(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# the first line\n./\n")
    with pytest.raises(LocalError, match=r"requirements.txt:2: `\./`"):
        environments.build_environment(
            tmp_path / "envs", [file], python="3.11", name="x", say=quiet
        )
    file.write_text("# the first line\ndriftloop-no-such-package-here==1.0\n")
    said: list[str] = []
    with pytest.raises(
        LocalError, match=r"requirements.txt:2: `driftloop-no-such-package-here==1.0`; uv says"
    ):
        environments.build_environment(
            tmp_path / "envs", [file], python="3.11", name="shop", say=said.append
        )
    assert said[0].startswith("shop: building its environment")


HASHED = "six==1.17.0 \\\n    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \\\n"
OTHER = "    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81\n"


def test_a_file_with_hashes_is_installed_as_it_is_over_the_base(tmp_path: Path) -> None:
    base, file = tmp_path / "base.txt", tmp_path / "requirements.txt"
    base.write_text("six==1.16.0\n")
    # python-dateutil demands six, which is the base's here
    file.write_text(
        "python-dateutil==2.9.0.post0 \\\n"
        "    --hash=sha256:a8b2bc7bffae282281c8140a97d3aa9c14da0b136dfe83f850eea9a5f7470427\n"
    )
    env = environments.build_environment(
        tmp_path / "envs", [base, file], python="3.11", name="x", say=quiet
    )
    packages = {path.name for path in env.glob("lib/python3.11/site-packages/*.dist-info")}
    assert packages == {"six-1.16.0.dist-info", "python_dateutil-2.9.0.post0.dist-info"}


def test_a_file_of_other_bytes_is_not_installed(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# a comment\n" + (HASHED + OTHER).replace("4721", "4722").replace("ff7", "ff8")
    )
    with pytest.raises(LocalError, match=r"requirements.txt:2: `six==1.17.0`; uv says") as caught:
        environments.build_environment(
            tmp_path / "envs", [file], python="3.11", name="x", say=quiet
        )
    assert "Hash mismatch" in caught.value.message


def test_a_requirement_without_a_hash_beside_others_is_refused_as_pip_does(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(HASHED + OTHER + "numpy==2.3.5\n")
    with pytest.raises(LocalError, match=r"requirements.txt:4: `numpy==2.3.5` has no `--hash`"):
        environments.read_requirements(file)


def test_an_interrupted_environment_is_built_again(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("")
    env = environments.build_environment(
        tmp_path / "envs", [file], python="3.11", name="x", say=quiet
    )
    stamp = env.stat().st_ino
    assert (
        environments.build_environment(
            tmp_path / "envs", [file], python="3.11", name="x", say=quiet
        )
        .stat()
        .st_ino
        == stamp
    )
    (env / "driftloop-complete").unlink()
    (env / "half").touch()
    again = environments.build_environment(
        tmp_path / "envs", [file], python="3.11", name="x", say=quiet
    )
    assert again == env
    assert not (env / "half").exists()


def test_a_trainer_image_gets_our_wrapper(state: StateFolder, context: Path, envs: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {refs.TRAINER}\nCOPY . .\n")
    image = images.register_image(state, "example.org/trainer:1", context, envs=envs, say=quiet)
    program = image.find_program("driftloop-train")
    command = [program, "--help"]
    result = subprocess.run(
        command,
        env=image.build_environment(),
        cwd=image.app,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout
    modules = subprocess.run(
        [image.find_program("python"), "-c", "import driftloop"],
        env=image.build_environment(), cwd=image.app, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert modules.returncode != 0, "user code does not see our package"


def test_the_driftloop_image_is_this_environment(state: StateFolder) -> None:
    image = images.register_driftloop(state)
    assert image.ref.endswith(f":{__version__}")
    assert os.access(image.find_program("driftloop-decision"), os.X_OK)


@pytest.mark.parametrize(
    ("image", "group"), [("monitor", "monitor"), ("driftloop", None), ("server", "server")]
)
def test_image_requirements_are_the_project_s(image: str, group: str | None) -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = document["project"], document["dependency-groups"]
    extras = project["optional-dependencies"]
    # buckets elsewhere are read by a step, in this image and on one machine
    sources = [line for line in extras["local"] if line.startswith("obstore")]
    command_line = [*project["dependencies"], *extras["console"], *sources]
    listed = command_line if group is None else groups[group]
    file = roles.PACKAGE / "images" / image / "requirements.in"
    # only `secrets init` needs bcrypt, only a terminal rich, only a state folder psutil, only alibi-detect's metadata numba
    unneeded = ("bcrypt", "rich", "psutil", "numba")
    needed = sorted(line for line in listed if not line.startswith(unneeded))
    assert [one.text for one in environments.read_requirements(file)] == needed


@pytest.mark.parametrize("image", ["driftloop", "monitor", "server", "trainer"])
def test_every_image_has_a_dockerfile(image: str) -> None:
    assert "FROM python:3.11-slim" in (roles.PACKAGE / "images" / image / "Dockerfile").read_text()


def test_a_pinned_ref_goes_by_its_tag_unless_it_was_registered_itself(
    state: StateFolder, context: Path, envs: Path
) -> None:
    digest = "@sha256:" + "a" * 64
    assert images.resolve_image(state, REF + digest) == images.resolve_image(state, REF)
    assert (images.by_digest(REF + digest), images.by_digest(REF)) == (True, False)
    with pytest.raises(LocalError, match="is not registered here"):
        images.resolve_image(state, "example.org/echo" + digest)
    (context / "echo.py").write_text("changed = True\n")
    own = images.register_image(state, REF + digest, context, envs=envs, say=quiet)
    assert images.resolve_image(state, REF + digest) == own != images.resolve_image(state, REF)
