"""Run the demo: empty its folder, start the platform, tell the story, print the summary."""

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path

from driftloop.demo.platform import DemoPlatform
from driftloop.demo.screen import DemoScreen
from driftloop.demo.story import DemoStory
from driftloop.demo.story_report import draw_chart, measure_line, write_report
from driftloop.errors import LocalError, PipelineError
from driftloop.local.ground.state import StateFolder
from driftloop.pages.terminal_text import TerminalLine
from driftloop.spec import load_spec

RECORD = ("log", "--reverse", "--date=format:%H:%M:%S", "--format=%h  %cd  %s", "main")
KEPT = ("envs", "version", "demo")
"""Entries of the state folder that the next demo uses again."""


async def run_demo(
    place: StateFolder,
    spec: Path,
    screen: DemoScreen,
    *,
    envs: Path | None,
    rate: float,
    keep: bool,
) -> bool:
    """Run all acts at `rate` requests per second; return True when every claim held.

    LocalError when an act can't go on. SIGTERM cancels.
    """
    pipeline = load_spec(spec.read_text(), path=str(spec))
    drift = pipeline.spec.monitors.get("drift")
    if drift is None:
        raise LocalError(f"{spec} has no drift monitor", hint="the demo needs one")
    platform = DemoPlatform(
        place, pipeline.metadata.name, pipeline.metadata.namespace or pipeline.metadata.name
    )
    story = DemoStory(
        spec.parent,
        platform,
        screen,
        rate=rate,
        window=drift.window_rows,
        data=pipeline.spec.data.uri,
        spec=spec.name,
    )
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we are inside one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with platform.run_up(
        spec, lambda line: screen.print_line(line, mark=">"), envs=envs, keep=keep
    ):
        timeline = asyncio.create_task(screen.follow_timeline(place.timeline))
        try:
            await story.tell_story()
        finally:
            timeline.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await timeline
        log = await platform.run_git(*RECORD)
        told = await _write_report(place, platform.name, story, screen)
    held = screen.print_summary(log)
    if told is not None:
        screen.print_story(*told, platform.name, keep=keep)
    return held


async def _write_report(
    place: StateFolder, pipeline: str, story: DemoStory, screen: DemoScreen
) -> tuple[tuple[TerminalLine, ...], Path] | None:
    """Write the report, and draw its chart; None when it can't be read, which is told and breaks no claim."""
    line = measure_line(story.answers)
    try:
        report, file = await asyncio.to_thread(write_report, place, pipeline, line)
    except PipelineError as error:
        screen.print_line(f"there is no report: {error.message}")
        return None
    return draw_chart(report, line, seconds=screen.seconds, width=screen.width), file


def empty_folder(place: StateFolder) -> None:
    """Remove what an earlier demo left, but for its environments; LocalError when the folder is
    not a demo's."""
    if not place.root.exists() or not any(place.root.iterdir()):
        return
    if not place.exists() or not (place.root / "demo").is_dir():
        raise LocalError(
            f"{place.root} is not a demo's folder", hint="name a new or empty folder with --state"
        )
    if (pid := place.find_holder()) is not None:
        hint = f"stop it with `driftloop down --state {place.root}`"
        raise LocalError(f"{place.root} is in use by process {pid}", hint=hint)
    for entry in place.root.iterdir():
        if entry.name in KEPT:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
