"""`driftloop completion`."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

EXAMPLES = """\b
Examples:
  source <(driftloop completion bash)
  driftloop completion zsh > ~/.zfunc/_driftloop
  driftloop completion fish > ~/.config/fish/completions/driftloop.fish"""


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(*, shell: str) -> None:
    """Print the script that completes commands, options and names of pipelines in SHELL.

    Names are those of the cluster repository of the nearest state folder, and of a tree in the
    current folder.
    """
    from driftloop.cli.root import root

    classes = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    click.echo(classes[shell](root, {}, "driftloop", "_DRIFTLOOP_COMPLETE").source())
