"""Structure: modules are reached from entry points, contract/ does no I/O, docs name files that exist."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

from driftloop.operations.commits import remembered

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline" / "driftloop"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GENERATED = ("docs/reference/findings.md", "docs/reference/spec.md", "docs/reference/contract.md")
IO = {
    "asyncio", "ftplib", "http", "io", "mmap", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil",
    "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "urllib",
}  # fmt: skip
"""Modules of the standard library that reach files, processes or networks."""


QUESTIONS = {
    "Where is the thing that stands for Knative here?": "pipeline/driftloop/local/knative",
    "Where is this event type defined?": "pipeline/driftloop/contract/events.py",
    "Which file do I touch for a new back end?": "docs/guides/adding-a-variant.md",
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("driftloop", cache_dir=None)


def source(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def named(module: str) -> Iterator[str]:
    """Modules that a module names in a string: commands loaded when called, programs for `python -m`."""
    modules = graph().modules
    for node in ast.walk(ast.parse(source(module).read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in modules:
            main = f"{node.value}.__main__"
            yield main if main in modules else node.value


def entry_points() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {target.partition(":")[0] for target in project["scripts"].values()}


def reached() -> set[str]:
    """Every module that the entry points import, at start or later."""
    modules: set[str] = set()
    waiting = entry_points()
    while waiting:
        module = waiting.pop()
        modules.add(module)
        package = module.rpartition(".")[0]
        following = {
            *graph().find_modules_directly_imported_by(module),
            *named(module),
            *filter(None, [package]),
        }
        waiting |= following - modules
    return modules


def test_only_one_room_knows_the_yaml_library() -> None:
    """The wrapper of the user's functions, which runs without `text`, writes one file with it."""
    importers = {
        module
        for module in graph().modules
        if re.search(r"^\s*(import|from) yaml\b", source(module).read_text(), re.MULTILINE)
    }
    own = {module for module in importers if module.startswith("driftloop.text.")}
    assert importers - own == {"driftloop.services.trainer.record"}
    loads = r"yaml\.(safe_|full_|unsafe_)?(load|parse|compose|scan)"
    assert not re.search(loads, source("driftloop.services.trainer.record").read_text())


def test_every_module_is_reached_from_an_entry_point() -> None:
    modules = {module for module in graph().modules if not is_package(module)}
    unreached = sorted(modules - reached())
    assert not unreached, f"only tests import these, or nothing does: {', '.join(unreached)}"


def is_package(module: str) -> bool:
    return source(module).name == "__init__.py"


def test_lazily_loaded_commands_and_started_programs_are_reached_by_their_names() -> None:
    assert "driftloop.cli.validate" in named("driftloop.cli.root")
    assert "driftloop.steps.gate" in named("driftloop.cli.step")
    assert "driftloop.local.knative.__main__" in named("driftloop.local.up.platform")
    assert {
        "driftloop.cli.validate",
        "driftloop.steps.gate",
        "driftloop.local.knative.courier",
    } <= reached()


