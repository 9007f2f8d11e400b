"""`driftloop demo`."""

import asyncio
from pathlib import Path

import click

from driftloop.clients import cancellation
from driftloop.contract.trees import SPEC
from driftloop.demo.screen import DemoScreen
from driftloop.demo.tour import empty_folder, run_demo
from driftloop.extras import require_extra
from driftloop.local.ground.state import StateFolder
from driftloop.operations.project.starters import STARTERS

EXAMPLES = """\b
Examples:
  driftloop demo
  driftloop demo --spec examples/digits/plain.yaml --keep"""


@click.command(name="demo", epilog=EXAMPLES)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".driftloop/demo"),
    show_default=True,
    help="Folder of everything the demo makes; that of an earlier demo is emptied first.",
)
@click.option(
    "--spec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Digits spec; plain.yaml serves without Seldon's operator.  [default: examples/digits/pipeline.yaml]",
)
@click.option(
    "--envs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of environments to share.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1, 500),
    default=40.0,
    show_default=True,
    help="Requests per second.",
)
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
def command(*, state: Path, spec: Path | None, envs: Path | None, rate: float, keep: bool) -> int:
    """Run the whole loop on this machine: train, serve, drift, retrain, roll out, refuse, roll
    back.

    Needs neither Docker nor Kubernetes. Exit code 0 when every claim of the summary held, else
    1.
    """
    require_extra("local", "`driftloop demo`")
    place = StateFolder.open_folder(state)
    empty_folder(place)
    spec = spec or STARTERS["digits"].folder / SPEC
    envs = envs.resolve() if envs is not None else None
    try:
        held = cancellation.run(
            run_demo(place, spec, DemoScreen(), envs=envs, rate=rate, keep=keep)
        )
    except asyncio.CancelledError:  # SIGTERM; Ctrl-C arrives as KeyboardInterrupt
        raise click.Abort from None
    return 0 if held else 1
