"""What a wheel gives: the whole command line by itself, and words for each extra that is missing."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from click.testing import CliRunner
from uv import find_uv_bin

from driftloop import __version__, extras
from driftloop.cli.root import COMMANDS, root
from driftloop.errors import InstallationError

ROOT = Path(__file__).parents[1]

# a wheel and environments are made within the first of them
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    ("left", "command"),
    [
        ("uv-receipt.toml", "uv tool install 'driftloop[local]'"),
        ("pipx_metadata.json", "pipx install --force 'driftloop[local]'"),
        ("lib/python3.12/site-packages/pip/x", "pip install 'driftloop[local]'"),
        ("pyvenv.cfg", "uv pip install 'driftloop[local]'"),
    ],
)
def test_an_extra_is_added_by_what_made_the_environment(
    tmp_path: Path, left: str, command: str
) -> None:
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    assert extras.write_install_command("local", tmp_path) == command


def test_an_extra_that_is_missing_is_told_with_its_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require_extra("local", "this test")
    monkeypatch.setitem(extras.EXTRAS, "local", ("uv", "nothing_like_it"))
    with pytest.raises(
        InstallationError, match="this test needs `nothing_like_it`, which the extra"
    ):
        extras.require_extra("local", "this test")
    error = extras.explain_missing_module("uvicorn.config")
    assert error is not None
    assert "driftloop[console]" in (error.hint or "")
    assert extras.explain_missing_module("driftloop.nothing") is None


def test_version_names_python_and_the_extras() -> None:
    said = CliRunner().invoke(root, ["version"]).output
    assert said.startswith(f"driftloop {__version__} (Python 3.")
    assert said.endswith("; extras: console, local)\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pipeline", "examples", "cluster"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".sourceignore"):
        shutil.copy(ROOT / name, source)
    run(find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(source))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel: Path) -> Path:
    """The folder of programs of an environment with the wheel alone."""
    return install(wheel, sys.executable, "bare")


def install(wheel: Path, python: str, name: str) -> Path:
    env = wheel.parent / name
    run(find_uv_bin(), "venv", "--quiet", "--no-config", "--python", python, str(env))
    where = ("--python", str(env / "bin" / "python"))
    run(find_uv_bin(), "pip", "install", "--quiet", "--no-config", *where, str(wheel))
    return env / "bin"


def run(*command: str, cwd: Path | None = None, code: int | None = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "driftloop/py.typed" in archive.namelist()
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = Parser().parsestr(archive.read(name).decode())
    assert set(about.get_all("Provides-Extra", [])) == {"cli", "console", "local", "test"}
    classifiers = about.get_all("Classifier", [])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    labels = {line.partition(",")[0] for line in about.get_all("Project-URL", [])}
    assert labels == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    assert about["Keywords"]
    assert about["License-Expression"] == "Apache-2.0"


@pytest.mark.slow
def test_the_bare_package_has_every_command(bare: Path) -> None:
    names = ",".join(module for module, _ in COMMANDS.values())
    check = f"import importlib\nfor name in '{names}'.split(','): importlib.import_module(name)"
    run(str(bare / "python"), "-c", check)
    steps = "import pkgutil, driftloop.steps as s\nfor m in pkgutil.iter_modules(s.__path__, 'driftloop.steps.'): __import__(m.name)"
    run(str(bare / "python"), "-c", steps)
    for service in ("decision", "judge"):
        assert "usage" in run(str(bare / f"driftloop-{service}"), "--help")
    assert "extras: none" in run(str(bare / "driftloop"), "version")


@pytest.mark.slow
def test_the_wheel_carries_the_platform(bare: Path, tmp_path: Path) -> None:
    driftloop = str(bare / "driftloop")
    run(driftloop, "platform", "init", "there", cwd=tmp_path)
    for path in ("infrastructure", "optional", "dev/flux-system"):
        for file in (ROOT / "cluster" / path).rglob("*.*"):
            written = tmp_path / "there" / file.relative_to(ROOT)
            assert written.read_bytes() == file.read_bytes()
    assert "0 errors" in run(driftloop, "validate", "there", cwd=tmp_path)
    assert "nothing to change" in run(driftloop, "platform", "diff", "there", cwd=tmp_path)


@pytest.mark.slow
def test_an_image_gets_the_wheel_that_is_installed(wheel: Path, bare: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\ncp "$2"/* {tmp_path}\n')
    program.chmod(0o755)
    driftloop = str(bare / "driftloop")
    command = (driftloop, "build", "--role", "trainer", "--tool", str(program))
    assert run(*command, cwd=tmp_path).startswith(f"ghcr.io/driftloop/trainer:{__version__}\n")
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(tmp_path / wheel.name) as made:
        names = {name for name in given.namelist() if not name.endswith("RECORD")}
        assert names == {name for name in made.namelist() if not name.endswith("RECORD")}
        assert all(given.read(name) == made.read(name) for name in names)
    assert "driftloop-train" in {
        file.name for file in install(tmp_path / wheel.name, sys.executable, "again").iterdir()
    }
    package = next((bare.parent / "lib").glob("python3*/site-packages/driftloop"))
    text = (package / "errors.py").read_text()
    (package / "errors.py").unlink()
    (package / "errors.py").write_text(text + "# changed\n")
    assert "was changed after its installation" in run(*command, cwd=tmp_path, code=1)
    (package / "errors.py").write_text(text)


@pytest.fixture
def project(bare: Path, tmp_path: Path) -> Path:
    run(str(bare / "driftloop"), "init", "shop", "--template", "tabular", cwd=tmp_path)
    return tmp_path / "shop"


@pytest.mark.slow
def test_a_command_that_needs_an_extra_names_the_command_that_adds_it(
    bare: Path, project: Path
) -> None:
    driftloop = str(bare / "driftloop")
    batch = project / "rows.csv"
    batch.write_text("a,label\n1,0\n2,1\n")
    for words, extra in (
        (("up", "pipeline.yaml"), "local"),
        (("demo",), "local"),
        (("console",), "console"),
        (("try", "data", "--data", "rows.csv", "--envs", "envs"), "local"),
        (
            (
                "backtest",
                "pipeline.yaml",
                "--data",
                "rows.csv",
                "--on",
                "rows.csv",
                "--envs",
                "envs",
            ),
            "local",
        ),
    ):
        told = run(driftloop, *words, cwd=project, code=1)
        assert f"the extra `{extra}` adds" in told, (words, told)
        assert f"hint: install it with `uv pip install 'driftloop[{extra}]'`" in told
    (bare.parent / "uv-receipt.toml").touch()
    assert "`uv tool install 'driftloop[local]'`" in run(driftloop, "up", cwd=project, code=1)
    (bare.parent / "uv-receipt.toml").unlink()


def find_python(version: str) -> str | None:
    """The program of a Python that is here: on PATH, one of uv's, or one of pyenv's."""
    folders = (
        Path.home() / ".local/share/uv/python",
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions",
    )
    made = [found for folder in folders for found in folder.glob(f"*{version}.*/bin/python")]
    return shutil.which(f"python{version}") if not made else str(made[0])


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_command_line_runs_with_newer_pythons(
    wheel: Path, version: str, tmp_path: Path
) -> None:
    if (python := find_python(version)) is None:
        pytest.skip(f"no Python {version} here")
    driftloop = str(install(wheel, python, version) / "driftloop")
    assert f"(Python {version}." in run(driftloop, "version")
    run(driftloop, "init", "shop", cwd=tmp_path)
    run(driftloop, "validate", "shop/pipeline.yaml", cwd=tmp_path)
    run(driftloop, "render", "shop/pipeline.yaml", "--into", "tree", cwd=tmp_path)
    run(driftloop, "render", "shop/pipeline.yaml", "--into", "tree", "--check", cwd=tmp_path)