@pytest.mark.parametrize(
    "file", sorted((PACKAGE / "contract").glob("*.py")), ids=lambda file: file.name
)
def test_the_ground_floor_does_no_io(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module)):
                imported = [module]
            case ast.Call(func=ast.Name(id="open" | "print" | "input" as call)):
                pytest.fail(f"line {node.lineno} calls `{call}`")
            case _:
                continue
        for name in imported:
            top = name.partition(".")[0]
            ours = name.startswith(("driftloop.contract", "driftloop.errors"))
            pure = name == "urllib.parse" or top not in IO
            assert ours or (top in sys.stdlib_module_names and pure), (
                f"line {node.lineno} imports `{name}`"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_in_the_docs_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            file = (page.parent / target).resolve()
            assert file.exists(), f"link to {target}"
    if page.relative_to(ROOT).as_posix() in GENERATED:
        return
    for path in re.findall(r"`((?:[\w.-]+/)+[\w-]+\.py)\b", text):
        candidates = [ROOT / path, PACKAGE / path, *(ROOT / "examples").glob(f"*/{path}")]
        assert any(file.exists() for file in candidates), f"names `{path}`"


def list_threats() -> list[tuple[str, str]]:
    """Rows of the tables of SECURITY.md that begin with `threat`: the threat, and its test."""
    rows, inside = [], False
    for line in (ROOT / "SECURITY.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0] == "threat":
            assert cells[1:] == ["test"]
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            threat, test = cells
            rows.append((threat, rows[-1][1] if test == "the same" else test))
    return rows


def test_each_threat_names_a_test_that_is_there() -> None:
    rows = list_threats()
    assert len(rows) > 25
    assert len({threat for threat, _ in rows}) == len(rows)
    for threat, tests in rows:
        paths = [ROOT / path for path in re.findall(r"`(tests/[^`]+)`", tests)]
        assert paths, f"{threat} has no test"
        for path in paths:
            assert path.exists(), f"{threat}: {path} is not there"
            files = path.rglob("test_*.py") if path.is_dir() else [path]
            # a program of its own, such as the fault run, says how it ends by its exit code
            assert any(re.search(r"def (test_|main)", file.read_text()) for file in files), path


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_newcomer_s_question_has_one_answer(question: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (answer,) = re.findall(rf"{re.escape(question)}\*{{0,2}}(.*?)\n\n", text + "\n\n", re.DOTALL)
    path = QUESTIONS[question]
    assert path in answer or path.removeprefix("docs/") in answer
    assert (ROOT / path).exists()


def test_each_arrow_of_the_picture_is_an_import() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (picture,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    arrows = [
        (sender, receiver)
        for line in picture.splitlines()
        if (match := re.match(r'  (\w+)(?:\[".*?"\])? --> (.*)', line))
        for sender in [match[1]]
        for receiver in re.findall(r"\w+", re.sub(r'\[".*?"\]', "", match[2]))
    ]
    assert len(arrows) > 20
    for sender, receiver in arrows:
        importing, imported = (modules_of(room) for room in (sender, receiver))
        edges = {
            target
            for module in importing
            for target in graph().find_modules_directly_imported_by(module)
        }
        assert edges & imported, f"{sender} does not import {receiver}"


def modules_of(room: str) -> set[str]:
    """Modules of a room, itself included."""
    name = f"driftloop.{room}"
    return {name} | {module for module in graph().modules if module.startswith(f"{name}.")}


def test_the_cache_of_rendered_trees_depends_on_all_code_that_renders() -> None:
    modules = graph().find_upstream_modules("driftloop.render", as_package=True)
    rooms = {module.split(".")[1] for module in modules if "." in module} | {"render"}
    assert rooms == {room.removesuffix(".py") for room in remembered._ROOMS}


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        (
            ["--help"],
            {"pydantic", "yaml", "hera", "boto3", "nats", "aiohttp", "kubernetes", "cryptography"},
        ),
        (
            ["validate", "examples/digits/pipeline.yaml"],
            {"hera", "boto3", "nats", "aiohttp", "kubernetes", "cryptography"},
        ),
        (["schema"], {"hera", "boto3", "nats", "aiohttp", "kubernetes", "cryptography"}),
        (
            ["explain", "DL001"],
            {"hera", "boto3", "nats", "aiohttp", "kubernetes", "cryptography"},
        ),
    ],
)
def test_a_command_loads_no_library_that_it_does_not_use(
    arguments: list[str], spared: set[str]
) -> None:
    program = "import sys; from driftloop.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not spared & set(run.stderr.split())


def test_no_two_test_files_outside_a_package_have_one_name() -> None:
    """Outside a package pytest imports them by that name alone, and collects only the first."""
    alone = [
        file.name
        for file in (ROOT / "tests").rglob("test_*.py")
        if not (file.parent / "__init__.py").exists()
    ]
    assert [name for name, count in Counter(alone).items() if count > 1] == []
