"""Every rendered command is understood by the program it names: options exist, required ones are given."""

from collections.abc import Iterator
from typing import Any

import click
import pytest

from driftloop.cli.root import root
from driftloop.services.analysis import __main__ as analysis
from driftloop.services.decision import __main__ as decision
from driftloop.services.detector import __main__ as detector
from driftloop.services.recorder import __main__ as recorder
from driftloop.services.trainer import __main__ as trainer
from tests.golden.trees import NAMES, UNLISTED, documents, tree

PARSERS = {
    "driftloop-train": trainer.build_parser,
    "driftloop-detector": detector.build_parser,
    "driftloop-decision": decision.build_parser,
    "driftloop-judge": analysis.build_parser,
    "driftloop-recorder": recorder.build_parser,
}
PROGRAMS = {"driftloop", *PARSERS}


def commands(value: Any) -> Iterator[list[str]]:
    """The argument vectors of all containers in an object."""
    if isinstance(value, list):
        for item in value:
            yield from commands(item)
    elif isinstance(value, dict):
        if "image" in value and "command" in value:
            yield [*value["command"], *value.get("args", [])]
        for item in value.values():
            yield from commands(item)


def all_commands() -> list[list[str]]:
    found: dict[tuple[str, ...], None] = {}
    for name in NAMES:
        for path, document in documents(tree(name)):
            if not path.endswith(UNLISTED):
                found.update(dict.fromkeys(tuple(argv) for argv in commands(document)))
    return [list(argv) for argv in found]


ALL = all_commands()


def test_the_programs_are_ours_the_users_or_the_servers() -> None:
    assert {argv[0] for argv in ALL} == {
        *PROGRAMS,
        "seldon-core-microservice",
        "envoy",
        "clean",
        "sh",
    }


@pytest.mark.parametrize(
    "step", sorted({argv[2] for argv in ALL if argv[:2] == ["driftloop", "step"]})
)
def test_steps_are_understood(step: str) -> None:
    command: click.Command = root
    context = click.Context(root)
    for name in ("step", step):
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
    for argv in ALL:
        if argv[:3] == ["driftloop", "step", step]:
            made = command.make_context(step, argv[3:])
            assert made.params, argv


def test_every_step_there_is_gets_used() -> None:
    from driftloop.cli.step import STEPS

    assert {argv[2] for argv in ALL if argv[:2] == ["driftloop", "step"]} == set(STEPS)


@pytest.mark.parametrize(
    "argv",
    [argv for argv in ALL if argv[0] in PROGRAMS - {"driftloop"}],
    ids=lambda v: " ".join(v[:3]),
)
def test_services_name_only_known_options(argv: list[str]) -> None:
    # what comes after it is a person's own program
    own = argv.index("--") if "--" in argv else len(argv)
    PARSERS[argv[0]]().parse_args(argv[1:own])
