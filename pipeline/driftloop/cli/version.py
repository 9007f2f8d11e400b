"""`driftloop version`."""

import platform

import click

from driftloop import __version__
from driftloop.cli import options
from driftloop.extras import EXTRAS, find_missing

EXAMPLES = """\b
Examples:
  driftloop version
  driftloop version -o json"""


@click.command(epilog=EXAMPLES)
@options.output
def command(*, output: str) -> None:
    """Print the version, that of Python, and which extras are installed."""
    extras = [extra for extra in EXTRAS if not find_missing(extra)]
    if output != "text":
        document = {"version": __version__, "python": platform.python_version(), "extras": extras}
        options.print_document(document, output)
        return
    parts = [f"Python {platform.python_version()}", f"extras: {', '.join(extras) or 'none'}"]
    click.echo(f"driftloop {__version__} ({'; '.join(parts)})")
