"""Every union that a spec or a rollout chooses from: a new member is one that mypy asks for, place by place."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class NewMember:
    """A member added to a union, and the functions that mypy must name."""

    id: str
    edits: tuple[tuple[str, str, str], ...]
    """(file below pipeline/driftloop, old text, new text)"""
    places: frozenset[str]
    """`file:function` below pipeline/driftloop."""


def _spec_class(base: str, name: str, tag: str) -> str:
    return f'class {name}({base}):\n    """New."""\n\n    {tag}: Literal["new"] = "new"\n\n\n'


MEMBERS = (
    NewMember(
        "back end",
        (
            (
                "spec/serve.py",
                'backend: Literal["seldon", "plain"]',
                'backend: Literal["seldon", "plain", "kserve"]',
            ),
        ),
        frozenset(
            {
                "plan/backends.py:backend_limits",
                "resources/serving/__init__.py:serving_backend",
                "resources/watching/series.py:unlogged_share",
            }
        ),
    ),
    NewMember(
        "server",
        (
            (
                "spec/serve.py",
                "Prepackaged = ",
                _spec_class("_Prepackaged", "NewServer", "server") + "Prepackaged = ",
            ),
            (
                "spec/serve.py",
                '    | Annotated[TritonServer, Tag("triton")],',
                '    | Annotated[TritonServer, Tag("triton")]\n    | Annotated[NewServer, Tag("new")],',
            ),
        ),
        frozenset(
            {
                "plan/backends.py:is_prepackaged",
                "operations/servers/predicting.py:find_model",
                "plan/check.py:_check_serving",
                "resources/serving/seldon.py:seldon_deployment",
                "resources/serving/servers.py:_server_parameters",
                "resources/serving/servers.py:_model_containers",
                "resources/serving/servers.py:model_container",
                "resources/serving/servers.py:installs_packages",
            }
        ),
    ),
    NewMember(
        "graph node",
        (
            (
                "spec/graph.py",
                "Own = FixedModel",
                _spec_class("_Class", "NewNode", "type") + "Own = NewNode | FixedModel",
            ),
            (
                "spec/graph.py",
                '    Annotated[Released, Tag("released")]\n',
                '    Annotated[Released, Tag("released")]\n    | Annotated[NewNode, Tag("new")]\n',
            ),
        ),
        frozenset({"spec/graph.py:walk_nodes", "resources/serving/servers.py:_node_type"}),
    ),
    NewMember(
        "detector",
        (
            (
                "spec/detector.py",
                "Detector = Annotated[",
                _spec_class("_Detector", "NewDetector", "detector") + "Detector = Annotated[",
            ),
            (
                "spec/detector.py",
                '    | Annotated[ChiSquared, Tag("chi2")]\n',
                '    | Annotated[ChiSquared, Tag("chi2")]\n    | Annotated[NewDetector, Tag("new")]\n',
            ),
            (
                "contract/handovers.py",
                'Kind = Literal[\n    "tabular"',
                'Kind = Literal[\n    "new", "tabular"',
            ),
        ),
        frozenset(
            {
                "plan/plan.py:settings",
                "plan/plan.py:detector_kind",
                "services/detector/detectors/__init__.py:fit_detector",
            }
        ),
    ),
    NewMember(
        "schedule",
        (
            (
                "plan/schedule.py",
                'ScheduleKind = Literal["train", "data"]',
                'ScheduleKind = Literal["train", "data", "new"]',
            ),
        ),
        frozenset(
            {"plan/schedule.py:_train_schedule", "resources/workflows/schedules.py:_scheduled_run"}
        ),
    ),
    NewMember(
        "stage of a rollout",
        (
            (
                "release/stages.py",
                "RolloutStage = ",
                '@dataclass(frozen=True)\nclass NewStage:\n    """New."""\n\n\nRolloutStage = NewStage | ',
            ),
        ),
        frozenset(
            {
                "release/stages.py:stage_target",
                "resources/workflows/rollout.py:_stage_name",
                "resources/workflows/rollout.py:_stage_limits",
                "operations/rollouts/advance.py:apply_stage",
            }
        ),
    ),
    NewMember(
        "phase of a release",
        (("release/record.py", 'Phase = Literal["empty", ', 'Phase = Literal["new", "empty", '),),
        frozenset({"release/record.py:_problem", "resources/serving/seldon.py:find_mirrored"}),
    ),
    NewMember(
        "way to promote",
        (
            (
                "spec/rollout.py",
                'promote: Literal["auto", "manual"]',
                'promote: Literal["auto", "manual", "new"]',
            ),
        ),
        frozenset({"resources/workflows/rollout.py:is_held"}),
    ),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that mypy has seen once, so that it reads only what an edit touches."""
    folder = tmp_path_factory.mktemp("unions")
    shutil.copytree(
        ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert _errors(folder) == []
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.id)
def test_mypy_names_every_place_that_a_new_member_needs(member: NewMember, copy: Path) -> None:
    package = copy / "pipeline" / "driftloop"
    originals: dict[Path, str] = {}
    try:
        for name, old, new in member.edits:
            file = package / name
            text = file.read_text()
            originals.setdefault(file, text)
            assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
            file.write_text(text.replace(old, new))
        errors = _errors(copy)
    finally:
        for file, text in originals.items():
            file.write_text(text)
    assert {_place(package, error) for error in errors} == member.places, "\n".join(errors)


def _errors(folder: Path) -> list[str]:
    mypy = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--no-error-summary",
            "--cache-dir",
            folder / "cache",
            "pipeline/driftloop",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert mypy.returncode in (0, 1), mypy.stdout + mypy.stderr
    return [line for line in mypy.stdout.splitlines() if ": error:" in line]


def _place(package: Path, error: str) -> str:
    """The function around the line of an error."""
    path, line = error.split(":")[:2]
    file = package.parents[1] / path
    above = file.read_text().splitlines()[: int(line)]
    functions = [match[1] for text in above if (match := re.match(r" *def (\w+)", text))]
    return f"{file.relative_to(package)}:{functions[-1]}"
