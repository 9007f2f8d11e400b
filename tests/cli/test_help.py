"""The help of every command has a description, an example, and a text for every option."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from driftloop.cli.lazy import SuggestingGroup
from driftloop.cli.root import SECTIONS, root
from tests.cli.reference import reference


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(root))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_the_command_its_options_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    examples = (command.epilog or "").partition("Examples:\n")[2].splitlines()
    assert any("driftloop" in line for line in examples)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_sections_of_the_help_begin_at_commands() -> None:
    assert set(SECTIONS) <= set(root.list_commands(click.Context(root)))
    assert next(iter(SECTIONS)) == "init"


def test_every_group_answers_a_mistyped_command() -> None:
    groups = [command for command in COMMANDS.values() if isinstance(command, click.Group)]
    assert all(isinstance(group, SuggestingGroup) for group in groups)


def test_the_reference_is_up_to_date(update: bool) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    if update:
        page.write_text(reference())
    assert page.read_text() == reference(), "run `pytest tests/cli/test_help.py --update`"
