"""A click group that imports the module of a command when it is used, so that `--help` is fast."""

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import click

from driftloop.errors import PipelineError
from driftloop.extras import explain_missing_module
from driftloop.text.words import suggest_names


class SuggestingGroup(click.Group):
    """A group that answers a mistyped command with the one that is meant, or with all."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            meant = suggest_names(args[0], names)
            listed = f"must be one of: {', '.join(names)}"
            ctx.fail(f"`{args[0]}` is not a command, {meant or listed}")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group; `lazy` maps a name to (module, one-line help), and `command` in the module is the
    click command. `sections` maps the first command of each section of the help to its title."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        sections: Mapping[str, str] = MappingProxyType({}),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = self._lazy.get(name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self._lazy))
        parts: dict[str, list[tuple[str, str]]] = {}
        title = "Commands"
        for name, (_, text) in self._lazy.items():
            title = self._sections.get(name, title)
            parts.setdefault(title, []).append((name.ljust(width), text))
        for title, rows in parts.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def run_group(group: click.Group) -> None:
    """Run a group as a program and exit: 0, 1 (an error the user can fix) or 2 (usage); errors
    go to stderr."""
    try:
        code = group.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PipelineError as error:
        _exit_with(error)
    except ModuleNotFoundError as error:
        missing = explain_missing_module(error.name)
        if missing is None:
            raise
        _exit_with(missing)
    except BrokenPipeError:
        sys.exit(0)


def _exit_with(error: PipelineError) -> NoReturn:
    click.echo(f"error: {error.message}", err=True)
    if error.hint is not None:
        click.echo(f"\nhint: {error.hint}", err=True)
    sys.exit(1)
