"""The `driftloop` command. One file per command: it parses, calls an operation, prints."""

import sys


def main() -> None:
    """Run `driftloop`."""
    try:
        from driftloop.cli.root import root
    except ModuleNotFoundError as error:
        hint = "install the package with what it needs: `pip install driftloop`"
        sys.exit(f"error: the command line needs the module `{error.name}`\n\nhint: {hint}")
    from driftloop.cli.lazy import run_group

    run_group(root)
