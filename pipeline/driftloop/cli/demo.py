"""`driftloop demo`: the whole story on this machine."""

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path

import click

from driftloop.clients import cancellation
from driftloop.demo.demo_platform import Platform
from driftloop.demo.demo_screen import Screen
from driftloop.demo.demo_story import Story
from driftloop.errors import LocalError
from driftloop.local.ground.state import State
from driftloop.operations.starters import SPEC, STARTERS
from driftloop.spec import load

RECORD = ("log", "--reverse", "--date=format:%H:%M:%S", "--format=%h  %cd  %s", "main")


@click.command(name="demo")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".driftloop/demo"),
    show_default=True,
    help="Folder that holds everything the demo makes; one that an earlier demo left is emptied first.",
)
@click.option(
    "--spec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="The digits spec; plain.yaml serves without Seldon's operator.  [default: examples/digits/pipeline.yaml]",
)
@click.option("--envs", type=click.Path(file_okay=False, path_type=Path), help="Folder of environments to share.")
@click.option("--rate", type=click.FloatRange(1, 500), default=40.0, show_default=True, help="Requests a second.")
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
def command(state: Path, spec: Path | None, envs: Path | None, rate: float, keep: bool) -> int:
    """Train, serve, drift, retrain, roll out, refuse, roll back: the whole loop, on this machine.

    Needs neither Docker nor Kubernetes. Exit code 0 only if every claim of the summary held.
    """
    spec = spec or STARTERS["digits"].folder / SPEC
    place = State.at(state)
    _empty(place)
    envs = envs.resolve() if envs is not None else None
    screen = Screen()
    try:
        held = cancellation.run(_demo(place, spec, screen, envs=envs, rate=rate, keep=keep))
    except asyncio.CancelledError:  # SIGTERM; Ctrl-C arrives as KeyboardInterrupt
        raise click.Abort from None
    return 0 if held else 1


async def _demo(place: State, spec: Path, screen: Screen, *, envs: Path | None, rate: float, keep: bool) -> bool:
    pipeline = load(spec.read_text(), path=str(spec))
    drift = pipeline.spec.monitors.drift
    if drift is None:
        raise LocalError(f"{spec} has no drift monitor", hint="the demo's story is about one")
    platform = Platform(place, pipeline.metadata.name, pipeline.metadata.namespace or pipeline.metadata.name)
    story = Story(spec.parent, platform, screen, rate=rate, window=drift.window, data=pipeline.spec.data.uri)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we are inside one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with platform.running(spec, lambda line: screen.say(line, mark=">"), envs=envs, keep=keep):
        timeline = asyncio.create_task(screen.follow(place.timeline))
        try:
            await story.tell()
        finally:
            timeline.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await timeline
        log = await platform.git(*RECORD)
    return screen.summary(log)


def _empty(place: State) -> None:
    """Remove what an earlier demo left, but not its environments; LocalError when the folder is somebody else's."""
    if not place.root.exists() or not any(place.root.iterdir()):
        return
    if not place.exists() or not (place.root / "demo").is_dir():
        raise LocalError(f"{place.root} is not a demo's folder", hint="name a new or empty folder with --state")
    if (pid := place.holder()) is not None:
        raise LocalError(f"process {pid} runs {place.root}", hint=f"stop it with `driftloop down --state {place.root}`")
    for entry in place.root.iterdir():
        if entry.name in ("envs", "version", "demo"):
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
