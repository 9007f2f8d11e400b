"""The reference of the command line as Markdown, made from `--help`."""

from collections.abc import Iterator

import click

from driftloop.cli.root import root

_INTRO = """\
# The command line

Made from `--help`. `driftloop completion bash|zsh|fish` prints what completes commands, options and names; exit statuses
are 0, 1 for an error that is said, 2 for a call that makes no sense.
"""


def reference() -> str:
    """Return the whole page."""
    parts = [_INTRO]
    for path, command, parent in _walk(root, None):
        context = click.Context(
            command, parent, path, terminal_width=110, help_option_names=["-h", "--help"]
        )
        # click keeps the option of the first context, which another test may have made
        command._help_option = None
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"\n## {path}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def _walk(
    command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context | None]]:
    path = f"{parent.command_path} {command.name}" if parent else "driftloop"
    yield path, command, None
    if isinstance(command, click.Group):
        context = click.Context(command, None, path)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            inner.name = name
            yield from _walk(inner, context)
